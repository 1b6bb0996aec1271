/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/prefetch.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"

/* A request under way. */
struct run {
	struct source_fetch fetch;
	struct prefetch *prefetch;
	struct list link;   /* of `runs`, in order */
	deadline_t pass_at; /* when it gets some bytes although it is held up */
	struct source_range ranges[];
};

struct prefetch {
	struct prefetch_config config;
	struct fetch_watch watch;
	pthread_t thread;

	pthread_mutex_t lock;	 /* of all below; no source and no pool is called with it */
	pthread_cond_t changed;
	struct list runs;	 /* of struct run */
	unsigned int n_runs;
	bool filling;
	bool stopping;
	bool no_room;		 /* the store's budget is used up */
	unsigned int failures;	 /* in a row */
	uint64_t next_ns;	 /* when the rate lets the next bytes come */
	uint64_t reads;		 /* of the mount, when it was last looked at … */
	uint64_t quiet_ns;	 /* … and since when there are no more of them */
};

/* ---- how much goes on ---- */

static bool store_has_room(const struct prefetch *p, uint64_t bytes)
{
	return !p->config.store || store_room(p->config.store) >= bytes;
}

/* Whether nobody has read for a while. With the lock held. */
static bool is_quiet(struct prefetch *p)
{
	uint64_t now = clock_now_ns();
	uint64_t reads = p->config.mount ? counter_get(&p->config.mount->reads) : 0;
	if (reads != p->reads || fetch_pool_urgent(p->config.pool) > 0) {
		p->reads = reads;
		p->quiet_ns = now;
	}
	return now - p->quiet_ns >= PREFETCH_QUIET_MS * NS_PER_MS;
}

/* How many of the first requests may go on. With the lock held. */
static unsigned int flows(struct prefetch *p)
{
	if (p->filling)
		return is_quiet(p) ? PREFETCH_FILL_RUNS : 0;
	return fetch_pool_urgent(p->config.pool) > 0 ? 1 : PREFETCH_FLOWS;
}

/* Whether the request is among those that may go on. With the lock held. */
static bool run_flows(struct prefetch *p, const struct run *run)
{
	unsigned int n = flows(p);
	const struct run *other;
	list_for_each(other, &p->runs, link) {
		if (n-- == 0)
			return false;
		if (other == run)
			return true;
	}
	return false;
}

/* Until when the next n bytes have to wait; 0: they need not. With the lock held. */
static uint64_t rate_wait(const struct prefetch *p)
{
	return p->config.rate > 0 && p->next_ns > clock_now_ns() ? p->next_ns : 0;
}

static void rate_take(struct prefetch *p, size_t n)
{
	if (p->config.rate == 0)
		return;
	/* No credit is saved up: after a pause it is no faster than before. */
	uint64_t now = u64_max(p->next_ns, clock_now_ns());
	p->next_ns = now + (uint64_t)((double)n * NS_PER_SEC / (double)p->config.rate);
}

static void wait_until(struct prefetch *p, uint64_t ns)
{
	struct timespec until = deadline_timespec(ns);
	(void)pthread_cond_clockwait(&p->changed, &p->lock, CLOCK_MONOTONIC, &until);
}

static int run_gate(struct source_fetch *fetch, size_t n)
{
	struct run *run = container_of(fetch, struct run, fetch);
	struct prefetch *p = run->prefetch;
	int r = 0;
	(void)pthread_mutex_lock(&p->lock);
	if (run->pass_at == 0)
		run->pass_at = deadline_in_ms(PREFETCH_HELD_MS);
	for (;;) {
		if (p->stopping || p->no_room) {
			r = -ECANCELED;
			break;
		}
		/* What a reader waits for is the reader's, not ours, to hold up. */
		if (atomic_load(&fetch->wanted) > 0)
			break;
		uint64_t rate_ns = rate_wait(p);
		bool passes = deadline_passed(run->pass_at) || run_flows(p, run);
		if (passes && rate_ns == 0)
			break;
		uint64_t look_ns = deadline_in_ms(p->filling ? PREFETCH_FILL_LOOK_MS :
							       PREFETCH_HELD_MS);
		wait_until(p, passes ? rate_ns : u64_min(look_ns, run->pass_at));
	}
	rate_take(p, n);
	run->pass_at = deadline_in_ms(PREFETCH_HELD_MS);
	(void)pthread_mutex_unlock(&p->lock);
	if (r == 0 && !store_has_room(p, n)) {
		(void)pthread_mutex_lock(&p->lock);
		p->no_room = true;
		(void)pthread_mutex_unlock(&p->lock);
		r = -ECANCELED;
	}
	return r;
}

static void wake(struct prefetch *p)
{
	(void)pthread_mutex_lock(&p->lock);
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
}

static void run_hurry(struct source_fetch *fetch)
{
	wake(container_of(fetch, struct run, fetch)->prefetch);
}

