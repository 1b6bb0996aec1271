/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Access inside a root filesystem that somebody else filled. Paths are resolved
 * as in a chroot, by openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS): an
 * absolute symlink begins at the root again, ".." stops there, and no link of
 * /proc is followed, so that nothing outside can be reached. A path need not
 * begin with a slash; it counts from the root either way.
 *
 * `root` is a directory descriptor, borrowed (O_PATH will do). Safe from any
 * thread; on a lazy mount every call may wait for the network. -ENOSYS is a
 * kernel before 5.6.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	ROOTFS_LINKS_MAX = 40, /* symlinks in one path, as Linux has it */
	ROOTFS_AGAIN_MAX = 64, /* tries where a rename elsewhere disturbs the kernel's walk */
};

/* What belongs to a file or directory that is made. */
struct rootfs_owner {
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permissions alone; the umask does not count */
};

/* Whether a path, both without "." and "..", is the directory dir or below it. Pure. */
bool rootfs_is_below(const char *path, const char *dir);

/* openat2 as above; O_CLOEXEC | O_NOCTTY are added. The descriptor, the caller's, or -errno. */
int rootfs_open(int root, const char *path, int flags);

/*
 * Opens a regular file for reading. Anything else is not even opened: -EISDIR,
 * or -EINVAL for devices, pipes and sockets. The caller closes *ret_fd.
 */
int rootfs_open_file(int root, const char *path, int *ret_fd, struct err *err);

/* Appends the content of a regular file. As rootfs_open_file; -E2BIG past the buffer's maximum. */
int rootfs_slurp(int root, const char *path, struct buf *buf, struct err *err);

/* What is at the end of the path, symlinks followed. 0 or -errno. */
int rootfs_stat(int root, const char *path, struct stat *ret);

/*
 * The absolute path without symlinks, "." or ".." that a path means; the caller
 * frees it. What does not exist yet is taken as it is written. Where `stop` is
 * not NULL it is asked about each directory on the way: below one for which it
 * says true (as it does for all that is below it) the rest is taken as it is
 * written, too: something else will be mounted there. With `keep_last` a symlink at the end stays. -ENOTDIR, -ELOOP,
 * -ENAMETOOLONG, -ENOMEM.
 */
typedef bool (*rootfs_stop_fn)(const char *path, void *arg);
int rootfs_resolve(int root, const char *path, bool keep_last, rootfs_stop_fn stop, void *arg,
		   char **ret, struct err *err);

/*
 * Makes a directory and its parents; each that is new belongs to `owner` (NULL:
 * root, 0755). An existing one stays as it is. *ret_fd, which may be NULL, is an
 * O_PATH descriptor of it, the caller's. -ENOTDIR where something else is in the
 * way.
 */
int rootfs_mkdirs(int root, const char *path, const struct rootfs_owner *owner, int *ret_fd,
		  struct err *err);

/*
 * Makes an empty file (NULL: root's, 0644), and its parents, which are 0755. Anything but a
 * directory that is there already stays as it is; -EISDIR for a directory.
 */
int rootfs_create(int root, const char *path, const struct rootfs_owner *owner, struct err *err);
