/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The volumes of one container: those with a name are the store's (tools/volumes.h), the others, of
 * the image and of the command line, are directories of the container's and go with it.
 */

#include "base/idmap.h"
#include "exec/container.h"
#include "exec/spec/oci.h"
#include "tools/ctx.h"
#include "tools/run_options.h"
#include "tools/run_record.h"

/* Where the container's own are: a path that the caller frees; NULL: no memory. */
char *run_volumes_dir(const struct container *container);

/* Writes the names into the record, which is to be read before run_volumes_place(). -ENOMEM. */
int run_volumes_note(const struct run_options *options, struct run_record *record, struct err *err);

/* Makes those of the command line, and gives the mounts the directories as their sources. */
int run_volumes_place(struct ctx *ctx, struct run_options *options,
		      const struct container *container, struct err *err);

/*
 * Makes those that the image declares, which the configuration mounts (CONVERT_VOLUMES_BIND). All that
 * are the container's own belong to its root, as `maps` (NULL: none) has it.
 */
int run_volumes_make(const struct container *container, const struct oci_config *config,
		     const struct id_maps *maps, struct err *err);

/*
 * Copies what the root filesystem has at the places of volumes into those that are empty. The mounts'
 * destinations are what skeleton_mounts() made of them. -EINTR: a signal came.
 */
int run_volumes_fill(int root, const struct container *container, const struct run_options *options,
		     const struct oci_config *config, struct err *err);
