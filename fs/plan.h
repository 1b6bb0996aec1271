/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What to fetch before anybody asks, in the order in which it will be wanted,
 * cut into few requests: what stands close together in a layer is one request,
 * unless it is wanted at very different times; where that gives too many of
 * them, small gaps are fetched along, and then the order counts for less.
 *
 * Pure arithmetic over what the sources say of themselves; one thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "fetcher/source.h"

enum {
	PLAN_UNITS_MAX = 1 << 18,
	PLAN_RUNS_WISHED = 24,	   /* requests that a plan should have at most */
	PLAN_STEPS = 3,		   /* parts of the order, each twice the one before it … */
	PLAN_STEP_RUNS = 4,	   /* … that are cut into so many requests, or more … */
	PLAN_RUN_MIN = 1 << 20,	   /* … but into none smaller than this */
	PLAN_GAP = 16 << 10,	   /* bytes that cost less than a request */
	PLAN_WASTE_PARTS = 12,	   /* one part of so many may be gaps */
};

/* One request. */
struct plan_run {
	size_t source;
	struct source_range *ranges; /* owned by the plan */
	size_t n_ranges;
	uint64_t in_bytes;  /* that cross the network, gaps included */
	uint64_t out_bytes; /* of the device, without them */
	uint64_t rank;	    /* bytes that are wanted before its first */
};

struct plan;

/* sources: borrowed. -ENOMEM. */
int plan_create(struct source *const *sources, size_t n, struct plan **ret);
void plan_destroy(struct plan *plan);
DEFINE_CLEANUP(plan, plan_destroy);

/*
 * Adds what reading [off, off + len) of a source takes behind all that was
 * added before; what is local, or in the plan, is not added. -EINVAL: no such
 * source; -E2BIG past PLAN_UNITS_MAX; -ENOMEM.
 */
int plan_add(struct plan *plan, size_t source, uint64_t off, uint64_t len);

/* Whether there is nothing in it. */
bool plan_is_empty(const struct plan *plan);

/* Cuts it into runs, in order; nothing can be added any more. -ENOMEM. */
int plan_cut(struct plan *plan);

/* What all runs bring across the network, gaps left out. */
uint64_t plan_bytes(const struct plan *plan);
size_t plan_count(const struct plan *plan);
/* Run i, valid until the plan is destroyed. */
const struct plan_run *plan_run(const struct plan *plan, size_t i);
