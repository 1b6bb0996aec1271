/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Named volumes: directories of the store that containers share and that outlive them.
 * $STORE/volumes/NAME/data is what is mounted; beside it is what a copy that is under way notes.
 */

#include <stdbool.h>

#include "base/err.h"
#include "tools/ctx.h"

enum { VOLUMES_LOCK_MS = 600000 }; /* for another's copy into the same volume to end */

/*
 * The path of a volume's data, which the caller frees; with `make` it is made when it is not there.
 * The name is one as of run_is_volume_name(). -ENOENT.
 */
int volumes_path(struct ctx *ctx, const char *name, bool make, char **ret, struct err *err);

/* Removes a volume and what is in it. -EBUSY: a container uses it, also one that is over. -ENOENT. */
int volumes_remove(struct ctx *ctx, const char *name, struct err *err);

/* Calls back for each, in no order, until one returns other than 0, which is returned. */
int volumes_each(struct ctx *ctx, int (*each)(void *data, const char *name), void *data,
		 struct err *err);

/*
 * Copies what an image has at the place of a volume (a directory, open) into the volume, if there is
 * nothing in it. `named`: others may do the same at once, and a copy that was cut off begins anew;
 * a volume of one container is nobody else's. `stop` as of copy_up(): -EINTR.
 */
int volumes_fill(const char *path, bool named, int from, bool (*stop)(void), struct err *err);
