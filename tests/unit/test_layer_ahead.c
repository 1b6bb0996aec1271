/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/layer_rig.h"

enum { BUDGET = 1 << 30 };

static const enum rig_kind kinds[] = {RIG_TAR,	RIG_GZIP,      RIG_GZIP_REMOTE,
				      RIG_ZSTD, RIG_ZSTD_LONG, RIG_CHUNKED};

/* A fetch whose gate is a door. */
struct ahead {
	struct source_fetch fetch;
	struct source_range range;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool shut;
	int refuse;	    /* what the gate returns */
	size_t at_gate;	    /* threads in it */
	size_t let_through; /* bytes */
	size_t hurried, over;
	int result;
};

static int ahead_gate(struct source_fetch *fetch, size_t n)
{
	struct ahead *a = container_of(fetch, struct ahead, fetch);
	(void)pthread_mutex_lock(&a->lock);
	a->at_gate++;
	(void)pthread_cond_broadcast(&a->changed);
	while (a->shut)
		(void)pthread_cond_wait(&a->changed, &a->lock);
	a->at_gate--;
	a->let_through += n;
	int r = a->refuse;
	(void)pthread_mutex_unlock(&a->lock);
	return r;
}

static void ahead_hurry(struct source_fetch *fetch)
{
	struct ahead *a = container_of(fetch, struct ahead, fetch);
	(void)pthread_mutex_lock(&a->lock);
	a->hurried++;
	(void)pthread_mutex_unlock(&a->lock);
}

static void ahead_over(struct source_fetch *fetch, int result, const struct err *err)
{
	struct ahead *a = container_of(fetch, struct ahead, fetch);
	(void)pthread_mutex_lock(&a->lock);
	a->over++;
	a->result = result;
	/* What a gate says comes without words. */
	assert_true(result >= 0 || a->refuse < 0 || result == -ECANCELED || err->code == result);
	(void)pthread_cond_broadcast(&a->changed);
	(void)pthread_mutex_unlock(&a->lock);
}

static void ahead_init(struct ahead *a, uint64_t off, uint64_t len, bool shut)
{
	*a = (struct ahead){
		.range = {.off = off, .len = len},
		.shut = shut,
		.fetch = {.n_ranges = 1, .gate = ahead_gate, .hurry = ahead_hurry,
			  .over = ahead_over, .deadline = deadline_in_ms(RIG_TIMEOUT_MS)},
	};
	a->fetch.ranges = &a->range;
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->changed, NULL);
}

static void ahead_open(struct ahead *a, int refuse)
{
	(void)pthread_mutex_lock(&a->lock);
	a->shut = false;
	a->refuse = refuse;
	(void)pthread_cond_broadcast(&a->changed);
	(void)pthread_mutex_unlock(&a->lock);
}

static void ahead_await_gate(struct ahead *a)
{
	(void)pthread_mutex_lock(&a->lock);
	while (a->at_gate == 0)
		(void)pthread_cond_wait(&a->changed, &a->lock);
	(void)pthread_mutex_unlock(&a->lock);
}

/* Its result, once it is over; that it is over but once shows at the end of the test. */
static int ahead_end(struct ahead *a)
{
	(void)pthread_mutex_lock(&a->lock);
	while (a->over == 0)
		(void)pthread_cond_wait(&a->changed, &a->lock);
	assert_int_equal(a->over, 1);
	(void)pthread_mutex_unlock(&a->lock);
	return a->result;
}

static bool range_is_local(const struct rig *rig, uint64_t off, uint64_t end)
{
	struct source_unit unit;
	for (uint64_t at = off; at < end && source_unit(rig->source, at, &unit);
	     at = unit.off + unit.len)
		if (!unit.local)
			return false;
	return true;
}

static void await_local(const struct rig *rig, uint64_t off, uint64_t end)
{
	deadline_t late = deadline_in_ms(RIG_TIMEOUT_MS);
	while (!range_is_local(rig, off, end)) {
		assert_false(deadline_passed(late));
		clock_sleep_ms(1, 0);
	}
}

/* Units cover the device in order, and tell what is fetched for them. */
static void test_units(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct source_unit unit;
		uint64_t at = 0, size = source_size(rig->source);
		size_t n = 0;
		while (source_unit(rig->source, at, &unit)) {
			assert_true(unit.off >= at && unit.len > 0 && unit.off + unit.len <= size);
			assert_int_equal(unit.local, unit.in_len == 0);
			assert_true(unit.in_off + unit.in_len <= rig->blob.len);
			at = unit.off + unit.len;
			n++;
		}
		assert_true(n > 0 && at <= size);
		assert_false(source_unit(rig->source, size, &unit));
		rig_destroy(rig);
	}
}

