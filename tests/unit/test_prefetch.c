/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/prefetch.h"
#include "tests/unit/layer_rig.h"

enum { BUDGET = 1 << 30, RIGS = 2 };

struct state {
	struct rig *rigs[RIGS];
	struct source *sources[RIGS];
	struct mount_counters mount;
	struct prefetch *prefetch;
	/* What the plan is: parts of the first source, in order; then all of the second. */
	size_t parts[8];
	size_t n_parts;
	bool second;
	unsigned int calls, calls_wished;
	_Atomic unsigned int full;
};

static int make_plan(void *data, struct plan *plan, struct err *err)
{
	struct state *s = data;
	int r = 0;
	(void)err;
	if (s->calls++ == 0) {
		for (size_t i = 0; i < s->n_parts && r == 0; i++)
			r = plan_add(plan, 0, rig_span_off(s->rigs[0], s->parts[i]), 1);
		return r < 0 ? r : s->calls_wished > 1;
	}
	r = s->second ? plan_add(plan, 1, 0, UINT64_MAX) : 0;
	return r < 0 ? r : s->calls < s->calls_wished;
}

static void note_full(void *data)
{
	struct state *s = data;
	(void)atomic_fetch_add(&s->full, 1);
}

static struct state *make(enum rig_kind kind, uint64_t budget)
{
	struct err err = {0};
	struct state *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	for (size_t i = 0; i < RIGS; i++) {
		s->rigs[i] = rig_make_cold(kind, budget);
		if (i == 0)
			assert_ok(fetch_pool_create(2, &s->rigs[0]->pool, &err), &err);
		s->rigs[i]->pool = s->rigs[0]->pool;
		s->rigs[i]->source = rig_open_source(s->rigs[i], s->rigs[i]->store, true);
		s->sources[i] = s->rigs[i]->source;
	}
	return s;
}

static void begin(struct state *s, uint64_t rate, bool fill)
{
	struct err err = {0};
	struct prefetch_config config = {
		.sources = s->sources, .n_sources = RIGS, .pool = s->rigs[0]->pool,
		.store = s->rigs[0]->store, .mount = &s->mount, .plan = make_plan, .plan_data = s,
		.rate = rate, .fill = fill, .full = note_full, .full_data = s};
	assert_ok(prefetch_start(&config, &s->prefetch, &err), &err);
}

static void finish(struct state *s)
{
	prefetch_stop(s->prefetch);
	for (size_t i = RIGS; i-- > 0;) {
		source_destroy(steal_ptr(&s->rigs[i]->source));
		if (i > 0)
			s->rigs[i]->pool = NULL;
		rig_destroy(s->rigs[i]);
	}
	free(s);
}

static bool part_is_local(const struct state *s, size_t rig, size_t span)
{
	struct source_unit unit;
	assert_true(source_unit(s->sources[rig], rig_span_off(s->rigs[rig], span), &unit));
	return unit.local;
}

static void await_part(const struct state *s, size_t rig, size_t span)
{
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (!part_is_local(s, rig, span)) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(1, 0);
	}
}

/* What the plan says, in one request for what stands together, and nothing else. */
static void test_plan(void **state)
{
	(void)state;
	static const enum rig_kind kinds[] = {RIG_TAR, RIG_GZIP, RIG_GZIP_REMOTE, RIG_ZSTD};
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct state *s = make(kinds[k], BUDGET);
		s->parts[0] = 3;
		s->parts[1] = 2;
		s->n_parts = 2;
		begin(s, 0, false);
		await_part(s, 0, 2);
		await_part(s, 0, 3);
		assert_false(part_is_local(s, 0, 0));
		assert_false(part_is_local(s, 0, 1));
		assert_int_equal(mock_requests(&s->rigs[1]->mock), 0);
		assert_in_range(mock_requests(&s->rigs[0]->mock), 1, 2);
		assert_int_equal(s->rigs[0]->counters.spans_fetched, 2);
		finish(s);
	}
}

