/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/seek.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/le.h"
#include "base/num.h"
#include "tests/unit/unit.h"

enum { HEADER = 216, RECORD = 84, SUM_AT = 184 };

/* A table with every codec: copy, deflate with window, a unit of two, zstd by its input, zeros. */
static const struct span sample[] = {
	{.in_off = 0, .in_len = 100, .out_off = 0, .out_len = 100, .codec = SEEK_COPY,
	 .sum = SEEK_SUM_OUT, .sha256 = {1}},
	{.in_off = 110, .in_len = 50, .out_off = 100, .out_len = 4000, .win_off = 7,
	 .win_len = 60, .bits = 3, .codec = SEEK_DEFLATE, .sum = SEEK_SUM_OUT, .sha256 = {2}},
	{.in_off = 200, .in_len = 50, .out_off = 5000, .out_len = 10, .codec = SEEK_GZIP,
	 .sum = SEEK_SUM_OUT, .sha256 = {3}},
	{.in_off = 200, .in_len = 50, .out_off = 5512, .out_len = 20, .skip = 12,
	 .codec = SEEK_GZIP, .sum = SEEK_SUM_OUT, .sha256 = {4}},
	{.in_off = 300, .in_len = 40, .out_off = 6000, .out_len = 9000, .codec = SEEK_ZSTD,
	 .sum = SEEK_SUM_IN, .sha256 = {5}},
	{.out_off = 15000, .out_len = 512, .codec = SEEK_ZEROS},
	{.out_off = 15512, .out_len = 512, .codec = SEEK_ZEROS},
};

static const struct seek_totals sample_totals = {
	.layer = {.algo = DIGEST_SHA256, .bytes = {0xaa}},
	.diff_id = {.algo = DIGEST_SHA512, .bytes = {0xbb}},
	.in_size = 400,
	.out_size = 16384,
	.windows_size = 67,
	.is_tar = true,
};

static struct seek *build(const struct span *spans, size_t n, const struct seek_totals *totals)
{
	struct err err = {0};
	AUTO(seek_builder) struct seek_builder *b = NULL;
	struct seek *seek = NULL;
	assert_int_equal(seek_builder_create(&b), 0);
	for (size_t i = 0; i < n; i++)
		assert_ok(seek_builder_add(b, &spans[i], &err), &err);
	assert_ok(seek_builder_finish(b, totals, &seek, &err), &err);
	return seek;
}

static void check_sample(const struct seek *seek)
{
	assert_int_equal(seek_count(seek), ARRAY_LEN(sample));
	assert_true(digest_equal(seek_layer(seek), &sample_totals.layer));
	assert_true(digest_equal(seek_diff_id(seek), &sample_totals.diff_id));
	assert_int_equal(seek_in_size(seek), 400);
	assert_int_equal(seek_out_size(seek), 16384);
	assert_int_equal(seek_windows_size(seek), 67);
	assert_true(seek_is_tar(seek));
	for (size_t i = 0; i < ARRAY_LEN(sample); i++) {
		struct span got = {0};
		const struct span *want = &sample[i];
		seek_get(seek, i, &got);
		assert_int_equal(got.in_off, want->in_off);
		assert_int_equal(got.in_len, want->in_len);
		assert_int_equal(got.out_off, want->out_off);
		assert_int_equal(got.out_len, want->out_len);
		assert_int_equal(got.skip, want->skip);
		assert_int_equal(got.win_off, want->win_off);
		assert_int_equal(got.win_len, want->win_len);
		assert_int_equal(got.bits, want->bits);
		assert_int_equal(got.codec, want->codec);
		assert_int_equal(got.sum, want->sum);
		assert_memory_equal(got.sha256, want->sha256, SHA256_BYTES);
	}
}

static void test_round_trip(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(seek) struct seek *built = build(sample, ARRAY_LEN(sample), &sample_totals);
	check_sample(built);

	size_t n;
	const void *bytes = seek_bytes(built, &n);
	assert_int_equal(n, HEADER + RECORD * ARRAY_LEN(sample));
	AUTO(seek) struct seek *parsed = NULL;
	assert_ok(seek_parse(bytes, n, &parsed, &err), &err);
	check_sample(parsed);

	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fflush(file), 0);
	AUTO(seek) struct seek *mapped = NULL;
	assert_ok(seek_map(fileno(file), &mapped, &err), &err);
	(void)fclose(file);
	check_sample(mapped);
	size_t again_n;
	assert_memory_equal(seek_bytes(mapped, &again_n), bytes, n);
	assert_int_equal(again_n, n);
}

