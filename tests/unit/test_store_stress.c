/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many at once on one layer under a budget far too small for it: every byte
 * that anybody reads is compared. Processes are killed at any moment.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "fetcher/store_priv.h"
#include "tests/unit/store_unit.h"

enum {
	SEED = 11,
	SPANS = 400,
	SPAN = 3000, /* neighbours share pages */
	BUDGET = 60 * 3072,
	PROCESSES = 4,
	THREADS = 4,
	KILLS = 60,
	RUN_MS = 2500,
	EVICT_EVERY = 97,
};

static uint8_t device[SPANS * SPAN]; /* written before anything forks or starts */

struct tally {
	_Atomic uint64_t reads, again, fills, busy, wrong, failed;
};

struct worker {
	struct store *store;
	struct store_layer *layer;
	struct tally *tally;
	pthread_mutex_t *in_flight; /* one a span: threads of a process see to themselves */
	uint64_t random;
	deadline_t end;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Reads across up to three spans, at any offset. */
static void worker_read(struct worker *w, size_t i)
{
	uint8_t got[3 * SPAN];
	size_t off = i * SPAN + (size_t)(next_random(&w->random) % SPAN);
	size_t n = (size_t)u64_min(1 + next_random(&w->random) % sizeof(got), sizeof(device) - off);
	ssize_t r = store_layer_read(w->layer, got, n, off);
	if (r == (ssize_t)n)
		atomic_fetch_add(memcmp(got, device + off, n) == 0 ? &w->tally->reads
								   : &w->tally->wrong, 1);
	else
		atomic_fetch_add(r == -EAGAIN ? &w->tally->again : &w->tally->failed, 1);
}

static void worker_fill(struct worker *w, size_t i)
{
	if (w->in_flight && pthread_mutex_trylock(&w->in_flight[i]) != 0)
		return;
	int r = store_layer_claim(w->layer, i, i + 1);
	if (r == 0) {
		r = store_layer_fill(w->layer, i, device + i * SPAN, NULL);
		store_layer_release(w->layer, i, i + 1);
		atomic_fetch_add(r == 0 ? &w->tally->fills : &w->tally->failed, 1);
	} else {
		atomic_fetch_add(r == -EAGAIN ? &w->tally->busy : &w->tally->failed, 1);
	}
	if (w->in_flight)
		(void)pthread_mutex_unlock(&w->in_flight[i]);
}

static void *worker_run(void *data)
{
	struct worker *w = data;
	for (uint64_t n = 0; !deadline_passed(w->end); n++) {
		size_t i = (size_t)(next_random(&w->random) % SPANS);
		worker_read(w, i);
		if (!(store_layer_state(w->layer, i) & SPAN_PRESENT))
			worker_fill(w, i);
		worker_read(w, i);
		if (n % EVICT_EVERY == 0) {
			uint64_t freed;
			(void)store_evict(w->store, BUDGET / 3, &freed, NULL);
		}
	}
	return NULL;
}

static int setup(void **state)
{
	(void)place_setup(state);
	struct place *place = *state;
	device_bytes(SEED, 0, device, sizeof(device));
	struct store *store = place_open(place, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	seek_destroy(seek);
	store_close(store);
	return 0;
}

static pid_t process_start(const struct place *place, struct tally *tally, uint64_t salt,
			   deadline_t end)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	struct store *store = place_open(place, BUDGET);
	struct worker w = {
		.store = store,
		.layer = layer_open(store, SEED),
		.tally = tally,
		.random = salt * 2654435761U + 1,
		.end = end,
	};
	(void)worker_run(&w);
	store_layer_close(w.layer);
	store_close(store);
	_exit(0);
}

static struct tally *tally_shared(void)
{
	/* A file, since the processes that add to it may be killed. */
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), sizeof(struct tally)), 0);
	void *map = mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE, MAP_SHARED,
			 fileno(file), 0);
	assert_true(map != MAP_FAILED);
	(void)fclose(file);
	return map;
}

static void tally_check(const struct tally *tally)
{
	print_message("%llu right reads, %llu absent, %llu fills, %llu claimed elsewhere\n",
		      (unsigned long long)tally->reads, (unsigned long long)tally->again,
		      (unsigned long long)tally->fills, (unsigned long long)tally->busy);
	assert_int_equal(tally->wrong, 0);
	assert_int_equal(tally->failed, 0);
	assert_true(tally->reads > 100);
	assert_true(tally->fills > 100);
}

/* Every span that is left is right, and the disk holds no more than is counted. */
static void check_after(const struct place *place, bool killed)
{
	struct err err = {0};
	struct store *store = place_open(place, BUDGET);
	uint64_t before = store_counted(store);
	assert_ok(store_recount(store, &err), &err);
	if (!killed)
		assert_int_equal(store_counted(store), before);
	assert_true(store_counted(store) <= before);
	struct store_layer *layer = layer_open(store, SEED);
	for (size_t i = 0; i < SPANS; i++) {
		if (store_layer_state(layer, i) & SPAN_PRESENT)
			assert_int_equal(layer_read_span_right(layer, SEED, i), 0);
		/* No claim outlived its process. */
		assert_int_equal(store_layer_claim(layer, i, i + 1), 0);
		store_layer_release(layer, i, i + 1);
	}
	store_layer_close(layer);
	store_close(store);
}

static void test_processes(void **state)
{
	struct tally *tally = tally_shared();
	deadline_t end = deadline_in_ms(RUN_MS);
	pid_t pids[PROCESSES];
	for (unsigned int i = 0; i < PROCESSES; i++)
		pids[i] = process_start(*state, tally, i + 1, end);
	for (unsigned int i = 0; i < PROCESSES; i++) {
		int status;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	tally_check(tally);
	check_after(*state, false);
	(void)munmap(tally, sizeof(*tally));
}

static void test_killed_processes(void **state)
{
	struct tally *tally = tally_shared();
	deadline_t end = deadline_in_ms(60 * 1000);
	pid_t pids[PROCESSES];
	for (unsigned int i = 0; i < PROCESSES; i++)
		pids[i] = process_start(*state, tally, i + 1, end);
	for (unsigned int k = 0; k < KILLS; k++) {
		unsigned int i = k % PROCESSES;
		clock_sleep_ms(40, 0);
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		int status;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFSIGNALED(status));
		pids[i] = process_start(*state, tally, 100 + k, end);
	}
	for (unsigned int i = 0; i < PROCESSES; i++) {
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	}
	tally_check(tally);
	check_after(*state, true);
	(void)munmap(tally, sizeof(*tally));
}

static void test_threads(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct store_layer *layer = layer_open(store, SEED);
	struct tally tally = {0};
	pthread_mutex_t in_flight[SPANS];
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	for (size_t i = 0; i < SPANS; i++)
		assert_int_equal(pthread_mutex_init(&in_flight[i], NULL), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){store, layer, &tally, in_flight, i + 77,
					     deadline_in_ms(RUN_MS)};
		assert_int_equal(pthread_create(&threads[i], NULL, worker_run, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	tally_check(&tally);
	for (size_t i = 0; i < SPANS; i++)
		(void)pthread_mutex_destroy(&in_flight[i]);
	store_layer_close(layer);
	store_close(store);
	check_after(*state, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_processes, setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_killed_processes, setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, place_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