/* A plan in steps: the second is asked for while the first is still under way. */
static void test_steps(void **state)
{
	(void)state;
	struct state *s = make(RIG_TAR, BUDGET);
	s->n_parts = 1;
	s->second = true;
	s->calls_wished = 2;
	mock_set_stalled(&s->rigs[0]->mock, true);
	begin(s, 0, false);
	await_part(s, 1, 0);
	assert_false(part_is_local(s, 0, 0));
	mock_set_stalled(&s->rigs[0]->mock, false);
	await_part(s, 0, 0);
	assert_int_equal(s->calls, 2);
	finish(s);
}

/* A reader of something else does not wait while every prefetch stands still. */
static void test_demand_overtakes(void **state)
{
	(void)state;
	struct state *s = make(RIG_TAR, BUDGET);
	struct err err = {0};
	s->n_parts = 1;
	s->parts[0] = 1;
	mock_set_stalled(&s->rigs[0]->mock, true);
	begin(s, 0, false);
	mock_await_stalled(&s->rigs[0]->mock, 1);
	assert_ok(rig_read(s->rigs[1], 0, 1000, &err), &err);
	assert_false(part_is_local(s, 0, 1));
	mock_set_stalled(&s->rigs[0]->mock, false);
	await_part(s, 0, 1);
	finish(s);
}

/* A limited rate takes its time; who waits for the very bytes does not. */
static void test_rate(void **state)
{
	(void)state;
	enum { RATE = 1 << 20, MS_MIN = 700 };
	struct state *s = make(RIG_TAR, BUDGET);
	struct err err = {0};
	s->n_parts = 2;
	s->parts[0] = 0;
	s->parts[1] = 1;
	uint64_t start = clock_now_ns();
	begin(s, RATE, false);
	await_part(s, 0, 0);
	assert_true((clock_now_ns() - start) / NS_PER_MS >= MS_MIN);
	finish(s);

	s = make(RIG_TAR, BUDGET);
	s->n_parts = 1;
	begin(s, 1000, false); /* a quarter of an hour */
	while (counter_get(&s->rigs[0]->counters.ahead_fetched) == 0)
		clock_sleep_ms(1, 0);
	assert_ok(rig_read(s->rigs[0], 0, 1000, &err), &err);
	assert_int_equal(mock_requests(&s->rigs[0]->mock), 1);
	finish(s);
}

/* What does not fit the budget stays away, and what is there stays there. */
static void test_budget(void **state)
{
	(void)state;
	struct state *s = make(RIG_TAR, (uint64_t)3 << 20);
	struct err err = {0};
	assert_ok(rig_read(s->rigs[0], 0, 1000, &err), &err);
	assert_ok(rig_read(s->rigs[0], rig_span_off(s->rigs[0], 1), 1000, &err), &err);
	for (size_t i = 0; i < 5; i++)
		s->parts[i] = i;
	s->n_parts = 5;
	s->rigs[1]->mock.delay_ms = 1;
	begin(s, 0, true);
	clock_sleep_ms(PREFETCH_QUIET_MS * 2, 0);
	assert_true(part_is_local(s, 0, 0) && part_is_local(s, 0, 1));
	assert_false(part_is_local(s, 0, 2) && part_is_local(s, 0, 3));
	assert_int_equal(atomic_load(&s->full), 0);
	finish(s);
}

/* The end does not wait for what stands still, or is slow. */
static void test_stop(void **state)
{
	(void)state;
	enum { STOP_MS_MAX = 5000 };
	struct state *s = make(RIG_TAR, BUDGET);
	s->n_parts = 1;
	begin(s, 1000, true);
	while (counter_get(&s->rigs[0]->counters.ahead_fetched) == 0)
		clock_sleep_ms(1, 0);
	uint64_t start = clock_now_ns();
	prefetch_stop(steal_ptr(&s->prefetch));
	assert_true((clock_now_ns() - start) / NS_PER_MS < STOP_MS_MAX);
	assert_false(part_is_local(s, 0, 0));
	finish(s);
	/* At once after the start. */
	for (size_t i = 0; i < 20; i++) {
		s = make(RIG_CHUNKED, BUDGET);
		s->n_parts = 5;
		begin(s, 0, true);
		clock_sleep_ms(i % 4, 0);
		finish(s);
	}
}

