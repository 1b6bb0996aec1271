/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "fs/recorder.h"
#include "tests/unit/unit.h"

enum { WAIT_MS_MAX = 20000, LONG_MS = 60000, SIZE = 64 << 20 };

static uint64_t size_of(const struct source *source)
{
	(void)source;
	return SIZE;
}

static const struct source_ops ops = {.size = size_of};

struct state {
	struct source sources[2];
	struct source *list[2];
	struct recorder *recorder;
	int ready_fd;
	pthread_mutex_t lock;
	size_t n_learnt;
	struct profile_range ranges[64];
	size_t n_ranges;
};

static void learn(void *data, const struct profile *run)
{
	struct state *s = data;
	(void)pthread_mutex_lock(&s->lock);
	s->n_learnt++;
	s->n_ranges = profile_count(run);
	for (size_t i = 0; i < s->n_ranges && i < ARRAY_LEN(s->ranges); i++)
		profile_get(run, i, &s->ranges[i]);
	(void)pthread_mutex_unlock(&s->lock);
}

static void start(struct state *s, uint64_t quiet_ms, uint64_t max_ms, uint64_t max_bytes)
{
	struct err err = {0};
	struct recorder_config config = {
		.sources = s->list, .n_sources = 2, .quiet_ms = quiet_ms, .max_ms = max_ms,
		.max_bytes = max_bytes, .ready_fd = s->ready_fd, .learn = learn, .data = s};
	assert_ok(recorder_create(&config, &s->recorder, &err), &err);
	assert_true(recorder_is_on(s->recorder));
}

static int setup(void **ret)
{
	struct state *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	for (size_t i = 0; i < 2; i++) {
		s->sources[i].ops = &ops;
		s->list[i] = &s->sources[i];
	}
	s->ready_fd = eventfd(0, EFD_CLOEXEC);
	(void)pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

static int teardown(void **state)
{
	struct state *s = *state;
	recorder_destroy(s->recorder);
	assert_int_equal(s->n_learnt, 1);
	(void)close(s->ready_fd);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
	return 0;
}

static size_t await_learnt(struct state *s)
{
	deadline_t end = deadline_in_ms(WAIT_MS_MAX);
	size_t n = 0;
	while (n == 0) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(1, 0);
		(void)pthread_mutex_lock(&s->lock);
		n = s->n_learnt;
		(void)pthread_mutex_unlock(&s->lock);
	}
	assert_false(recorder_is_on(s->recorder));
	return s->n_ranges;
}

static void test_order(void **state)
{
	struct state *s = *state;
	start(s, LONG_MS, LONG_MS, 0);
	recorder_note(s->recorder, 1, 40960, 8192);
	recorder_note(s->recorder, 0, 0, 4096);
	recorder_note(s->recorder, 1, 40960, 8192);
	recorder_note(s->recorder, 1, 45056, 512);
	recorder_note(s->recorder, 0, SIZE - 512, 512);
	/* Of nothing, of no source, past the end. */
	recorder_note(s->recorder, 0, 100, 0);
	recorder_note(s->recorder, 2, 0, 1);
	recorder_note(s->recorder, 0, SIZE - 1, 2);
	recorder_note(s->recorder, 0, UINT64_MAX, 2);
	recorder_ready(s->recorder);
	assert_int_equal(await_learnt(s), 3);
	assert_int_equal(s->ranges[0].layer, 1);
	assert_int_equal(s->ranges[0].off, 40960);
	assert_int_equal(s->ranges[0].len, 8192);
	assert_int_equal(s->ranges[1].layer, 0);
	assert_int_equal(s->ranges[2].off, SIZE - 512);
	/* Nothing counts any more. */
	recorder_note(s->recorder, 0, 1 << 20, 4096);
}

static void test_ready_fd(void **state)
{
	struct state *s = *state;
	start(s, LONG_MS, LONG_MS, 0);
	recorder_note(s->recorder, 0, 0, 1);
	assert_int_equal(eventfd_write(s->ready_fd, 1), 0);
	assert_int_equal(await_learnt(s), 1);
}

/* It waits for the first read; then only what is new keeps it going. */
static void test_quiet(void **state)
{
	struct state *s = *state;
	start(s, 100, LONG_MS, 0);
	clock_sleep_ms(300, 0);
	assert_true(recorder_is_on(s->recorder));
	deadline_t end = deadline_in_ms(WAIT_MS_MAX);
	while (recorder_is_on(s->recorder)) {
		assert_false(deadline_passed(end));
		recorder_note(s->recorder, 0, 0, 4096);
		clock_sleep_ms(1, 0);
	}
	assert_int_equal(await_learnt(s), 1);
}

static void test_limits(void **state)
{
	struct state *s = *state;
	start(s, LONG_MS, LONG_MS, 1 << 20);
	for (uint64_t off = 0; off < 4 << 20 && recorder_is_on(s->recorder); off += 65536) {
		recorder_note(s->recorder, 0, off, 65536);
		clock_sleep_ms(1, 0);
	}
	assert_int_equal(await_learnt(s), 1);
	assert_in_range(s->ranges[0].len, 1 << 20, 4 << 20);
}

static void test_time(void **state)
{
	struct state *s = *state;
	start(s, LONG_MS, 100, 0);
	assert_int_equal(await_learnt(s), 0);
}

/* The end of the mount ends it, and learns. */
static void test_destroy(void **state)
{
	struct state *s = *state;
	start(s, LONG_MS, LONG_MS, 0);
	recorder_note(s->recorder, 1, 512, 1);
	recorder_destroy(s->recorder);
	s->recorder = NULL;
	assert_int_equal(s->n_learnt, 1);
	assert_int_equal(s->n_ranges, 1);
}

struct crowd {
	pthread_t thread;
	struct state *s;
	uint64_t seed;
};

static void *crowd_main(void *data)
{
	struct crowd *c = data;
	for (uint64_t i = 0; i < 20000; i++)
		recorder_note(c->s->recorder, i % 2, (i * 7919 + c->seed) % (SIZE / 4096) * 4096,
			      4096);
	return NULL;
}

/* Every part once, whoever comes first. */
static void test_crowd(void **state)
{
	struct state *s = *state;
	struct crowd crowd[4];
	start(s, LONG_MS, LONG_MS, 0);
	for (size_t i = 0; i < ARRAY_LEN(crowd); i++) {
		crowd[i] = (struct crowd){.s = s, .seed = i};
		assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_main, &crowd[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(crowd); i++)
		assert_int_equal(pthread_join(crowd[i].thread, NULL), 0);
	recorder_ready(s->recorder);
	assert_true(await_learnt(s) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ready_fd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
