/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the layers of a process share to fetch and decode: threads that wait
 * for the network, threads that use the processors, decoder states, a bound on
 * the memory of what has arrived and is not yet decoded, and a clock that ends
 * reads whose deadline is past. No thread starts before there is work.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/err.h"
#include "base/list.h"
#include "base/workers.h"
#include "fetcher/span_decoder.h"

enum {
	FETCH_TRANSFERS_MAX = 16,	  /* at once; HTTP's bound for one host is the same */
	FETCH_ADVISED_MAX = 4,		  /* of those, for bytes that nobody waits for */
	FETCH_MEMORY_MAX = 96 << 20,	  /* compressed bytes on their way to a decoder */
	FETCH_SPARE_MAX = 16 << 20,	  /* of buffers kept for the next bytes … */
	FETCH_SPARE_MS = 1000,		  /* … until nothing was read for so long */
	FETCH_TICK_MS = 20,		  /* how late a deadline may be noticed */
};

/* Counters of what layers did; may live in memory shared between processes. */
struct fetch_counters {
	_Atomic uint64_t reads_local;	/* answered from the store at once */
	_Atomic uint64_t reads_waited;	/* that needed the network */
	_Atomic uint64_t reads_failed;
	_Atomic uint64_t spans_fetched;
	_Atomic uint64_t spans_rejected; /* failed their checksum */
	_Atomic uint64_t bytes_fetched;	/* compressed bytes of layers, windows included */
	_Atomic uint64_t transfers;	/* range requests for them */
};

struct fetch_pool;

/* cpus: decoding threads, 0 for as many as there are processors. */
int fetch_pool_create(unsigned int cpus, struct fetch_pool **ret, struct err *err);
/* Waits for the work under way. No layer may be left. Accepts NULL. */
void fetch_pool_destroy(struct fetch_pool *pool);
DEFINE_CLEANUP(fetch_pool, fetch_pool_destroy);

/* Threads that may wait for the network. */
struct workers *fetch_pool_io(struct fetch_pool *pool);
/* Threads that compute. */
struct workers *fetch_pool_cpu(struct fetch_pool *pool);

/*
 * A buffer of n bytes within the memory bound, waiting until there is room; one
 * that is larger than the bound takes all of it. NULL without memory.
 */
void *fetch_pool_buffer(struct fetch_pool *pool, size_t n);
/* Gives it back; n as it was asked for. Accepts NULL. */
void fetch_pool_put_buffer(struct fetch_pool *pool, void *buffer, size_t n);

/* Where one processor decodes: kept between spans, because fresh memory costs as much as inflating. */
struct span_bench {
	struct span_scratch *scratch; /* owned */
	void *out;		      /* owned, room bytes */
	size_t room;
	uint8_t window[SEEK_WINDOW_BYTES];
};

/* A bench, the caller's until it is put back. NULL without memory. */
struct span_bench *fetch_pool_bench(struct fetch_pool *pool);
/* Accepts NULL. */
void fetch_pool_put_bench(struct fetch_pool *pool, struct span_bench *bench);
/* Makes `out` hold at least n bytes; what it held is lost. -ENOMEM. */
int span_bench_reserve(struct span_bench *bench, size_t n);

/* A place among the FETCH_ADVISED_MAX transfers for bytes that nobody waits for; false: none free. */
bool fetch_pool_begin_advised(struct fetch_pool *pool);
void fetch_pool_end_advised(struct fetch_pool *pool);

/*
 * Something that wants to be called about every FETCH_TICK_MS, on a thread of
 * the pool, while it is busy: tick() returns whether it still is. It must not
 * block.
 */
struct fetch_ticker {
	bool (*tick)(struct fetch_ticker *ticker);
	struct list link; /* the pool's */
};
/* Starts ticking it unless it is already. */
void fetch_pool_tick(struct fetch_pool *pool, struct fetch_ticker *ticker);
/* Waits until a tick under way is over; afterwards it is not called again. */
void fetch_pool_untick(struct fetch_pool *pool, struct fetch_ticker *ticker);
