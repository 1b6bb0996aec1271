/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the network cost so far. Counters only ever grow; any thread may add or
 * read at any time, each on its own (a reader sees no common instant). Zeroed
 * memory is a valid start.
 */

#include <stdatomic.h>
#include <stdint.h>

struct net_stats {
	_Atomic uint64_t requests;	/* HTTP requests sent, redirects and tokens among them */
	_Atomic uint64_t bytes;		/* body bytes received */
	_Atomic uint64_t retries;	/* requests sent again after a failure that may pass */
	_Atomic uint64_t errors;	/* calls that failed for good */
	_Atomic uint64_t token_refreshes; /* tokens fetched, the first of each scope included */
};

/* Adds to one counter; a NULL stats is fine. */
#define net_stats_add(stats, field, n)                                                       \
	do {                                                                                 \
		if (stats)                                                                   \
			(void)atomic_fetch_add_explicit(&(stats)->field, (n), memory_order_relaxed); \
	} while (0)
