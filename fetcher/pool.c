/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/pool.h"

#include <pthread.h>
#include <signal.h>

#include "base/clock.h"
#include "base/num.h"

enum { BUFFER_GRAIN = 128 << 10 }; /* so that buffers fit more than one unit */

/* At the start of a buffer that nobody uses. */
struct spare {
	struct list link;
	size_t room;
};

struct fetch_pool {
	struct workers *io, *cpu; /* owned */

	pthread_mutex_t lock;
	pthread_cond_t memory_free;
	size_t memory_used;
	struct list spares; /* of struct spare, the last used first; owned */
	size_t spare_bytes;
	struct span_bench *idle[WORKERS_THREADS_MAX]; /* owned */
	size_t n_idle;
	unsigned int advised;

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
	int r = workers_create(FETCH_TRANSFERS_MAX, "sluice-io", &pool->io, err);
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

struct workers *fetch_pool_cpu(struct fetch_pool *pool)
{
	return pool->cpu;
}

static void memory_give(struct fetch_pool *pool, size_t n)
{
	pool->memory_used -= (size_t)u64_min(n, FETCH_MEMORY_MAX);
	(void)pthread_cond_broadcast(&pool->memory_free);
}

void *fetch_pool_buffer(struct fetch_pool *pool, size_t n)
{
	size_t counted = (size_t)u64_min(n, FETCH_MEMORY_MAX);
	(void)pthread_mutex_lock(&pool->lock);
	while (pool->memory_used + counted > FETCH_MEMORY_MAX)
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

/* One round: each ticker once, called without the lock. Enters and leaves locked. */
static void tick_round(struct fetch_pool *pool)
{
	struct list round;
	list_init(&round);
	list_splice(&round, &pool->tickers);
	while (!list_empty(&round)) {
		struct fetch_ticker *ticker = list_first(&round, struct fetch_ticker, link);
		list_remove(&ticker->link);
		pool->now = ticker;
		(void)pthread_mutex_unlock(&pool->lock);
		bool busy = ticker->tick(ticker);
		(void)pthread_mutex_lock(&pool->lock);
		if (busy && pool->now == ticker && list_empty(&ticker->link))
			list_append(&pool->tickers, &ticker->link);
		pool->now = NULL;
		(void)pthread_cond_broadcast(&pool->tick_done);
	}
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
	(void)pthread_mutex_lock(&pool->lock);
	while (!pool->stopping) {
		if (list_empty(&pool->tickers)) {
			ticker_idle(pool);
			continue;
		}
		struct timespec until = deadline_timespec(deadline_in_ms(FETCH_TICK_MS));
		(void)pthread_cond_clockwait(&pool->tick_wake, &pool->lock, CLOCK_MONOTONIC,
					     &until);
		tick_round(pool);
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

void fetch_pool_tick(struct fetch_pool *pool, struct fetch_ticker *ticker)
{
	(void)pthread_mutex_lock(&pool->lock);
	if (!pool->ticker_started)
		ticker_start(pool);
	if (list_empty(&ticker->link)) {
		bool first = list_empty(&pool->tickers);
		list_append(&pool->tickers, &ticker->link);
		if (first)
			(void)pthread_cond_signal(&pool->tick_wake);
	}
	(void)pthread_mutex_unlock(&pool->lock);
}

void fetch_pool_untick(struct fetch_pool *pool, struct fetch_ticker *ticker)
{
	(void)pthread_mutex_lock(&pool->lock);
	while (pool->now == ticker)
		(void)pthread_cond_wait(&pool->tick_done, &pool->lock);
	list_remove(&ticker->link);
	(void)pthread_mutex_unlock(&pool->lock);
}
