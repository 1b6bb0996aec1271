/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store_layer.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#include "base/clock.h"
#include "fetcher/store_layer_priv.h"
#include "tests/unit/store_unit.h"

enum { SEED = 7, SPANS = 20, SPAN = 5000, BUDGET = 64 << 20 };

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

static void test_other_boot(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	char name[DIGEST_STR_MAX];
	layer_publish(store, SEED, seek, 5 * SPAN);
	other_boot(store, SEED);
	/* The power cut tore span 2. */
	store_damage(store, "layers", store_entry_name(seek_layer(seek), name), "data",
		     2 * SPAN + 9, "torn", 4);
	struct store_layer *layer = layer_open(store, SEED);
	for (size_t i = 0; i < 5; i++) {
		const uint32_t both = SPAN_PRESENT | SPAN_UNVERIFIED;
		assert_int_equal(store_layer_state(layer, i) & both, both);
		assert_int_equal(layer_read_span_right(layer, SEED, i), i == 2 ? -EAGAIN : 0);
		assert_int_equal(store_layer_state(layer, i) & both, i == 2 ? 0 : SPAN_PRESENT);
	}
	assert_int_equal(store_counted(store), 4 * u64_align(SPAN, 512));
	assert_ok(layer_fill(layer, SEED, 2, &err), &err);
	assert_int_equal(layer_read_span_right(layer, SEED, 2), 0);
	store_layer_close(layer);
	/* The same boot: nothing is marked again. */
	layer = layer_open(store, SEED);
	assert_int_equal(store_layer_state(layer, 0), SPAN_PRESENT);
	store_layer_close(layer);

	/* An UNVERIFIED span can be filled too, and counts once. */
	other_boot(store, SEED);
	layer = layer_open(store, SEED);
	assert_ok(layer_fill(layer, SEED, 0, &err), &err);
	assert_int_equal(store_layer_state(layer, 0), SPAN_PRESENT);
	assert_int_equal(store_counted(store), 5 * u64_align(SPAN, 512));
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* Without a sum of the output nothing can be checked again: such spans are lost with a boot. */
static void test_other_boot_sum_in(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_IN);
	layer_publish(store, SEED, seek, 5 * SPAN);
	struct store_layer *layer = layer_open(store, SEED);
	assert_int_equal(layer_read_span_right(layer, SEED, 1), 0);
	store_layer_close(layer);
	other_boot(store, SEED);
	layer = layer_open(store, SEED);
	assert_int_equal(layer_read_span_right(layer, SEED, 1), -EAGAIN);
	assert_int_equal(store_counted(store), 0);
	store_layer_close(layer);

	/* The counter is of another boot too: the first opener counts anew. */
	layer_publish(store, SEED, seek, 0);
	store_damage(store, "", "", "usage", offsetof(struct store_counter, boot), "early", 5);
	store_usage_add(store, 12345);
	store_close(store);
	store = place_open(*state, BUDGET);
	assert_int_equal(store_counted(store), 0);
	seek_destroy(seek);
	store_close(store);
}

static void test_damaged_is_put_aside(void **state)
{
	struct err err = {0};
	static const char *const files[] = {"seek", "layer.json", "present"};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	const struct digest digest = layer_digest(SEED);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char name[DIGEST_STR_MAX];
		struct store_layer *layer = NULL;
		layer_publish(store, SEED, seek, SPAN);
		store_damage(store, "layers", store_entry_name(&digest, name), files[i], 0, "\xff",
			     1);
		assert_err(store_layer_open(store, &digest, &layer, &err), -ENOENT, &err,
			   "put a damaged layer aside");
		assert_non_null(strstr(err_text(&err), files[i]));
		assert_null(layer);
		assert_err(store_layer_open(store, &digest, &layer, &err), -ENOENT, &err,
			   "No such file");
	}
	seek_destroy(seek);
	store_close(store);
}

