/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "tools/ctx.h"

/*
 * Makes every byte of an open image local, with progress on stderr. A store
 * whose budget is smaller than the image is -ENOSPC, said before anything is
 * fetched in vain.
 */
int fill_image(struct ctx *ctx, const struct image *image, struct err *err);
