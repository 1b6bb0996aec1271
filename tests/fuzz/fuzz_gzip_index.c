/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "fetcher/indexer.h"
#include "fetcher/span_decoder.h"

enum { OUT_MAX = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int keep(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

/* What the table of a good layer says is what came out. */
static void check_spans(const struct seek *seek, const uint8_t *layer, const struct buf *out,
			const struct buf *windows)
{
	AUTO(span_scratch) struct span_scratch *scratch = NULL;
	if (span_scratch_create(SPAN_ENGINE_BEST, &scratch) < 0)
		abort();
	for (size_t i = 0; i < seek_count(seek); i++) {
		struct span s;
		uint8_t window[SEEK_WINDOW_BYTES];
		seek_get(seek, i, &s);
		if (s.win_len && span_window_unpack(scratch, windows->data + s.win_off, s.win_len,
						    window, NULL) < 0)
			abort();
		AUTO_FREE uint8_t *span = malloc((size_t)s.out_len);
		if (!span)
			return;
		if (span_decode(scratch, seek, i, layer + s.in_off, (size_t)s.in_len,
				s.win_len ? window : NULL, span, NULL) < 0 ||
		    memcmp(span, out->data + s.out_off, (size_t)s.out_len) != 0)
			abort();
	}
}

/* The first byte says in what pieces the rest is pushed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(OUT_MAX);
	AUTO_FINISH(buf) struct buf windows = buf_make(OUT_MAX);
	AUTO(indexer) struct indexer *x = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct digest layer = {.algo = DIGEST_SHA256};
	struct indexer_options options = {
		.out = {.write = keep, .data = &out},
		.windows = {.write = keep, .data = &windows},
		.out_max = OUT_MAX,
	};
	if (n < 1 || indexer_create(&options, &x, &err) < 0)
		return 0;
	size_t piece = data[0] ? data[0] : 65536;
	data++;
	n--;
	int r = 0;
	for (size_t at = 0; r == 0 && at < n; at += piece)
		r = indexer_push(x, data + at, (size_t)u64_min(piece, n - at), &err);
	if (r == 0)
		r = indexer_finish(x, &layer, &seek, NULL, &err);
	if (r < 0 && err.text[0] == '\0')
		abort();
	if (r == 0)
		check_spans(seek, data, &out, &windows);
	return 0;
}