static void watch_calm(struct fetch_watch *watch)
{
	wake(container_of(watch, struct prefetch, watch));
}

static void run_over(struct source_fetch *fetch, int result, const struct err *err)
{
	struct run *run = container_of(fetch, struct run, fetch);
	struct prefetch *p = run->prefetch;
	if (result < 0 && result != -ECANCELED)
		log_debug("prefetch: %s", err->code ? err_text(err) : strerrordesc_np(-result));
	(void)pthread_mutex_lock(&p->lock);
	list_remove(&run->link);
	p->n_runs--;
	if (result == 0)
		p->failures = 0;
	else if (result != -ECANCELED)
		p->failures++;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	free(run);
}

/* ---- the thread ---- */

/* Waits until there are fewer than n requests. False: there will be no more. */
static bool await_runs(struct prefetch *p, unsigned int n)
{
	(void)pthread_mutex_lock(&p->lock);
	while (p->n_runs >= n)
		(void)pthread_cond_wait(&p->changed, &p->lock);
	bool go = !p->stopping && !p->no_room && p->failures < PREFETCH_FAILURES_MAX;
	(void)pthread_mutex_unlock(&p->lock);
	return go;
}

static int start_run(struct prefetch *p, size_t source, const struct source_range *ranges, size_t n)
{
	struct run *run = calloc(1, sizeof(*run) + n * sizeof(*ranges));
	if (!run)
		return -ENOMEM;
	memcpy(run->ranges, ranges, n * sizeof(*ranges));
	run->prefetch = p;
	run->fetch = (struct source_fetch){
		.ranges = run->ranges,
		.n_ranges = n,
		.deadline = deadline_in_ms(PREFETCH_RUN_MS),
		.gate = run_gate,
		.hurry = run_hurry,
		.over = run_over,
	};
	(void)pthread_mutex_lock(&p->lock);
	list_append(&p->runs, &run->link);
	p->n_runs++;
	(void)pthread_mutex_unlock(&p->lock);
	source_fetch(p->config.sources[source], &run->fetch);
	return 0;
}

/* Fetches what the plan says. False when the rest is not to be fetched. */
static bool fetch_plan(struct prefetch *p, const struct plan *plan)
{
	bool go = true;
	for (size_t i = 0; go && i < plan_count(plan); i++) {
		const struct plan_run *run = plan_run(plan, i);
		go = await_runs(p, PREFETCH_RUNS);
		if (go && !store_has_room(p, run->out_bytes)) {
			log_debug("prefetch: the budget of the store has no room for the rest");
			break;
		}
		go = go && start_run(p, run->source, run->ranges, run->n_ranges) == 0;
	}
	return go;
}

/* Starts what one call of the plan's maker tells. Whether it wants to be called again. */
static bool run_plan_once(struct prefetch *p)
{
	AUTO(plan) struct plan *plan = NULL;
	struct err err = {0};
	int r = plan_create(p->config.sources, p->config.n_sources, &plan);
	if (r == 0)
		r = p->config.plan(p->config.plan_data, plan, &err);
	bool more = r > 0;
	if (r >= 0)
		r = plan_cut(plan);
	if (r < 0) {
		log_debug("prefetch: %s", err.code ? err_text(&err) : strerrordesc_np(-r));
		return false;
	}
	log_debug("prefetch: %llu bytes in %zu requests", (unsigned long long)plan_bytes(plan),
		  plan_count(plan));
	return fetch_plan(p, plan) && more;
}

static void run_plan(struct prefetch *p)
{
	while (run_plan_once(p))
		;
	(void)await_runs(p, 1);
}

/* Waits for ms, or the end: false. */
static bool rest(struct prefetch *p, uint64_t ms)
{
	uint64_t until = deadline_in_ms(ms);
	(void)pthread_mutex_lock(&p->lock);
	while (!p->stopping && !deadline_passed(until))
		wait_until(p, until);
	bool go = !p->stopping;
	(void)pthread_mutex_unlock(&p->lock);
	return go;
}

/* Waits until nobody reads; false: it is to end. */
static bool await_quiet(struct prefetch *p)
{
	bool go = true, quiet = false;
	while (go && !quiet) {
		(void)pthread_mutex_lock(&p->lock);
		quiet = is_quiet(p);
		(void)pthread_mutex_unlock(&p->lock);
		go = quiet ? await_runs(p, PREFETCH_FILL_RUNS) : rest(p, PREFETCH_FILL_LOOK_MS);
	}
	return go;
}

/* The next piece of a source that is not local, from off on; false: there is none. */
static bool fill_next(const struct source *source, uint64_t off, struct source_range *ret)
{
	struct source_unit unit;
	struct source_range range = {0};
	size_t n = 0;
	for (uint64_t at = off; n < SOURCE_FETCH_UNITS_MAX && source_unit(source, at, &unit);
	     at = unit.off + unit.len) {
		bool wanted = !unit.local && unit.in_len > 0;
		if (range.len > 0 && (!wanted || range.len >= PREFETCH_FILL_RUN_BYTES))
			break;
		if (!wanted)
			continue;
		range.off = range.len == 0 ? unit.off : range.off;
		range.len = unit.off + unit.len - range.off;
		n++;
	}
	*ret = range;
	return range.len > 0;
}

