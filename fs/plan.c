/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "base/num.h"

/* A unit of a source that is to be fetched. */
struct want {
	uint32_t source;
	uint32_t step; /* which part of the order it is in */
	uint64_t seq;  /* its place among all that was added */
	uint64_t off, len, in_off, in_len;
	uint64_t rank; /* bytes wanted before it */
	bool joined;   /* to the want before it, whatever is between them */
};

struct plan {
	struct source *const *sources;
	size_t n_sources;
	struct want *wants; /* owned */
	size_t n_wants, room;
	uint64_t seq, bytes;
	struct plan_run *runs; /* owned, with their ranges */
	size_t n_runs, runs_room;
};

int plan_create(struct source *const *sources, size_t n, struct plan **ret)
{
	struct plan *plan = calloc(1, sizeof(*plan));
	if (!plan)
		return -ENOMEM;
	plan->sources = sources;
	plan->n_sources = n;
	*ret = plan;
	return 0;
}

static void plan_drop_runs(struct plan *plan)
{
	for (size_t i = 0; i < plan->n_runs; i++)
		free(plan->runs[i].ranges);
	plan->n_runs = 0;
}

void plan_destroy(struct plan *plan)
{
	if (!plan)
		return;
	plan_drop_runs(plan);
	free(plan->runs);
	free(plan->wants);
	free(plan);
}

