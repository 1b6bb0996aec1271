/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "fetcher/tar_priv.h"

/* Where an old GNU sparse header, and an extension block of one, keep what. */
enum {
	OLD_MAP = 386,
	OLD_MAP_SLOTS = 4,
	OLD_MORE = 482,
	OLD_REAL_SIZE = 483,
	OLD_REAL_SIZE_LEN = 12,
	OLD_BLOCK_SLOTS = 21,
	OLD_BLOCK_MORE = 504,
};

/* What the next block is. */
enum tar_state {
	TAR_HEADER,
	TAR_BODY,	/* part of an extended header */
	TAR_SPARSE_OLD, /* an extension of an old GNU sparse header */
	TAR_SPARSE_MAP, /* part of a map at the head of the content (1.0) */
	TAR_CONTENT,	/* passed over: `left` bytes */
	TAR_END,	/* everything is ignored */
};

struct tar_reader {
	entry_fn fn;
	void *data;
	enum tar_state state;
	int failed;	    /* the first error; 0: none */
	uint64_t offset;    /* bytes taken */
	uint64_t header_at; /* offset of the header that is being worked on */
	uint64_t left;	    /* of the content and its padding */
	uint64_t padding;   /* at the end of `left` */
	uint64_t body_left; /* of an extended header, without padding */
	uint64_t n_entries;
	uint32_t n_globals;
	size_t have;	    /* bytes in block */
	char body_type;
	bool named;	    /* path is that of the entry being worked on */
	bool has_pax, has_gnu_name, has_gnu_link;
	struct buf body, gnu_name, gnu_link;
	struct tar_pax pax, global;
	struct entry entry;
	struct entry_extent whole;  /* the extent of a file that is not sparse */
	struct entry_xattr *xattrs; /* owned */
	size_t xattrs_room;
	size_t raw_len;
	char raw[100]; /* the name field of the header, for errors before path is known */
	char path[ENTRY_PATH_MAX], link[ENTRY_PATH_MAX];
	uint8_t block[TAR_BLOCK];
};

int tar_reader_create(entry_fn fn, void *data, struct tar_reader **ret)
{
	struct tar_reader *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->fn = fn;
	t->data = data;
	t->body = buf_make(TAR_PAX_MAX);
	t->gnu_name = buf_make(ENTRY_PATH_MAX);
	t->gnu_link = buf_make(ENTRY_PATH_MAX);
	tar_pax_init(&t->pax);
	tar_pax_init(&t->global);
	*ret = t;
	return 0;
}

void tar_reader_destroy(struct tar_reader *t)
{
	if (!t)
		return;
	buf_finish(&t->body);
	buf_finish(&t->gnu_name);
	buf_finish(&t->gnu_link);
	tar_pax_finish(&t->pax);
	tar_pax_finish(&t->global);
	free(t->xattrs);
	free(t);
}

uint64_t tar_reader_offset(const struct tar_reader *t)
{
	return t->offset;
}

/* Forgets what extended headers said: their entry is done. */
static void pending_reset(struct tar_reader *t)
{
	t->has_pax = t->has_gnu_name = t->has_gnu_link = false;
	tar_pax_reset(&t->pax, &t->global);
}

static bool pending_any(const struct tar_reader *t)
{
	return t->has_pax || t->has_gnu_name || t->has_gnu_link;
}

/* The entry is out: go past its content. */
static void content_begin(struct tar_reader *t, uint64_t size)
{
	t->left = u64_align(size, TAR_BLOCK);
	t->padding = t->left - size;
	t->state = t->left > 0 ? TAR_CONTENT : TAR_HEADER;
	pending_reset(t);
}

static int entry_xattrs(struct tar_reader *t)
{
	const char *bytes = buf_str(&t->pax.xattr_bytes);
	size_t n = t->pax.n_xattrs;
	if (n > t->xattrs_room) {
		struct entry_xattr *xattrs = reallocarray(t->xattrs, n, sizeof(*xattrs));
		if (!xattrs)
			return -ENOMEM;
		t->xattrs = xattrs;
		t->xattrs_room = n;
	}
	for (size_t i = 0; i < n; i++) {
		const struct tar_xattr *x = &t->pax.xattrs[i];
		t->xattrs[i] = (struct entry_xattr){
			.name = bytes + x->name,
			.value = bytes + x->value,
			.len = x->len,
		};
	}
	t->entry.xattrs = t->xattrs;
	t->entry.n_xattrs = n;
	return 0;
}

