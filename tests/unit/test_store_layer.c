/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store_layer.h"

#include <errno.h>

#include "tests/unit/store_unit.h"

enum { SEED = 7, SPANS = 20, SPAN = 5000, BUDGET = 64 << 20 };

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	place_make(place);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	place_remove(*state);
	free(*state);
	return 0;
}

static void test_publish_part(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	/* Three and a half spans: three are present, and only they count. */
	layer_publish(store, SEED, seek, 3 * SPAN + SPAN / 2);
	assert_int_equal(store_counted(store), 3 * u64_align(SPAN, 512));
	struct store_layer *layer = layer_open(store, SEED);
	for (size_t i = 0; i < SPANS; i++) {
		assert_int_equal(store_layer_state(layer, i) & SPAN_PRESENT, i < 3);
		assert_int_equal(layer_read_span_right(layer, SEED, i), i < 3 ? 0 : -EAGAIN);
	}
	struct store_layer_counts counts;
	store_layer_counts(layer, &counts);
	assert_int_equal(counts.spans, SPANS);
	assert_int_equal(counts.spans_present, 3);
	assert_int_equal(counts.bytes, SPANS * SPAN);
	assert_int_equal(counts.bytes_present, 3 * SPAN);
	assert_int_equal(store_layer_info(layer)->index, LAYER_INDEX_LOCAL);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_first_publisher_wins(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, SPAN);
	layer_publish(store, SEED, seek, 5 * SPAN);
	assert_int_equal(store_counted(store), u64_align(SPAN, 512));
	struct store_layer *layer = layer_open(store, SEED);
	assert_int_equal(layer_read_span_right(layer, SEED, 1), -EAGAIN);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_fill_read_evict(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	for (size_t i = 0; i < SPANS; i++)
		assert_ok(layer_fill(layer, SEED, i, &err), &err);
	for (size_t i = 0; i < SPANS; i++)
		assert_int_equal(layer_read_span_right(layer, SEED, i), 0);
	assert_int_equal(store_counted(store), SPANS * u64_align(SPAN, 512));

	uint64_t freed = 0;
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	assert_int_equal(freed, SPANS * u64_align(SPAN, 512));
	assert_int_equal(store_counted(store), 0);
	struct stat st;
	assert_int_equal(fstat(store_layer_data_fd(layer), &st), 0);
	assert_int_equal(st.st_blocks, 0);
	for (size_t i = 0; i < SPANS; i++) {
		assert_int_equal(layer_read_span_right(layer, SEED, i), -EAGAIN);
		assert_int_equal(store_layer_state(layer, i) >> SPAN_GENERATION_SHIFT, 1);
	}
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_padding_and_range(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, 4, 512, 512, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	assert_ok(layer_fill(layer, SEED, 0, &err), &err);
	uint8_t got[1024], want[1024] = {0};
	device_bytes(SEED, 100, want, 412);
	assert_int_equal(store_layer_read(layer, got, 924, 100), 924);
	assert_memory_equal(got, want, 924);
	/* One byte into the next span, which is absent. */
	assert_int_equal(store_layer_read(layer, got, 925, 100), -EAGAIN);
	/* The tail is padding too; past the end is nothing. */
	assert_int_equal(store_layer_read(layer, got, 512, 4096 - 512), 512);
	assert_int_equal(store_layer_read(layer, got, 513, 4096 - 512), -EINVAL);
	assert_int_equal(store_layer_read(layer, got, 1, UINT64_MAX), -EINVAL);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_claims_and_eviction_exclude(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, SPANS * SPAN);
	struct store_layer *a = layer_open(store, SEED);
	struct store_layer *b = layer_open(store, SEED);
	assert_int_equal(store_layer_claim(a, 3, 5), 0);
	assert_int_equal(store_layer_claim(b, 4, 6), -EAGAIN);
	assert_int_equal(store_layer_claim(b, 5, 6), 0);
	store_layer_release(b, 5, 6);

	uint64_t freed = 0;
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	assert_int_equal(freed, (SPANS - 2) * u64_align(SPAN, 512));
	assert_int_equal(layer_read_span_right(a, SEED, 3), 0);
	assert_int_equal(layer_read_span_right(a, SEED, 4), 0);
	store_layer_release(a, 3, 5);
	assert_int_equal(store_layer_claim(b, 3, 5), 0);
	store_layer_close(b);
	store_layer_close(a);
	seek_destroy(seek);
	store_close(store);
}

static void test_shared_page_stays(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	/* Eight spans a page. Only the fourth is used again later, so all others go. */
	struct seek *seek = layer_seek(SEED, 16, 512, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 16 * 512);
	struct store_layer *layer = layer_open(store, SEED);
	assert_int_equal(store_layer_claim(layer, 3, 4), 0);
	uint64_t freed = 0;
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	assert_int_equal(freed, 15 * 512);
	assert_int_equal(layer_read_span_right(layer, SEED, 3), 0);
	struct stat st;
	assert_int_equal(fstat(store_layer_data_fd(layer), &st), 0);
	assert_int_equal(st.st_blocks * 512, 4096);
	store_layer_release(layer, 3, 4);
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	assert_int_equal(freed, 512);
	assert_int_equal(fstat(store_layer_data_fd(layer), &st), 0);
	assert_int_equal(st.st_blocks, 0);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_budget(void **state)
{
	struct err err = {0};
	enum { BIG = 64 << 10 };
	struct store *store = place_open(*state, 10 * BIG);
	struct seek *seek = layer_seek(SEED, SPANS, BIG, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	for (size_t i = 0; i < SPANS; i++) {
		assert_ok(layer_fill(layer, SEED, i, &err), &err);
		assert_int_equal(layer_read_span_right(layer, SEED, i), 0);
		assert_true(store_counted(store) <= 10 * BIG);
	}
	store_layer_close(layer);
	store_close(store);

	store = place_open(*state, BIG - 1);
	layer = layer_open(store, SEED);
	uint64_t freed;
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	assert_err(layer_fill(layer, SEED, 0, &err), -ENOSPC, &err, "does not fit the budget");
	assert_int_equal(store_counted(store), 0);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_new_stops_at_budget(void **state)
{
	enum { BIG = 64 << 10 };
	struct store *store = place_open(*state, 10 * BIG + 100);
	struct seek *old = layer_seek(SEED, SPANS, BIG, 0, SEEK_SUM_OUT);
	struct seek *seek = layer_seek(SEED + 1, SPANS, BIG, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, old, 5 * BIG);
	layer_publish(store, SEED + 1, seek, SPANS * BIG);
	struct store_layer_counts counts;
	struct store_layer *layer = layer_open(store, SEED);
	store_layer_counts(layer, &counts);
	assert_int_equal(counts.spans_present, 0);
	store_layer_close(layer);
	layer = layer_open(store, SEED + 1);
	store_layer_counts(layer, &counts);
	assert_int_equal(counts.spans_present, 10);
	assert_int_equal(store_counted(store), 10 * BIG);
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(layer_read_span_right(layer, SEED + 1, i), 0);
	store_layer_close(layer);
	seek_destroy(old);
	seek_destroy(seek);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_publish_part, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_publisher_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fill_read_evict, setup, teardown),
		cmocka_unit_test_setup_teardown(test_padding_and_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_claims_and_eviction_exclude, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shared_page_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_stops_at_budget, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
