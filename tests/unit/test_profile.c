/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/num.h"
#include "fs/profile.h"
#include "tests/unit/unit.h"

enum { LAYERS = 2 };

/* An image of two layers, of 64 MiB and of 5000 bytes (which is no multiple of a block). */
struct image {
	struct digest digest, layers[LAYERS];
	uint64_t sizes[LAYERS];
};

static struct image image_make(void)
{
	struct image image = {.sizes = {MIB(64), 5000}};
	assert_int_equal(digest_of(DIGEST_SHA256, "i", 1, &image.digest), 0);
	assert_int_equal(digest_of(DIGEST_SHA256, "a", 1, &image.layers[0]), 0);
	assert_int_equal(digest_of(DIGEST_SHA256, "b", 1, &image.layers[1]), 0);
	return image;
}

/* "layer:off+len*score …", in blocks of 512 bytes. */
static void assert_ranges(const struct profile *p, const char *want)
{
	AUTO_FINISH(buf) struct buf got = buf_make(1 << 20);
	uint64_t bytes = 0;
	for (size_t i = 0; i < profile_count(p); i++) {
		struct profile_range range;
		profile_get(p, i, &range);
		assert_int_equal(range.off % PROFILE_GRAIN, 0);
		bytes += range.len;
		assert_int_equal(buf_printf(&got, "%s%u:%llu+%llu*%u", i > 0 ? " " : "", range.layer,
					    (unsigned long long)range.off / PROFILE_GRAIN,
					    (unsigned long long)range.len / PROFILE_GRAIN,
					    range.score),
				 0);
	}
	assert_string_equal(buf_str(&got), want);
	assert_int_equal(profile_bytes(p), bytes);
}

static void add(struct profile *p, uint32_t layer, uint64_t block, uint64_t blocks)
{
	assert_int_equal(profile_add(p, layer, block * PROFILE_GRAIN, blocks * PROFILE_GRAIN), 0);
}

static struct profile *profile_new(void)
{
	struct profile *p = NULL;
	assert_int_equal(profile_create(&p), 0);
	return p;
}

static void test_add_keeps_the_order_of_first_demand(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	assert_ranges(p, "");
	add(p, 1, 100, 10);
	add(p, 0, 50, 10);
	add(p, 1, 20, 10);
	add(p, 1, 100, 10);
	assert_ranges(p, "1:100+10*64 0:50+10*64 1:20+10*64");
}

static void test_add_rounds_out_to_blocks(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	assert_int_equal(profile_add(p, 0, 513, 1), 0);
	assert_int_equal(profile_add(p, 0, 5119, 2), 0);
	assert_ranges(p, "0:1+1*64 0:9+2*64");
}

static void test_add_joins_what_touches(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	add(p, 0, 0, 8);
	add(p, 0, 100, 8);
	add(p, 0, 8, 8);
	add(p, 0, 108, 8);
	add(p, 0, 92, 8);
	assert_ranges(p, "0:0+16*64 0:92+24*64");
}

/* Only the last range may grow without end: the order of two long readers would be lost. */
static void test_add_joins_earlier_ranges_while_short(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	enum { STEP = 2048 }; /* 1 MiB */
	for (uint64_t i = 0; i < 6; i++) {
		add(p, 0, i * STEP, STEP);
		add(p, 0, 50000 + i * STEP, STEP);
	}
	add(p, 0, 50000 + UINT64_C(6) * STEP, UINT64_C(30) * STEP);
	assert_ranges(p, "0:0+8192*64 0:50000+8192*64 0:8192+4096*64 0:58192+65536*64");
}

static void test_add_fills_gaps_between_what_it_has(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	for (uint64_t i = 0; i < 20; i++)
		add(p, 1, i, 1);
	assert_ranges(p, "1:0+20*64");
	for (uint64_t i = 0; i < 20; i++)
		add(p, 0, 100 * i, 1);
	add(p, 0, 50, 1000);
	assert_int_equal(profile_bytes(p), (20 + 20 + 1000 - 10) * PROFILE_GRAIN);
	add(p, 0, 50, 1000);
	assert_int_equal(profile_bytes(p), (20 + 20 + 1000 - 10) * PROFILE_GRAIN);
}

static void test_add_refuses_nonsense(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	assert_int_equal(profile_add(p, 0, 0, 0), -EINVAL);
	assert_int_equal(profile_add(p, PROFILE_LAYERS_MAX, 0, 1), -EINVAL);
	assert_int_equal(profile_add(p, 0, PROFILE_DEVICE_MAX, 1), -EINVAL);
	assert_int_equal(profile_add(p, 0, UINT64_MAX, 2), -EINVAL);
	assert_int_equal(profile_add(p, 0, 1, UINT64_MAX), -EINVAL);
	assert_ranges(p, "");
}

