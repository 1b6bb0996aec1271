/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A writable view: the kernel's overlayfs with a mounted image as its lower
 * layer (Documentation/filesystems/overlayfs.rst). Changes go to a directory
 * that holds `upper` and, for the kernel, `work`.
 */

#include "base/err.h"

/*
 * Takes the directory of an upper for as long as *ret_lock is open, and makes it if need be: the
 * kernel lets two overlays write to one, and what they then show is anybody's guess. -EBUSY:
 * another mount has it.
 */
int overlay_claim(const char *upper, int *ret_lock, struct err *err);

/* What becomes of an upper when the mount ends. */
enum overlay_upper {
	OVERLAY_KEPT,	/* it is mounted again: the kernel syncs it to the disk at the unmount, and when asked to */
	OVERLAY_THROWN, /* it is removed: nothing is synced, by the container's fsync(2) neither */
};

/*
 * Mounts the overlay on dir; upper is made if need be. Once it is mounted it
 * holds the lower file system by itself: lower may be detached. -EPERM for who
 * may not mount (ordinary users), -EINVAL for an upper on a file system that
 * cannot be one (another overlay, NFS, FAT). Before Linux 5.10 every upper is
 * synced.
 */
int overlay_mount(const char *lower, const char *upper, const char *dir, unsigned long flags,
		  enum overlay_upper kind, const char *source, struct err *err);
