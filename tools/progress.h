/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Progress of layers on stderr: on a terminal one line a layer, drawn over and
 * over; elsewhere one plain line when a layer begins and one when it is done.
 */

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fs/image.h"

enum {
	PROGRESS_LAYERS_MAX = 128, /* further ones are not drawn */
	PROGRESS_REDRAW_MS = 100,
};

struct progress;

/* terminal: draw; else lines, unless quiet. -ENOMEM. */
int progress_create(bool terminal, bool quiet, struct progress **ret, struct err *err);
/* Leaves the cursor below what was drawn. Accepts NULL. */
void progress_destroy(struct progress *progress);
DEFINE_CLEANUP(progress, progress_destroy);

/* What image_prepare() takes; borrowed, good until the destroy. */
const struct image_progress *progress_image(const struct progress *progress);