static int entry_emit(struct tar_reader *t, struct err *err)
{
	int r = entry_xattrs(t);
	if (r < 0)
		return r;
	r = entry_check(&t->entry, err);
	if (r < 0)
		return r;
	if (++t->n_entries > ENTRIES_MAX)
		return err_say(err, -EBADMSG, "the layer has more than %d entries", ENTRIES_MAX);
	r = t->fn(t->data, &t->entry, err);
	if (r < 0)
		t->failed = r; /* so that nobody adds to its words */
	return r;
}

/* The map is complete and the data begins here, `stored` bytes of it. */
static int sparse_emit(struct tar_reader *t, uint64_t stored, struct err *err)
{
	struct tar_sparse *sparse = &t->pax.sparse;
	if (sparse->stored != stored)
		return err_say(err, -EBADMSG,
			       "its sparse map tells of %" PRIu64 " bytes, its size of %" PRIu64,
			       sparse->stored, stored);
	for (size_t i = 0; i < sparse->n; i++)
		sparse->items[i].dev_off += t->offset;
	t->entry.extents = sparse->items;
	t->entry.n_extents = sparse->n;
	int r = entry_emit(t, err);
	if (r == 0)
		content_begin(t, stored);
	return r;
}

static int sparse_old_begin(struct tar_reader *t, const struct tar_header *h,
			    const uint8_t *block, struct err *err)
{
	if (h->magic != TAR_GNU || (t->pax.has & PAX_SPARSE_ANY))
		return err_say(err, -EBADMSG, "it is sparse in two ways");
	int r = tar_field(block + OLD_REAL_SIZE, OLD_REAL_SIZE_LEN, TAR_SIZE_MAX, "real size",
			  &t->entry.size, err);
	if (r < 0)
		return r;
	r = tar_sparse_add_old(&t->pax.sparse, block + OLD_MAP, OLD_MAP_SLOTS, err);
	if (r < 0)
		return r;
	if (block[OLD_MORE] == 0)
		return sparse_emit(t, t->left, err);
	t->state = TAR_SPARSE_OLD;
	return 0;
}

static int sparse_old_more(struct tar_reader *t, const uint8_t *block, struct err *err)
{
	int r = tar_sparse_add_old(&t->pax.sparse, block, OLD_BLOCK_SLOTS, err);
	if (r < 0 || block[OLD_BLOCK_MORE] != 0)
		return r;
	return sparse_emit(t, t->left, err);
}

static int sparse_pax_begin(struct tar_reader *t, struct err *err)
{
	const struct tar_pax *pax = &t->pax;
	bool versioned = pax->has & PAX_SPARSE_MAJOR;
	uint64_t major = versioned ? pax->sparse_major : 0;
	uint64_t minor = pax->has & PAX_SPARSE_MINOR ? pax->sparse_minor : 0;
	if (!(pax->has & PAX_SPARSE_SIZE))
		return err_say(err, -EBADMSG, "it is sparse, but its size is not told");
	t->entry.size = pax->sparse_size;
	if (major == 1 && minor == 0) {
		if (pax->has & (PAX_SPARSE_MAP | PAX_SPARSE_COUNT) || pax->sparse.n > 0)
			return err_say(err, -EBADMSG, "it has two sparse maps");
		t->state = TAR_SPARSE_MAP;
		return t->left >= TAR_BLOCK ? 0 : err_say(err, -EBADMSG, "its sparse map is missing");
	}
	if (major != 0 || minor > 1)
		return err_say(err, -EOPNOTSUPP, "sparse format %" PRIu64 ".%" PRIu64 " is not known",
			       major, minor);
	return sparse_emit(t, t->left, err);
}

static int sparse_map_more(struct tar_reader *t, const uint8_t *block, struct err *err)
{
	int r = tar_sparse_add_block(&t->pax.sparse, block, err);
	if (r < 0)
		return r;
	t->left -= TAR_BLOCK;
	if (r > 0)
		return sparse_emit(t, t->left, err);
	return t->left >= TAR_BLOCK ? 0 : err_say(err, -EBADMSG, "its sparse map does not end");
}

