/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a runtime would otherwise make inside an image by itself, made before it
 * starts and where no image can lead it astray: an image whose /dev is a symlink
 * made runtimes create devices on the host.
 *
 * All of it works on the merged tree, a writable overlay on the image; what
 * changes ends up in the overlay's upper, and the kernel writes the whiteouts
 * and opaque directories that go with it. `root` is a descriptor of the merged
 * tree's root as in exec/rootfs.h; nothing may run in the tree meanwhile. `maps`, which may be NULL,
 * says who root of the container's user namespace is: what is made is that one's.
 */

#include "base/err.h"
#include "base/idmap.h"
#include "exec/rootfs.h"
#include "exec/spec/oci.h"

enum { SKELETON_MOUNTS_MAX = 16384 };

/*
 * Sees that /dev, /proc, /sys, /etc and /tmp are directories. One that the image
 * has as such stays, with all that is in it; a missing one is made (/tmp 1777,
 * the others 0755, root's). Anything else there, a symlink above all, is taken
 * away and an empty directory put in its place, even where the symlink leads
 * to a directory of the image: an image whose /etc is a symlink has an empty
 * /etc when it runs.
 */
int skeleton_make(int root, const struct id_maps *maps, struct err *err);

/*
 * Makes what the mounts of a configuration are mounted on: a file for a bind
 * mount whose source is no directory (sources are absolute paths of the host,
 * looked at by the caller's rights), else a directory; parents, too, all root's,
 * 0755. What will be hidden by an earlier mount is left to that.
 *
 * The directories of devices (linux.devices) are made likewise.
 *
 * Then each destination, and each device's path, is rewritten to what it means
 * in this tree, without symlinks, so that the runtime meets none on its way. At
 * /etc/hostname, /etc/hosts and /etc/resolv.conf a symlink of the image gives
 * way to a file.
 *
 * -EINVAL: a place that is not absolute, a destination that is the root itself,
 * or one that the image leads into /dev, /proc or /sys by a symlink. -ENOTDIR and -EISDIR
 * where a file and a directory do not go together, -ELOOP. -ENOENT and the
 * like for a source that is not there.
 */
int skeleton_mounts(int root, struct oci_config *config, const struct id_maps *maps,
		    struct err *err);

/*
 * Makes the working directory where it is missing and will not be hidden by a
 * mount of the configuration, whose destinations skeleton_mounts() has
 * rewritten; it then belongs to `owner` (NULL: root, 0755). The cwd stays as it is
 * written. -EINVAL: it is not absolute, or leads to /proc, from where
 * descriptors of the runtime could be reached. -ENOTDIR: it is a file.
 */
int skeleton_cwd(int root, const struct oci_config *config, const struct rootfs_owner *owner,
		 struct err *err);
