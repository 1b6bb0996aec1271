/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/pool.h"

#include <pthread.h>
#include <signal.h>

#include "base/clock.h"
#include "base/num.h"
#include "fetcher/http.h"

enum {
	BUFFER_GRAIN = 128 << 10, /* so that buffers fit more than one unit */
	NOTE_PARTS = 4,		  /* what one transfer counts for in what is known of all */
	NOTE_BYTES_MIN = 64 << 10,
	NOTE_NS_MIN = 100000,
};

/* What has arrived waits for its windows: their requests must not stand behind those of bytes. */
_Static_assert((int)FETCH_TRANSFERS_MAX + (int)FETCH_WINDOWS_MAX <= (int)HTTP_HOST_TRANSFERS_MAX,
	       "a host takes all transfers of a pool at once");

/* At the start of a buffer that nobody uses. */
struct spare {
	struct list link;
	size_t room;
};

struct fetch_pool {
	struct workers *io, *windows, *cpu; /* owned */

	pthread_mutex_t lock;
	pthread_cond_t memory_free;
	size_t memory_used;
	struct list spares; /* of struct spare, the last used first; owned */
	size_t spare_bytes;
	struct span_bench *idle[WORKERS_THREADS_MAX]; /* owned */
	size_t n_idle;
	unsigned int advised;
	atomic_uint urgent;    /* written under the lock */
	struct list watches;   /* of struct fetch_watch */
	uint64_t first_ns;     /* what transfers take until their first byte, about; 0: unknown */
	uint64_t bytes_a_sec;  /* of one transfer, about */

	pthread_cond_t tick_wake;  /* something to tick, or the end */
	pthread_cond_t tick_done;  /* a round is over */
	struct list tickers;	   /* of struct fetch_ticker */
	struct fetch_ticker *now;  /* being called, without the lock */
	pthread_t ticker_thread;
	bool ticker_started;
	bool stopping;
};

static size_t buffer_room(size_t n)
{
	return (size_t)u64_align(u64_max(n, 1), BUFFER_GRAIN);
}

/* A kept buffer for n bytes. With the lock held. */
static struct spare *spare_take(struct fetch_pool *pool, size_t n)
{
	struct spare *spare;
	list_for_each(spare, &pool->spares, link) {
		if (spare->room != buffer_room(n))
			continue;
		list_remove(&spare->link);
		pool->spare_bytes -= spare->room;
		return spare;
	}
	return NULL;
}

/* Frees the longest unused until no more than `most` bytes are kept. With the lock held. */
static void spares_trim(struct fetch_pool *pool, size_t most)
{
	while (pool->spare_bytes > most) {
		struct spare *spare = container_of(pool->spares.prev, struct spare, link);
		list_remove(&spare->link);
		pool->spare_bytes -= spare->room;
		free(spare);
	}
}

static void span_bench_destroy(struct span_bench *bench)
{
	if (!bench)
		return;
	span_scratch_destroy(bench->scratch);
	free(bench->out);
	free(bench);
}

int fetch_pool_create(unsigned int cpus, struct fetch_pool **ret, struct err *err)
{
	AUTO(fetch_pool) struct fetch_pool *pool = calloc(1, sizeof(*pool));
	if (!pool)
		return err_set(err, -ENOMEM, "start the fetch threads");
	(void)pthread_mutex_init(&pool->lock, NULL);
	(void)pthread_cond_init(&pool->memory_free, NULL);
	(void)pthread_cond_init(&pool->tick_wake, NULL);
	(void)pthread_cond_init(&pool->tick_done, NULL);
	list_init(&pool->tickers);
	list_init(&pool->spares);
	list_init(&pool->watches);
	int r = workers_create(FETCH_TRANSFERS_MAX, "sluice-io", &pool->io, err);
	if (r == 0)
		r = workers_create(FETCH_WINDOWS_MAX, "sluice-windows", &pool->windows, err);
	if (r < 0)
		return r;
	if (cpus == 0)
		cpus = workers_cpu_count();
	r = workers_create((unsigned int)u64_min(cpus, WORKERS_THREADS_MAX), "sluice-cpu",
			   &pool->cpu, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&pool);
	return 0;
}

void fetch_pool_destroy(struct fetch_pool *pool)
{
	if (!pool)
		return;
	/* Transfers feed decoders, never the other way: the order matters. */
	workers_destroy(pool->io);
	workers_destroy(pool->windows);
	workers_destroy(pool->cpu);
	(void)pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	(void)pthread_cond_broadcast(&pool->tick_wake);
	(void)pthread_mutex_unlock(&pool->lock);
	if (pool->ticker_started)
		(void)pthread_join(pool->ticker_thread, NULL);
	while (pool->n_idle > 0)
		span_bench_destroy(pool->idle[--pool->n_idle]);
	spares_trim(pool, 0);
	(void)pthread_cond_destroy(&pool->tick_done);
	(void)pthread_cond_destroy(&pool->tick_wake);
	(void)pthread_cond_destroy(&pool->memory_free);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool);
}