/* The type of an entry, and whether content follows its headers. */
static int entry_kind(struct tar_reader *t, const struct tar_header *h, bool slash,
		      bool *ret_content, struct err *err)
{
	enum entry_type *type = &t->entry.type;
	*ret_content = false;
	switch (h->type) {
	case '\0':
	case '0':
	case '7': /* contiguous on disk: nothing to us */
		*type = slash ? ENTRY_DIR : ENTRY_REG; /* v7 has no type for directories */
		*ret_content = true;
		return slash && t->left > 0
			       ? err_say(err, -EBADMSG, "a directory has content")
			       : 0;
	case 'S':
		*type = ENTRY_REG;
		*ret_content = true;
		return 0;
	case '1':
		*type = ENTRY_HARDLINK;
		*ret_content = t->has_pax;
		return 0;
	case '2':
		*type = ENTRY_SYMLINK;
		return 0;
	case '3':
		*type = ENTRY_CHAR;
		return 0;
	case '4':
		*type = ENTRY_BLOCK;
		return 0;
	case 'D': /* the content is a list of names, for incremental backups */
		*ret_content = true;
		__attribute__((fallthrough));
	case '5':
		*type = ENTRY_DIR;
		return 0;
	case '6':
		*type = ENTRY_FIFO;
		return 0;
	default:
		return err_say(err, -EOPNOTSUPP, "files of type 0x%02x are not supported",
			       (unsigned char)h->type);
	}
}

static int entry_link(struct tar_reader *t, const struct tar_header *h, struct err *err)
{
	const char *raw = h->link;
	size_t n = h->link_len;
	if (t->entry.type != ENTRY_SYMLINK && t->entry.type != ENTRY_HARDLINK)
		return 0;
	if (t->pax.has & PAX_LINK) {
		raw = buf_str(&t->pax.link);
		n = t->pax.link.len;
	} else if (t->has_gnu_link) {
		raw = buf_str(&t->gnu_link);
		n = t->gnu_link.len;
	}
	t->entry.link = t->link;
	if (t->entry.type == ENTRY_HARDLINK)
		return entry_clean_path(raw, n, t->link, err);
	if (n >= ENTRY_PATH_MAX)
		return err_say(err, -EBADMSG, "a link target is longer than %d bytes",
			       ENTRY_PATH_MAX - 1);
	memcpy(t->link, raw, n);
	t->link[n] = '\0';
	return 0;
}

/* Sets path to the cleaned name; *ret_slash: it ended in a slash. */
static int entry_path(struct tar_reader *t, const struct tar_header *h, bool *ret_slash,
		      struct err *err)
{
	char joined[TAR_BLOCK];
	const char *raw = h->name;
	size_t n = h->name_len;
	if (t->pax.has & PAX_SPARSE_NAME) {
		raw = buf_str(&t->pax.sparse_name);
		n = t->pax.sparse_name.len;
	} else if (t->pax.has & PAX_PATH) {
		raw = buf_str(&t->pax.path);
		n = t->pax.path.len;
	} else if (t->has_gnu_name) {
		raw = buf_str(&t->gnu_name);
		n = t->gnu_name.len;
	} else if (h->prefix_len > 0) {
		memcpy(joined, h->prefix, h->prefix_len);
		joined[h->prefix_len] = '/';
		memcpy(joined + h->prefix_len + 1, h->name, h->name_len);
		raw = joined;
		n = h->prefix_len + 1 + h->name_len;
	}
	if (n == 0)
		return err_say(err, -EBADMSG, "it has no name");
	*ret_slash = raw[n - 1] == '/';
	int r = entry_clean_path(raw, n, t->path, err);
	t->named = r == 0;
	return r;
}

