/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/archive_index.h"

#include <string.h>

#include "base/file.h"
#include "fetcher/local.h"
#include "fetcher/tar.h"

enum { ARCHIVE_READ_BYTES = 1 << 20 };

void archive_index_finish(struct archive_index *index)
{
	if (!index)
		return;
	for (size_t i = 0; i < index->count; i++) {
		free(index->items[i].path);
		free(index->items[i].target);
	}
	free(index->items);
	*index = (struct archive_index){0};
}

static int add_member(void *data, const struct entry *entry, struct err *err)
{
	struct archive_index *index = data;
	bool link = entry->type == ENTRY_SYMLINK || entry->type == ENTRY_HARDLINK;
	bool whole = entry->type == ENTRY_REG &&
		     (entry->size == 0 || (entry->n_extents == 1 && entry->extents[0].file_off == 0 &&
					   entry->extents[0].len == entry->size));
	/* A sparse member could not be read in place; no archive of images has one. */
	if (!link && !whole)
		return 0;
	if (index->count >= ARCHIVE_MEMBERS_MAX)
		return err_say(err, -E2BIG, "more than %d members", ARCHIVE_MEMBERS_MAX);
	if ((index->count & (index->count - 1)) == 0) {
		size_t room = index->count ? 2 * index->count : 1;
		struct archive_member *items = reallocarray(index->items, room, sizeof(*items));
		if (!items)
			return err_set(err, -ENOMEM, "list the members");
		index->items = items;
	}
	struct archive_member m = {.path = strdup(entry->path), .order = index->count,
				   .off = entry->n_extents ? entry->extents[0].dev_off : 0,
				   .size = link ? 0 : entry->size};
	if (link) {
		/* A hardlink names a path of the archive, a symlink one relative to its place. */
		bool hard = entry->type == ENTRY_HARDLINK;
		if (asprintf(&m.target, "%s%s", hard ? "/" : "", entry->link) < 0)
			m.target = NULL;
	}
	index->items[index->count++] = m;
	return m.path && (m.target || !link) ? 0 : err_set(err, -ENOMEM, "list the members");
}

static int compare(const void *a, const void *b)
{
	const struct archive_member *x = a, *y = b;
	int c = strcmp(x->path, y->path);
	return c ? c : x->order < y->order ? -1 : 1;
}

static const char *compression_of(const unsigned char *p, size_t n)
{
	static const struct {
		const char *magic;
		size_t n;
		const char *name;
	} kinds[] = {
		{"\x1f\x8b", 2, "gzip"},
		{"\x28\xb5\x2f\xfd", 4, "zstd"},
		{"\xfd" "7zXZ", 5, "xz"},
		{"BZh", 3, "bzip2"},
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (n >= kinds[i].n && memcmp(p, kinds[i].magic, kinds[i].n) == 0)
			return kinds[i].name;
	return NULL;
}

static int read_members(int fd, const char *path, struct tar_reader *tar, char *bytes,
			struct err *err)
{
	for (uint64_t off = 0;;) {
		ssize_t n = file_pread(fd, bytes, ARCHIVE_READ_BYTES, off);
		if (n < 0)
			return err_set(err, (int)n, "read %s", path);
		const char *kind = off == 0 ? compression_of((unsigned char *)bytes, (size_t)n) : NULL;
		if (kind)
			return err_say(err, -EOPNOTSUPP,
				       "%s is compressed with %s and cannot be read in place; "
				       "decompress it first", path, kind);
		if (n == 0)
			break;
		int r = tar_reader_push(tar, bytes, (size_t)n, err);
		if (r < 0)
			return err_prefix(err, r, "%s", path);
		off += (uint64_t)n;
	}
	int r = tar_reader_finish(tar, err);
	return r < 0 ? err_prefix(err, r, "%s", path) : 0;
}

int archive_index_read(int fd, const char *path, struct archive_index *ret, struct err *err)
{
	AUTO_FINISH(archive_index) struct archive_index index = {0};
	AUTO(tar_reader) struct tar_reader *tar = NULL;
	AUTO_FREE char *bytes = malloc(ARCHIVE_READ_BYTES);
	int r = bytes ? tar_reader_create(add_member, &index, &tar) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "read %s", path);
	r = read_members(fd, path, tar, bytes, err);
	if (r < 0)
		return r;
	if (index.count == 0)
		return err_say(err, -EBADMSG, "%s is an empty archive", path);
	qsort(index.items, index.count, sizeof(*index.items), compare);
	*ret = index;
	index = (struct archive_index){0};
	return 0;
}

/* The last member of exactly this name. */
static const struct archive_member *find_exact(const struct archive_index *index, const char *path)
{
	size_t low = 0, high = index->count; /* the first member past the name is in [low, high] */
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(index->items[mid].path, path) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && strcmp(index->items[low - 1].path, path) == 0 ? &index->items[low - 1] : NULL;
}

/*
 * Appends the components of `more` to path; ".." goes up and stops at the top,
 * as it does in a root directory. False when it becomes too long.
 */
static bool walk(char path[static ENTRY_PATH_MAX], const char *more)
{
	while (*more) {
		size_t n = strcspn(more, "/");
		size_t len = strlen(path);
		if (n == 2 && more[0] == '.' && more[1] == '.') {
			char *slash = strrchr(path, '/');
			*(slash ? slash : path) = '\0';
		} else if (n > 0 && !(n == 1 && more[0] == '.')) {
			if (len + n + 2 > ENTRY_PATH_MAX)
				return false;
			(void)snprintf(path + len, ENTRY_PATH_MAX - len, "%s%.*s", len ? "/" : "",
				       (int)n, more);
		}
		more += n + (more[n] == '/');
	}
	return true;
}

const struct archive_member *archive_index_find(const struct archive_index *index,
						const char *path)
{
	char at[ENTRY_PATH_MAX] = "";
	if (!walk(at, path))
		return NULL;
	for (int hops = 0; hops <= ARCHIVE_LINKS_MAX; hops++) {
		const struct archive_member *m = find_exact(index, at);
		if (!m || !m->target)
			return m;
		if (m->target[0] == '/')
			at[0] = '\0';
		else if (!walk(at, ".."))
			return NULL;
		if (!walk(at, m->target))
			return NULL;
	}
	return NULL;
}
