/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fetcher/seek.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { HEADER_BYTES = 216, SUM_AT = 184 };

/* Makes the checksum right, or nothing would ever get past it. */
static uint8_t *forge(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	struct digest sum;
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	if (!copy || digest_ctx_create(DIGEST_SHA256, &ctx) < 0)
		abort();
	memcpy(copy, data, n);
	if (n < HEADER_BYTES)
		return copy;
	if (digest_ctx_update(ctx, copy, SUM_AT) < 0 ||
	    digest_ctx_update(ctx, copy + HEADER_BYTES, n - HEADER_BYTES) < 0 ||
	    digest_ctx_final(ctx, &sum) < 0)
		abort();
	memcpy(copy + SUM_AT, sum.bytes, SHA256_BYTES);
	return copy;
}

static void check(const struct seek *seek)
{
	uint64_t at = 0;
	for (size_t i = 0; i < seek_count(seek); i++) {
		struct span s;
		size_t first, end;
		seek_get(seek, i, &s);
		seek_unit(seek, i, &first, &end);
		if (first > i || end <= i || end > seek_count(seek))
			abort();
		if (s.out_off < at || s.out_len == 0 || s.out_len > SEEK_SPAN_OUT_MAX)
			abort();
		if (seek_find(seek, s.out_off) != i ||
		    seek_find(seek, s.out_off + s.out_len - 1) != i)
			abort();
		at = s.out_off + s.out_len;
	}
	if (at > seek_out_size(seek) || seek_find(seek, at) != seek_count(seek))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO(seek) struct seek *seek = NULL;
	AUTO_FREE uint8_t *copy = forge(data, n);
	int r = seek_parse(copy, n, &seek, &err);
	if (r < 0 && err.text[0] == '\0')
		abort();
	if (r == 0)
		check(seek);
	return 0;
}