static void test_add_stops_when_full(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	assert_int_equal(profile_add(p, 0, 0, PROFILE_BYTES_MAX), 0);
	assert_int_equal(profile_add(p, 1, 0, 1), -E2BIG);
	assert_int_equal(profile_add(p, 0, 77, 1), 0);
	AUTO(profile) struct profile *q = profile_new();
	for (uint64_t i = 0; i < PROFILE_RANGES_MAX; i++)
		add(q, 0, 2 * i, 1);
	assert_int_equal(profile_add(q, 1, 0, 1), -E2BIG);
	assert_int_equal(profile_count(q), PROFILE_RANGES_MAX);
}

/* ---- the text ---- */

static void emit(const struct image *image, const struct profile *p, struct buf *ret)
{
	struct err err = {0};
	buf_clear(ret);
	assert_ok(profile_emit(p, &image->digest, image->layers, LAYERS, ret, &err), &err);
}

static int parse(const struct image *image, const char *text, size_t n, struct profile **ret,
		 struct err *err)
{
	return profile_parse(&image->digest, image->layers, image->sizes, LAYERS, text, n, ret, err);
}

static void test_text_round_trip(void **state)
{
	(void)state;
	struct image image = image_make();
	struct err err = {0};
	AUTO_FINISH(buf) struct buf a = buf_make(PROFILE_TEXT_MAX);
	AUTO_FINISH(buf) struct buf b = buf_make(PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *p = profile_new();
	AUTO(profile) struct profile *q = NULL;
	add(p, 0, 100, 10);
	add(p, 1, 0, 3);
	add(p, 0, 7, 20);
	emit(&image, p, &a);
	assert_ok(parse(&image, a.data, a.len, &q, &err), &err);
	assert_true(profile_equal(p, q));
	emit(&image, q, &b);
	assert_string_equal(a.data, b.data);
}

static void test_range_is_cut_at_the_end_of_the_device(void **state)
{
	(void)state;
	struct image image = image_make();
	struct err err = {0};
	struct profile_range range;
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *p = profile_new();
	AUTO(profile) struct profile *q = NULL;
	AUTO(profile) struct profile *again = NULL;
	assert_int_equal(profile_add(p, 1, 4096, 904), 0);
	emit(&image, p, &text);
	assert_ok(parse(&image, text.data, text.len, &q, &err), &err);
	profile_get(q, 0, &range);
	assert_int_equal(range.off, 4096);
	assert_int_equal(range.len, 904);
	emit(&image, q, &text);
	assert_ok(parse(&image, text.data, text.len, &again, &err), &err);
	assert_true(profile_equal(q, again));
}

static void test_emit_refuses_a_layer_that_is_not_there(void **state)
{
	(void)state;
	struct image image = image_make();
	struct err err = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *p = profile_new();
	add(p, 2, 0, 1);
	assert_err(profile_emit(p, &image.digest, image.layers, LAYERS, &text, &err), -EINVAL, &err,
		   "range 0 of the profile is of layer 2, and the image has 2");
}

/* A text of these ranges, with one thing changed in its head: `from` becomes `to`. */
static void text_make(const struct image *image, const char *ranges, const char *from,
		      const char *to, struct buf *ret)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	AUTO(profile) struct profile *p = profile_new();
	emit(image, p, &text);
	buf_cut(&text, text.len - strlen("]}\n"));
	assert_int_equal(buf_puts(&text, ranges), 0);
	assert_int_equal(buf_puts(&text, "]}\n"), 0);
	const char *at = from ? strstr(text.data, from) : text.data;
	assert_non_null(at);
	assert_int_equal(buf_append(ret, text.data, (size_t)(at - text.data)), 0);
	assert_int_equal(buf_puts(ret, to), 0);
	assert_int_equal(buf_puts(ret, at + (from ? strlen(from) : 0)), 0);
}