static int entry_begin(struct tar_reader *t, const struct tar_header *h, const uint8_t *block,
		       struct err *err)
{
	const struct tar_pax *pax = &t->pax;
	bool slash = false;
	bool content = false;
	t->left = pax->has & PAX_SIZE ? pax->size : h->size;
	t->entry = (struct entry){
		.path = t->path,
		.mode = h->mode,
		.uid = pax->has & PAX_UID ? pax->uid : h->uid,
		.gid = pax->has & PAX_GID ? pax->gid : h->gid,
		.mtime_sec = pax->has & PAX_MTIME ? pax->mtime_sec : h->mtime,
		.mtime_nsec = pax->has & PAX_MTIME ? pax->mtime_nsec : 0,
		.major = h->major,
		.minor = h->minor,
	};
	int r = entry_path(t, h, &slash, err);
	if (r < 0)
		return r;
	r = entry_kind(t, h, slash, &content, err);
	if (r < 0)
		return r;
	r = entry_link(t, h, err);
	if (r < 0)
		return r;
	if (h->type == 'S')
		return sparse_old_begin(t, h, block, err);
	if (pax->has & PAX_SPARSE_ANY) {
		if (t->entry.type != ENTRY_REG)
			return err_say(err, -EBADMSG, "only regular files can be sparse");
		return sparse_pax_begin(t, err);
	}
	if (t->entry.type == ENTRY_REG && t->left > 0) {
		t->entry.size = t->left;
		t->whole = (struct entry_extent){.dev_off = t->offset, .len = t->left};
		t->entry.extents = &t->whole;
		t->entry.n_extents = 1;
	}
	r = entry_emit(t, err);
	if (r == 0)
		content_begin(t, content ? t->left : 0);
	return r;
}

static int body_begin(struct tar_reader *t, const struct tar_header *h, struct err *err)
{
	uint64_t max = h->type == 'x' || h->type == 'g' ? TAR_PAX_MAX : ENTRY_PATH_MAX;
	if ((h->type == 'x' && t->has_pax) || (h->type == 'L' && t->has_gnu_name) ||
	    (h->type == 'K' && t->has_gnu_link))
		return err_say(err, -EBADMSG, "two headers of type %c for one file", h->type);
	if (h->type == 'g' && ++t->n_globals > TAR_GLOBALS_MAX)
		return err_say(err, -EBADMSG, "there are more than %d global headers",
			       TAR_GLOBALS_MAX);
	if (h->size > max)
		return err_say(err, -EBADMSG,
			       "an extended header of %" PRIu64 " bytes is longer than %" PRIu64,
			       h->size, max);
	t->has_pax |= h->type == 'x';
	t->has_gnu_name |= h->type == 'L';
	t->has_gnu_link |= h->type == 'K';
	t->body_type = h->type;
	t->body_left = h->size;
	buf_clear(&t->body);
	if (h->size == 0 && h->type != 'x' && h->type != 'g')
		return err_say(err, -EBADMSG, "a long name is empty");
	t->state = h->size > 0 ? TAR_BODY : TAR_HEADER;
	return 0;
}

/* A long name ends with its first NUL, or with the header. */
static int gnu_take(struct buf *to, const struct buf *body)
{
	buf_clear(to);
	return buf_append(to, body->data, strnlen(body->data, body->len));
}

static int body_take(struct tar_reader *t, struct err *err)
{
	switch (t->body_type) {
	case 'L':
		return gnu_take(&t->gnu_name, &t->body);
	case 'K':
		return gnu_take(&t->gnu_link, &t->body);
	case 'x':
		return tar_pax_parse(&t->pax, t->body.data, t->body.len, false, err);
	default:
		break;
	}
	int r = tar_pax_parse(&t->global, t->body.data, t->body.len, true, err);
	/* An x header before this one keeps the last word. */
	if (r == 0 && !t->has_pax)
		tar_pax_reset(&t->pax, &t->global);
	return r;
}

static int body_more(struct tar_reader *t, const uint8_t *block, struct err *err)
{
	uint64_t n = u64_min(t->body_left, TAR_BLOCK);
	int r = buf_append(&t->body, block, n);
	if (r < 0)
		return r;
	t->body_left -= n;
	if (t->body_left > 0)
		return 0;
	t->state = TAR_HEADER;
	return body_take(t, err);
}