/* One request brings all, no reader asks again, and what came of it is counted. */
static void test_fetch(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct ahead a;
		ahead_init(&a, 0, UINT64_MAX, false);
		source_fetch(rig->source, &a.fetch);
		assert_int_equal(ahead_end(&a), 0);
		/* The first two frames of a chunked one stand in the wrong order. */
		uint64_t from = kinds[k] == RIG_CHUNKED ? rig->device.len / 4 : 0;
		await_local(rig, from, rig->device.len);
		assert_int_equal(mock_requests(&rig->mock), 1);
		assert_int_equal(rig->mock.n_windows, kinds[k] == RIG_GZIP_REMOTE);
		assert_int_equal(rig->counters.ahead_used, 0);
		assert_in_range(rig->counters.ahead_fetched, 1, rig->counters.bytes_fetched);
		uint64_t before = rig->counters.ahead_bytes;
		assert_true(before > 0);
		rig_read_all(rig);
		assert_int_equal(mock_requests(&rig->mock), kinds[k] == RIG_CHUNKED ? 2 : 1);
		assert_int_equal(rig->counters.ahead_bytes, before);
		assert_int_equal(rig->counters.ahead_used, before);
		/* There is nothing left to bring. */
		size_t requests = mock_requests(&rig->mock);
		ahead_init(&a, 0, UINT64_MAX, false);
		source_fetch(rig->source, &a.fetch);
		assert_int_equal(ahead_end(&a), 0);
		assert_int_equal(mock_requests(&rig->mock), requests);
		rig_destroy(rig);
	}
}

/* Ranges with a gap: the gap crosses the network, and is not kept. */
static void test_gap(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct ahead a;
	assert_true(seek_count(rig->seek) >= 4);
	struct source_range ranges[] = {{.off = rig_span_off(rig, 0), .len = 1},
					{.off = rig_span_off(rig, 3), .len = 1}};
	ahead_init(&a, 0, 0, false);
	a.fetch.ranges = ranges;
	a.fetch.n_ranges = ARRAY_LEN(ranges);
	source_fetch(rig->source, &a.fetch);
	assert_int_equal(ahead_end(&a), 0);
	await_local(rig, rig_span_off(rig, 3), rig_span_off(rig, 3) + 1);
	await_local(rig, 0, 1);
	assert_int_equal(mock_requests(&rig->mock), 1);
	assert_false(range_is_local(rig, rig_span_off(rig, 1), rig_span_off(rig, 2)));
	assert_int_equal(rig->counters.spans_fetched, 2);
	rig_destroy(rig);
}

/* Who wants what arrives next waits for that, and the gate hears of it. */
static void test_join(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct ahead a;
		struct job job;
		uint64_t off = kinds[k] == RIG_CHUNKED ? rig_span_off(rig, 4) : 0;
		ahead_init(&a, off, UINT64_MAX, true);
		source_fetch(rig->source, &a.fetch);
		ahead_await_gate(&a);
		job_start(&job, rig->source, off, 100, RIG_TIMEOUT_MS);
		assert_int_equal(atomic_load(&a.fetch.wanted), 1);
		assert_int_equal(a.hurried, 1);
		assert_false(job_is_over(&job));
		ahead_open(&a, 0);
		assert_ok(job_end(&job, rig), &job.err);
		assert_int_equal(ahead_end(&a), 0);
		assert_int_equal(atomic_load(&a.fetch.wanted), 0);
		assert_int_equal(mock_requests(&rig->mock), 1);
		rig_destroy(rig);
	}
}

