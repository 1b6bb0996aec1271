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
	FETCH_TRANSFERS_MAX = 24,	  /* of layers' bytes at once */
	FETCH_WINDOWS_MAX = 24,		  /* and of decompression windows, one beside each */
	FETCH_ADVISED_MAX = 4,		  /* of the transfers, for what read-ahead advises */
	FETCH_MEMORY_MAX = 96 << 20,	  /* compressed bytes on their way to a decoder */
	FETCH_MEMORY_LATER_MAX = 64 << 20, /* of those, what nobody waits for */
	FETCH_SPARE_MAX = 16 << 20,	  /* of buffers kept for the next bytes … */
	FETCH_SPARE_MS = 1000,		  /* … until nothing was read for so long */
	FETCH_TICK_MS = 20,		  /* how late a deadline may be noticed */
	FETCH_TICK_SOON_MS = 2,		  /* … and what other processes have fetched */
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
	_Atomic uint64_t ahead_fetched;	/* of bytes_fetched, by source_fetch(): before anybody asked */
	_Atomic uint64_t ahead_bytes;	/* of the devices, what came of it */
	_Atomic uint64_t ahead_used;	/* and of those, what has been read since */
};

struct fetch_pool;

/* cpus: decoding threads, 0 for as many as there are processors. */
int fetch_pool_create(unsigned int cpus, struct fetch_pool **ret, struct err *err);
/* Waits for the work under way. No layer may be left. Accepts NULL. */
void fetch_pool_destroy(struct fetch_pool *pool);
DEFINE_CLEANUP(fetch_pool, fetch_pool_destroy);

/* Threads that may wait for the network. */
struct workers *fetch_pool_io(struct fetch_pool *pool);
/*
 * More of them, for decompression windows alone: they wait for no memory, so
 * what has arrived and waits for its window gets it whatever the others do.
 */
struct workers *fetch_pool_windows(struct fetch_pool *pool);
/* Threads that compute. */
struct workers *fetch_pool_cpu(struct fetch_pool *pool);

/*
 * A buffer of n bytes within the memory bound of its priority, waiting until
 * there is room; one that is larger than the bound takes all of it. NULL
 * without memory.
 */
void *fetch_pool_buffer(struct fetch_pool *pool, size_t n, enum work_priority priority);
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
 * Transfers for bytes that somebody waits for: while there are any, others
 * make way. The first is to be called before the transfer begins.
 */
void fetch_pool_begin_urgent(struct fetch_pool *pool);
void fetch_pool_end_urgent(struct fetch_pool *pool);
/* How many there are. */
unsigned int fetch_pool_urgent(const struct fetch_pool *pool);

/* Is told, on the thread that ended it, when the last urgent transfer is over. Must not block. */
struct fetch_watch {
	void (*calm)(struct fetch_watch *watch);
	struct list link; /* the pool's */
};
void fetch_pool_watch(struct fetch_pool *pool, struct fetch_watch *watch);
/* Afterwards it is not called again. */
void fetch_pool_unwatch(struct fetch_pool *pool, struct fetch_watch *watch);

/*
 * What a transfer took: until its first byte, and from there to its last.
 * From that the pool knows what it is to wait for bytes.
 */
void fetch_pool_note(struct fetch_pool *pool, uint64_t first_ns, uint64_t bytes, uint64_t rest_ns);
/*
 * The bytes that one connection brings in about the time that a request of its
 * own would take, within FETCH_NEAR_MIN and FETCH_NEAR_MAX: who waits for what
 * comes sooner waits for it, and asks for what comes later anew.
 */
uint64_t fetch_pool_near_bytes(struct fetch_pool *pool);
enum { FETCH_NEAR_MIN = 512 << 10, FETCH_NEAR_MAX = 8 << 20 };

/* When a ticker wants to be called next. */
enum fetch_tick {
	FETCH_TICK_NEVER, /* it is idle */
	FETCH_TICK_LATER, /* in about FETCH_TICK_MS */
	FETCH_TICK_SOON,  /* in about FETCH_TICK_SOON_MS */
};

/*
 * Something that wants to be called again and again, on a thread of the pool,
 * while it is busy. It must not block.
 */
struct fetch_ticker {
	enum fetch_tick (*tick)(struct fetch_ticker *ticker);
	struct list link; /* the pool's */
};
/* Starts ticking it unless it is already. */
void fetch_pool_tick(struct fetch_pool *pool, struct fetch_ticker *ticker);
/* The same, and the next tick is at once. */
void fetch_pool_tick_now(struct fetch_pool *pool, struct fetch_ticker *ticker);
/* Waits until a tick under way is over; afterwards it is not called again. */
void fetch_pool_untick(struct fetch_pool *pool, struct fetch_ticker *ticker);