struct workers *fetch_pool_io(struct fetch_pool *pool)
{
	return pool->io;
}

struct workers *fetch_pool_windows(struct fetch_pool *pool)
{
	return pool->windows;
}

struct workers *fetch_pool_cpu(struct fetch_pool *pool)
{
	return pool->cpu;
}

static void memory_give(struct fetch_pool *pool, size_t n)
{
	pool->memory_used -= (size_t)u64_min(n, FETCH_MEMORY_MAX);
	(void)pthread_cond_broadcast(&pool->memory_free);
}

void *fetch_pool_buffer(struct fetch_pool *pool, size_t n, enum work_priority priority)
{
	size_t most = priority == WORK_URGENT ? FETCH_MEMORY_MAX : FETCH_MEMORY_LATER_MAX;
	size_t counted = (size_t)u64_min(n, FETCH_MEMORY_MAX);
	(void)pthread_mutex_lock(&pool->lock);
	while (pool->memory_used > 0 && pool->memory_used + counted > most)
		(void)pthread_cond_wait(&pool->memory_free, &pool->lock);
	pool->memory_used += counted;
	void *buffer = spare_take(pool, n);
	(void)pthread_mutex_unlock(&pool->lock);
	if (!buffer)
		buffer = malloc(buffer_room(n));
	if (buffer)
		return buffer;
	(void)pthread_mutex_lock(&pool->lock);
	memory_give(pool, n);
	(void)pthread_mutex_unlock(&pool->lock);
	return NULL;
}

void fetch_pool_put_buffer(struct fetch_pool *pool, void *buffer, size_t n)
{
	if (!buffer)
		return;
	struct spare *spare = buffer;
	*spare = (struct spare){.room = buffer_room(n)};
	list_init(&spare->link);
	(void)pthread_mutex_lock(&pool->lock);
	memory_give(pool, n);
	if (list_empty(&pool->spares) && list_empty(&pool->tickers))
		(void)pthread_cond_signal(&pool->tick_wake);
	list_push(&pool->spares, &spare->link);
	pool->spare_bytes += spare->room;
	spares_trim(pool, FETCH_SPARE_MAX);
	(void)pthread_mutex_unlock(&pool->lock);
}

struct span_bench *fetch_pool_bench(struct fetch_pool *pool)
{
	struct span_bench *bench = NULL;
	(void)pthread_mutex_lock(&pool->lock);
	if (pool->n_idle > 0)
		bench = pool->idle[--pool->n_idle];
	(void)pthread_mutex_unlock(&pool->lock);
	if (bench)
		return bench;
	bench = calloc(1, sizeof(*bench));
	if (bench && span_scratch_create(SPAN_ENGINE_BEST, &bench->scratch) == 0)
		return bench;
	free(bench);
	return NULL;
}

void fetch_pool_put_bench(struct fetch_pool *pool, struct span_bench *bench)
{
	(void)pthread_mutex_lock(&pool->lock);
	if (bench && pool->n_idle < ARRAY_LEN(pool->idle)) {
		pool->idle[pool->n_idle++] = bench;
		bench = NULL;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	span_bench_destroy(bench);
}

int span_bench_reserve(struct span_bench *bench, size_t n)
{
	if (n <= bench->room)
		return 0;
	void *out = malloc(n);
	if (!out)
		return -ENOMEM;
	free(bench->out);
	bench->out = out;
	bench->room = n;
	return 0;
}

bool fetch_pool_begin_advised(struct fetch_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	bool free_place = pool->advised < FETCH_ADVISED_MAX;
	if (free_place)
		pool->advised++;
	(void)pthread_mutex_unlock(&pool->lock);
	return free_place;
}

void fetch_pool_end_advised(struct fetch_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->advised--;
	(void)pthread_mutex_unlock(&pool->lock);
}

void fetch_pool_begin_urgent(struct fetch_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	(void)atomic_fetch_add(&pool->urgent, 1);
	(void)pthread_mutex_unlock(&pool->lock);
}

void fetch_pool_end_urgent(struct fetch_pool *pool)
{
	struct fetch_watch *watch;
	(void)pthread_mutex_lock(&pool->lock);
	if (atomic_fetch_sub(&pool->urgent, 1) == 1)
		list_for_each(watch, &pool->watches, link)
			watch->calm(watch);
	(void)pthread_mutex_unlock(&pool->lock);
}

unsigned int fetch_pool_urgent(const struct fetch_pool *pool)
{
	return atomic_load_explicit(&pool->urgent, memory_order_relaxed);
}

void fetch_pool_watch(struct fetch_pool *pool, struct fetch_watch *watch)
{
	(void)pthread_mutex_lock(&pool->lock);
	list_append(&pool->watches, &watch->link);
	(void)pthread_mutex_unlock(&pool->lock);
}

void fetch_pool_unwatch(struct fetch_pool *pool, struct fetch_watch *watch)
{
	(void)pthread_mutex_lock(&pool->lock);
	list_remove(&watch->link);
	(void)pthread_mutex_unlock(&pool->lock);
}

/* Three parts of what was known, one of what is new. */
static uint64_t blend(uint64_t old, uint64_t now)
{
	return old == 0 ? now : old - old / NOTE_PARTS + now / NOTE_PARTS;
}

void fetch_pool_note(struct fetch_pool *pool, uint64_t first_ns, uint64_t bytes, uint64_t rest_ns)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->first_ns = blend(pool->first_ns, u64_min(first_ns, NS_PER_SEC));
	/* Too short a time says nothing about the rate. */
	if (bytes >= NOTE_BYTES_MIN && rest_ns >= NOTE_NS_MIN) {
		uint64_t rate = bytes * 1000 / u64_max(rest_ns / 1000, 1) * 1000;
		pool->bytes_a_sec = blend(pool->bytes_a_sec, rate);
	}
	(void)pthread_mutex_unlock(&pool->lock);
}

