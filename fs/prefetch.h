/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Fetches what will be read before it is read: what a startup profile says, or
 * else what the image itself lets expect (fs/expect.h), and then, if asked
 * for, all the rest. One thread plans and starts requests; the bytes come on
 * the threads of the pool.
 *
 * It yields. While somebody waits for bytes that no request of it brings, only
 * one of its requests goes on; what is asked for first goes before what comes
 * later; the fill stands still while anybody reads at all. It keeps to a rate,
 * never makes the store evict, and fails nothing but itself.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fetcher/pool.h"
#include "fetcher/source.h"
#include "fetcher/store.h"
#include "fs/counters.h"
#include "fs/plan.h"

enum {
	PREFETCH_RUNS = 8,	    /* requests under way at once … */
	PREFETCH_FLOWS = 4,	    /* … of which the first so many are not held up */
	PREFETCH_FILL_RUNS = 2,	    /* of the fill */
	PREFETCH_FILL_RUN_BYTES = 8 << 20, /* of the device, about, that one request of it brings */
	PREFETCH_HELD_MS = 1000,    /* a request that is held up gets some bytes so often: servers time out */
	PREFETCH_RUN_MS = 600000,   /* the longest that one request may take */
	PREFETCH_FAILURES_MAX = 3,  /* requests in a row that fail: the rest is left to the readers */
	PREFETCH_QUIET_MS = 300,    /* nobody has read for so long: the fill goes on */
	PREFETCH_FILL_LOOK_MS = 50, /* between two looks at that */
	PREFETCH_FILL_AGAIN_MS = 30000, /* after a failure the fill tries again … */
	PREFETCH_FILL_IDLE_MAX = 2,	/* … and after so many rounds that brought nothing, each … */
	PREFETCH_FILL_DOUBLINGS = 7,	/* … then twice as late as the one before, up to an hour */
};

/*
 * Adds what is to be fetched to the plan; on the prefetch thread, where it may
 * wait. 1: as soon as that is under way it wants to be called again, with a new
 * plan; 0: that was all.
 */
typedef int (*prefetch_fn)(void *data, struct plan *plan, struct err *err);

struct prefetch_config {
	struct source *const *sources; /* borrowed, as all the rest; they outlive it */
	size_t n_sources;
	struct fetch_pool *pool;
	struct store *store;		/* whose budget is kept; NULL: none */
	struct mount_counters *mount;	/* how much is read; NULL: nobody reads */
	prefetch_fn plan;		/* NULL: nothing but the fill */
	void *plan_data;
	uint64_t rate;			/* bytes a second across the network; 0: as fast as it goes */
	bool fill;			/* then everything else */
	void (*full)(void *data);	/* once, when all is local; on the prefetch thread */
	void *full_data;
};

struct prefetch;

/* Starts; does not wait. -ENOMEM, -EAGAIN. */
int prefetch_start(const struct prefetch_config *config, struct prefetch **ret, struct err *err);

/*
 * Ends what is under way and waits for that, which takes no longer than the
 * network needs to notice: stop the engine first. Accepts NULL.
 */
void prefetch_stop(struct prefetch *prefetch);
DEFINE_CLEANUP(prefetch, prefetch_stop);

/* Whether everything that the sources have is local. */
bool prefetch_is_full(struct source *const *sources, size_t n);