/* Who wants what is far behind gets it while the fetch stands still. */
static void test_overtake(void **state)
{
	(void)state;
	static const enum rig_kind long_ones[] = {RIG_TAR, RIG_GZIP, RIG_GZIP_REMOTE, RIG_ZSTD};
	for (size_t k = 0; k < ARRAY_LEN(long_ones); k++) {
		struct rig *rig = rig_make(long_ones[k], BUDGET);
		struct ahead a;
		struct job job;
		size_t last = seek_count(rig->seek) - 1;
		ahead_init(&a, 0, UINT64_MAX, true);
		source_fetch(rig->source, &a.fetch);
		ahead_await_gate(&a);
		job_start(&job, rig->source, rig_span_off(rig, last), 100, RIG_TIMEOUT_MS);
		assert_ok(job_end(&job, rig), &job.err);
		assert_int_equal(mock_requests(&rig->mock), 2);
		assert_int_equal(a.hurried, 0);
		assert_int_equal(a.let_through, 0);
		assert_int_equal(fetch_pool_urgent(rig->pool), 0);
		ahead_open(&a, 0);
		assert_int_equal(ahead_end(&a), 0);
		await_local(rig, 0, rig->device.len);
		/* No span was decoded twice. */
		assert_int_equal(rig->counters.spans_fetched, last + 1);
		rig_read_all(rig);
		assert_int_equal(mock_requests(&rig->mock), 2);
		rig_destroy(rig);
	}
}

/* A fetch that fails, or is ended by its gate, fails no reader and leaves nothing. */
static void test_failure(void **state)
{
	(void)state;
	static const int refusals[] = {0, -ECANCELED, -EIO};
	for (size_t k = 0; k < ARRAY_LEN(kinds) * ARRAY_LEN(refusals); k++) {
		struct rig *rig = rig_make(kinds[k / ARRAY_LEN(refusals)], BUDGET);
		int refusal = refusals[k % ARRAY_LEN(refusals)];
		struct ahead a;
		struct job job;
		uint64_t off = k / ARRAY_LEN(refusals) == 5 ? rig_span_off(rig, 4) : 0;
		if (refusal == 0) {
			rig->mock.fail_from = rig->mock.fail_to = 1;
			rig->mock.fail_with = -EHOSTUNREACH;
			mock_set_stalled(&rig->mock, true);
		}
		ahead_init(&a, off, UINT64_MAX, true);
		source_fetch(rig->source, &a.fetch);
		if (refusal == 0)
			mock_await_stalled(&rig->mock, rig->windows.len > 0 && !digest_is_none(&rig->mock.windows_digest) ? 2 : 1);
		else
			ahead_await_gate(&a);
		job_start(&job, rig->source, off, 100, RIG_TIMEOUT_MS);
		ahead_open(&a, refusal);
		mock_set_stalled(&rig->mock, false);
		assert_ok(job_end(&job, rig), &job.err);
		assert_int_equal(ahead_end(&a), refusal == 0 ? -EHOSTUNREACH : refusal);
		assert_int_equal(rig->counters.reads_failed, 0);
		assert_int_equal(atomic_load(&a.fetch.wanted), 0);
		rig_read_all(rig);
		rig_destroy(rig);
	}
}

/* What nobody asked for pushes nothing out of a store that is full. */
static void test_budget(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, (uint64_t)RIG_BYTES / 2);
	struct err err = {0};
	struct ahead a;
	uint64_t half = rig_span_off(rig, seek_count(rig->seek) / 2);
	assert_ok(rig_read(rig, 0, half, &err), &err);
	await_local(rig, 0, half);
	ahead_init(&a, half, UINT64_MAX, false);
	source_fetch(rig->source, &a.fetch);
	assert_int_equal(ahead_end(&a), 0);
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (atomic_load(&rig->counters.spans_fetched) < seek_count(rig->seek)) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(1, 0);
	}
	assert_true(range_is_local(rig, 0, half));
	assert_false(range_is_local(rig, half, rig->device.len));
	rig_destroy(rig);
}

/* Bytes and the windows that they take are asked for at the same time. */
static void test_windows_beside(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_GZIP_REMOTE, BUDGET);
	struct job job;
	size_t last = seek_count(rig->seek) - 1;
	mock_set_windows_stalled(&rig->mock, true);
	job_start(&job, rig->source, rig_span_off(rig, last), 100, RIG_TIMEOUT_MS);
	mock_await_stalled(&rig->mock, 1);
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (mock_requests(&rig->mock) < 1) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(1, 0);
	}
	clock_sleep_ms(20, 0);
	assert_false(job_is_over(&job));
	mock_set_windows_stalled(&rig->mock, false);
	assert_ok(job_end(&job, rig), &job.err);
	assert_int_equal(mock_requests(&rig->mock), 1);
	assert_int_equal(rig->mock.n_windows, 1);
	/* The same when the windows do not come. */
	mock_set_windows_stalled(&rig->mock, true);
	mock_set_down(&rig->mock, true);
	job_start(&job, rig->source, rig_span_off(rig, 1), 100, RIG_TIMEOUT_MS);
	mock_await_stalled(&rig->mock, 1);
	mock_set_windows_stalled(&rig->mock, false);
	assert_err(job_end(&job, rig), -EHOSTUNREACH, &job.err, "mock");
	mock_set_down(&rig->mock, false);
	rig_read_all(rig);
	rig_destroy(rig);
}

