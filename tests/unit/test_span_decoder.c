/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/span_decoder.h"

#include <errno.h>

#include "base/num.h"
#include "tests/unit/layers.h"

static const enum span_engine engines[] = {SPAN_ENGINE_ZLIB, SPAN_ENGINE_ISAL};

/* Skips the test where ISA-L was not built in. */
static struct span_scratch *scratch_of(enum span_engine engine)
{
	struct span_scratch *scratch = NULL;
	int r = span_scratch_create(engine, &scratch);
	if (engine == SPAN_ENGINE_ISAL && r == -EOPNOTSUPP)
		return NULL;
	assert_int_equal(r, 0);
	return scratch;
}

/* A table of n spans for a layer, whatever they say. */
static struct seek *table(const struct span *spans, size_t n, uint64_t in_size)
{
	struct err err = {0};
	struct seek *seek = NULL;
	struct seek_totals totals = {
		.layer = {.algo = DIGEST_SHA256},
		.in_size = in_size,
		.out_size = UINT64_C(1) << 40,
		.windows_size = 1 << 20,
	};
	AUTO(seek_builder) struct seek_builder *b = NULL;
	assert_int_equal(seek_builder_create(&b), 0);
	for (size_t i = 0; i < n; i++)
		assert_ok(seek_builder_add(b, &spans[i], &err), &err);
	assert_ok(seek_builder_finish(b, &totals, &seek, &err), &err);
	return seek;
}

static void set_sum(struct span *s, enum seek_sum sum, const void *data, size_t n)
{
	struct digest d;
	assert_int_equal(digest_of(DIGEST_SHA256, data, n, &d), 0);
	memcpy(s->sha256, d.bytes, SHA256_BYTES);
	s->sum = sum;
}

/* A layer of three spans, of which the middle one needs its window, its bits, its end. */
struct sample {
	struct buf content, layer;
	struct indexed x;
	struct span s; /* the second */
	uint8_t window[SEEK_WINDOW_BYTES];
	uint8_t *out;
};

static void sample_init(struct sample *t)
{
	struct err err = {0};
	struct span_scratch *scratch = scratch_of(SPAN_ENGINE_ZLIB);
	t->content = buf_make(LAYER_MAX);
	t->layer = buf_make(LAYER_MAX);
	layer_mixed(&t->content, 3 << 20, 21);
	layer_gzip(&t->layer, t->content.data, t->content.len, 6, Z_NO_FLUSH);
	assert_ok(layer_index(t->layer.data, t->layer.len, 65536, &t->x, &err), &err);
	seek_get(t->x.seek, 1, &t->s);
	assert_true(t->s.bits > 0 && t->s.win_len > 0);
	assert_ok(span_window_unpack(scratch, t->x.windows.data + t->s.win_off, t->s.win_len,
				     t->window, &err),
		  &err);
	span_scratch_destroy(scratch);
	t->out = malloc(SEEK_SPAN_OUT_MAX);
	assert_non_null(t->out);
}

static void sample_finish(struct sample *t)
{
	indexed_finish(&t->x);
	buf_finish(&t->content);
	buf_finish(&t->layer);
	free(t->out);
}

/* Decodes one span that stands alone in its table. */
static int decode_one(struct span_scratch *scratch, const struct sample *t, const struct span *s,
		      const void *window, struct err *err)
{
	AUTO(seek) struct seek *seek = table(s, 1, t->layer.len);
	return span_decode(scratch, seek, 0, t->layer.data + s->in_off, s->in_len, window, t->out,
			   err);
}

static void test_wrong_fields(void **state)
{
	(void)state;
	struct sample t = {0};
	sample_init(&t);
	for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
		AUTO(span_scratch) struct span_scratch *scratch = scratch_of(engines[e]);
		if (!scratch)
			continue;
		struct err err = {0};
		struct span s = t.s;
		assert_ok(decode_one(scratch, &t, &s, t.window, &err), &err);
		assert_memory_equal(t.out, t.content.data + s.out_off, s.out_len);

		s.out_len--;
		assert_err(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG, &err,
			   "span 0 yields more than the");
		s = t.s;
		s.out_len++;
		assert_err(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG, &err,
			   "span 0 is truncated: ");
		s = t.s;
		s.in_len -= 100;
		assert_err(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG, &err,
			   "span 0 is truncated: ");
		s = t.s;
		s.sha256[31] ^= 1;
		assert_err(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG, &err,
			   "span 0: the content is corrupt");
		s = t.s;
		s.in_off++;
		s.in_len--;
		assert_int_equal(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG);
		s = t.s;
		s.bits ^= 1;
		assert_int_equal(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG);
		s = t.s;
		s.codec = SEEK_GZIP;
		s.bits = 0;
		s.win_len = 0;
		s.win_off = 0;
		assert_err(decode_one(scratch, &t, &s, NULL, &err), -EBADMSG, &err,
			   "span 0 is corrupt: wrong gzip header");
		s.codec = SEEK_ZSTD;
		assert_err(decode_one(scratch, &t, &s, NULL, &err), -EBADMSG, &err,
			   "span 0 is corrupt: Unknown frame descriptor");
		/* The last span ends with the member, so there is nothing after it. */
		seek_get(t.x.seek, seek_count(t.x.seek) - 1, &s);
		s.win_off = t.s.win_off;
		s.win_len = t.s.win_len;
		assert_int_equal(decode_one(scratch, &t, &s, t.window, &err), -EBADMSG);
		/* And the scratch is none the worse. */
		assert_ok(decode_one(scratch, &t, &t.s, t.window, &err), &err);
	}
	sample_finish(&t);
}