static void test_empty(void **state)
{
	(void)state;
	struct seek_totals totals = {.layer = sample_totals.layer};
	AUTO(seek) struct seek *seek = build(NULL, 0, &totals);
	assert_int_equal(seek_count(seek), 0);
	assert_int_equal(seek_find(seek, 0), 0);
	assert_false(seek_is_tar(seek));
	assert_true(digest_is_none(seek_diff_id(seek)));
}

static void test_find(void **state)
{
	(void)state;
	static const struct {
		uint64_t off;
		size_t want;
	} cases[] = {
		{0, 0},	    {99, 0},	{100, 1},   {4099, 1},	{4100, 2},  {5009, 2},	    {5010, 3},
		{5531, 3},  {5532, 4},	{14999, 4}, {15000, 5}, {16023, 6}, {16024, 7},
		{16383, 7}, {1 << 30, 7}, {UINT64_MAX, 7},
	};
	AUTO(seek) struct seek *seek = build(sample, ARRAY_LEN(sample), &sample_totals);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(seek_find(seek, cases[i].off), cases[i].want);
}

static void test_unit(void **state)
{
	(void)state;
	static const size_t want[][2] = {{0, 1}, {1, 2}, {2, 4}, {2, 4}, {4, 5}, {5, 6}, {6, 7}};
	AUTO(seek) struct seek *seek = build(sample, ARRAY_LEN(sample), &sample_totals);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		size_t first, end;
		seek_unit(seek, i, &first, &end);
		assert_int_equal(first, want[i][0]);
		assert_int_equal(end, want[i][1]);
	}
}

/* The sample's bytes, to be damaged; the caller frees them. */
static uint8_t *sample_bytes(size_t *ret_n)
{
	AUTO(seek) struct seek *seek = build(sample, ARRAY_LEN(sample), &sample_totals);
	const void *bytes = seek_bytes(seek, ret_n);
	uint8_t *copy = malloc(*ret_n);
	assert_non_null(copy);
	memcpy(copy, bytes, *ret_n);
	return copy;
}

/* Makes the checksum right again, as somebody who forges a table would. */
static void sum_again(uint8_t *bytes, size_t n)
{
	struct digest d;
	struct digest_ctx *ctx = NULL;
	assert_int_equal(digest_ctx_create(DIGEST_SHA256, &ctx), 0);
	assert_int_equal(digest_ctx_update(ctx, bytes, SUM_AT), 0);
	assert_int_equal(digest_ctx_update(ctx, bytes + HEADER, n - HEADER), 0);
	assert_int_equal(digest_ctx_final(ctx, &d), 0);
	digest_ctx_destroy(ctx);
	memcpy(bytes + SUM_AT, d.bytes, SHA256_BYTES);
}

static void test_every_flipped_byte_is_seen(void **state)
{
	(void)state;
	size_t n;
	AUTO_FREE uint8_t *bytes = sample_bytes(&n);
	for (size_t i = 0; i < n; i++) {
		struct err err = {0};
		struct seek *seek = NULL;
		bytes[i] ^= 0x20;
		assert_int_equal(seek_parse(bytes, n, &seek, &err), -EBADMSG);
		assert_null(seek);
		bytes[i] ^= 0x20;
	}
	for (size_t cut = 0; cut < n; cut++) {
		struct err err = {0};
		struct seek *seek = NULL;
		assert_err(seek_parse(bytes, cut, &seek, &err), -EBADMSG, &err,
			   cut < HEADER ? "too short" : "do not hold exactly 7 spans");
	}
}

