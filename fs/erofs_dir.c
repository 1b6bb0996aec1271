/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/le.h"
#include "fs/erofs_image.h"

/* One block of a directory. */
struct dirblock {
	const uint8_t *data;
	uint32_t len; /* of the last block only what is in use */
	uint32_t count;
};

struct dirname {
	const char *text;
	uint32_t len;
};

static int dirblock_read(const struct erofs *image, const struct erofs_inode *dir, uint64_t n,
			 struct dirblock *ret)
{
	uint64_t off = n << image->block_bits;
	uint64_t len = 0;
	const uint8_t *data = erofs_flat_data(image, dir, off, &len);
	if (!data)
		return -EBADMSG;
	len = u64_min(len, erofs_block_size(image));
	if (len < DIRENT_SIZE)
		return -EBADMSG;
	uint32_t names = le16_get(data + DIRENT_NAMEOFF_AT);
	if (names < DIRENT_SIZE || names % DIRENT_SIZE != 0 || names >= len)
		return -EBADMSG;
	*ret = (struct dirblock){
		.data = data,
		.len = (uint32_t)len,
		.count = names / DIRENT_SIZE,
	};
	return 0;
}

/* The name of entry i; -EBADMSG for what is no name of a file. */
static int dirblock_name(const struct dirblock *b, uint32_t i, struct dirname *ret)
{
	const uint8_t *p = b->data + (size_t)i * DIRENT_SIZE;
	uint32_t start = le16_get(p + DIRENT_NAMEOFF_AT);
	bool last = i + 1 == b->count;
	uint32_t end = last ? b->len : le16_get(p + DIRENT_SIZE + DIRENT_NAMEOFF_AT);
	if (start < b->count * DIRENT_SIZE || start >= end || end > b->len)
		return -EBADMSG;
	const char *text = (const char *)b->data + start;
	size_t len = strnlen(text, end - start);
	/* Only the last name of a block may be padded. */
	if (len == 0 || len > EROFS_NAME_MAX || (!last && len != end - start))
		return -EBADMSG;
	if (memchr(text, '/', len))
		return -EBADMSG;
	*ret = (struct dirname){.text = text, .len = (uint32_t)len};
	return 0;
}

int erofs_name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, a_len < b_len ? a_len : b_len);
	if (r != 0)
		return r;
	return a_len < b_len ? -1 : a_len > b_len;
}

/* The block whose first name is the last that is not above the wanted one. */
static int dir_find_block(const struct erofs *image, const struct erofs_inode *dir,
			  const char *name, size_t n, struct dirblock *ret)
{
	uint64_t low = 0;
	uint64_t high = ((dir->size - 1) >> image->block_bits) + 1;
	bool found = false;
	while (low < high) {
		uint64_t mid = low + (high - low) / 2;
		struct dirblock b;
		struct dirname first;
		int r = dirblock_read(image, dir, mid, &b);
		if (r == 0)
			r = dirblock_name(&b, 0, &first);
		if (r < 0)
			return r;
		if (erofs_name_compare(first.text, first.len, name, n) <= 0) {
			*ret = b;
			found = true;
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return found ? 0 : -ENOENT;
}

int erofs_lookup(const struct erofs *image, const struct erofs_inode *dir, const char *name,
		 size_t n, uint64_t *ret_nid)
{
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (dir->size == 0)
		return -ENOENT;
	struct dirblock b = {0};
	int r = dir_find_block(image, dir, name, n, &b);
	if (r < 0)
		return r;
	uint32_t low = 0;
	uint32_t high = b.count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		struct dirname entry;
		r = dirblock_name(&b, mid, &entry);
		if (r < 0)
			return r;
		int order = erofs_name_compare(entry.text, entry.len, name, n);
		if (order == 0) {
			*ret_nid = le64_get(b.data + (size_t)mid * DIRENT_SIZE + DIRENT_NID_AT);
			return 0;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -ENOENT;
}

static uint8_t dirent_type(uint8_t erofs_type)
{
	static const uint8_t types[] = {
		[EROFS_FT_UNKNOWN] = DT_UNKNOWN, [EROFS_FT_REG] = DT_REG,
		[EROFS_FT_DIR] = DT_DIR,	 [EROFS_FT_CHAR] = DT_CHR,
		[EROFS_FT_BLOCK] = DT_BLK,	 [EROFS_FT_FIFO] = DT_FIFO,
		[EROFS_FT_SOCKET] = DT_SOCK,	 [EROFS_FT_SYMLINK] = DT_LNK,
	};
	return erofs_type < ARRAY_LEN(types) ? types[erofs_type] : (uint8_t)DT_UNKNOWN;
}

int erofs_readdir(const struct erofs *image, const struct erofs_inode *dir, uint64_t cookie,
		  struct erofs_dirent *ret)
{
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	uint64_t block_size = erofs_block_size(image);
	uint64_t n = cookie >> image->block_bits;
	uint64_t in_block = cookie & (block_size - 1);
	if (in_block % DIRENT_SIZE != 0)
		return -EINVAL;
	if (n << image->block_bits >= dir->size)
		return 0;
	struct dirblock b;
	int r = dirblock_read(image, dir, n, &b);
	if (r < 0)
		return r;
	uint32_t i = (uint32_t)(in_block / DIRENT_SIZE);
	if (i >= b.count)
		return -EINVAL;
	struct dirname name;
	r = dirblock_name(&b, i, &name);
	if (r < 0)
		return r;
	const uint8_t *p = b.data + (size_t)i * DIRENT_SIZE;
	*ret = (struct erofs_dirent){
		.name = name.text,
		.name_len = name.len,
		.nid = le64_get(p + DIRENT_NID_AT),
		.type = dirent_type(p[DIRENT_TYPE_AT]),
		.cookie = i + 1 < b.count ? cookie + DIRENT_SIZE : (n + 1) << image->block_bits,
	};
	return 1;
}