uint64_t fetch_pool_near_bytes(struct fetch_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	/* To wait, and not to ask, costs nobody anything: twice the time of a request. */
	uint64_t near = pool->bytes_a_sec / 1000000 * (pool->first_ns / 1000) * 2;
	(void)pthread_mutex_unlock(&pool->lock);
	return u64_max(FETCH_NEAR_MIN, u64_min(near, FETCH_NEAR_MAX));
}

/*
 * One round: each ticker once, called without the lock. Enters and leaves
 * locked. Returns the milliseconds until the next.
 */
static uint64_t tick_round(struct fetch_pool *pool)
{
	struct list round;
	bool soon = false;
	list_init(&round);
	list_splice(&round, &pool->tickers);
	while (!list_empty(&round)) {
		struct fetch_ticker *ticker = list_first(&round, struct fetch_ticker, link);
		list_remove(&ticker->link);
		pool->now = ticker;
		(void)pthread_mutex_unlock(&pool->lock);
		enum fetch_tick next = ticker->tick(ticker);
		(void)pthread_mutex_lock(&pool->lock);
		if (next != FETCH_TICK_NEVER && pool->now == ticker && list_empty(&ticker->link))
			list_append(&pool->tickers, &ticker->link);
		soon |= next == FETCH_TICK_SOON;
		pool->now = NULL;
		(void)pthread_cond_broadcast(&pool->tick_done);
	}
	return soon ? FETCH_TICK_SOON_MS : FETCH_TICK_MS;
}

/* Waits for something to tick; what is kept for it is freed when nothing comes. */
static void ticker_idle(struct fetch_pool *pool)
{
	struct timespec until = deadline_timespec(deadline_in_ms(FETCH_SPARE_MS));
	if (list_empty(&pool->spares))
		(void)pthread_cond_wait(&pool->tick_wake, &pool->lock);
	else if (pthread_cond_clockwait(&pool->tick_wake, &pool->lock, CLOCK_MONOTONIC, &until) ==
		 ETIMEDOUT)
		spares_trim(pool, 0);
}

static void *ticker_main(void *data)
{
	struct fetch_pool *pool = data;
	(void)pthread_setname_np(pthread_self(), "sluice-tick");
	uint64_t wait_ms = FETCH_TICK_MS;
	(void)pthread_mutex_lock(&pool->lock);
	while (!pool->stopping) {
		if (list_empty(&pool->tickers)) {
			ticker_idle(pool);
			wait_ms = FETCH_TICK_MS;
			continue;
		}
		struct timespec until = deadline_timespec(deadline_in_ms(wait_ms));
		(void)pthread_cond_clockwait(&pool->tick_wake, &pool->lock, CLOCK_MONOTONIC,
					     &until);
		wait_ms = tick_round(pool);
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Signals belong to the thread that asked for them. Called with the lock held. */
static void ticker_start(struct fetch_pool *pool)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	pool->ticker_started = pthread_create(&pool->ticker_thread, NULL, ticker_main, pool) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void ticker_add(struct fetch_pool *pool, struct fetch_ticker *ticker, bool now)
{
	(void)pthread_mutex_lock(&pool->lock);
	if (!pool->ticker_started)
		ticker_start(pool);
	now |= list_empty(&pool->tickers);
	if (list_empty(&ticker->link))
		list_append(&pool->tickers, &ticker->link);
	if (now)
		(void)pthread_cond_signal(&pool->tick_wake);
	(void)pthread_mutex_unlock(&pool->lock);
}

void fetch_pool_tick(struct fetch_pool *pool, struct fetch_ticker *ticker)
{
	ticker_add(pool, ticker, false);
}

void fetch_pool_tick_now(struct fetch_pool *pool, struct fetch_ticker *ticker)
{
	ticker_add(pool, ticker, true);
}

void fetch_pool_untick(struct fetch_pool *pool, struct fetch_ticker *ticker)
{
	(void)pthread_mutex_lock(&pool->lock);
	while (pool->now == ticker)
		(void)pthread_cond_wait(&pool->tick_done, &pool->lock);
	list_remove(&ticker->link);
	(void)pthread_mutex_unlock(&pool->lock);
}