static void test_forged_fields(void **state)
{
	(void)state;
	/* One field at a time: a header field (record -1) or a field of a record. */
	static const struct {
		int record;
		size_t at, size;
		uint64_t value;
		const char *words;
	} bad[] = {
		{-1, 0, 1, 'X', "magic number is missing"},
		{-1, 8, 4, 2, "unknown flags 0x2"},
		{-1, 12, 4, 8, "do not hold exactly 8 spans"},
		{-1, 12, 4, (1 << 24) + 1, "more than 16777216"},
		{-1, 16, 8, 339, "span 4 of the seek table is wrong: in_off and in_len go past"},
		{-1, 16, 8, UINT64_MAX, "a size is no file size"},
		{-1, 24, 8, 16023, "span 6 of the seek table is wrong: out_off and out_len go past"},
		{-1, 32, 8, 66, "span 1 of the seek table is wrong: win_off and win_len go past"},
		{-1, 40, 4, 0, "the algorithm of the layer is unknown"},
		{-1, 40, 4, 3, "the algorithm of the layer is unknown"},
		{-1, 44, 4, 3, "the algorithm of the diff_id is unknown"},
		{-1, 48 + 32, 1, 1, "the layer is too long"},
		{-1, 44, 4, 0, "the diff_id is too long"},
		{-1, 176, 8, 1, "unused header bytes are set"},
		{0, 0, 8, UINT64_MAX, "span 0 of the seek table is wrong: in_off and in_len go past"},
		{0, 8, 8, 0, "span 0 of the seek table is wrong: in_len is 0"},
		{0, 8, 8, 101, "a stored span has other lengths"},
		{0, 24, 8, 1, "a stored span has other lengths"},
		{0, 40, 4, 0, "out_len is 0 or above its limit"},
		{0, 40, 4, (64 << 20) + 1, "out_len is 0 or above its limit"},
		{0, 48, 1, 1, "bits is set without a deflate stream"},
		{0, 44, 4, 1, "a window is set without a deflate stream"},
		{0, 49, 1, SEEK_CODECS, "codec is unknown"},
		{0, 50, 1, 0, "sum is missing or unknown"},
		{0, 50, 1, 3, "sum is missing or unknown"},
		{0, 51, 1, 1, "its unused byte is set"},
		{1, 16, 8, 99, "span 1 of the seek table is wrong: out_off overlaps or precedes"},
		{1, 48, 1, 8, "bits is above 7"},
		{1, 32, 8, 8, "win_off and win_len go past"},
		{1, 44, 4, 0, "win_off is set without a window"},
		{1, 8, 8, 3, "more than deflate can make"},
		{1, 24, 8, UINT64_C(1) << 41, "skip is above its limit"},
		{3, 24, 8, 9, "span 3 of the seek table is wrong: skip overlaps the span before"},
		{3, 49, 1, SEEK_DEFLATE, "differs from the span before"},
		{3, 50, 1, SEEK_SUM_IN, "differs from the span before"},
		{5, 8, 8, 1, "zeros have no compressed range"},
		{5, 52, 1, 1, "zeros have no checksum"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct seek *seek = NULL;
		size_t n;
		AUTO_FREE uint8_t *bytes = sample_bytes(&n);
		uint8_t *at = bytes + bad[i].at;
		if (bad[i].record >= 0)
			at += HEADER + bad[i].record * RECORD;
		uint8_t value[8];
		le64_put(value, bad[i].value);
		memcpy(at, value, bad[i].size);
		sum_again(bytes, n);
		assert_err(seek_parse(bytes, n, &seek, &err), -EBADMSG, &err, bad[i].words);
		assert_null(seek);
	}
}

static void test_unit_of_one_input_has_one_sum(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(seek_builder) struct seek_builder *b = NULL;
	struct span s = sample[4];
	assert_int_equal(seek_builder_create(&b), 0);
	assert_ok(seek_builder_add(b, &s, &err), &err);
	s.out_off += s.out_len;
	s.skip = s.out_len;
	assert_ok(seek_builder_add(b, &s, &err), &err);
	s.out_off += s.out_len;
	s.skip += s.out_len;
	s.sha256[0] ^= 1;
	assert_err(seek_builder_add(b, &s, &err), -EINVAL, &err, "two checksums");
}

static void test_builder_refuses(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(seek_builder) struct seek_builder *b = NULL;
	struct seek *seek = NULL;
	struct span s = sample[0];
	assert_int_equal(seek_builder_create(&b), 0);
	s.out_len = 0;
	assert_err(seek_builder_add(b, &s, &err), -EINVAL, &err, "out_len is 0");
	s.out_len = UINT64_C(1) << 32;
	assert_err(seek_builder_add(b, &s, &err), -EINVAL, &err, "out_len is 0 or above");
	s = sample[0];
	s.sum = SEEK_SUM_NONE;
	assert_err(seek_builder_add(b, &s, &err), -EINVAL, &err, "sum is missing");
	/* A refused span leaves no trace. */
	assert_ok(seek_builder_add(b, &sample[0], &err), &err);
	assert_err(seek_builder_add(b, &sample[0], &err), -EINVAL, &err, "span 1 of");
	struct seek_totals totals = sample_totals;
	totals.out_size = 99;
	assert_err(seek_builder_finish(b, &totals, &seek, &err), -EINVAL, &err, "past the device");
	assert_null(seek);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_unit),
		cmocka_unit_test(test_every_flipped_byte_is_seen),
		cmocka_unit_test(test_forged_fields),
		cmocka_unit_test(test_unit_of_one_input_has_one_sum),
		cmocka_unit_test(test_builder_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