static bool block_is_zero(const uint8_t *block)
{
	return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

static int header_take(struct tar_reader *t, const uint8_t *block, struct err *err)
{
	struct tar_header h;
	t->header_at = t->offset - TAR_BLOCK;
	t->named = false;
	t->raw_len = strnlen((const char *)block, sizeof(t->raw));
	memcpy(t->raw, block, t->raw_len);
	if (block_is_zero(block)) {
		t->state = TAR_END;
		return pending_any(t) ? err_say(err, -EBADMSG,
						"the archive ends after an extended header")
				      : 0;
	}
	int r = tar_header_parse(block, &h, err);
	if (r < 0)
		return r;
	switch (h.type) {
	case 'x':
	case 'g':
	case 'L':
	case 'K':
		return body_begin(t, &h, err);
	case 'V':
		content_begin(t, h.size);
		return 0;
	default:
		return entry_begin(t, &h, block, err);
	}
}

static int block_take(struct tar_reader *t, const uint8_t *block, struct err *err)
{
	switch (t->state) {
	case TAR_HEADER:
		return header_take(t, block, err);
	case TAR_BODY:
		return body_more(t, block, err);
	case TAR_SPARSE_OLD:
		return sparse_old_more(t, block, err);
	case TAR_SPARSE_MAP:
		return sparse_map_more(t, block, err);
	case TAR_CONTENT:
	case TAR_END:
		break;
	}
	return 0;
}

/* Says which entry an error is about, and makes the error last. */
static int tar_fail(struct tar_reader *t, int r, struct err *err)
{
	char label[ENTRY_LABEL_MAX];
	if (t->failed < 0)
		return r;
	t->failed = r;
	if (r != -EBADMSG && r != -EOPNOTSUPP)
		return err_set(err, r, "read a tar");
	if (t->named)
		entry_label(t->path, strlen(t->path), label);
	else
		entry_label(t->raw, t->raw_len, label);
	return err_prefix(err, r, "tar entry \"%s\" at byte %" PRIu64, label, t->header_at);
}

int tar_reader_push(struct tar_reader *t, const void *bytes, size_t n, struct err *err)
{
	const uint8_t *at = bytes;
	if (t->failed < 0)
		return err_say(err, t->failed, "the tar was found to be broken before");
	while (n > 0) {
		if (t->state == TAR_END) {
			t->offset += n;
			return 0;
		}
		if (t->state == TAR_CONTENT) {
			size_t step = (size_t)u64_min(t->left, n);
			t->left -= step;
			t->offset += step;
			at += step;
			n -= step;
			if (t->left == 0)
				t->state = TAR_HEADER;
			continue;
		}
		const uint8_t *block = at;
		size_t step = TAR_BLOCK;
		if (t->have > 0 || n < TAR_BLOCK) {
			step = (size_t)u64_min(TAR_BLOCK - t->have, n);
			memcpy(t->block + t->have, at, step);
			t->have += step;
			block = t->block;
		}
		t->offset += step;
		at += step;
		n -= step;
		if (block == t->block && t->have < TAR_BLOCK)
			continue;
		t->have = 0;
		int r = block_take(t, block, err);
		if (r < 0)
			return tar_fail(t, r, err);
	}
	return 0;
}

int tar_reader_finish(struct tar_reader *t, struct err *err)
{
	if (t->failed < 0)
		return err_say(err, t->failed, "the tar was found to be broken before");
	if (t->state == TAR_END)
		return 0;
	if (t->state == TAR_HEADER && t->have == 0 && !pending_any(t))
		return 0;
	/* Some writers (umoci 0.4.7) leave out the last padding and the end marks; Go reads that. */
	if (t->state == TAR_CONTENT && t->left <= t->padding && !pending_any(t))
		return 0;
	if (t->state == TAR_HEADER) {
		t->failed = -EBADMSG;
		return err_say(err, -EBADMSG, "the tar ends at byte %" PRIu64 ", %s", t->offset,
			       t->have > 0 ? "inside a header" : "after an extended header");
	}
	int r = t->state == TAR_CONTENT
			? err_say(err, -EBADMSG, "the tar ends at byte %" PRIu64 ", %" PRIu64
				  " bytes before the end of the content", t->offset, t->left)
			: err_say(err, -EBADMSG, "the tar ends at byte %" PRIu64
				  ", inside an extended header", t->offset);
	return tar_fail(t, r, err);
}
