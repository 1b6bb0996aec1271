/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several threads and processes on one layer, with everything going wrong that
 * can; every byte that a read hands out is compared.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/layer_rig.h"

enum {
	BUDGET = 1 << 30,
	THREADS = 6,
	RUN_MS = 1500,
	CHAOS = 6, /* one request in so many goes wrong */
	CHILD_OK = 0,
	CHILD_FAILED = 1,
};

/* ---- two processes ---- */

/* What a child makes of a cold rig: its own store, pool and source. Never returns. */
static void child_main(struct rig *rig, bool stalled)
{
	struct err err = {0};
	rig->store = rig_open_store(rig, BUDGET);
	assert_ok(fetch_pool_create(2, &rig->pool, &err), &err);
	rig->source = rig_open_source(rig, rig->store, true);
	rig->mock.stalled = stalled;
	rig->mock.delay_ms = 30;
	int r = CHILD_OK;
	for (uint64_t off = 0; off < rig->device.len && r == CHILD_OK; off += SEEK_SPAN_BYTES) {
		uint8_t got[1000];
		size_t n = (size_t)u64_min(sizeof(got), rig->device.len - off);
		if (source_read_wait(rig->source, got, n, off, RIG_TIMEOUT_MS, &err) < 0 ||
		    memcmp(got, rig->device.data + off, n) != 0)
			r = CHILD_FAILED;
	}
	source_destroy(rig->source);
	fetch_pool_destroy(rig->pool);
	store_close(rig->store);
	_exit(r);
}

static struct rig *shared_rig(enum rig_kind kind)
{
	struct rig *rig = rig_make_cold(kind, BUDGET);
	store_close(steal_ptr(&rig->store));
	return rig;
}

static void open_here(struct rig *rig)
{
	struct err err = {0};
	rig->store = rig_open_store(rig, BUDGET);
	assert_ok(fetch_pool_create(2, &rig->pool, &err), &err);
	rig->source = rig_open_source(rig, rig->store, true);
}

static int child_status(pid_t pid)
{
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Both read all of it; what one fetches the other takes from the store. */
static void test_two_processes(void **state)
{
	(void)state;
	static const enum rig_kind kinds[] = {RIG_TAR, RIG_GZIP_REMOTE, RIG_ZSTD_LONG};
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = shared_rig(kinds[k]);
		struct err err = {0};
		/* The counts of both stand in one place. */
		uint8_t *crossed = mmap(NULL, rig->blob.len, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		assert_true(crossed != MAP_FAILED);
		free(rig->mock.crossed);
		rig->mock.crossed = crossed;
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			child_main(rig, false);
		open_here(rig);
		for (uint64_t off = 0; off < rig->device.len; off += SEEK_SPAN_BYTES)
			assert_ok(rig_read(rig, off, (size_t)u64_min(1000, rig->device.len - off),
					   &err), &err);
		assert_int_equal(child_status(pid), CHILD_OK);
		size_t twice = 0;
		assert_in_range(mock_crossed_most(&rig->mock, &twice), 1, 2);
		/* Deflate spans share a byte with the next. */
		assert_in_range(twice, 0, seek_count(rig->seek));
		rig->mock.crossed = NULL;
		assert_int_equal(munmap(crossed, rig->blob.len), 0);
		rig_destroy(rig);
	}
}

/* A process that dies with a claim does not keep others from the span. */
static void test_killed_claimer(void **state)
{
	(void)state;
	struct rig *rig = shared_rig(RIG_TAR);
	struct job job;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child_main(rig, true);
	open_here(rig);
	struct store_layer *layer = NULL;
	struct err err = {0};
	assert_ok(store_layer_open(rig->store, seek_layer(rig->seek), &layer, &err), &err);
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (store_layer_claim(layer, 0, 1) == 0) {
		store_layer_release(layer, 0, 1);
		assert_false(deadline_passed(end));
		clock_sleep_ms(2, 0);
	}
	job_start(&job, rig->source, 0, 1000, RIG_TIMEOUT_MS);
	clock_sleep_ms(5 * FETCH_TICK_MS, 0);
	/* It waits, and asks for nothing. */
	assert_false(job_is_over(&job));
	assert_int_equal(mock_requests(&rig->mock), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(WIFSIGNALED(child_status(pid)));
	assert_ok(job_end(&job, rig), &job.err);
	assert_int_equal(mock_requests(&rig->mock), 1);
	store_layer_close(layer);
	rig_destroy(rig);
}

/* ---- everything at once ---- */

struct chaos {
	pthread_t thread;
	struct rig *rig;
	uint32_t seed;
	deadline_t end;
	uint64_t good, failed, cancelled, wrong;
};

static bool error_is_expected(int r)
{
	return r == -ECONNRESET || r == -EHOSTUNREACH || r == -EIO || r == -EBADMSG ||
	       r == -ETIMEDOUT;
}

static void chaos_read(struct chaos *c, uint64_t off, size_t len)
{
	struct job job;
	uint32_t kind = layer_random(&c->seed) % 8;
	job_start(&job, c->rig->source, off, len, kind == 0 ? 5 : RIG_TIMEOUT_MS);
	if (kind == 1 && source_cancel(c->rig->source, &job.read)) {
		/* Nobody may touch it any more. */
		memset(job.read.data, 0x5a, len);
		free(job.read.data);
		c->cancelled++;
		return;
	}
	(void)pthread_mutex_lock(&job.lock);
	while (job.calls == 0)
		(void)pthread_cond_wait(&job.over, &job.lock);
	(void)pthread_mutex_unlock(&job.lock);
	if (job.result < 0 && error_is_expected(job.result))
		c->failed++;
	else if (job.result == 0 && memcmp(job.read.data, c->rig->device.data + off, len) == 0)
		c->good++;
	else
		c->wrong++;
	free(job.read.data);
}

static void *chaos_main(void *data)
{
	struct chaos *c = data;
	while (!deadline_passed(c->end)) {
		uint64_t off = ((uint64_t)layer_random(&c->seed) << 8) % c->rig->device.len;
		size_t len = 1 + layer_random(&c->seed) % 200000;
		len = (size_t)u64_min(len, c->rig->device.len - off);
		uint32_t what = layer_random(&c->seed) % 16;
		uint64_t freed = 0;
		if (what == 0)
			(void)store_evict(c->rig->store, layer_random(&c->seed) % (4 << 20), &freed,
					  NULL);
		else if (what == 1)
			source_advise(c->rig->source, off, len * 4);
		else
			chaos_read(c, off, len);
	}
	return NULL;
}

static void test_chaos(void **state)
{
	(void)state;
	for (int kind = 0; kind < RIG_KINDS; kind++) {
		struct rig *rig = rig_make((enum rig_kind)kind, 3 << 20);
		struct chaos threads[THREADS];
		uint64_t good = 0;
		rig->mock.chaos = CHAOS;
		for (uint32_t i = 0; i < THREADS; i++) {
			threads[i] = (struct chaos){.rig = rig, .seed = i * 31 + 7,
						    .end = deadline_in_ms(RUN_MS)};
			assert_int_equal(pthread_create(&threads[i].thread, NULL, chaos_main,
							&threads[i]), 0);
		}
		for (uint32_t i = 0; i < THREADS; i++) {
			assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
			assert_int_equal(threads[i].wrong, 0);
			good += threads[i].good;
		}
		assert_true(good > 0);
		/* Advice and cancelled reads may still be under way: the destroy ends them. */
		rig_destroy(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_processes),
		cmocka_unit_test(test_killed_claimer),
		cmocka_unit_test(test_chaos),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
