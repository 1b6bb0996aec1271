/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * --fs=erofs: the kernel mounts the image's own EROFS metadata, and FUSE
 * supplies nothing but its devices' bytes. What FUSE then serves is a tiny
 * EROFS image itself, whose files "1", "2", … are the devices as a whole, so
 * the server and its recovery are the same in both presentations.
 */

#include <stdint.h>

#include "base/err.h"
#include "fetcher/source.h"

/* Makes the image of the devices as files. *ret_fd: a memfd, the caller's. -ENOMEM, -EFBIG. */
int devices_image(struct source *const *devices, size_t n, int *ret_fd, struct err *err);

/*
 * Whether devices_mount() has a chance here: root of the first user namespace, Linux 6.12, EROFS
 * in the kernel or as a module. Costs no I/O on anybody's files. -EPERM, -EOPNOTSUPP: why not. The
 * mount itself may still fail, on a store whose file system the kernel does not read this way.
 */
int devices_probe(struct err *err);

/*
 * Has the kernel make a mount of the metadata file `tree` with these files as its devices; it is
 * attached nowhere. flags are MS_*, always read-only. *ret_fd: the mount, the caller's, which ends
 * with the descriptor unless something stands on it. It holds all the files by itself. Errors are
 * those of devices_mount().
 */
int devices_open(const char *tree, const char *const *devices, size_t n, unsigned long flags,
		 int *ret_fd, struct err *err);

/* Attaches a mount of devices_open() to a directory. */
int devices_attach(int mount_fd, const char *dir, struct err *err);

/*
 * Has the kernel mount the metadata file `tree` on dir, with devices_dir/1 to
 * n as its devices; flags are MS_*, always read-only. The mount holds all
 * files it needs: where they are mounted may be detached. -EPERM (root only),
 * -EOPNOTSUPP: this kernel cannot (Linux 6.12 is needed, with EROFS).
 */
int devices_mount(const char *tree, const char *devices_dir, size_t n, const char *dir,
		  unsigned long flags, struct err *err);
