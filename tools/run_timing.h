/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* `sluice run --timing`: when the steps of a start were done, and what it had asked of the network. */

#include "base/phases.h"
#include "tools/ctx.h"

/* From now on what ctx does is noted. The caller destroys it after ctx->phases is NULL again. -ENOMEM. */
int run_timing_begin(struct ctx *ctx, struct phases **ret, struct err *err);

/*
 * Tells on stderr: as lines, the phases from *from on, and moves *from behind them; as JSON, when it
 * is over, all of them in one object of one line.
 */
void run_timing_tell(const struct ctx *ctx, const struct phases *phases, size_t *from, bool over);
