/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options of what a mount fetches by itself, the same for every verb that mounts. */

#include "fs/mtable.h"
#include "tools/opt.h"

enum { START_OPTIONS = 3 };

/* Fills so many rows, which point into start. */
void start_options(struct mount_start *start, struct opt *rows);
