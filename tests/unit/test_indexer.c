/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/indexer.h"

#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "fetcher/span_decoder.h"
#include "tests/unit/layers.h"

struct want {
	const struct buf *content;
	size_t seen;
};

static int see_span(void *data, size_t i, const void *bytes, size_t len)
{
	struct want *want = data;
	(void)i;
	assert_true(want->seen + len <= want->content->len);
	assert_memory_equal(bytes, want->content->data + want->seen, len);
	want->seen += len;
	return 0;
}

static const void *window_of(struct span_scratch *scratch, const struct indexed *x,
			     const struct span *s, uint8_t room[static SEEK_WINDOW_BYTES])
{
	struct err err = {0};
	if (!s->win_len)
		return NULL;
	assert_ok(span_window_unpack(scratch, x->windows.data + s->win_off, s->win_len, room, &err),
		  &err);
	return room;
}

/* Every span, in an order of its own (7919 is prime), gives the content again. */
static void check_spans(const struct indexed *x, const struct buf *content,
			const struct buf *layer, enum span_engine engine)
{
	static uint8_t window[SEEK_WINDOW_BYTES];
	struct err err = {0};
	AUTO(span_scratch) struct span_scratch *scratch = NULL;
	int r = span_scratch_create(engine, &scratch);
	if (r == -EOPNOTSUPP)
		return;
	assert_int_equal(r, 0);
	size_t count = seek_count(x->seek);
	for (size_t k = 0; k < count; k++) {
		struct span s;
		size_t i = k * 7919 % count;
		seek_get(x->seek, i, &s);
		AUTO_FREE uint8_t *out = malloc(s.out_len);
		assert_non_null(out);
		assert_ok(span_decode(scratch, x->seek, i, layer->data + s.in_off, s.in_len,
				      window_of(scratch, x, &s, window), out, &err),
			  &err);
		assert_memory_equal(out, content->data + s.out_off, s.out_len);
	}
}

/* And so does every unit, its range arriving in pieces. */
static void check_units(const struct indexed *x, const struct buf *content,
			const struct buf *layer, enum span_engine engine, size_t piece)
{
	static uint8_t window[SEEK_WINDOW_BYTES];
	struct err err = {0};
	AUTO(span_scratch) struct span_scratch *scratch = NULL;
	int r = span_scratch_create(engine, &scratch);
	if (r == -EOPNOTSUPP)
		return;
	assert_int_equal(r, 0);
	struct want want = {.content = content};
	for (size_t first = 0, end; first < seek_count(x->seek); first = end) {
		struct span s;
		size_t unit_first;
		seek_get(x->seek, first, &s);
		seek_unit(x->seek, first, &unit_first, &end);
		assert_int_equal(unit_first, first);
		AUTO(span_decoder) struct span_decoder *d = NULL;
		assert_ok(span_decoder_create(scratch, x->seek, first, end,
					      window_of(scratch, x, &s, window), see_span, &want,
					      &d, &err),
			  &err);
		r = 0;
		for (uint64_t done = 0; done < s.in_len && r == 0;) {
			size_t part = (size_t)u64_min(piece, s.in_len - done);
			r = span_decoder_push(d, layer->data + s.in_off + done, part, &err);
			assert_ok(r, &err);
			done += part;
		}
		assert_ok(span_decoder_finish(d, &err), &err);
	}
	assert_int_equal(want.seen, content->len);
}

/* Indexes the layer and takes it apart again in all ways. */
static void check_layer(const struct buf *layer, const struct buf *content, size_t piece,
			struct indexed *ret)
{
	struct err err = {0};
	struct digest diff_id;
	assert_ok(layer_index(layer->data, layer->len, piece, ret, &err), &err);
	assert_int_equal(ret->out.len, content->len);
	assert_memory_equal(buf_str(&ret->out), buf_str(content), content->len);
	assert_int_equal(digest_of(DIGEST_SHA256, buf_str(content), content->len, &diff_id), 0);
	assert_true(digest_equal(&diff_id, seek_diff_id(ret->seek)));
	assert_int_equal(seek_in_size(ret->seek), layer->len);
	assert_int_equal(seek_out_size(ret->seek), content->len);
	assert_int_equal(seek_windows_size(ret->seek), ret->windows.len);
	assert_true(seek_is_tar(ret->seek));
	static const enum span_engine engines[] = {SPAN_ENGINE_ZLIB, SPAN_ENGINE_ISAL};
	for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
		check_spans(ret, content, layer, engines[e]);
		check_units(ret, content, layer, engines[e], layer->len < 100000 ? 1 : 4093);
	}
}

