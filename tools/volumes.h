/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Named volumes: directories of the store that containers share and that outlive them.
 * $STORE/volumes/NAME/data is what is mounted; beside it is what a copy that is under way notes.
 */

#include <stdbool.h>

#include "base/err.h"
#include "tools/ctx.h"

enum { VOLUMES_LOCK_MS = 600000 }; /* for another's copy into a volume, or its removal, to end */

/*
 * The path of a volume's data, which the caller frees; with `make` it is made when it is not there.
 * The name is one as of run_is_volume_name(). -ENOENT; -ETIMEDOUT; -EINTR: a signal of
 * tools/attach.h is pending.
 */
int volumes_path(struct ctx *ctx, const char *name, bool make, char **ret, struct err *err);

/* Removes a volume and what is in it. -EBUSY: a container uses it, also one that is over. -ENOENT. */
int volumes_remove(struct ctx *ctx, const char *name, struct err *err);

/* Calls back for each, in no order, until one returns other than 0, which is returned. */
int volumes_each(struct ctx *ctx, int (*each)(void *data, const char *name), void *data,
		 struct err *err);

/*
 * Copies what an image has at the place of a volume (`from`, a directory, open) into the volume, if there
 * is nothing in it; with -1 nothing is copied. `named`: others may do the same at once, and what a copy
 * that was cut off left goes first, so that nothing is ever written beside it; a volume of one container
 * is nobody else's. -EINTR as above.
 */
int volumes_fill(const char *path, bool named, int from, struct err *err);
