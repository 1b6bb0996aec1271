/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a layer's image, laid over a small tree. What is accepted is
 * written, and must then be an image that can be applied again.
 */

#include <string.h>
#include <sys/mman.h>

#include "base/le.h"
#include "base/num.h"
#include "fs/erofs_format.h"
#include "fs/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 64 * 1024 };

static int add(struct tree *tree, enum entry_type type, const char *path, const char *link)
{
	struct entry e = {.path = path, .type = type, .mode = 0755, .link = link};
	return tree_add(tree, &e, NULL);
}

static struct tree *make_lower(void)
{
	struct tree *tree = NULL;
	if (tree_create(&tree) < 0)
		return NULL;
	if (add(tree, ENTRY_REG, "a/b/c", NULL) < 0 || add(tree, ENTRY_HARDLINK, "h", "a/b/c") < 0 ||
	    add(tree, ENTRY_SYMLINK, "s", "../a") < 0 || add(tree, ENTRY_REG, "plain", NULL) < 0)
		__builtin_trap();
	return tree;
}

static void write_and_apply(struct tree *tree)
{
	struct err err = {0};
	AUTO_CLOSE int fd = memfd_create("image", MFD_CLOEXEC);
	struct tree_device devices[8];
	for (size_t i = 0; i < ARRAY_LEN(devices); i++)
		devices[i] = (struct tree_device){.size = GIB(1024)};
	if (fd < 0 || tree_write(tree, devices, ARRAY_LEN(devices), fd, &err) < 0)
		return;
	AUTO(erofs) struct erofs *image = NULL;
	AUTO(tree) struct tree *again = NULL;
	if (erofs_open(fd, &image, &err) < 0 || tree_create(&again) < 0 ||
	    tree_apply(again, image, 1, &err) < 0 || tree_inodes(again) > tree_inodes(tree))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(tree) struct tree *tree = make_lower();
	AUTO(erofs) struct erofs *image = NULL;
	AUTO_FREE uint8_t *copy = malloc(size + 1);
	struct err err = {0};
	if (!tree || !copy || size > INPUT_MAX || size < EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE)
		return 0;
	memcpy(copy, data, size);
	uint8_t *compat = copy + EROFS_SUPER_OFFSET + SB_COMPAT_AT;
	le32_put(compat, le32_get(compat) & ~(uint32_t)EROFS_COMPAT_SB_CHKSUM);
	if (erofs_open_memory(copy, size, &image, &err) == 0 &&
	    tree_apply(tree, image, 1, &err) == 0)
		write_and_apply(tree);
	return 0;
}
