/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Many small allocations that live and die together. What an arena gave never
 * moves and is freed only with the arena. Not thread-safe.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct arena_block;

/* A zeroed struct arena is an empty one. */
struct arena {
	struct arena_block *blocks; /* owned; the newest first */
	size_t used, room;	    /* of the newest */
};

/* Frees everything it gave. Accepts NULL. */
void arena_finish(struct arena *arena);
DEFINE_FINISH(arena, arena_finish);

/* n zeroed bytes, aligned for any pointer or 64-bit number. NULL when memory is short. */
void *arena_alloc(struct arena *arena, size_t n);

/* A copy of n bytes with a NUL behind them. NULL when memory is short. */
char *arena_text(struct arena *arena, const char *text, size_t n);