static void test_gzip_levels(void **state)
{
	(void)state;
	static const int levels[] = {0, 1, 6, 9};
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	layer_mixed(&content, 5 << 20, 1);
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
		struct indexed x;
		layer_gzip(&layer, content.data, content.len, levels[i], Z_NO_FLUSH);
		check_layer(&layer, &content, 65536, &x);
		assert_in_range(seek_count(x.seek), 4, 5);
		assert_true(x.windows.len > 0);
		indexed_finish(&x);
	}
}

/* Checkpoints at each of the eight bit offsets were met, and could be resumed. */
static void test_gzip_bits(void **state)
{
	(void)state;
	unsigned int seen = 0;
	for (uint32_t seed = 0; seed < 8; seed++) {
		AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
		AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
		struct indexed x;
		layer_mixed(&content, 7 << 20, seed);
		layer_gzip(&layer, content.data, content.len, 3, seed ? Z_NO_FLUSH : Z_FULL_FLUSH);
		check_layer(&layer, &content, 100000, &x);
		for (size_t i = 1; i < seek_count(x.seek); i++) {
			struct span s;
			seek_get(x.seek, i, &s);
			seen |= 1u << s.bits;
		}
		indexed_finish(&x);
	}
	assert_int_equal(seen, 0xff);
}

static void test_gzip_zeros(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	struct indexed x;
	struct span s;
	size_t first, end;
	layer_zeros(&content, 21000000);
	layer_gzip(&layer, content.data, content.len, 9, Z_NO_FLUSH);
	check_layer(&layer, &content, 4096, &x);
	/* zlib's blocks give about 4 MiB here: units of several spans. */
	seek_unit(x.seek, 0, &first, &end);
	assert_in_range(end, 2, 3);
	seek_get(x.seek, 1, &s);
	assert_int_equal(s.skip, 2 << 20);
	indexed_finish(&x);
}

static void test_gzip_members(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	struct indexed x;
	uint32_t seed = 5;
	layer_mixed(&content, 6 << 20, 2);
	for (size_t done = 0; done < content.len;) {
		/* Many small ones, some empty, now and then a large one. */
		size_t part = layer_random(&seed) % 20 ? layer_random(&seed) % 60000 : 1500000;
		if (part % 7 == 0)
			part = 0;
		part = (size_t)u64_min(part, content.len - done);
		layer_gzip(&layer, content.data + done, part, 6, Z_NO_FLUSH);
		done += part;
	}
	check_layer(&layer, &content, 1777, &x);
	assert_in_range(seek_count(x.seek), 3, 6);
	indexed_finish(&x);
}

static void test_gzip_trailing_garbage(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
	} tails[] = {
		{"\0\0\0\0\0\0\0\0", 8}, {"garbage", 7}, {"\x1f", 1}, {"\x1fgarbage", 8},
		{"\0\0\x1f\x8b\x08", 5},
	};
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		for (size_t piece = 1; piece < 1000; piece += 900) {
			AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
			AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
			struct indexed x;
			layer_mixed(&content, 10000, 3);
			layer_gzip(&layer, content.data, content.len, 6, Z_NO_FLUSH);
			assert_int_equal(buf_append(&layer, tails[i].bytes, tails[i].n), 0);
			check_layer(&layer, &content, piece, &x);
			indexed_finish(&x);
		}
	}
}

static void test_gzip_header_fields(void **state)
{
	(void)state;
	/* FEXTRA, FNAME, FCOMMENT and FHCRC together, then those with nothing in them. */
	static const char head[] = "\x1f\x8b\x08\x1e\0\0\0\0\0\3" "\5\0extra" "name\0" "comment\0" "hc";
	static const char bare[] = "\x1f\x8b\x08\x04\0\0\0\0\0\3" "\0\0";
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf member = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	struct indexed x;
	layer_mixed(&content, 1000, 4);
	layer_gzip(&member, content.data, 500, 6, Z_NO_FLUSH);
	assert_int_equal(buf_append(&layer, head, sizeof(head) - 1), 0);
	assert_int_equal(buf_append(&layer, member.data + 10, member.len - 10), 0);
	buf_clear(&member);
	layer_gzip(&member, content.data + 500, 500, 6, Z_NO_FLUSH);
	assert_int_equal(buf_append(&layer, bare, sizeof(bare) - 1), 0);
	assert_int_equal(buf_append(&layer, member.data + 10, member.len - 10), 0);
	check_layer(&layer, &content, 1, &x);
	indexed_finish(&x);
}