static void test_check_whole(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	const struct digest digest = layer_digest(SEED);
	layer_publish(store, SEED, seek, (SPANS - 1) * SPAN);
	struct store_layer *layer = layer_open(store, SEED);
	assert_err(store_layer_check_whole(layer, &err), -EAGAIN, &err, "is not whole");
	assert_ok(layer_fill(layer, SEED, SPANS - 1, &err), &err);
	assert_ok(store_layer_check_whole(layer, &err), &err);
	store_layer_close(layer);
	layer = layer_open(store, SEED);
	assert_true(store_layer_info(layer)->whole_checked);
	store_layer_close(layer);
	seek_destroy(seek);

	/* An index that lies: the spans have their sums, and the whole is another. */
	seek = layer_seek(SEED + 1, SPANS, SPAN, 0, SEEK_SUM_IN);
	layer_publish(store, SEED + 1, seek, SPANS * SPAN);
	layer = layer_open(store, SEED + 1);
	assert_int_equal(file_pwrite(store_layer_data_fd(layer), "lie", 3, 77), 0);
	assert_err(store_layer_check_whole(layer, &err), -EBADMSG, &err, "put aside");
	assert_non_null(strstr(err_text(&err), "expected sha256:"));
	store_layer_close(layer);
	const struct digest liar = layer_digest(SEED + 1);
	assert_int_equal(store_layer_open(store, &liar, &layer, &err), -ENOENT);
	assert_ok(store_layer_open(store, &digest, &layer, &err), &err);
	assert_int_equal(store_counted(store), SPANS * u64_align(SPAN, 512));
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* The same table for a tar that has `zeros` more bytes of padding than its device. */
static struct seek *padded_seek(const struct seek *from, uint64_t seed, size_t zeros)
{
	struct err err = {0};
	AUTO(seek_builder) struct seek_builder *builder = NULL;
	AUTO_FREE uint8_t *whole = calloc(1, SPANS * SPAN + zeros);
	struct seek *seek = NULL;
	struct seek_totals totals = {.layer = *seek_layer(from), .in_size = SPANS * SPAN,
				     .out_size = SPANS * SPAN, .is_tar = true};
	assert_non_null(whole);
	device_bytes(seed, 0, whole, SPANS * SPAN);
	assert_int_equal(digest_of(DIGEST_SHA256, whole, SPANS * SPAN + zeros, &totals.diff_id), 0);
	assert_ok(seek_builder_create(&builder), &err);
	for (size_t i = 0; i < SPANS; i++) {
		struct span span;
		seek_get(from, i, &span);
		assert_ok(seek_builder_add(builder, &span, &err), &err);
	}
	assert_ok(seek_builder_finish(builder, &totals, &seek, &err), &err);
	return seek;
}

/* Tables of SOCI stop at the end marker of a tar, where its padding begins. */
static void test_check_whole_padded(void **state)
{
	static const struct {
		enum seek_sum sum;
		size_t zeros;
		int code;
	} cases[] = {
		{SEEK_SUM_IN, 512, 0},
		{SEEK_SUM_IN, 1 << 20, 0},
		{SEEK_SUM_IN, (1 << 20) + 512, -EBADMSG},
		{SEEK_SUM_IN, 511, -EBADMSG},
		{SEEK_SUM_OUT, 512, -EBADMSG},
	};
	struct store *store = place_open(*state, BUDGET);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		struct seek *plain = layer_seek(SEED + i, SPANS, SPAN, 0, cases[i].sum);
		struct seek *seek = padded_seek(plain, SEED + i, cases[i].zeros);
		layer_publish(store, SEED + i, seek, SPANS * SPAN);
		struct store_layer *layer = layer_open(store, SEED + i);
		int r = store_layer_check_whole(layer, &err);
		if (cases[i].code < 0)
			assert_err(r, cases[i].code, &err, "put aside");
		else
			assert_ok(r, &err);
		store_layer_close(layer);
		seek_destroy(seek);
		seek_destroy(plain);
	}
	store_close(store);
}

static uint64_t layers_held(struct store *store)
{
	struct err err = {0};
	uint64_t bytes = 0;
	assert_ok(store_count_layers(store, &bytes, &err), &err);
	return bytes;
}

