/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image that a verb works on: prepared, opened, with the origin its bytes come from. */

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