static void test_each_wrong_field_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *ranges, *from, *to, *words;
	} cases[] = {
		{"", "{", "", "the profile is not valid JSON: line 1"},
		{"", "\"version\":1,", "", "\"version\" is missing"},
		{"", "\"version\":1", "\"version\":2", "the profile has version 2, and 1 is what is known"},
		{"", "\"image\":\"sha256:de", "\"image\":\"sha256:ee",
		 "the profile is one of another image, sha256:ee"},
		{"", "\"image\":\"sha256:", "\"image\":\"sha256;", "sha256;"},
		{"", "\"layers\":[", "\"layers\":[1,", "the profile names 3 layers, and the image has 2"},
		{"", "sha256:3e", "sha256:4e", "the profile names another layer 1 than the image"},
		{"", "\"ranges\"", "\"range\"", "\"ranges\" is missing"},
		{"7", NULL, "", "range 0 of the profile is not a list of 5 numbers"},
		{"[0,0,512,0]", NULL, "", "range 0 of the profile is not a list of 5 numbers"},
		{"[0,0,512,64,1,0]", NULL, "", "range 0 of the profile is not a list of 5 numbers"},
		{"[0,0,512,64,0],[0,\"1\",512,64,1]", NULL, "",
		 "range 1 of the profile: number 1 is not a whole one"},
		{"[0,-512,512,64,0]", NULL, "", "range 0 of the profile: number 1 is not a whole one"},
		{"[0,0,512.5,64,0]", NULL, "", "range 0 of the profile: number 2 is not a whole one"},
		{"[2,0,512,64,0]", NULL, "", "range 0 of the profile is of layer 2, and the image has 2"},
		{"[4294967296,0,512,64,0]", NULL, "", "range 0 of the profile is of layer 4294967296"},
		{"[0,67108864,512,64,0]", NULL, "", "range 0 of the profile lies outside layer 0"},
		{"[0,67108352,1024,64,0]", NULL, "", "range 0 of the profile lies outside layer 0"},
		{"[0,512,9223372036854775807,64,0]", NULL, "", "range 0 of the profile lies outside layer 0"},
		{"[1,4608,1024,64,0]", NULL, "", "range 0 of the profile lies outside layer 1"},
		{"[0,512,0,64,0]", NULL, "", "range 0 of the profile is empty or not on blocks of 512 bytes"},
		{"[0,511,512,64,0]", NULL, "", "range 0 of the profile is empty or not on blocks of 512 bytes"},
		{"[0,512,511,64,0]", NULL, "", "range 0 of the profile is empty or not on blocks of 512 bytes"},
		{"[0,0,512,23,0]", NULL, "", "range 0 of the profile has the score 23"},
		{"[0,0,512,256,0]", NULL, "", "range 0 of the profile has the score 256"},
		{"[0,0,1024,64,0],[1,0,512,64,1],[0,512,512,64,2]", NULL, "",
		 "range 2 of the profile overlaps another"},
		{"[0,0,512,64,0],[0,0,512,64,1]", NULL, "", "of the profile overlaps another"},
		{"[0,0,512,64,17179869185]", NULL, "", "range 0 of the profile has the place 17179869185"},
		{"[0,0,512,64,9],[0,512,512,64,8]", NULL, "", "range 1 of the profile is out of order"},
		{"[0,512,512,64,9],[0,0,512,64,9]", NULL, "", "range 1 of the profile is out of order"},
	};
	struct image image = image_make();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		struct profile *p = NULL;
		AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
		text_make(&image, cases[i].ranges, cases[i].from, cases[i].to, &text);
		assert_err(parse(&image, text.data, text.len, &p, &err), -EBADMSG, &err, cases[i].words);
		assert_null(p);
	}
}

static void test_absurd_sizes_are_refused(void **state)
{
	(void)state;
	struct image image = image_make();
	struct err err = {0};
	struct profile *p = NULL;
	AUTO_FREE char *big = malloc(PROFILE_TEXT_MAX + 1);
	assert_non_null(big);
	memset(big, ' ', PROFILE_TEXT_MAX + 1);
	assert_err(parse(&image, big, PROFILE_TEXT_MAX + 1, &p, &err), -EBADMSG, &err,
		   "the profile has 8388609 bytes, and 8388608 is the most");

	AUTO_FINISH(buf) struct buf many = buf_make(PROFILE_TEXT_MAX);
	AUTO_FINISH(buf) struct buf text = buf_make(PROFILE_TEXT_MAX);
	for (int i = 0; i <= PROFILE_RANGES_MAX; i++)
		assert_int_equal(buf_printf(&many, "%s[0,%d,512,64,%d]", i > 0 ? "," : "", i * 512, i), 0);
	text_make(&image, many.data, NULL, "", &text);
	assert_err(parse(&image, text.data, text.len, &p, &err), -EBADMSG, &err,
		   "the profile has 65537 ranges, and 65536 is the most");

	image.sizes[0] = PROFILE_BYTES_MAX * 2;
	buf_clear(&text);
	text_make(&image, "[0,0,17179869184,64,0],[1,0,512,64,1]", NULL, "", &text);
	assert_err(parse(&image, text.data, text.len, &p, &err), -EBADMSG, &err,
		   "the ranges of the profile have more than 17179869184 bytes");
}

