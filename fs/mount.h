/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Mounting and unmounting: mount(2) for root, fusermount3 (setuid, from
 * libfuse) for everybody else; mount.fuse3(8) and fusermount3(1) say what the
 * options mean. Nothing here is to be called while other threads of the
 * process depend on its working directory or umask: neither is touched.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

enum {
	MOUNT_SOURCE_MAX = 1024, /* bytes of the source text shown by findmnt */
};

struct mount_options {
	unsigned long flags; /* MS_*; always with MS_RDONLY and MS_NODEV */
	bool allow_other;
	bool only_fuse; /* an option was given that other file systems do not have */
};

/* What a mount has without any -o: ro, nosuid, nodev; root: allow_other. */
void mount_options_init(struct mount_options *options);

/*
 * Adds a comma-separated list: ro, nosuid, suid, nodev, noexec, exec, noatime,
 * relatime, allow_other, default_permissions (always on). -EINVAL names what
 * is not one of them; -EPERM: suid from an ordinary user.
 */
int mount_options_parse(struct mount_options *options, const char *text, struct err *err);

/*
 * Whether something can be mounted on dir: -ENOENT, -ENOTDIR, -ENOTEMPTY,
 * -EACCES, -EBUSY (something of Sluice is mounted there). Also whether there
 * is a usable /dev/fuse: -ENODEV, -EACCES.
 */
int mount_check(const char *dir, struct err *err);

/*
 * Whether what is on top at dir (as /proc/mounts has it) is of Sluice: FUSE, EROFS from a store, or
 * an overlay with this source (NULL: no overlay). Looks at the kernel's table only, so it never waits.
 */
bool mount_is_there(const char *dir, const char *source);

/*
 * Mounts a file system of type fuse.sluice on dir; source is what mount(8)
 * shows for it. *ret_fd is the connection's /dev/fuse, owned by the caller:
 * nothing on the mount answers until somebody serves it.
 */
int mount_fuse(const char *dir, const char *source, const struct mount_options *options,
	       int *ret_fd, struct err *err);

/*
 * How far the kernel reads ahead in files of a mount, where we may say so
 * (root); otherwise its default of 128 KiB stays. It holds for files that are
 * opened afterwards. What an image's own files want is one READ's worth. The
 * devices of an EROFS mount are read through the read-ahead of EROFS, which
 * knows where files end; what theirs adds is past that, and for nothing.
 */
enum { MOUNT_AHEAD_FILES_KIB = 1024, MOUNT_AHEAD_DEVICES_KIB = 128 };
void mount_tune(const char *dir, unsigned int kib);

/*
 * Unmounts dir; lazy detaches it from sight now, and for good with its last user. -EBUSY: in use;
 * -EINVAL: nothing is mounted there; -EPERM: it is somebody else's.
 */
int mount_undo(const char *dir, bool lazy, struct err *err);
