/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image that a verb works on: prepared, opened, with the origin its bytes come from. */

#include "base/buf.h"
#include "tools/ctx.h"

struct opened {
	struct ctx *ctx; /* borrowed */
	struct ref ref;
	struct origin *origin;
	struct digest manifest;
	struct image *image;
};

/* Prepares and opens what `text` names. */
int opened_start(struct ctx *ctx, const char *text, struct opened *ret, struct err *err);
/* Accepts a zeroed one. */
void opened_finish(struct opened *opened);
DEFINE_FINISH(opened, opened_finish);

/* Appends the image's configuration, as its publisher wrote it. -ENOENT, -E2BIG, -ENOMEM. */
int opened_config(const struct opened *opened, struct buf *ret, struct err *err);

/*
 * Appends the content of a regular file of the image; symlinks are followed
 * inside it. -ENOENT, -ENOTDIR, -EINVAL for what is no regular file, -E2BIG, and
 * the errors of walk_read().
 */
int opened_slurp(const struct opened *opened, const char *path, struct buf *ret, struct err *err);