/* Fetches what a source lacks, once. False when it is to end. */
static bool fill_source(struct prefetch *p, size_t source)
{
	struct source_range range;
	for (uint64_t off = 0; fill_next(p->config.sources[source], off, &range);
	     off = range.off + range.len) {
		if (!await_quiet(p))
			return false;
		if (!store_has_room(p, range.len)) {
			(void)pthread_mutex_lock(&p->lock);
			p->no_room = true;
			(void)pthread_mutex_unlock(&p->lock);
			return false;
		}
		if (start_run(p, source, &range, 1) < 0)
			return false;
	}
	return true;
}

bool prefetch_is_full(struct source *const *sources, size_t n)
{
	struct source_range range;
	for (size_t i = 0; i < n; i++)
		if (fill_next(sources[i], 0, &range))
			return false;
	return true;
}

/* The bytes that are still to be fetched. */
static uint64_t bytes_missing(const struct prefetch *p)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < p->config.n_sources; i++) {
		struct source_unit unit;
		for (uint64_t at = 0; source_unit(p->config.sources[i], at, &unit);
		     at = unit.off + unit.len)
			bytes += unit.local || unit.in_len == 0 ? 0 : unit.len;
	}
	return bytes;
}

/*
 * How long the fill rests after a round. What the registry has wrong, or the disk has no room for,
 * would else be fetched again and again for as long as the mount lives.
 */
static uint64_t fill_pause(struct prefetch *p, unsigned int idle)
{
	(void)pthread_mutex_lock(&p->lock);
	bool failed = p->failures > 0;
	p->failures = 0;
	(void)pthread_mutex_unlock(&p->lock);
	if (idle < PREFETCH_FILL_IDLE_MAX)
		return failed ? PREFETCH_FILL_AGAIN_MS : PREFETCH_QUIET_MS;
	uint64_t doublings = u64_min(idle - PREFETCH_FILL_IDLE_MAX, PREFETCH_FILL_DOUBLINGS);
	return (uint64_t)PREFETCH_FILL_AGAIN_MS << doublings;
}

/* Everything, once; what fails, or is in the hands of others just now, is tried again later. */
static void run_fill(struct prefetch *p)
{
	bool go = true;
	uint64_t missing = bytes_missing(p);
	unsigned int idle = 0; /* rounds in a row that brought nothing */
	(void)pthread_mutex_lock(&p->lock);
	p->filling = true;
	p->no_room = false;
	p->failures = 0;
	(void)pthread_mutex_unlock(&p->lock);
	while (go) {
		for (size_t i = 0; i < p->config.n_sources && go; i++)
			go = fill_source(p, i);
		(void)await_runs(p, 1);
		if (prefetch_is_full(p->config.sources, p->config.n_sources)) {
			if (p->config.full)
				p->config.full(p->config.full_data);
			return;
		}
		uint64_t left = bytes_missing(p);
		idle = left < missing ? 0 : idle + 1;
		missing = left;
		(void)pthread_mutex_lock(&p->lock);
		bool no_room = p->no_room;
		(void)pthread_mutex_unlock(&p->lock);
		if (no_room) {
			log_warn("the fill stops: the budget of the store has no room for the rest of the image");
			return;
		}
		go = rest(p, fill_pause(p, idle));
	}
}

static void *prefetch_main(void *data)
{
	struct prefetch *p = data;
	(void)pthread_setname_np(pthread_self(), "sluice-prefetch");
	if (p->config.plan)
		run_plan(p);
	if (p->config.fill)
		run_fill(p);
	return NULL;
}

static void prefetch_free(struct prefetch *p)
{
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

int prefetch_start(const struct prefetch_config *config, struct prefetch **ret, struct err *err)
{
	struct prefetch *p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, -ENOMEM, "fetch ahead");
	p->config = *config;
	p->watch.calm = watch_calm;
	p->quiet_ns = clock_now_ns(); /* who is just starting has not had the time to read */
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->changed, NULL);
	list_init(&p->runs);
	fetch_pool_watch(p->config.pool, &p->watch);
	/* Signals belong to the thread that asked for them. */
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&p->thread, NULL, prefetch_main, p);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		fetch_pool_unwatch(p->config.pool, &p->watch);
		prefetch_free(p);
		return err_set(err, r, "fetch ahead");
	}
	*ret = p;
	return 0;
}

void prefetch_stop(struct prefetch *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->stopping = true;
	(void)pthread_cond_broadcast(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_join(p->thread, NULL);
	fetch_pool_unwatch(p->config.pool, &p->watch);
	prefetch_free(p);
}
