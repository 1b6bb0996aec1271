/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An image that is wholly in the store, mounted by the kernel from the store's own files: no process
 * serves it, so none can die under it. What it stands on is pinned (fetcher/store_pin.h).
 */

#include "tools/run_image.h"

/*
 * Mounts it at place->rootfs, writable. What keeps it from that (a layer that is not all here, too
 * much that is pinned, a file system or a kernel that cannot) goes to the debug log, nothing of the
 * try is left, and the image can be served instead. 0 or -errno.
 */
int run_local_mount(struct ctx *ctx, const struct run_image *image,
		    const struct run_image_place *place);

/*
 * After the unmount, also of a container that has no such mount. A pin that the kernel still needs
 * stays, and goes by itself.
 */
int run_local_unmounted(struct ctx *ctx, const char *id, struct err *err);
