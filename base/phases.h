/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * When the steps of something were done, and what the network had cost by then. Where nobody asked,
 * there is no such object: every function accepts NULL and does nothing. One thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

enum { PHASES_MAX = 64 }; /* further ones are left out */

struct phase {
	const char *name; /* a string that stays */
	uint64_t ns;	  /* of clock_now_ns() */
	uint64_t requests, bytes; /* so far */
};

/* Tells the costs so far: fills requests and bytes. */
typedef void (*phases_look_fn)(void *data, struct phase *phase);

struct phases;

/* The first phase is what began at begun_ns. look may be NULL. NULL: no memory. */
struct phases *phases_create(uint64_t begun_ns, phases_look_fn look, void *data);
void phases_destroy(struct phases *phases);
DEFINE_CLEANUP(phases, phases_destroy);

/* Notes that a phase ended, now or at that time; not when its result, 0 or -errno, is a failure. */
void phases_mark_result(struct phases *phases, const char *name, int r);
void phases_mark(struct phases *phases, const char *name);
void phases_mark_at(struct phases *phases, const char *name, uint64_t ns);

uint64_t phases_begun(const struct phases *phases);
/* In the order in which they were noted. */
size_t phases_count(const struct phases *phases);
const struct phase *phases_get(const struct phases *phases, size_t i);