/* ---- merging ---- */

static void test_scores_rise_and_decay(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	AUTO(profile) struct profile *both = profile_new();
	AUTO(profile) struct profile *one = profile_new();
	add(both, 0, 0, 8);
	add(both, 0, 100, 8);
	add(one, 0, 100, 8);
	assert_int_equal(profile_learn_run(p, both), 0);
	assert_ranges(p, "0:0+8*64 0:100+8*64");
	assert_int_equal(profile_learn_run(p, one), 0);
	assert_ranges(p, "0:0+8*48 0:100+8*112");
	assert_int_equal(profile_learn_run(p, one), 0);
	assert_int_equal(profile_learn_run(p, one), 0);
	assert_int_equal(profile_learn_run(p, one), 0);
	assert_ranges(p, "0:100+8*196");
	for (int i = 0; i < 20; i++)
		assert_int_equal(profile_learn_run(p, one), 0);
	assert_ranges(p, "0:100+8*255");
}

static void test_order_is_the_mean_and_stable(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	AUTO(profile) struct profile *run = profile_new();
	AUTO(profile) struct profile *other = profile_new();
	for (uint64_t i = 0; i < 50; i++)
		add(run, 0, (i * 37 % 50) * 16, 8);
	for (int i = 0; i < 30; i++)
		assert_int_equal(profile_learn_run(p, run), 0);
	for (size_t i = 0; i < 50; i++) {
		struct profile_range a, b;
		profile_get(p, i, &a);
		profile_get(run, i, &b);
		assert_int_equal(a.off, b.off);
	}
	/* One run that differs does not turn the order of many around; many do. */
	for (uint64_t i = 0; i < 50; i++)
		add(other, 0, ((49 - i) * 37 % 50) * 16, 8);
	struct profile_range first, want;
	assert_int_equal(profile_learn_run(p, other), 0);
	profile_get(p, 0, &first);
	profile_get(run, 0, &want);
	assert_int_equal(first.off, want.off);
	for (int i = 0; i < 10; i++)
		assert_int_equal(profile_learn_run(p, other), 0);
	profile_get(p, 0, &first);
	profile_get(other, 0, &want);
	assert_int_equal(first.off, want.off);
}

static void test_ranges_are_split_and_joined(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	AUTO(profile) struct profile *whole = profile_new();
	AUTO(profile) struct profile *part = profile_new();
	add(whole, 0, 0, 100);
	add(part, 0, 40, 20);
	add(part, 0, 90, 30);
	assert_int_equal(profile_learn_run(p, whole), 0);
	assert_int_equal(profile_learn_run(p, part), 0);
	assert_ranges(p, "0:0+40*48 0:40+20*112 0:100+20*64 0:90+10*112 0:60+30*48");
	/* Everything is touched often enough: one range again. */
	for (int i = 0; i < 40; i++)
		assert_int_equal(profile_learn_run(p, whole), 0);
	assert_ranges(p, "0:0+100*255");
}

static void test_join_takes_the_best_of_both(void **state)
{
	(void)state;
	AUTO(profile) struct profile *a = profile_new();
	AUTO(profile) struct profile *b = profile_new();
	AUTO(profile) struct profile *run = profile_new();
	add(run, 0, 0, 10);
	add(run, 1, 0, 10);
	assert_int_equal(profile_learn_run(a, run), 0);
	assert_int_equal(profile_learn_run(a, run), 0);
	assert_int_equal(profile_learn_run(b, run), 0);
	add(b, 1, 50, 10);
	assert_int_equal(profile_join(b, a), 0);
	assert_ranges(b, "0:0+10*112 1:0+10*112 1:50+10*64");
	assert_int_equal(profile_join(a, b), 0);
	assert_true(profile_equal(a, b));
	assert_int_equal(profile_join(a, b), 0);
	assert_true(profile_equal(a, b));
}

/* Deterministic noise; the tests are the same everywhere. */
static uint32_t noise(uint32_t *seed)
{
	*seed = *seed * 1664525U + 1013904223U;
	return *seed >> 8;
}

