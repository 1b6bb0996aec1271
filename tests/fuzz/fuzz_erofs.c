/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as an EROFS image: everything that can be reached is read, as erofs_check() says. */

#include <string.h>
#include <sys/stat.h>

#include "base/le.h"
#include "base/num.h"
#include "fs/erofs.h"
#include "fs/erofs_check.h"
#include "fs/erofs_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 4096, DEPTH_MAX = 16 };

struct reader {
	int steps; /* left */
	unsigned int sum;
	bool broken; /* something gave -EBADMSG */
};

static int note(struct reader *reader, ssize_t r)
{
	reader->broken |= r == -EBADMSG;
	return r < 0 ? -1 : 0;
}

static int look(void *data, const char *name, const void *value, size_t len)
{
	unsigned int *sum = data;
	*sum += (unsigned int)strlen(name);
	for (size_t i = 0; i < len; i++)
		*sum += ((const uint8_t *)value)[i];
	return 0;
}

static void read_file(const struct erofs *image, const struct erofs_inode *inode,
		      struct reader *reader)
{
	struct erofs_extent x;
	for (uint64_t off = 0; off < inode->size && --reader->steps > 0; off = x.off + x.len) {
		if (note(reader, erofs_map(image, inode, off, &x)) < 0)
			return;
		/* What it promises: the run holds the byte, and goes on. */
		if (x.off > off || x.len == 0 || x.off + x.len <= off)
			__builtin_trap();
		if (x.inlined)
			reader->sum += ((const uint8_t *)x.inlined)[x.len - 1];
	}
}

static void read_inode(const struct erofs *image, uint64_t nid, int depth,
		       struct reader *reader)
{
	struct erofs_inode inode;
	if (--reader->steps <= 0 || depth > DEPTH_MAX ||
	    note(reader, erofs_inode(image, nid, &inode)) < 0)
		return;
	const void *value;
	(void)note(reader, erofs_listxattr(image, &inode, look, &reader->sum));
	(void)note(reader, erofs_getxattr(image, &inode, "user.a", &value));
	const char *target;
	ssize_t n = erofs_readlink(image, &inode, &target);
	(void)note(reader, n);
	if (n > 0)
		reader->sum += (unsigned int)target[n - 1];
	if (S_ISREG(inode.mode))
		read_file(image, &inode, reader);
	struct erofs_dirent d;
	for (uint64_t cookie = 0; --reader->steps > 0; cookie = d.cookie) {
		uint64_t found;
		int r = erofs_readdir(image, &inode, cookie, &d);
		if (note(reader, r) < 0 || r == 0)
			return;
		if (d.cookie <= cookie)
			__builtin_trap();
		(void)note(reader, erofs_lookup(image, &inode, d.name, d.name_len, &found));
		read_inode(image, d.nid, depth + 1, reader);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct erofs *image = NULL;
	struct err err = {0};
	struct reader reader = {.steps = STEPS_MAX};
	/* The checksum would keep the fuzzer out of all that comes after it. */
	AUTO_FREE uint8_t *copy = malloc(size + 1);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (size >= EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE) {
		uint8_t *compat = copy + EROFS_SUPER_OFFSET + SB_COMPAT_AT;
		le32_put(compat, le32_get(compat) & ~(uint32_t)EROFS_COMPAT_SB_CHKSUM);
	}
	if (erofs_open_memory(copy, size, &image, &err) == 0) {
		bool checked = erofs_check(image, &err) == 0;
		read_inode(image, erofs_root(image), 0, &reader);
		if (checked && reader.broken)
			__builtin_trap();
	}
	erofs_close(image);
	return 0;
}
