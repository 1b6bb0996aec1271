/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"
#include "fs/readahead.h"
#include "tests/unit/unit.h"

enum { STEP = 128 * 1024 };

static int setup(void **state)
{
	return readahead_create((struct readahead **)state);
}

static int teardown(void **state)
{
	readahead_destroy(*state);
	return 0;
}

static void test_random_reads_ask_for_nothing(void **state)
{
	static const uint64_t places[] = {700, 3, 512, 90, 41, 1000, 200, 650};
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		uint64_t at = 77;
		assert_int_equal(readahead_note(*state, 5, MIB(places[i]), STEP, GIB(1), &at), 0);
		assert_int_equal(at, 77);
	}
}

static void test_one_read_asks_for_nothing(void **state)
{
	uint64_t at;
	assert_int_equal(readahead_note(*state, 5, 0, STEP, GIB(1), &at), 0);
	assert_int_equal(readahead_note(*state, 6, 0, 100, 100, &at), 0);
}

static void test_sequential_window_doubles(void **state)
{
	uint64_t asked = 0, largest = 0, first = 0;
	for (uint64_t off = 0; off < MIB(256); off += STEP) {
		uint64_t at = 0;
		uint64_t n = readahead_note(*state, 5, off, STEP, MIB(256), &at);
		if (n == 0)
			continue;
		first = first ? first : n;
		/* Nothing twice, nothing left out, nothing past the end, never behind the reader. */
		assert_true(at >= off + STEP);
		assert_true(asked == 0 || at == asked);
		asked = at + n;
		assert_true(asked <= MIB(256));
		assert_true(asked - (off + STEP) <= READAHEAD_MAX);
		largest = u64_max(largest, asked - (off + STEP));
	}
	assert_int_equal(first, READAHEAD_FIRST);
	assert_int_equal(largest, READAHEAD_MAX);
	assert_int_equal(asked, MIB(256));
}

static void test_jump_starts_over(void **state)
{
	uint64_t at = 0;
	for (uint64_t off = 0; off < MIB(64); off += STEP)
		(void)readahead_note(*state, 5, off, STEP, GIB(1), &at);
	assert_int_equal(readahead_note(*state, 5, MIB(500), STEP, GIB(1), &at), 0);
	assert_int_equal(readahead_note(*state, 5, MIB(500) + STEP, STEP, GIB(1), &at),
			 READAHEAD_FIRST);
	assert_int_equal(at, MIB(500) + UINT64_C(2) * STEP);
}

static void test_pieces_out_of_order_go_on(void **state)
{
	uint64_t asked = 0;
	for (uint64_t off = 0; off < MIB(32); off += MIB(1)) {
		uint64_t at = 0;
		asked += readahead_note(*state, 5, off + KIB(512), KIB(512), MIB(32), &at);
		asked += readahead_note(*state, 5, off, KIB(512), MIB(32), &at);
	}
	assert_true(asked > MIB(28));
}

static void test_old_streams_make_room(void **state)
{
	uint64_t at;
	(void)readahead_note(*state, 1, 0, STEP, GIB(1), &at);
	for (uint64_t key = 2; key < 2 + READAHEAD_STREAMS; key++)
		(void)readahead_note(*state, key, 0, STEP, GIB(1), &at);
	/* File 1 was forgotten: its second read counts as a first one. */
	assert_int_equal(readahead_note(*state, 1, STEP, STEP, GIB(1), &at), 0);
	/* The youngest was not. */
	assert_int_equal(readahead_note(*state, 1 + READAHEAD_STREAMS, STEP, STEP, GIB(1), &at),
			 READAHEAD_FIRST);
}

/* Small files, each read whole, with their headers between them. */
static void test_files_of_a_layer_go_on(void **state)
{
	uint64_t key = READAHEAD_LAYER | 1, at = 0, asked = 0, off = MIB(5) + 512;
	assert_int_equal(readahead_note(*state, key, off, 3000, MIB(64), &at), 0);
	for (off += 3584; off < MIB(63); off += KIB(100)) {
		uint64_t n = readahead_note(*state, key, off, 3000, MIB(64), &at);
		assert_true(n == 0 || at == (asked ? asked : off + 3000));
		asked = n ? at + n : asked;
		assert_true(asked > off);
	}
	assert_int_equal(asked, MIB(64));
}

/* Files of a device that are read whole, one here, one there, ask for nothing beside them … */
static void test_small_files_of_a_device(void **state)
{
	uint64_t key = READAHEAD_DEVICE | 3, at = 0;
	for (uint64_t file = 0; file < 40; file++) {
		uint64_t from = MIB(5) * (file * 7 % 40);
		for (uint64_t off = 0; off < MIB(1); off += KIB(128))
			assert_int_equal(readahead_note(*state, key, from + off, KIB(128), GIB(1), &at),
					 0);
	}
}

/* … and two large ones that are read at once go on each by itself, never far past what was read. */
static void test_large_files_of_a_device(void **state)
{
	uint64_t key = READAHEAD_DEVICE | 3, at = 0, asked[2] = {0}, most = 0;
	for (uint64_t off = 0; off < MIB(64); off += KIB(128)) {
		for (uint64_t k = 0; k < 2; k++) {
			uint64_t from = k * MIB(500);
			uint64_t n = readahead_note(*state, key, from + off, KIB(128), GIB(1), &at);
			if (n == 0)
				continue;
			assert_in_range(at, from + off, from + off + MIB(17));
			asked[k] = at + n - from;
			assert_true(asked[k] <= (off + KIB(128)) * 3 / 2);
			most = n > most ? n : most;
		}
	}
	assert_true(asked[0] > MIB(64) && asked[1] > MIB(64));
	assert_in_range(most, MIB(4), READAHEAD_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_reads_ask_for_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_small_files_of_a_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_files_of_a_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_read_asks_for_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sequential_window_doubles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_jump_starts_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces_out_of_order_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_streams_make_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_of_a_layer_go_on, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
