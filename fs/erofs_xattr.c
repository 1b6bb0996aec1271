/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/le.h"
#include "fs/erofs_image.h"

/* Goes through the xattrs of an inode: first the shared ones, then those after the inode. */
struct xattr_iter {
	const struct erofs *image;
	uint64_t ids;	   /* where the next shared id is */
	uint32_t n_shared; /* ids left */
	uint64_t at, end;  /* the inline entries left */
};

struct xattr_item {
	const struct erofs_prefix *prefix;
	const char *rest; /* of the name */
	uint32_t rest_len;
	const void *value;
	uint32_t value_len;
};

static int xattr_start(const struct erofs *image, const struct erofs_inode *inode,
		       struct xattr_iter *ret)
{
	*ret = (struct xattr_iter){.image = image};
	uint32_t area = erofs_xattr_area(inode->xattr_count);
	if (area == 0)
		return 0;
	const uint8_t *header = erofs_bytes(image, inode->body, area);
	if (!header)
		return -EBADMSG;
	ret->n_shared = header[XATTR_SHARED_COUNT_AT];
	ret->ids = inode->body + XATTR_HEADER_SIZE;
	ret->at = ret->ids + (uint64_t)ret->n_shared * XATTR_UNIT;
	ret->end = inode->body + area;
	return ret->at > ret->end ? -EBADMSG : 0;
}

/* Reads the entry at `at`, which must end by `end`; *ret_size is all it takes. */
static int xattr_read(const struct erofs *image, uint64_t at, uint64_t end, struct xattr_item *ret,
		      uint32_t *ret_size)
{
	if (at > end || end - at < XATTR_ENTRY_SIZE)
		return -EBADMSG;
	const uint8_t *p = erofs_bytes(image, at, XATTR_ENTRY_SIZE);
	if (!p)
		return -EBADMSG;
	uint32_t name_len = p[XATTR_NAME_LEN_AT];
	uint32_t value_len = le16_get(p + XATTR_VALUE_LEN_AT);
	uint32_t size = erofs_xattr_entry_size(name_len, value_len);
	if (size > end - at || !erofs_bytes(image, at, size))
		return -EBADMSG;
	*ret = (struct xattr_item){
		.rest = (const char *)p + XATTR_ENTRY_SIZE,
		.rest_len = name_len,
		.value = p + XATTR_ENTRY_SIZE + name_len,
		.value_len = value_len,
	};
	for (size_t i = 0; i < EROFS_PREFIXES; i++)
		if (erofs_prefixes[i].index == p[XATTR_PREFIX_AT])
			ret->prefix = &erofs_prefixes[i];
	if (!ret->prefix || memchr(ret->rest, '\0', name_len))
		return -EBADMSG;
	*ret_size = size;
	return 0;
}

/* 1 and the next xattr, 0 at the end. */
static int xattr_next(struct xattr_iter *it, struct xattr_item *ret)
{
	uint32_t size = 0;
	int r;
	if (it->n_shared > 0) {
		const uint8_t *id = it->image->data + it->ids;
		uint64_t at = it->image->xattrs + (uint64_t)le32_get(id) * XATTR_UNIT;
		r = xattr_read(it->image, at, it->image->size, ret, &size);
		if (r < 0)
			return r;
		it->n_shared--;
		it->ids += XATTR_UNIT;
		return 1;
	}
	if (it->at >= it->end)
		return 0;
	r = xattr_read(it->image, it->at, it->end, ret, &size);
	if (r < 0)
		return r;
	it->at += size;
	return 1;
}

static bool xattr_is(const struct xattr_item *item, const char *name)
{
	size_t n = strlen(item->prefix->text);
	return strncmp(name, item->prefix->text, n) == 0 && strlen(name + n) == item->rest_len &&
	       memcmp(name + n, item->rest, item->rest_len) == 0;
}

ssize_t erofs_getxattr(const struct erofs *image, const struct erofs_inode *inode,
		       const char *name, const void **ret)
{
	struct xattr_iter it;
	struct xattr_item item;
	int r = xattr_start(image, inode, &it);
	if (r < 0)
		return r;
	while ((r = xattr_next(&it, &item)) > 0) {
		if (!xattr_is(&item, name))
			continue;
		*ret = item.value;
		return (ssize_t)item.value_len;
	}
	return r < 0 ? r : -ENODATA;
}

int erofs_listxattr(const struct erofs *image, const struct erofs_inode *inode,
		    erofs_xattr_fn fn, void *data)
{
	struct xattr_iter it;
	struct xattr_item item;
	int r = xattr_start(image, inode, &it);
	if (r < 0)
		return r;
	while ((r = xattr_next(&it, &item)) > 0) {
		char name[EROFS_PREFIX_TEXT_MAX + EROFS_NAME_MAX + 1];
		size_t n = strlen(item.prefix->text);
		memcpy(name, item.prefix->text, n);
		memcpy(name + n, item.rest, item.rest_len);
		name[n + item.rest_len] = '\0';
		r = fn(data, name, item.value, item.value_len);
		if (r < 0)
			return r;
	}
	return r;
}