static void test_wrong_calls(void **state)
{
	(void)state;
	struct sample t = {0};
	struct err err = {0};
	sample_init(&t);
	AUTO(span_scratch) struct span_scratch *scratch = scratch_of(SPAN_ENGINE_BEST);
	const struct seek *seek = t.x.seek;
	const char *in = t.layer.data + t.s.in_off;
	assert_err(span_decode(scratch, seek, 1, in, t.s.in_len - 1, t.window, t.out, &err),
		   -EINVAL, &err, "span 1 takes");
	assert_err(span_decode(scratch, seek, 1, in, t.s.in_len, NULL, t.out, &err), -EINVAL, &err,
		   "span 1 cannot be decoded without its window");
	struct span s;
	seek_get(seek, 0, &s);
	assert_err(span_decode(scratch, seek, 0, t.layer.data + s.in_off, s.in_len, t.window, t.out,
			       &err),
		   -EINVAL, &err, "span 0 takes no window");

	struct span_decoder *d = NULL;
	assert_err(span_decoder_create(scratch, seek, 0, 2, NULL, NULL, NULL, &d, &err), -EINVAL,
		   &err, "are not of one unit");
	assert_err(span_decoder_create(scratch, seek, 1, 1, NULL, NULL, NULL, &d, &err), -EINVAL,
		   &err, "there are no spans 1 to 1");
	assert_err(span_decoder_create(scratch, seek, 0, 9, NULL, NULL, NULL, &d, &err), -EINVAL,
		   &err, "there are no spans 0 to 9");
	assert_null(d);
	sample_finish(&t);
}

static void test_wrong_window(void **state)
{
	(void)state;
	struct sample t = {0};
	struct err err = {0};
	sample_init(&t);
	AUTO(span_scratch) struct span_scratch *scratch = scratch_of(SPAN_ENGINE_BEST);
	uint8_t other[SEEK_WINDOW_BYTES] = {0};
	assert_err(decode_one(scratch, &t, &t.s, other, &err), -EBADMSG, &err,
		   "the content is corrupt");

	char *packed = t.x.windows.data + t.s.win_off;
	assert_err(span_window_unpack(scratch, packed, t.s.win_len - 1, other, &err), -EBADMSG,
		   &err, "a packed window is corrupt");
	assert_err(span_window_unpack(scratch, packed, 0, other, &err), -EBADMSG, &err,
		   "a packed window of 0 bytes");
	AUTO_FINISH(buf) struct buf small = buf_make(LAYER_MAX);
	layer_zstd(&small, t.content.data, 32767, 1, 0);
	assert_err(span_window_unpack(scratch, small.data, small.len, other, &err), -EBADMSG, &err,
		   "it has 32767 bytes, not 32768");
	sample_finish(&t);
}

/* Whatever byte is wrong, no wrong content comes out. */
static void test_flipped_bytes(void **state)
{
	(void)state;
	struct sample t = {0};
	sample_init(&t);
	for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
		AUTO(span_scratch) struct span_scratch *scratch = scratch_of(engines[e]);
		if (!scratch)
			continue;
		/* The first byte's lower bits are the neighbour's, the last one's upper bits too. */
		for (uint64_t i = 1; i + 1 < t.s.in_len; i += 1 + i / 8) {
			struct err err = {0};
			t.layer.data[t.s.in_off + i] ^= 4;
			int r = decode_one(scratch, &t, &t.s, t.window, &err);
			assert_int_equal(r, -EBADMSG);
			assert_non_null(strstr(err_text(&err), "span 0"));
			t.layer.data[t.s.in_off + i] ^= 4;
		}
	}
	sample_finish(&t);
}

struct seen {
	const struct buf *content;
	const struct span *spans;
	size_t next;
	int result;
};

