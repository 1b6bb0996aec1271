/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The image that a container is made of: found, prepared, and mounted for it. */

#include "base/buf.h"
#include "base/idmap.h"
#include "tools/ctx.h"
#include "tools/mounting.h"
#include "tools/run_options.h"

enum { RUN_CONFIG_MAX = 8 << 20 }; /* bytes of an image's configuration */

struct run_image {
	char *name;		/* owned: the canonical reference */
	struct digest manifest;
	struct buf config;	/* the configuration's bytes */
	const struct profile_flags *profile; /* borrowed: what run_image_mount() does for it; NULL: as ever */
	struct digest *layers;	/* owned; bottom first */
	size_t n_layers;
	const struct id_maps *maps; /* its files are shown as theirs; borrowed; NULL: as they are */
	struct origin *origin;	/* owned; NULL: nothing had to be asked */
	struct words hold;	/* owned; for the holder of its mount */
	struct mounting mounting; /* owned; of the mount, until that is there */
};

static inline struct run_image run_image_none(void)
{
	return (struct run_image){.config = buf_make(RUN_CONFIG_MAX), .mounting = mounting_none()};
}

/*
 * Prepares the image that `text` names as the pull policy says: what is in the
 * store is taken without asking the registry, unless the policy is `always` or
 * `newer`; then its bytes are fetched when they are read, as with any mount.
 */
int run_image_open(struct ctx *ctx, const char *text, enum run_pull pull, enum run_fs fs,
		   struct run_image *ret, struct err *err);

/* Where a container's root filesystem comes to be. */
struct run_image_place {
	const char *id;	    /* the container's */
	const char *upper;  /* the container's directory: what changes goes to upper/upper and upper/work */
	const char *rootfs; /* upper/rootfs */
	enum run_fs fs;
};

/*
 * Mounts it at place->rootfs, writable: by the kernel alone where that can be (run_local.h), else
 * with processes of its own. The mount ends with the last unmount of rootfs, and then leaves no
 * trace but what is in upper.
 */
int run_image_mount(struct ctx *ctx, struct run_image *image, const struct run_image_place *place,
		    struct err *err);

/* Accepts NULL and run_image_none(). */
void run_image_finish(struct run_image *image);
DEFINE_FINISH(run_image, run_image_finish);