/* What a process had counted that was killed is taken back, and what somebody is filling is not. */
static void test_eviction_settles(void **state)
{
	struct err err = {0};
	enum { BIG = 64 << 10 };
	struct store *store = place_open(*state, 10 * BIG);
	struct seek *seek = layer_seek(SEED, SPANS, BIG, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	struct store_layer *other = layer_open(store, SEED);
	for (size_t i = 0; i < 8; i++)
		assert_ok(layer_fill(layer, SEED, i, &err), &err);
	(void)store_usage_add(store, 100 * BIG);
	assert_ok(layer_fill(layer, SEED, 8, &err), &err);
	assert_int_equal(layers_held(store), 9 * BIG);
	assert_int_equal(store_counted(store), 9 * BIG);

	/* Two are being filled, and one was. */
	assert_int_equal(store_layer_claim(layer, 12, 13), 0);
	assert_int_equal(store_layer_claim(other, 14, 15), 0);
	(void)store_usage_add(store, 3 * BIG);
	uint64_t freed;
	assert_ok(store_evict(store, 10 * BIG, &freed, &err), &err);
	assert_int_equal(store_counted(store), 10 * BIG);
	assert_int_equal(freed, BIG);
	assert_int_equal(layers_held(store), 8 * BIG);
	store_layer_release(layer, 12, 13);
	store_layer_release(other, 14, 15);
	assert_ok(store_evict(store, 9 * BIG, &freed, &err), &err);
	assert_int_equal(freed, 0);
	assert_int_equal(store_counted(store), 8 * BIG);
	store_layer_close(other);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void test_new_refusals(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	struct seek *needs = window_seek(SEED, 50);
	const struct store_layer_info info = {.index = LAYER_INDEX_LOCAL};
	const struct digest digest = layer_digest(SEED);
	const struct digest other = layer_digest(SEED + 1);
	struct store_layer_new *n = NULL;
	assert_ok(store_layer_new_create(store, &other, &n, &err), &err);
	assert_err(store_layer_new_finish(n, seek, &info, &err), -EINVAL, &err, "another layer");
	store_layer_new_destroy(n);
	assert_ok(store_layer_new_create(store, &digest, &n, &err), &err);
	assert_err(store_layer_new_finish(n, needs, &info, &err), -EINVAL, &err, "where from");
	store_layer_new_destroy(n);
	assert_ok(store_layer_new_create(store, &digest, &n, &err), &err);
	assert_ok(store_layer_new_windows(n, "x", 1, &err), &err);
	assert_err(store_layer_new_finish(n, needs, &info, &err), -EINVAL, &err, "1 bytes of windows");
	store_layer_new_destroy(n);
	assert_int_equal(store_counted(store), 0);
	seek_destroy(needs);
	seek_destroy(seek);
	store_close(store);
}

static void test_tree(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(SEED, SPANS, SPAN, 0, SEEK_SUM_OUT);
	struct buf text = buf_make(64);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	int fd = -1;
	assert_err(store_layer_tree(layer, &fd, &err), -ENOENT, &err, "the tree of a layer");
	for (int i = 0; i < 2; i++) {
		FILE *tree = tmpfile();
		assert_non_null(tree);
		(void)fprintf(tree, "tree %d", i);
		assert_int_equal(fflush(tree), 0);
		/* The second one finds the first there. */
		assert_ok(store_layer_add_tree(layer, fileno(tree), &err), &err);
		(void)fclose(tree);
	}
	assert_ok(store_layer_tree(layer, &fd, &err), &err);
	assert_int_equal(file_slurp_fd(fd, &text), 0);
	assert_string_equal(buf_str(&text), "tree 0");
	(void)close(fd);
	buf_finish(&text);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* Least recently used first: only what was read lately stays. */
static void test_evict_order(void **state)
{
	struct err err = {0};
	enum { MANY = 100000 };
	struct store *store = place_open(*state, GIB(1));
	struct seek *seek = layer_seek(SEED, MANY, 512, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	/* Ages from 0 to MANY - 1 seconds, in an order of their own. */
	uint32_t now = (uint32_t)(store_now_sec() - PRESENT_EPOCH);
	for (size_t i = 0; i < MANY; i++) {
		atomic_fetch_or(&layer->present.state[i], SPAN_PRESENT);
		atomic_store(&layer->present.used[i], now - (uint32_t)(i * 7919 % MANY));
	}
	store_usage_add(store, (uint64_t)MANY * 512);
	uint64_t freed = 0;
	uint64_t begin = clock_now_ns();
	assert_ok(store_evict(store, (uint64_t)MANY * 512 / 10 * 9, &freed, &err), &err);
	uint64_t took = clock_now_ns() - begin;
	print_message("a tenth of %d spans evicted in %llu ms\n", MANY,
		      (unsigned long long)(took / NS_PER_MS));
	assert_true(took < 5 * NS_PER_SEC); /* 0.1 s on an idle machine without sanitizers */
	assert_int_equal(freed, MANY / 10 * 512);
	/* 3 % is how exact the histogram is. */
	for (size_t i = 0; i < MANY; i++) {
		size_t age = i * 7919 % MANY;
		if (age < MANY / 10 * 9 * 96 / 100)
			assert_true(store_layer_state(layer, i) & SPAN_PRESENT);
		if (age >= MANY / 10 * 9 * 104 / 100)
			assert_false(store_layer_state(layer, i) & SPAN_PRESENT);
	}
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* As layer_fill(), for bytes that nobody asked for. */
static int layer_fill_spare(struct store_layer *layer, uint64_t seed, size_t i, struct err *err)
{
	struct span span;
	seek_get(store_layer_seek(layer), i, &span);
	AUTO_FREE uint8_t *data = malloc((size_t)span.out_len);
	assert_non_null(data);
	device_bytes(seed, span.out_off, data, (size_t)span.out_len);
	assert_int_equal(store_layer_claim(layer, i, i + 1), 0);
	int r = store_layer_fill_spare(layer, i, data, err);
	store_layer_release(layer, i, i + 1);
	return r;
}

/* What nobody asked for takes what is free, of the budget here, and pushes nothing out. */
static void test_spare(void **state)
{
	enum { PART = 4096, COUNT = 4 };
	struct err err = {0};
	struct store *store = place_open(*state, (uint64_t)3 * PART);
	struct seek *seek = layer_seek(SEED, COUNT, PART, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	assert_ok(layer_fill(layer, SEED, 0, &err), &err);
	for (size_t i = 0; i < 3; i++)
		assert_ok(layer_fill_spare(layer, SEED, i, &err), &err);
	assert_err(layer_fill_spare(layer, SEED, 3, &err), -ENOSPC, &err, "budget");
	assert_int_equal(store_counted(store), 3 * PART);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(layer_read_span_right(layer, SEED, i), 0);
	assert_int_equal(layer_read_span_right(layer, SEED, 3), -EAGAIN);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* A file system of 1 MiB, in a mount namespace of this process alone. */
static void test_disk_full(void **state)
{
	const struct place *place = *state;
	struct err err = {0};
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir(place->store, 0700) < 0 ||
	    mount("tmpfs", place->store, "tmpfs", 0, "size=1m,mode=0700") < 0) {
		print_message("skipped: no mount namespace (%s)\n", strerror(errno));
		skip();
	}
	enum { BIG = 64 << 10, COUNT = 40 };
	struct store *store = place_open(place, GIB(1));
	struct seek *seek = layer_seek(SEED, COUNT, BIG, 0, SEEK_SUM_OUT);
	layer_publish(store, SEED, seek, 0);
	struct store_layer *layer = layer_open(store, SEED);
	for (size_t i = 0; i < COUNT; i++) {
		assert_ok(layer_fill(layer, SEED, i, &err), &err);
		assert_int_equal(layer_read_span_right(layer, SEED, i), 0);
	}
	assert_true(store_counted(store) < MIB(1));
	/* What nobody asked for takes no place from what is there. */
	uint64_t counted = 0;
	int r = 0;
	for (size_t i = 0; i < COUNT && r == 0; i++) {
		counted = store_counted(store);
		r = layer_fill_spare(layer, SEED, i, &err);
	}
	assert_err(r, -ENOSPC, &err, "keep 65536 bytes in the store");
	assert_int_equal(store_counted(store), counted);
	assert_int_equal(layer_read_span_right(layer, SEED, COUNT - 1), 0);
	/* Somebody else takes the rest: nothing can be freed, and the sentence says so. */
	uint64_t freed;
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	int fd = openat(store_dir_tmp(store), "hog", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	static char zeros[4096];
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	assert_err(layer_fill(layer, SEED, 0, &err), -ENOSPC, &err, "keep 65536 bytes in the store");
	assert_int_equal(layer_read_span_right(layer, SEED, 0), -EAGAIN);
	assert_int_equal(store_counted(store), 0);
	struct digest blob;
	assert_int_equal(digest_of(DIGEST_SHA256, zeros, sizeof(zeros), &blob), 0);
	assert_err(store_blob_put(store, &blob, zeros, sizeof(zeros), &err), -ENOSPC, &err,
		   "keep a blob in the store");
	(void)close(fd);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);

	/* Read-only: said at once. */
	assert_int_equal(mount(NULL, place->store, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	const struct store_config config = {.path = place->store};
	assert_err(store_open(&config, &store, &err), -EROFS, &err, place->store);
	assert_int_equal(umount(place->store), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_publish_part, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_first_publisher_wins, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_fill_read_evict, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_padding_and_range, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_claims_and_eviction_exclude, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_shared_page_stays, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_budget, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_new_stops_at_budget, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_other_boot, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_other_boot_sum_in, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_is_put_aside, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_check_whole, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_check_whole_padded, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_eviction_settles, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_new_refusals, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_tree, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_evict_order, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_spare, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_disk_full, place_setup, place_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