static void test_zstd_frames(void **state)
{
	(void)state;
	static const char skippable[] = "\x57\x2a\x4d\x18\3\0\0\0abc";
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	struct indexed x;
	uint32_t seed = 6;
	layer_mixed(&content, 6 << 20, 7);
	assert_int_equal(buf_append(&layer, skippable, sizeof(skippable) - 1), 0);
	for (size_t done = 0; done < content.len;) {
		size_t part = layer_random(&seed) % 10 ? layer_random(&seed) % 200000 : 0;
		part = (size_t)u64_min(part, content.len - done);
		layer_zstd(&layer, content.data + done, part, (int)(part & 1), 0);
		if (part % 3 == 0)
			assert_int_equal(buf_append(&layer, skippable, sizeof(skippable) - 1), 0);
		done += part;
	}
	assert_int_equal(buf_append(&layer, skippable, sizeof(skippable) - 1), 0);
	check_layer(&layer, &content, 999, &x);
	assert_in_range(seek_count(x.seek), 5, 6);
	indexed_finish(&x);
}

static void test_zstd_one_long_frame(void **state)
{
	(void)state;
	for (int size = 0; size < 2; size++) {
		AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
		AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
		struct indexed x;
		size_t first, end;
		layer_mixed(&content, 9 << 20, 8);
		layer_zstd(&layer, content.data, content.len, size, 25);
		check_layer(&layer, &content, 50000, &x);
		seek_unit(x.seek, 0, &first, &end);
		assert_int_equal(end, 5);
		assert_int_equal(seek_count(x.seek), 5);
		indexed_finish(&x);
	}
}

static void test_tar(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 5, 6, 7, 1 << 20, (1 << 20) + 1, 3500000};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
		struct indexed x;
		layer_zeros(&content, sizes[i]);
		check_layer(&content, &content, 70001, &x);
		assert_int_equal(seek_count(x.seek), (sizes[i] + (1 << 20) - 1) >> 20);
		indexed_finish(&x);
	}
}

/* Pieces of every small size give one and the same table. */
static void test_pieces(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	struct buf layers[2] = {buf_make(LAYER_MAX), buf_make(LAYER_MAX)};
	layer_mixed(&content, 2500000, 9);
	layer_gzip(&layers[0], content.data, content.len, 6, Z_SYNC_FLUSH);
	layer_zstd(&layers[1], content.data, content.len, 1, 0);
	for (size_t l = 0; l < 2; l++) {
		struct err err = {0};
		struct indexed whole;
		assert_ok(layer_index(layers[l].data, layers[l].len, SIZE_MAX, &whole, &err), &err);
		static const size_t pieces[] = {1, 2, 3, 7, 65536};
		for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
			struct indexed x;
			size_t n, want_n;
			assert_ok(layer_index(layers[l].data, layers[l].len, pieces[i], &x, &err),
				  &err);
			const void *got = seek_bytes(x.seek, &n);
			const void *want = seek_bytes(whole.seek, &want_n);
			assert_int_equal(n, want_n);
			assert_memory_equal(got, want, n);
			indexed_finish(&x);
		}
		indexed_finish(&whole);
		buf_finish(&layers[l]);
	}
}

static void test_other_formats(void **state)
{
	(void)state;
	static const struct {
		const char *magic, *name;
	} formats[] = {
		{"\xfd" "7zXZ\0..", "with xz are not"}, {"BZh91AY.", "with bzip2 are not"},
		{"\x04\x22\x4d\x18....", "with lz4 are not"}, {"LZIP\1...", "with lzip are not"},
	};
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		struct err err = {0};
		struct indexed x;
		assert_err(layer_index(formats[i].magic, 8, 1, &x, &err), -EOPNOTSUPP, &err,
			   formats[i].name);
		indexed_finish(&x);
	}
}

