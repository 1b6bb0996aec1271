/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "fetcher/ztoc_priv.h"

enum {
	FILE_FIELD_NAME,
	FILE_FIELD_TYPE,
	FILE_FIELD_OFFSET,
	FILE_FIELD_SIZE,
	FILE_FIELD_LINK,
	FILE_FIELD_MODE,
	FILE_FIELD_UID,
	FILE_FIELD_GID,
	FILE_FIELD_UNAME,
	FILE_FIELD_GNAME,
	FILE_FIELD_MTIME,
	FILE_FIELD_MAJOR,
	FILE_FIELD_MINOR,
	FILE_FIELD_XATTRS,
};
enum { XATTR_FIELD_KEY, XATTR_FIELD_VALUE };

enum { TIME_MAX = 64 }; /* characters of a time, and then some */

/* What the pax records hold, of which the zTOC keeps all. */
#define PAX_XATTR  "SCHILY.xattr."
#define PAX_SPARSE "GNU.sparse."

void ztoc_text_finish(struct ztoc_text *text)
{
	buf_finish(&text->xattr_names);
	free(text->xattrs);
}

int ztoc_file_name(const struct flat_table *file, struct flat_bytes *ret, struct err *err)
{
	int r = flat_bytes(file, FILE_FIELD_NAME, "name", ret, err);
	if (r == 0)
		return err_say(err, -EBADMSG, "it has no name");
	return r < 0 ? r : 0;
}

static bool bytes_begin(const struct flat_bytes *b, const char *prefix)
{
	size_t n = strlen(prefix);
	return b->len >= n && memcmp(b->data, prefix, n) == 0;
}

static bool bytes_are(const struct flat_bytes *b, const char *text)
{
	return b->len == strlen(text) && memcmp(b->data, text, b->len) == 0;
}

static int read_type(const struct flat_table *file, enum entry_type *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum entry_type type;
	} types[] = {
		{"reg", ENTRY_REG},	      {"dir", ENTRY_DIR},   {"symlink", ENTRY_SYMLINK},
		{"hardlink", ENTRY_HARDLINK}, {"char", ENTRY_CHAR}, {"block", ENTRY_BLOCK},
		{"fifo", ENTRY_FIFO},
	};
	struct flat_bytes type = {.data = ""};
	char label[ENTRY_LABEL_MAX];
	int r = flat_bytes(file, FILE_FIELD_TYPE, "type", &type, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (bytes_are(&type, types[i].name)) {
			*ret = types[i].type;
			return 0;
		}
	}
	return err_say(err, -EBADMSG, "its type \"%s\" is unknown",
		       entry_label(type.data, type.len, label));
}

static int read_link(const struct flat_table *file, struct ztoc_text *text, struct entry *entry,
		     struct err *err)
{
	struct flat_bytes link = {.data = ""};
	int r = flat_bytes(file, FILE_FIELD_LINK, "linkname", &link, err);
	if (r < 0)
		return r;
	entry->link = text->link;
	if (entry->type == ENTRY_HARDLINK)
		return entry_clean_path(link.data, link.len, text->link, err);
	if (link.len >= sizeof(text->link) || memchr(link.data, '\0', link.len))
		return err_say(err, -EBADMSG, "its linkname is too long or holds a NUL");
	memcpy(text->link, link.data, link.len);
	text->link[link.len] = '\0';
	return 0;
}

static int read_time(const struct flat_table *file, struct entry *entry, struct err *err)
{
	struct flat_bytes time = {0};
	char text[TIME_MAX] = "";
	int r = flat_bytes(file, FILE_FIELD_MTIME, "mod_time", &time, err);
	if (r < 0 || time.len == 0)
		return r;
	if (time.len < sizeof(text))
		memcpy(text, time.data, time.len);
	if (entry_time_parse(text, &entry->mtime_sec, &entry->mtime_nsec) < 0)
		return err_say(err, -EBADMSG, "its mod_time is not a time");
	return 0;
}

/* A number of 64 bits that must be within [0, max]. */
static int read_number(const struct flat_table *file, size_t field, const char *name, uint64_t max,
		       uint64_t *ret, struct err *err)
{
	int64_t v = 0;
	int r = flat_i64(file, field, name, &v, err);
	if (r < 0)
		return r;
	if (v < 0 || (uint64_t)v > max)
		return err_say(err, -EBADMSG, "its %s %" PRId64 " is out of range", name, v);
	*ret = (uint64_t)v;
	return 0;
}

static int read_numbers(const struct flat_table *file, struct entry *entry, struct err *err)
{
	int64_t mode = 0;
	uint64_t major = 0;
	uint64_t minor = 0;
	int r = flat_i64(file, FILE_FIELD_MODE, "mode", &mode, err);
	r = r < 0 ? r : flat_u32(file, FILE_FIELD_UID, "uid", &entry->uid, err);
	r = r < 0 ? r : flat_u32(file, FILE_FIELD_GID, "gid", &entry->gid, err);
	r = r < 0 ? r : read_number(file, FILE_FIELD_MAJOR, "devmajor", UINT32_MAX, &major, err);
	r = r < 0 ? r : read_number(file, FILE_FIELD_MINOR, "devminor", UINT32_MAX, &minor, err);
	entry->mode = (uint32_t)mode & 07777;
	entry->major = (uint32_t)major;
	entry->minor = (uint32_t)minor;
	return r < 0 ? r : 0;
}

