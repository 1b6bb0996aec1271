/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A file tree in memory, on its way from entries (fetcher/entry.h) to an EROFS
 * image. Two ways to fill one:
 *
 *   tree_add()    takes the entries of one layer, in their order; whiteouts
 *                 become what overlayfs reads: `.wh.x` a character device 0:0
 *                 named x, `.wh..wh..opq` the xattr trusted.overlay.opaque=y
 *                 on its directory. Later entries replace earlier ones of the
 *                 same path; a directory keeps its children when it is told
 *                 again. Missing parents are made (root:root 0755, the time of
 *                 the layer's first entry).
 *   tree_apply()  lays a layer's EROFS image over what is there, as overlayfs
 *                 would show it, and points its files into device `device`.
 *
 * Security: trusted.* xattrs from entries are refused; a hardlink to a
 * directory or to nothing is -EBADMSG. A hardlink whose target may be in a
 * lower layer is kept in the layer's tree as an empty regular file with the
 * xattr trusted.sluice.hardlink = target path, and resolved by tree_apply().
 *
 * A tree belongs to one thread. Its memory grows with the number of files.
 */

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fetcher/entry.h"
#include "fs/erofs.h"

struct tree;

/* An empty tree: a root directory, root:root 0755, time 0. -ENOMEM. */
int tree_create(struct tree **ret);
void tree_destroy(struct tree *tree);
DEFINE_CLEANUP(tree, tree_destroy);

/*
 * Adds one entry of a layer whose device is number 1. An entry_fn, so a reader
 * can feed a tree directly (data is the tree). -EBADMSG for what a layer must
 * not hold, -E2BIG past a limit, -ENOMEM.
 */
int tree_add(void *tree, const struct entry *entry, struct err *err);

/*
 * Lays the layer over the tree; its device 1 becomes `device` (1 is the lowest
 * layer). -EBADMSG for a broken image or a hardlink to nothing.
 */
int tree_apply(struct tree *tree, const struct erofs *layer, uint32_t device, struct err *err);

/* A device of the image to be: the size of the layer's device in bytes, and a tag for its slot. */
struct tree_device {
	uint64_t size;
	char tag[64]; /* the hex of the layer's sha256, NUL-padded */
};

/*
 * Writes the tree as an EROFS image of 512-byte blocks with these devices to
 * fd, from its current position 0. Deterministic: the same tree gives the same
 * bytes. Two nodes that are one file share an inode; directories are sorted by
 * bytes; a nid of 0 or 1 never occurs. -EFBIG when something exceeds what the
 * format can say.
 */
int tree_write(struct tree *tree, const struct tree_device *devices, uint32_t n_devices, int fd,
	       struct err *err);

/* Files, directories and all else, hardlinked names once. */
uint64_t tree_inodes(const struct tree *tree);