static int see(void *data, size_t i, const void *bytes, size_t len)
{
	struct seen *seen = data;
	assert_int_equal(i, seen->next);
	assert_int_equal(len, seen->spans[i].out_len);
	assert_memory_equal(bytes, seen->content->data + seen->spans[i].skip, len);
	seen->next++;
	return seen->result;
}

/* Pushes a range in pieces; the first result that is not 0, or that of the finish. */
static int push_all(struct span_decoder *d, const char *in, size_t n, size_t piece,
		    struct err *err)
{
	int r = 0;
	for (size_t done = 0; done < n && r == 0; done += piece)
		r = span_decoder_push(d, in + done, (size_t)u64_min(piece, n - done), err);
	return r < 0 ? r : span_decoder_finish(d, err);
}

/* Chunks within one member, with padding between and after them, as eStargz has it. */
static void unit_of_chunks(struct buf *content, struct buf *layer, struct span spans[3],
			   enum seek_codec codec, enum seek_sum sum)
{
	layer_mixed(content, 300000, 22);
	if (codec == SEEK_GZIP)
		layer_gzip(layer, content->data, content->len, 6, Z_NO_FLUSH);
	else
		layer_zstd(layer, content->data, content->len, 0, 0);
	static const uint64_t skips[] = {512, 100000, 200000}, lens[] = {90000, 100000, 50001};
	for (size_t i = 0; i < 3; i++) {
		spans[i] = (struct span){
			.in_len = layer->len,
			.out_off = i << 20,
			.out_len = lens[i],
			.skip = skips[i],
			.codec = codec,
		};
		if (sum == SEEK_SUM_OUT)
			set_sum(&spans[i], sum, content->data + skips[i], lens[i]);
		else
			set_sum(&spans[i], sum, layer->data, layer->len);
	}
}

static void check_chunks(enum span_engine engine, enum seek_codec codec, enum seek_sum sum)
{
	static const size_t pieces[] = {1, 1000, 1 << 20};
	struct span spans[3];
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	AUTO(span_scratch) struct span_scratch *scratch = scratch_of(engine);
	if (!scratch)
		return;
	unit_of_chunks(&content, &layer, spans, codec, sum);
	AUTO(seek) struct seek *seek = table(spans, 3, layer.len);
	for (size_t k = 0; k < 9; k++) {
		struct err err = {0};
		size_t first = k % 3, end = first + 1 + k / 3;
		if (end > 3)
			continue;
		for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
			struct seen seen = {.content = &content, .spans = spans, .next = first};
			AUTO(span_decoder) struct span_decoder *d = NULL;
			assert_ok(span_decoder_create(scratch, seek, first, end, NULL, see, &seen,
						      &d, &err),
				  &err);
			assert_ok(push_all(d, layer.data, layer.len, pieces[p], &err), &err);
			assert_int_equal(seen.next, end);
			/* Done: the rest of the range is of no use. */
			assert_int_equal(span_decoder_push(d, layer.data, 1, &err), 1);
		}
		AUTO_FREE uint8_t *out = malloc(spans[first].out_len);
		assert_ok(span_decode(scratch, seek, first, layer.data, layer.len, NULL, out, &err),
			  &err);
		assert_memory_equal(out, content.data + spans[first].skip, spans[first].out_len);
	}
}

static void test_chunks(void **state)
{
	(void)state;
	for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
		check_chunks(engines[e], SEEK_GZIP, SEEK_SUM_OUT);
		check_chunks(engines[e], SEEK_GZIP, SEEK_SUM_IN);
	}
	check_chunks(SPAN_ENGINE_ZLIB, SEEK_ZSTD, SEEK_SUM_OUT);
	check_chunks(SPAN_ENGINE_ZLIB, SEEK_ZSTD, SEEK_SUM_IN);
}

