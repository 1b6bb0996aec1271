/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/num.h"
#include "fs/plan.h"
#include "tests/unit/unit.h"

/* A source of units of one size, each fetched from half as many bytes. */
enum { UNIT = 1 << 20, UNITS = 4096 };

struct even {
	struct source source;
	uint64_t gap;	    /* bytes between what two neighbours are fetched from */
	bool local[UNITS];
};

static uint64_t even_size(const struct source *source)
{
	(void)source;
	return (uint64_t)UNIT * UNITS;
}

static bool even_unit(const struct source *source, uint64_t off, struct source_unit *ret)
{
	const struct even *e = container_of(source, const struct even, source);
	uint64_t i = off / UNIT;
	if (i >= UNITS)
		return false;
	*ret = (struct source_unit){.off = i * UNIT, .len = UNIT, .in_off = i * (UNIT / 2 + e->gap),
				    .in_len = UNIT / 2, .local = e->local[i]};
	return true;
}

static const struct source_ops even_ops = {.size = even_size, .unit = even_unit};

struct state {
	struct even evens[2];
	struct source *sources[2];
	struct plan *plan;
};

static int setup(void **ret)
{
	struct state *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	for (size_t i = 0; i < ARRAY_LEN(s->evens); i++) {
		s->evens[i].source.ops = &even_ops;
		s->sources[i] = &s->evens[i].source;
	}
	assert_int_equal(plan_create(s->sources, 2, &s->plan), 0);
	*ret = s;
	return 0;
}

static int teardown(void **state)
{
	struct state *s = *state;
	plan_destroy(s->plan);
	free(s);
	return 0;
}

static void add_units(struct state *s, size_t source, uint64_t first, uint64_t n)
{
	assert_int_equal(plan_add(s->plan, source, first * UNIT + 5, n * UNIT - 10), 0);
}

/* The units of all runs, each once; how many. */
static size_t count_units(const struct state *s)
{
	static unsigned int seen[2][UNITS];
	size_t n = 0;
	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < plan_count(s->plan); i++) {
		const struct plan_run *run = plan_run(s->plan, i);
		uint64_t out = 0, last = 0;
		for (size_t k = 0; k < run->n_ranges; k++) {
			const struct source_range *r = &run->ranges[k];
			assert_true(r->len > 0 && r->off % UNIT == 0 && r->len % UNIT == 0);
			assert_true(k == 0 || r->off > last);
			last = r->off + r->len;
			out += r->len;
			for (uint64_t u = r->off / UNIT; u < last / UNIT; u++, n++)
				assert_int_equal(seen[run->source][u]++, 0);
		}
		assert_int_equal(out, run->out_bytes);
		assert_true(run->in_bytes >= out / 2);
	}
	return n;
}

static void test_nothing(void **state)
{
	struct state *s = *state;
	assert_true(plan_is_empty(s->plan));
	assert_int_equal(plan_cut(s->plan), 0);
	assert_int_equal(plan_count(s->plan), 0);
	assert_int_equal(plan_bytes(s->plan), 0);
}

/* What is local, or in the plan already, or past the end, is not added. */
static void test_what_is_added(void **state)
{
	struct state *s = *state;
	s->evens[0].local[11] = true;
	add_units(s, 0, 10, 3);
	assert_int_equal(plan_add(s->plan, 0, 10 * (uint64_t)UNIT, 1), 0);
	assert_int_equal(plan_add(s->plan, 0, even_size(s->sources[0]) - 1, UINT64_MAX), 0);
	assert_int_equal(plan_add(s->plan, 0, UINT64_MAX - 1, 1), 0);
	assert_int_equal(plan_add(s->plan, 1, 0, 0), 0);
	assert_int_equal(plan_add(s->plan, 2, 0, 1), -EINVAL);
	assert_int_equal(plan_cut(s->plan), 0);
	assert_int_equal(count_units(s), 3);
	assert_int_equal(plan_bytes(s->plan), 3 * UNIT / 2);
}

/* What is wanted first comes first, in smaller requests; neighbours come together. */
static void test_order(void **state)
{
	struct state *s = *state;
	add_units(s, 1, 1000, 8);
	add_units(s, 0, 500, 24);
	add_units(s, 1, 0, 200);
	add_units(s, 1, 1004, 1);
	assert_int_equal(plan_cut(s->plan), 0);
	assert_int_equal(count_units(s), 232);
	assert_in_range(plan_count(s->plan), 3, PLAN_RUNS_WISHED);
	const struct plan_run *first = plan_run(s->plan, 0);
	assert_int_equal(first->source, 1);
	assert_int_equal(first->ranges[0].off, 1000 * (uint64_t)UNIT);
	for (size_t i = 1; i < plan_count(s->plan); i++)
		assert_true(plan_run(s->plan, i)->rank >= plan_run(s->plan, i - 1)->rank);
	/* The longest comes late, and is cut, too: several connections bring it. */
	const struct plan_run *longest = first;
	for (size_t i = 0; i < plan_count(s->plan); i++) {
		const struct plan_run *run = plan_run(s->plan, i);
		longest = run->in_bytes > longest->in_bytes ? run : longest;
	}
	assert_true(longest->rank > plan_bytes(s->plan) / 8);
	assert_true(longest->in_bytes > first->in_bytes && longest->in_bytes < 100 * UNIT / 2);
}

/* Touched back to front and all over, it is still few requests. */
static void test_shuffled(void **state)
{
	struct state *s = *state;
	uint32_t seed = 5;
	for (size_t i = 0; i < 3000; i++) {
		seed = seed * 1664525u + 1013904223u;
		add_units(s, 0, (seed >> 8) % 300, 1);
	}
	assert_int_equal(plan_cut(s->plan), 0);
	assert_in_range(count_units(s), 290, 300);
	assert_in_range(plan_count(s->plan), 1, PLAN_RUNS_WISHED);
}

/* Pieces everywhere: small gaps are fetched along as long as they are a small part. */
static void test_gaps(void **state)
{
	struct state *s = *state;
	uint64_t in = 0;
	s->evens[0].gap = 20 << 10; /* just too much to be nothing */
	for (uint64_t i = 0; i < 100; i++)
		add_units(s, 0, i, 1);
	for (uint64_t i = 0; i < 30; i++)
		add_units(s, 0, 500 + 50 * i, 1);
	assert_int_equal(plan_cut(s->plan), 0);
	assert_int_equal(count_units(s), 130);
	for (size_t i = 0; i < plan_count(s->plan); i++)
		in += plan_run(s->plan, i)->in_bytes;
	assert_int_equal(plan_bytes(s->plan), 130 * UNIT / 2);
	assert_in_range(in, plan_bytes(s->plan) + 1,
			plan_bytes(s->plan) + plan_bytes(s->plan) / PLAN_WASTE_PARTS);
	/* Those that are far apart stay alone. */
	assert_in_range(plan_count(s->plan), 31, 60);
}

/* A run has no more units than a fetch takes. */
static void test_units_of_a_run(void **state)
{
	struct state *s = *state;
	add_units(s, 0, 0, UNITS);
	assert_int_equal(plan_cut(s->plan), 0);
	assert_int_equal(count_units(s), UNITS);
	for (size_t i = 0; i < plan_count(s->plan); i++)
		assert_in_range(plan_run(s->plan, i)->out_bytes / UNIT, 1, SOURCE_FETCH_UNITS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_added, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shuffled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_units_of_a_run, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