/* Against a plain count of blocks: what is learnt is what a map of blocks would say. */
static void test_learning_agrees_with_a_map_of_blocks(void **state)
{
	(void)state;
	enum { BLOCKS = 512, RUNS = 60 };
	unsigned int map[LAYERS][BLOCKS] = {0};
	uint32_t seed = 7;
	AUTO(profile) struct profile *p = profile_new();
	for (int run = 0; run < RUNS; run++) {
		AUTO(profile) struct profile *touched = profile_new();
		bool hit[LAYERS][BLOCKS] = {0};
		for (int i = 0; i < 12; i++) {
			uint32_t layer = noise(&seed) % LAYERS, off = noise(&seed) % (BLOCKS - 40);
			uint32_t n = 1 + noise(&seed) % 40;
			add(touched, layer, off, n);
			for (uint32_t k = 0; k < n; k++)
				hit[layer][off + k] = true;
		}
		assert_int_equal(profile_learn_run(p, touched), 0);
		for (size_t l = 0; l < LAYERS; l++) {
			for (size_t k = 0; k < BLOCKS; k++) {
				unsigned int score = map[l][k] - map[l][k] / 4 + (hit[l][k] ? 64 : 0);
				map[l][k] = score < 24 ? 0 : score > 255 ? 255 : score;
			}
		}
		unsigned int got[LAYERS][BLOCKS] = {0};
		for (size_t i = 0; i < profile_count(p); i++) {
			struct profile_range range;
			profile_get(p, i, &range);
			for (uint64_t k = 0; k < range.len / PROFILE_GRAIN; k++) {
				unsigned int *block = &got[range.layer][range.off / PROFILE_GRAIN + k];
				assert_int_equal(*block, 0);
				*block = range.score;
			}
		}
		assert_memory_equal(got, map, sizeof(map));
	}
}

static void test_merging_stays_within_the_limits(void **state)
{
	(void)state;
	AUTO(profile) struct profile *p = profile_new();
	AUTO(profile) struct profile *often = profile_new();
	AUTO(profile) struct profile *once = profile_new();
	for (uint64_t i = 0; i < PROFILE_RANGES_MAX / 2 + 100; i++) {
		add(often, 0, 4 * i, 1);
		add(once, 1, 4 * i, 1);
	}
	assert_int_equal(profile_learn_run(p, often), 0);
	assert_int_equal(profile_learn_run(p, often), 0);
	assert_int_equal(profile_learn_run(p, once), 0);
	assert_int_equal(profile_count(p), PROFILE_RANGES_MAX);
	size_t kept = 0;
	for (size_t i = 0; i < profile_count(p); i++) {
		struct profile_range range;
		profile_get(p, i, &range);
		kept += range.layer == 0;
	}
	assert_int_equal(kept, PROFILE_RANGES_MAX / 2 + 100);

	AUTO(profile) struct profile *big = profile_new();
	AUTO(profile) struct profile *more = profile_new();
	assert_int_equal(profile_add(big, 0, 0, PROFILE_BYTES_MAX - 512), 0);
	assert_int_equal(profile_add(more, 1, 0, 1024), 0);
	assert_int_equal(profile_learn_run(big, big), 0);
	assert_int_equal(profile_join(big, more), 0);
	assert_int_equal(profile_bytes(big), PROFILE_BYTES_MAX - 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add_keeps_the_order_of_first_demand),
		cmocka_unit_test(test_add_rounds_out_to_blocks),
		cmocka_unit_test(test_add_joins_what_touches),
		cmocka_unit_test(test_add_joins_earlier_ranges_while_short),
		cmocka_unit_test(test_add_fills_gaps_between_what_it_has),
		cmocka_unit_test(test_add_refuses_nonsense),
		cmocka_unit_test(test_add_stops_when_full),
		cmocka_unit_test(test_text_round_trip),
		cmocka_unit_test(test_range_is_cut_at_the_end_of_the_device),
		cmocka_unit_test(test_emit_refuses_a_layer_that_is_not_there),
		cmocka_unit_test(test_each_wrong_field_is_named),
		cmocka_unit_test(test_absurd_sizes_are_refused),
		cmocka_unit_test(test_scores_rise_and_decay),
		cmocka_unit_test(test_order_is_the_mean_and_stable),
		cmocka_unit_test(test_ranges_are_split_and_joined),
		cmocka_unit_test(test_join_takes_the_best_of_both),
		cmocka_unit_test(test_learning_agrees_with_a_map_of_blocks),
		cmocka_unit_test(test_merging_stays_within_the_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