/* Where the table of a source says so, one unit is a great many small files. */
static int plan_add_unit(struct plan *plan, size_t source, const struct source_unit *unit)
{
	const struct want *last = plan->n_wants > 0 ? &plan->wants[plan->n_wants - 1] : NULL;
	if (last && last->source == source && last->off == unit->off)
		return 0;
	if (plan->n_wants == PLAN_UNITS_MAX)
		return -E2BIG;
	if (plan->n_wants == plan->room) {
		size_t room = plan->room == 0 ? 64 : plan->room * 2;
		struct want *more = realloc(plan->wants, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		plan->wants = more;
		plan->room = room;
	}
	plan->wants[plan->n_wants++] = (struct want){
		.source = (uint32_t)source, .seq = plan->seq++, .off = unit->off, .len = unit->len,
		.in_off = unit->in_off, .in_len = unit->in_len};
	return 0;
}

int plan_add(struct plan *plan, size_t source, uint64_t off, uint64_t len)
{
	struct source_unit unit;
	if (source >= plan->n_sources)
		return -EINVAL;
	uint64_t end = off > UINT64_MAX - len ? UINT64_MAX : off + len;
	for (uint64_t at = off; at < end; at = unit.off + unit.len) {
		if (!source_unit(plan->sources[source], at, &unit) || unit.off >= end)
			break;
		int r = unit.local || unit.in_len == 0 ? 0 : plan_add_unit(plan, source, &unit);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_unit(const void *a, const void *b)
{
	const struct want *x = a, *y = b;
	int c = compare(x->source, y->source);
	c = c ? c : compare(x->off, y->off);
	return c ? c : compare(x->seq, y->seq);
}

static int by_seq(const void *a, const void *b)
{
	return compare(((const struct want *)a)->seq, ((const struct want *)b)->seq);
}

static int by_place(const void *a, const void *b)
{
	const struct want *x = a, *y = b;
	int c = compare(x->step, y->step);
	c = c ? c : compare(x->source, y->source);
	return c ? c : compare(x->in_off, y->in_off);
}

static int by_rank(const void *a, const void *b)
{
	return compare(((const struct plan_run *)a)->rank, ((const struct plan_run *)b)->rank);
}

/* Leaves the first of those that are the same, in order, each with its rank. */
static void plan_rank(struct plan *plan)
{
	size_t kept = 0;
	if (plan->n_wants == 0)
		return;
	qsort(plan->wants, plan->n_wants, sizeof(*plan->wants), by_unit);
	for (size_t i = 0; i < plan->n_wants; i++) {
		const struct want *w = &plan->wants[i];
		const struct want *last = kept > 0 ? &plan->wants[kept - 1] : NULL;
		if (!last || last->source != w->source || last->off != w->off)
			plan->wants[kept++] = *w;
	}
	plan->n_wants = kept;
	qsort(plan->wants, kept, sizeof(*plan->wants), by_seq);
	for (size_t i = 0; i < kept; i++) {
		plan->wants[i].rank = plan->bytes;
		plan->bytes += plan->wants[i].in_len;
	}
}

/* Sorts the wants by place, in each of the steps that the order is cut into. */
static void plan_place(struct plan *plan, unsigned int steps)
{
	uint64_t parts = (UINT64_C(1) << steps) - 1;
	for (size_t i = 0; i < plan->n_wants; i++) {
		struct want *w = &plan->wants[i];
		unsigned int step = 0;
		while (step + 1 < steps &&
		       w->rank >= plan->bytes / parts * ((UINT64_C(1) << (step + 1)) - 1))
			step++;
		w->step = step;
		w->joined = false;
	}
	if (plan->n_wants > 0)
		qsort(plan->wants, plan->n_wants, sizeof(*plan->wants), by_place);
}

/* Whether the second can come in one request with the first, and what is between them. */
static bool wants_meet(const struct want *a, const struct want *b, uint64_t *ret_gap)
{
	uint64_t end = a->in_off + a->in_len;
	/* Neighbours in a deflate stream share a byte. */
	if (a->step != b->step || a->source != b->source || b->in_off + 1 < end)
		return false;
	*ret_gap = b->in_off > end ? b->in_off - end : 0;
	return true;
}

static bool wants_touch(const struct want *a, const struct want *b)
{
	uint64_t gap;
	return wants_meet(a, b, &gap) && (gap <= PLAN_GAP || b->joined);
}

static int plan_add_run(struct plan *plan, size_t first, size_t end)
{
	if (plan->n_runs == plan->runs_room) {
		size_t room = plan->runs_room == 0 ? 32 : plan->runs_room * 2;
		struct plan_run *more = realloc(plan->runs, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		plan->runs = more;
		plan->runs_room = room;
	}
	const struct want *w = &plan->wants[first];
	struct plan_run run = {
		.source = w->source,
		.ranges = calloc(end - first, sizeof(*run.ranges)),
		.in_bytes = plan->wants[end - 1].in_off + plan->wants[end - 1].in_len - w->in_off,
		.rank = w->rank,
	};
	if (!run.ranges)
		return -ENOMEM;
	for (size_t i = first; i < end; i++, w++) {
		struct source_range *last = run.n_ranges > 0 ? &run.ranges[run.n_ranges - 1] : NULL;
		run.rank = u64_min(run.rank, w->rank);
		run.out_bytes += w->len;
		if (last && last->off + last->len == w->off)
			last->len += w->len;
		else
			run.ranges[run.n_ranges++] = (struct source_range){w->off, w->len};
	}
	plan->runs[plan->n_runs++] = run;
	return 0;
}

/* The bytes of one step. */
static uint64_t step_bytes(const struct plan *plan, uint32_t step)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < plan->n_wants; i++)
		bytes += plan->wants[i].step == step ? plan->wants[i].in_len : 0;
	return bytes;
}

/* Makes the runs of wants that are sorted by place. */
static int plan_make_runs(struct plan *plan, unsigned int steps)
{
	uint64_t most[PLAN_STEPS];
	for (uint32_t step = 0; step < steps; step++) {
		/* The last is the largest, and nothing comes after it that would wait. */
		uint64_t runs = step + 1 < steps ? PLAN_STEP_RUNS : UINT64_C(2) * PLAN_STEP_RUNS;
		most[step] = u64_max(PLAN_RUN_MIN, step_bytes(plan, step) / runs + 1);
	}
	plan_drop_runs(plan);
	for (size_t i = 0, end; i < plan->n_wants; i = end) {
		const struct want *first = &plan->wants[i];
		uint64_t bytes = first->in_len;
		for (end = i + 1; end < plan->n_wants; end++) {
			const struct want *w = &plan->wants[end];
			if (!wants_touch(w - 1, w) || end - i == SOURCE_FETCH_UNITS_MAX ||
			    bytes + w->in_len > most[first->step])
				break;
			bytes += w->in_len;
		}
		int r = plan_add_run(plan, i, end);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A gap before want i. */
struct gap {
	size_t i;
	uint64_t bytes;
};

static int by_bytes(const void *a, const void *b)
{
	return compare(((const struct gap *)a)->bytes, ((const struct gap *)b)->bytes);
}

/* Fetches the smallest gaps along, as long as they are few bytes of all. */
static int plan_bridge(struct plan *plan)
{
	uint64_t left = plan->bytes / PLAN_WASTE_PARTS;
	size_t n = 0, wished = plan->n_runs - PLAN_RUNS_WISHED;
	AUTO_FREE struct gap *gaps = calloc(plan->n_wants, sizeof(*gaps));
	if (!gaps)
		return -ENOMEM;
	for (size_t i = 1; i < plan->n_wants; i++) {
		uint64_t gap;
		if (wants_meet(&plan->wants[i - 1], &plan->wants[i], &gap) && gap > PLAN_GAP)
			gaps[n++] = (struct gap){i, gap};
	}
	if (n > 0)
		qsort(gaps, n, sizeof(*gaps), by_bytes);
	for (size_t k = 0; k < n && wished > 0 && gaps[k].bytes <= left; k++, wished--) {
		left -= gaps[k].bytes;
		plan->wants[gaps[k].i].joined = true;
	}
	return plan_make_runs(plan, 1);
}

int plan_cut(struct plan *plan)
{
	int r = 0;
	plan_rank(plan);
	for (unsigned int steps = PLAN_STEPS; steps > 0 && r == 0; steps--) {
		plan_place(plan, steps);
		r = plan_make_runs(plan, steps);
		if (plan->n_runs <= PLAN_RUNS_WISHED)
			break;
	}
	if (r == 0 && plan->n_runs > PLAN_RUNS_WISHED)
		r = plan_bridge(plan);
	if (r == 0 && plan->n_runs > 0)
		qsort(plan->runs, plan->n_runs, sizeof(*plan->runs), by_rank);
	return r;
}

bool plan_is_empty(const struct plan *plan)
{
	return plan->n_wants == 0;
}

uint64_t plan_bytes(const struct plan *plan)
{
	return plan->bytes;
}

size_t plan_count(const struct plan *plan)
{
	return plan->n_runs;
}

const struct plan_run *plan_run(const struct plan *plan, size_t i)
{
	return &plan->runs[i];
}