static void check_damaged(enum span_engine engine, enum seek_codec codec, enum seek_sum sum)
{
	struct span spans[3];
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
	AUTO(span_scratch) struct span_scratch *scratch = scratch_of(engine);
	if (!scratch)
		return;
	unit_of_chunks(&content, &layer, spans, codec, sum);
	AUTO(seek) struct seek *seek = table(spans, 3, layer.len);
	unsigned int refused = 0;
	for (size_t i = 20; i < layer.len / 2; i += 1 + i / 4) {
		struct err err = {0};
		struct seen seen = {.content = &content, .spans = spans};
		AUTO(span_decoder) struct span_decoder *d = NULL;
		assert_ok(span_decoder_create(scratch, seek, 0, 3, NULL, see, &seen, &d, &err), &err);
		layer.data[i] ^= 0x40;
		int r = push_all(d, layer.data, layer.len, 5000, &err);
		layer.data[i] ^= 0x40;
		/* A byte that only padding came from does no harm; see() has compared the rest. */
		if (sum == SEEK_SUM_OUT && r == 0) {
			assert_int_equal(seen.next, 3);
			continue;
		}
		assert_err(r, -EBADMSG, &err, "span ");
		assert_true(seen.next < 3);
		if (sum == SEEK_SUM_IN)
			assert_int_equal(seen.next, 0);
		refused++;
	}
	assert_true(refused > 10);
	struct err err = {0};
	struct seen seen = {.content = &content, .spans = spans};
	AUTO(span_decoder) struct span_decoder *d = NULL;
	assert_ok(span_decoder_create(scratch, seek, 0, 3, NULL, see, &seen, &d, &err), &err);
	assert_err(push_all(d, layer.data, layer.len / 2, 100, &err), -EBADMSG, &err,
		   "compressed bytes arrived");
}

static void test_damaged_units(void **state)
{
	(void)state;
	for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
		check_damaged(engines[e], SEEK_GZIP, SEEK_SUM_OUT);
		check_damaged(engines[e], SEEK_GZIP, SEEK_SUM_IN);
	}
	check_damaged(SPAN_ENGINE_ZLIB, SEEK_ZSTD, SEEK_SUM_OUT);
	check_damaged(SPAN_ENGINE_ZLIB, SEEK_ZSTD, SEEK_SUM_IN);
}

static void test_yields_less(void **state)
{
	(void)state;
	static const enum seek_codec codecs[] = {SEEK_GZIP, SEEK_ZSTD};
	for (size_t i = 0; i < 3; i++) {
		struct err err = {0};
		struct span spans[3];
		uint8_t out[2000];
		AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
		AUTO_FINISH(buf) struct buf layer = buf_make(LAYER_MAX);
		AUTO(span_scratch) struct span_scratch *scratch =
			scratch_of(i ? SPAN_ENGINE_BEST : SPAN_ENGINE_ZLIB);
		layer_mixed(&content, 1000, 23);
		if (codecs[i / 2] == SEEK_GZIP)
			layer_gzip(&layer, content.data, content.len, 6, Z_NO_FLUSH);
		else
			layer_zstd(&layer, content.data, content.len, 1, 0);
		spans[0] = (struct span){.in_len = layer.len, .out_len = 1001,
					 .codec = codecs[i / 2]};
		set_sum(&spans[0], SEEK_SUM_IN, layer.data, layer.len);
		AUTO(seek) struct seek *seek = table(spans, 1, layer.len);
		assert_err(span_decode(scratch, seek, 0, layer.data, layer.len, NULL, out, &err),
			   -EBADMSG, &err,
			   codecs[i / 2] == SEEK_GZIP ?
				   "span 0 yields 1000 bytes, not the 1001 of the seek table" :
				   "give 1000 bytes of 1001");
	}
}

static void test_zeros_and_sinks(void **state)
{
	(void)state;
	struct err err = {0};
	struct span s = {.out_len = 5000, .codec = SEEK_ZEROS};
	uint8_t out[5000];
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO(span_scratch) struct span_scratch *scratch = scratch_of(SPAN_ENGINE_BEST);
	AUTO(seek) struct seek *seek = table(&s, 1, 0);
	layer_zeros(&content, 5000);
	memset(out, 1, sizeof(out));
	assert_ok(span_decode(scratch, seek, 0, NULL, 0, NULL, out, &err), &err);
	assert_memory_equal(out, content.data, 5000);

	struct seen seen = {.content = &content, .spans = &s};
	AUTO(span_decoder) struct span_decoder *d = NULL;
	assert_ok(span_decoder_create(scratch, seek, 0, 1, NULL, see, &seen, &d, &err), &err);
	assert_err(span_decoder_push(d, out, 1, &err), -EINVAL, &err, "takes 0 compressed bytes");
	assert_ok(span_decoder_finish(d, &err), &err);
	assert_int_equal(seen.next, 1);

	AUTO(span_decoder) struct span_decoder *full = NULL;
	seen = (struct seen){.content = &content, .spans = &s, .result = -ENOSPC};
	assert_ok(span_decoder_create(scratch, seek, 0, 1, NULL, see, &seen, &full, &err), &err);
	assert_err(span_decoder_finish(full, &err), -ENOSPC, &err, "take span 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_fields),
		cmocka_unit_test(test_wrong_calls),
		cmocka_unit_test(test_wrong_window),
		cmocka_unit_test(test_flipped_bytes),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_damaged_units),
		cmocka_unit_test(test_yields_less),
		cmocka_unit_test(test_zeros_and_sinks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
