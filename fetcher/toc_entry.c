/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "fetcher/toc_priv.h"

void toc_text_finish(struct toc_text *text)
{
	buf_finish(&text->xattr_bytes);
	free(text->xattrs);
}

static int read_xattrs(const json_t *e, struct toc_text *text, struct entry *ret, struct err *err)
{
	json_t *xattrs = NULL;
	int r = json_get_object(e, "xattrs", JSON_MAY, &xattrs, err);
	size_t n = json_object_size(xattrs);
	if (r < 0 || n == 0)
		return r;
	if (n > ENTRY_XATTRS_MAX)
		return err_say(err, -EBADMSG, "it has more than %d xattrs", ENTRY_XATTRS_MAX);
	if (n > text->xattrs_room) {
		struct entry_xattr *items = reallocarray(text->xattrs, n, sizeof(*items));
		if (!items)
			return -ENOMEM;
		text->xattrs = items;
		text->xattrs_room = n;
	}
	const char *name;
	json_t *value;
	buf_clear(&text->xattr_bytes);
	json_object_foreach(xattrs, name, value) {
		size_t before = text->xattr_bytes.len;
		r = json_is_string(value) ? entry_base64(json_string_value(value),
							 json_string_length(value),
							 &text->xattr_bytes)
					  : -EBADMSG;
		if (r == -E2BIG)
			return err_say(err, -EBADMSG, "its xattrs take more than %d bytes",
				       ENTRY_XATTR_BYTES_MAX);
		if (r < 0)
			return r == -ENOMEM ? r : err_say(err, r, "an xattr is not base64");
		text->xattrs[ret->n_xattrs++] = (struct entry_xattr){
			.name = name, .len = text->xattr_bytes.len - before};
	}
	const char *at = buf_str(&text->xattr_bytes);
	for (size_t i = 0; i < ret->n_xattrs; i++) {
		text->xattrs[i].value = at;
		at += text->xattrs[i].len;
	}
	ret->xattrs = text->xattrs;
	return 0;
}

static int read_type(const char *name, enum entry_type *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum entry_type type;
	} types[] = {
		{"reg", ENTRY_REG},	    {"dir", ENTRY_DIR},	  {"symlink", ENTRY_SYMLINK},
		{"hardlink", ENTRY_HARDLINK}, {"char", ENTRY_CHAR}, {"block", ENTRY_BLOCK},
		{"fifo", ENTRY_FIFO},
	};
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (strcmp(name, types[i].name) == 0) {
			*ret = types[i].type;
			return 0;
		}
	}
	return err_say(err, -EBADMSG, "its type \"%.32s\" is unknown", name);
}

static int read_u32(const json_t *e, const char *key, uint32_t *ret, struct err *err)
{
	uint64_t v = 0;
	int r = json_get_u64(e, key, JSON_MAY, &v, err);
	if (r == 0 && v > UINT32_MAX)
		return err_say(err, -EBADMSG, "\"%s\" is out of range", key);
	if (r == 0)
		*ret = (uint32_t)v;
	return r;
}

static int read_strings(const json_t *e, struct toc_text *text, struct entry *entry,
			struct err *err)
{
	const char *name = NULL;
	const char *type = NULL;
	const char *link = NULL;
	const char *time = NULL;
	int r = json_get_str(e, "name", JSON_NEED, &name, err);
	r = r < 0 ? r : json_get_str(e, "type", JSON_NEED, &type, err);
	r = r < 0 ? r : json_get_str(e, "linkName", JSON_MAY, &link, err);
	r = r < 0 ? r : json_get_str(e, "modtime", JSON_MAY, &time, err);
	r = r < 0 ? r : read_type(type, &entry->type, err);
	r = r < 0 ? r : entry_clean_path(name, strlen(name), text->path, err);
	if (r < 0)
		return r;
	entry->path = text->path;
	if (time && *time && entry_time_parse(time, &entry->mtime_sec, &entry->mtime_nsec) < 0)
		return err_say(err, -EBADMSG, "its modtime \"%.64s\" is not a time", time);
	if (entry->type == ENTRY_SYMLINK)
		entry->link = link;
	if (entry->type != ENTRY_HARDLINK || !link)
		return 0;
	entry->link = text->link;
	return entry_clean_path(link, strlen(link), text->link, err);
}

int toc_entry_read(const json_t *e, struct toc_text *text, struct entry *ret, struct err *err)
{
	struct entry entry = {0};
	uint64_t mode = 0;
	int r = read_strings(e, text, &entry, err);
	r = r < 0 ? r : json_get_u64(e, "mode", JSON_MAY, &mode, err);
	r = r < 0 ? r : read_u32(e, "uid", &entry.uid, err);
	r = r < 0 ? r : read_u32(e, "gid", &entry.gid, err);
	r = r < 0 ? r : read_u32(e, "devMajor", &entry.major, err);
	r = r < 0 ? r : read_u32(e, "devMinor", &entry.minor, err);
	if (r == 0 && entry.type == ENTRY_REG)
		r = json_get_u64(e, "size", JSON_MAY, &entry.size, err);
	r = r < 0 ? r : read_xattrs(e, text, &entry, err);
	if (r == -EINVAL)
		return err ? (err->code = -EBADMSG) : -EBADMSG;
	if (r < 0)
		return r;
	entry.mode = (uint32_t)(mode & 07777);
	*ret = entry;
	return 0;
}
