/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as an EROFS image: everything that can be reached is read. */

#include <string.h>
#include <sys/stat.h>

#include "base/le.h"
#include "base/num.h"
#include "fs/erofs.h"
#include "fs/erofs_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 4096, DEPTH_MAX = 16 };

static int look(void *data, const char *name, const void *value, size_t len)
{
	unsigned int *sum = data;
	*sum += (unsigned int)strlen(name);
	for (size_t i = 0; i < len; i++)
		*sum += ((const uint8_t *)value)[i];
	return 0;
}

static void read_file(const struct erofs *image, const struct erofs_inode *inode, int *steps,
		      unsigned int *sum)
{
	struct erofs_extent x;
	for (uint64_t off = 0; off < inode->size && --*steps > 0; off = x.off + x.len) {
		if (erofs_map(image, inode, off, &x) < 0)
			return;
		/* What it promises: the run holds the byte, and goes on. */
		if (x.off > off || x.len == 0 || x.off + x.len <= off)
			__builtin_trap();
		if (x.inlined)
			*sum += ((const uint8_t *)x.inlined)[x.len - 1];
	}
}

static void read_inode(const struct erofs *image, uint64_t nid, int depth, int *steps,
		       unsigned int *sum)
{
	struct erofs_inode inode;
	if (--*steps <= 0 || depth > DEPTH_MAX || erofs_inode(image, nid, &inode) < 0)
		return;
	const void *value;
	(void)erofs_listxattr(image, &inode, look, sum);
	(void)erofs_getxattr(image, &inode, "user.a", &value);
	const char *target;
	ssize_t n = erofs_readlink(image, &inode, &target);
	if (n > 0)
		*sum += (unsigned int)target[n - 1];
	if (S_ISREG(inode.mode))
		read_file(image, &inode, steps, sum);
	struct erofs_dirent d;
	for (uint64_t cookie = 0; --*steps > 0; cookie = d.cookie) {
		uint64_t found;
		if (erofs_readdir(image, &inode, cookie, &d) <= 0)
			return;
		if (d.cookie <= cookie)
			__builtin_trap();
		(void)erofs_lookup(image, &inode, d.name, d.name_len, &found);
		read_inode(image, d.nid, depth + 1, steps, sum);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct erofs *image = NULL;
	struct err err = {0};
	int steps = STEPS_MAX;
	unsigned int sum = 0;
	/* The checksum would keep the fuzzer out of all that comes after it. */
	AUTO_FREE uint8_t *copy = malloc(size + 1);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (size >= EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE) {
		uint8_t *compat = copy + EROFS_SUPER_OFFSET + SB_COMPAT_AT;
		le32_put(compat, le32_get(compat) & ~(uint32_t)EROFS_COMPAT_SB_CHKSUM);
	}
	if (erofs_open_memory(copy, size, &image, &err) == 0)
		read_inode(image, erofs_root(image), 0, &steps, &sum);
	erofs_close(image);
	return 0;
}
