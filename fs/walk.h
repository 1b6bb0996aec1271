/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Paths inside an image, resolved as the kernel would inside a chroot: an
 * absolute symlink starts at the image's root, and ".." stops there. Nothing
 * of the host is ever looked at.
 */

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "fetcher/source.h"
#include "fs/erofs.h"

enum {
	WALK_LINKS_MAX = 40, /* as Linux: MAXSYMLINKS */
	WALK_PATH_MAX = 65536, /* a path with its symlinks put in */
};

/*
 * The inode of a path; with `follow`, a symlink at its end is followed, too.
 * -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EBADMSG, -ENOMEM.
 */
int walk_path(const struct erofs *image, const char *path, bool follow, struct erofs_inode *ret,
	      struct err *err);

/*
 * Reads [off, off + len) of a regular file, waiting for the network where it
 * must. Device k is devices[k - 1]. The bytes read: fewer than len at the end.
 */
ssize_t walk_read(const struct erofs *image, struct source **devices, size_t n_devices,
		  const struct erofs_inode *inode, void *data, size_t len, uint64_t off,
		  uint64_t timeout_ms, struct err *err);