static int read_content(const struct ztoc *ztoc, const struct flat_table *file,
			struct entry_extent *extent, struct entry *entry, struct err *err)
{
	uint64_t off = 0;
	int r = read_number(file, FILE_FIELD_OFFSET, "uncompressed_offset", ztoc->out_size, &off,
			    err);
	if (r == 0)
		r = read_number(file, FILE_FIELD_SIZE, "uncompressed_size", ztoc->out_size,
				&entry->size, err);
	if (r < 0 || entry->size == 0)
		return r;
	if (!range_within(off, entry->size, ztoc->out_size))
		return err_say(err, -EBADMSG,
			       "its uncompressed_size goes past the end of the layer");
	if (off % ENTRY_ALIGN)
		return err_say(err, -EBADMSG, "its uncompressed_offset is not a multiple of %d",
			       ENTRY_ALIGN);
	*extent = (struct entry_extent){.dev_off = off, .len = entry->size};
	entry->extents = extent;
	entry->n_extents = 1;
	return 0;
}

static int xattrs_room(struct ztoc_text *text, size_t n)
{
	if (n <= text->xattrs_room)
		return 0;
	struct entry_xattr *items = reallocarray(text->xattrs, n, sizeof(*items));
	if (!items)
		return -ENOMEM;
	text->xattrs = items;
	text->xattrs_room = n;
	return 0;
}

/* One pax record: an xattr, or of no interest. */
static int read_record(const struct flat_vector *records, size_t i, struct ztoc_text *text,
		       struct entry *entry, struct err *err)
{
	struct flat_table record;
	struct flat_bytes key = {.data = ""};
	struct flat_bytes value = {.data = ""};
	int r = flat_vector_table(records, i, &record, err);
	r = r < 0 ? r : flat_bytes(&record, XATTR_FIELD_KEY, "xattrs' key", &key, err);
	r = r < 0 ? r : flat_bytes(&record, XATTR_FIELD_VALUE, "xattrs' value", &value, err);
	if (r < 0)
		return r;
	if (bytes_begin(&key, PAX_SPARSE))
		return err_say(err, -EFBIG, "it is sparse, and a zTOC does not say where");
	if (!bytes_begin(&key, PAX_XATTR))
		return 0;
	key.data += strlen(PAX_XATTR);
	key.len -= strlen(PAX_XATTR);
	if (memchr(key.data, '\0', key.len))
		return err_say(err, -EBADMSG, "its xattrs have a name with a NUL");
	if (entry->n_xattrs == ENTRY_XATTRS_MAX)
		return err_say(err, -EBADMSG, "it has more than %d xattrs", ENTRY_XATTRS_MAX);
	r = xattrs_room(text, entry->n_xattrs + 1);
	r = r < 0 ? r : buf_append(&text->xattr_names, key.data, key.len);
	r = r < 0 ? r : buf_append(&text->xattr_names, "", 1);
	if (r == -E2BIG)
		return err_say(err, -EBADMSG, "its xattrs take more than %d bytes",
			       ENTRY_XATTR_BYTES_MAX);
	if (r < 0)
		return r;
	text->xattrs[entry->n_xattrs++] =
		(struct entry_xattr){.value = value.data, .len = value.len};
	return 0;
}

static int read_xattrs(const struct flat_table *file, struct ztoc_text *text, struct entry *entry,
		       struct err *err)
{
	struct flat_vector records = {0};
	int r = flat_vector(file, FILE_FIELD_XATTRS, "xattrs", &records, err);
	buf_clear(&text->xattr_names);
	for (size_t i = 0; r >= 0 && i < records.count; i++)
		r = read_record(&records, i, text, entry, err);
	if (r < 0)
		return r;
	/* Now that they do not move any more. */
	const char *name = buf_str(&text->xattr_names);
	for (size_t i = 0; i < entry->n_xattrs; i++) {
		text->xattrs[i].name = name;
		name += strlen(name) + 1;
	}
	entry->xattrs = text->xattrs;
	return 0;
}

int ztoc_file_read(const struct ztoc *ztoc, const struct flat_table *file, struct ztoc_text *text,
		   struct entry_extent *extent, struct entry *ret, struct err *err)
{
	struct entry entry = {.path = text->path};
	struct flat_bytes name = {0};
	int r = ztoc_file_name(file, &name, err);
	r = r < 0 ? r : entry_clean_path(name.data, name.len, text->path, err);
	r = r < 0 ? r : read_type(file, &entry.type, err);
	r = r < 0 ? r : read_numbers(file, &entry, err);
	r = r < 0 ? r : read_time(file, &entry, err);
	if (r >= 0 && entry.type == ENTRY_REG)
		r = read_content(ztoc, file, extent, &entry, err);
	if (r >= 0 && (entry.type == ENTRY_SYMLINK || entry.type == ENTRY_HARDLINK))
		r = read_link(file, text, &entry, err);
	r = r < 0 ? r : read_xattrs(file, text, &entry, err);
	if (r < 0)
		return r;
	*ret = entry;
	return 0;
}
