/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where everything of an image goes, decided before the first byte is written:
 *
 *   0      boot area, zero       1024 superblock     1152 device table
 *   block  inodes in the order of a breadth-first walk, the root first; each
 *          with its xattrs and, where that wastes less than a block of its
 *          own, the tail of its data
 *   block  shared xattrs
 *   block  data: whole blocks of directories, symlinks that were not inlined
 */

#include "fs/tree_priv.h"

enum {
	PLAN_CHUNKS_MAX = 1 << 24, /* indexes of one file: 128 MiB of metadata */
};
/* An image is mapped whole, and fetched whole. */
#define PLAN_BYTES_MAX GIB(4)

struct plan {
	struct tree *tree;
	const struct tree_device *devices;
	uint32_t n_devices;
	struct tree_node **order; /* owned; each inode once, under its first name */
	uint32_t n_order;
	int64_t build_sec;
	uint32_t build_nsec;
	uint64_t inodes_at, inodes_end; /* bytes */
	uint64_t xattrs_at, xattrs_end;
	uint64_t data_at;
	uint32_t n_data_blocks;
};

/* How an inode's xattrs are split. */
struct xattr_plan {
	uint32_t n_shared;
	uint32_t area; /* bytes behind the inode */
};
struct xattr_plan plan_xattrs(const struct xattr_set *set);

static inline bool xattr_is_shared(const struct xattr *x, uint32_t n_shared_before)
{
	return x->uses > 1 && n_shared_before < XATTR_SHARED_MAX;
}

/* Log2 of the blocks of a chunk, as large as extents and holes allow; and how many chunks. */
uint32_t plan_chunk_bits(const struct tree_inode *inode);
static inline uint64_t plan_blocks(const struct tree_inode *inode)
{
	return (inode->size + TREE_BLOCK - 1) >> TREE_BLOCK_BITS;
}
static inline uint64_t plan_chunks(const struct tree_inode *inode, uint32_t bits)
{
	return ((plan_blocks(inode) - 1) >> bits) + 1;
}

static inline bool plan_is_chunked(const struct tree_inode *inode)
{
	return S_ISREG(inode->mode) && inode->size > 0;
}

/* Goes through a directory as it will stand on disk: sorted, with "." and "..". */
struct dir_iter {
	const struct tree_node *dir;
	const struct list *at;
	uint32_t n_dots; /* of "." and "..", how many were given */
};
struct dir_item {
	const char *name;
	uint32_t len;
	const struct tree_inode *inode;
};
void dir_iter_start(struct dir_iter *it, const struct tree_node *dir);
bool dir_iter_next(struct dir_iter *it, struct dir_item *ret);

/* Writes what was planned. */
int plan_emit(const struct plan *plan, int fd, struct err *err);
