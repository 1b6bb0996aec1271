/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "fetcher/span_decoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { HEAD_BYTES = 6, SPANS = 3 };

static int count(void *data, size_t i, const void *bytes, size_t len)
{
	size_t *seen = data;
	/* Reads every byte, for the address sanitizer. */
	struct digest sum;
	if (digest_of(DIGEST_SHA256, bytes, len, &sum) < 0)
		abort();
	*seen += i + 1;
	return 0;
}

/* A table of one unit over the whole range, as the input says. */
static int make_table(const uint8_t *head, const uint8_t *range, size_t n, struct seek **ret)
{
	AUTO(seek_builder) struct seek_builder *b = NULL;
	struct seek_totals totals = {.layer = {.algo = DIGEST_SHA256},
				     .in_size = n,
				     .out_size = 1 << 20,
				     .windows_size = 1};
	struct span s = {
		.in_len = n,
		.codec = head[0] % SEEK_CODECS,
		.sum = SEEK_SUM_IN, /* so that what comes out is checked for its size only */
		.bits = head[1] % 8,
		.win_len = head[2] & 1,
		.out_len = 1 + head[3] * (uint64_t)16,
		.skip = head[4],
	};
	int r = seek_builder_create(&b);
	struct digest sum;
	if (r < 0 || digest_of(DIGEST_SHA256, range, n, &sum) < 0)
		return -ENOMEM;
	memcpy(s.sha256, sum.bytes, SHA256_BYTES);
	for (int i = 0; i < SPANS && r >= 0; i++) {
		r = seek_builder_add(b, &s, NULL);
		s.out_off += s.out_len;
		s.skip += s.out_len + head[4];
	}
	return r < 0 ? r : seek_builder_finish(b, &totals, ret, NULL);
}

static int in_pieces(struct span_scratch *scratch, const struct seek *seek, const uint8_t *window,
		     const uint8_t *range, size_t n, size_t piece)
{
	size_t seen = 0;
	struct err err = {0};
	AUTO(span_decoder) struct span_decoder *d = NULL;
	int r = span_decoder_create(scratch, seek, 0, seek_count(seek), window, count, &seen, &d,
				    &err);
	for (size_t at = 0; r == 0 && at < n; at += piece)
		r = span_decoder_push(d, range + at, (size_t)u64_min(piece, n - at), &err);
	if (r >= 0)
		r = span_decoder_finish(d, &err);
	if ((r == 0 && seen != SPANS * (SPANS + 1) / 2) || (r < 0 && err.text[0] == '\0'))
		abort();
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint8_t history[SEEK_WINDOW_BYTES];
	AUTO(seek) struct seek *seek = NULL;
	if (n <= HEAD_BYTES || make_table(data, data + HEAD_BYTES, n - HEAD_BYTES, &seek) < 0)
		return 0;
	const uint8_t *range = data + HEAD_BYTES;
	n -= HEAD_BYTES;
	const uint8_t *window = data[2] & 1 ? history : NULL;
	size_t piece = data[5] ? data[5] : n;
	static const enum span_engine engines[] = {SPAN_ENGINE_ZLIB, SPAN_ENGINE_ISAL};
	for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
		AUTO(span_scratch) struct span_scratch *scratch = NULL;
		if (span_scratch_create(engines[e], &scratch) < 0)
			continue;
		(void)in_pieces(scratch, seek, window, range, n, piece);
		for (size_t i = 0; i < seek_count(seek); i++) {
			struct span s;
			seek_get(seek, i, &s);
			AUTO_FREE uint8_t *out = malloc((size_t)s.out_len);
			if (out)
				(void)span_decode(scratch, seek, i, range, n, window, out, NULL);
		}
	}
	return 0;
}