/* An origin that fails costs the prefetch, not the readers. */
static void test_failure(void **state)
{
	(void)state;
	struct state *s = make(RIG_TAR, BUDGET);
	struct err err = {0};
	s->n_parts = 1;
	s->rigs[0]->mock.fail_from = s->rigs[0]->mock.fail_to = 1;
	s->rigs[0]->mock.fail_with = -EHOSTUNREACH;
	begin(s, 0, false);
	while (mock_requests(&s->rigs[0]->mock) == 0)
		clock_sleep_ms(1, 0);
	assert_ok(rig_read(s->rigs[0], 0, s->rigs[0]->device.len, &err), &err);
	assert_int_equal(s->rigs[0]->counters.reads_failed, 0);
	finish(s);
}

/* The fill brings all, says so once, and stands still while somebody reads. */
/* Reads for a while. False when this thread itself was held up for so long that it looked like quiet. */
static bool read_steadily(struct state *s)
{
	uint64_t longest = 0;
	uint64_t last = clock_now_ns();
	for (uint64_t until = deadline_in_ms(PREFETCH_QUIET_MS * 2); !deadline_passed(until);) {
		counter_add(&s->mount.reads, 1);
		clock_sleep_ms(1, 0);
		uint64_t now = clock_now_ns();
		longest = u64_max(longest, now - last);
		last = now;
	}
	return longest < PREFETCH_QUIET_MS * NS_PER_MS / 2;
}

static void test_fill(void **state)
{
	(void)state;
	static const enum rig_kind kinds[] = {RIG_TAR, RIG_GZIP_REMOTE, RIG_ZSTD_LONG, RIG_CHUNKED};
	unsigned int steady = 0;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct state *s = make(kinds[k], BUDGET);
		deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
		begin(s, 0, true);
		bool is_steady = read_steadily(s);
		steady += is_steady;
		for (size_t i = 0; i < RIGS && is_steady; i++)
			assert_int_equal(mock_requests(&s->rigs[i]->mock), 0);
		while (atomic_load(&s->full) == 0) {
			assert_false(deadline_passed(end));
			clock_sleep_ms(2, 0);
		}
		assert_true(prefetch_is_full(s->sources, RIGS));
		for (size_t i = 0; i < RIGS; i++) {
			size_t before = mock_requests(&s->rigs[i]->mock);
			rig_read_all(s->rigs[i]);
			assert_int_equal(mock_requests(&s->rigs[i]->mock), before);
		}
		prefetch_stop(steal_ptr(&s->prefetch));
		assert_int_equal(atomic_load(&s->full), 1);
		finish(s);
	}
	assert_true(steady > 0);
}

/* What the registry has wrong is not fetched again and again. */
static void test_fill_gives_up(void **state)
{
	(void)state;
	struct state *s = make(RIG_TAR, BUDGET);
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	uint64_t bytes = s->rigs[0]->blob.len;
	s->rigs[0]->blob.data[0] ^= 1;
	begin(s, 0, true);
	await_part(s, 1, seek_count(s->rigs[1]->seek) - 1);
	while (counter_get(&s->rigs[0]->counters.spans_rejected) <= PREFETCH_FILL_IDLE_MAX) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(2, 0);
	}
	/* It may have been one more round that brought something. */
	clock_sleep_ms((uint64_t)5 * PREFETCH_QUIET_MS, 0);
	assert_in_range(counter_get(&s->rigs[0]->counters.spans_rejected), PREFETCH_FILL_IDLE_MAX,
			PREFETCH_FILL_IDLE_MAX + 2);
	assert_true(counter_get(&s->rigs[0]->counters.bytes_fetched) < 2 * bytes);
	assert_int_equal(atomic_load(&s->full), 0);
	finish(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_demand_overtakes),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_fill_gives_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