/* A table that scatters its windows does not have all that lies between them fetched into memory. */
static void test_windows_far(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_GZIP_FAR, BUDGET);
	struct ahead a;
	uint64_t half = rig_span_off(rig, seek_count(rig->seek) / 2);
	ahead_init(&a, 0, rig->device.len, false);
	source_fetch(rig->source, &a.fetch);
	assert_int_equal(ahead_end(&a), 0);
	await_local(rig, 0, half);
	assert_in_range(counter_get(&rig->counters.bytes_fetched), 1, LAYER_WINDOWS_AHEAD_MAX);
	assert_false(range_is_local(rig, half, rig->device.len));
	/* The rest is not lost: the next fetch has it. */
	ahead_init(&a, 0, rig->device.len, false);
	source_fetch(rig->source, &a.fetch);
	assert_int_equal(ahead_end(&a), 0);
	await_local(rig, half, rig->device.len);
	rig_read_all(rig);
	rig_destroy(rig);
}

static void *destroy_main(void *source)
{
	source_destroy(source);
	return NULL;
}

static void test_destroy(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct ahead a;
	struct job job;
	pthread_t releaser;
	ahead_init(&a, 0, UINT64_MAX, true);
	source_fetch(rig->source, &a.fetch);
	ahead_await_gate(&a);
	job_start(&job, rig->source, 0, 100, RIG_TIMEOUT_MS);
	assert_int_equal(pthread_create(&releaser, NULL, destroy_main, rig->source), 0);
	assert_err(job_end(&job, rig), -ESHUTDOWN, &job.err, "being closed");
	ahead_open(&a, 0);
	assert_int_equal(pthread_join(releaser, NULL), 0);
	assert_int_equal(ahead_end(&a), -ECANCELED);
	rig->source = NULL;
	rig_destroy(rig);
}

/* Readers at random, while all is fetched ahead in pieces, some of which end early. */
struct crowd {
	pthread_t thread;
	struct rig *rig;
	uint32_t seed;
};

static void *crowd_main(void *data)
{
	struct crowd *c = data;
	struct err err = {0};
	for (size_t i = 0; i < 60; i++) {
		uint64_t off = ((uint64_t)layer_random(&c->seed) << 8) % c->rig->device.len;
		size_t len = (size_t)u64_min(layer_random(&c->seed) % 150000,
					     c->rig->device.len - off);
		assert_ok(rig_read(c->rig, off, len, &err), &err);
	}
	return NULL;
}

static void test_crowd(void **state)
{
	(void)state;
	enum { READERS = 4, FETCHES = 8 };
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct crowd crowd[READERS];
		struct ahead fetches[FETCHES];
		uint64_t part = rig->device.len / FETCHES;
		for (uint32_t i = 0; i < READERS; i++) {
			crowd[i] = (struct crowd){.rig = rig, .seed = i * 7 + 3};
			assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_main,
							&crowd[i]), 0);
		}
		for (uint64_t i = 0; i < FETCHES; i++) {
			ahead_init(&fetches[i], i * part, part, i % 2);
			source_fetch(rig->source, &fetches[i].fetch);
		}
		clock_sleep_ms(2, 0);
		for (size_t i = 0; i < FETCHES; i++)
			ahead_open(&fetches[i], i % 4 == 3 ? -ECANCELED : 0);
		for (size_t i = 0; i < READERS; i++)
			assert_int_equal(pthread_join(crowd[i].thread, NULL), 0);
		for (size_t i = 0; i < FETCHES; i++)
			(void)ahead_end(&fetches[i]);
		assert_int_equal(rig->counters.reads_failed, 0);
		rig_read_all(rig);
		rig_destroy(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_overtake),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_windows_beside),
		cmocka_unit_test(test_windows_far),
		cmocka_unit_test(test_destroy),
		cmocka_unit_test(test_crowd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