/* Ends too early anywhere: an error, and the right one. */
static void test_truncated(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf gzip = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf zstd = buf_make(LAYER_MAX);
	layer_mixed(&content, 9000, 10);
	layer_gzip(&gzip, content.data, content.len, 6, Z_NO_FLUSH);
	layer_zstd(&zstd, content.data, content.len, 1, 0);
	for (size_t cut = 2; cut < gzip.len; cut++) {
		struct err err = {0};
		struct indexed x;
		assert_err(layer_index(gzip.data, cut, cut, &x, &err), -EBADMSG, &err,
			   "gzip stream is truncated: it ends inside a member, at byte");
		indexed_finish(&x);
	}
	for (size_t cut = 4; cut < zstd.len; cut++) {
		struct err err = {0};
		struct indexed x;
		assert_err(layer_index(zstd.data, cut, cut, &x, &err), -EBADMSG, &err,
			   "zstd stream is truncated: it ends inside a frame, at byte");
		indexed_finish(&x);
	}
}

/* Any wrong byte of deflate data, of the CRC or of the length is found. */
static void test_corrupt(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf gzip = buf_make(LAYER_MAX);
	layer_mixed(&content, 9000, 11);
	layer_gzip(&gzip, content.data, content.len, 6, Z_NO_FLUSH);
	for (size_t i = 10; i < gzip.len; i++) {
		struct err err = {0};
		struct indexed x;
		gzip.data[i] ^= 0x10;
		int r = layer_index(gzip.data, gzip.len, 4096, &x, &err);
		assert_err(r, -EBADMSG, &err, "the gzip stream is");
		gzip.data[i] ^= 0x10;
		indexed_finish(&x);
	}
	struct err err = {0};
	struct indexed x;
	gzip.data[2] = 7;
	assert_err(layer_index(gzip.data, gzip.len, 1, &x, &err), -EBADMSG, &err,
		   "corrupt near byte 2: a wrong gzip header");
	indexed_finish(&x);
	/* The frame's window is 2^31, beyond what we would allocate; then a block of no kind. */
	assert_err(layer_index("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9, 9, &x, &err), -EBADMSG,
		   &err, "requires too much memory");
	indexed_finish(&x);
	assert_err(layer_index("\x28\xb5\x2f\xfd\x00\x58\x0f\x00\x00", 9, 9, &x, &err), -EBADMSG,
		   &err, "the zstd stream is corrupt near byte 6: ");
	indexed_finish(&x);
}

static void test_caps(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	layer_zeros(&content, 8 << 20);
	layer_zstd(&layer, content.data, content.len, 1, 0);

	struct indexer_options options = {.out_max = content.len - 1};
	struct indexer *x = NULL;
	assert_ok(indexer_create(&options, &x, &err), &err);
	assert_err(indexer_push(x, layer.data, layer.len, &err), -EFBIG, &err,
		   "unpacks to more than 8388607 bytes");
	indexer_destroy(x);

	options = (struct indexer_options){.ratio_max = 1000, .ratio_from = 1 << 20};
	assert_ok(indexer_create(&options, &x, &err), &err);
	assert_err(indexer_push(x, layer.data, layer.len, &err), -EFBIG, &err,
		   "unpacks to more than 1000 times its size");
	indexer_destroy(x);

	options = (struct indexer_options){.out_max = UINT64_MAX};
	x = NULL;
	assert_err(indexer_create(&options, &x, &err), -EINVAL, &err, "takes at most");
	assert_null(x);
}

static int full_sink(void *data, const void *bytes, size_t n)
{
	(void)data;
	(void)bytes;
	(void)n;
	return -ENOSPC;
}

static void test_sinks_end_the_work(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	layer_mixed(&content, 3 << 20, 12);
	layer_gzip(&layer, content.data, content.len, 6, Z_NO_FLUSH);
	struct indexer_options options = {.out = {.write = full_sink}};
	struct indexer *x = NULL;
	assert_ok(indexer_create(&options, &x, &err), &err);
	assert_err(indexer_push(x, layer.data, layer.len, &err), -ENOSPC, &err, "layer's bytes");
	indexer_destroy(x);
	options = (struct indexer_options){.windows = {.write = full_sink}};
	assert_ok(indexer_create(&options, &x, &err), &err);
	assert_err(indexer_push(x, layer.data, layer.len, &err), -ENOSPC, &err, "keep a window");
	indexer_destroy(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gzip_levels),
		cmocka_unit_test(test_gzip_bits),
		cmocka_unit_test(test_gzip_zeros),
		cmocka_unit_test(test_gzip_members),
		cmocka_unit_test(test_gzip_trailing_garbage),
		cmocka_unit_test(test_gzip_header_fields),
		cmocka_unit_test(test_zstd_frames),
		cmocka_unit_test(test_zstd_one_long_frame),
		cmocka_unit_test(test_tar),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_other_formats),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_sinks_end_the_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
