/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Content and compressed layers for the tests of indexing and decoding. */

#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/digest.h"
#include "fetcher/indexer.h"
#include "tests/unit/unit.h"

enum { LAYER_MAX = 64 << 20 };

/* A small generator with a seed, so that a failure can be seen again. */
static inline uint32_t layer_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Content of mixed kind: words, noise, runs, in stretches of 1 to 8192 bytes. */
static inline void layer_mixed(struct buf *to, size_t n, uint32_t seed)
{
	size_t end = to->len + n;
	assert_int_equal(buf_reserve(to, n), 0);
	while (to->len < end) {
		size_t part = 1 + layer_random(&seed) % 8192;
		uint32_t kind = layer_random(&seed) % 4;
		if (part > end - to->len)
			part = end - to->len;
		for (size_t i = 0; i < part; i++) {
			uint32_t r = layer_random(&seed);
			char byte = kind == 0 ? (char)r :
				    kind == 1 ? (char)('a' + r % 5) :
				    kind == 2 ? "the quick brown fox "[i % 20] :
						0;
			assert_int_equal(buf_append(to, &byte, 1), 0);
		}
	}
}

static inline void layer_zeros(struct buf *to, size_t n)
{
	static const char zeros[65536];
	for (size_t done = 0; done < n;) {
		size_t part = n - done < sizeof(zeros) ? n - done : sizeof(zeros);
		assert_int_equal(buf_append(to, zeros, part), 0);
		done += part;
	}
}

/* One gzip member; flush (Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH) every 128 KiB, as pigz does. */
static inline void layer_gzip(struct buf *to, const void *data, size_t n, int level, int flush)
{
	z_stream z = {0};
	static uint8_t out[65536];
	const uint8_t *p = data;
	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	size_t done = 0;
	int r;
	do {
		size_t part = n - done < 131072 ? n - done : 131072;
		z.next_in = (z_const Bytef *)(uintptr_t)(p + done);
		z.avail_in = (uInt)part;
		done += part;
		do {
			z.next_out = out;
			z.avail_out = sizeof(out);
			r = deflate(&z, done == n ? Z_FINISH : flush);
			assert_int_equal(buf_append(to, out, sizeof(out) - z.avail_out), 0);
		} while (z.avail_out == 0);
	} while (done < n);
	assert_int_equal(r, Z_STREAM_END);
	assert_int_equal(deflateEnd(&z), Z_OK);
}

/* One zstd frame, with or without its content size, window 2^log (0: by level). */
static inline void layer_zstd(struct buf *to, const void *data, size_t n, int size, int log)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(n);
	assert_non_null(c);
	assert_int_equal(buf_reserve(to, room), 0);
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, size)));
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, log)));
	size_t got = ZSTD_compress2(c, to->data + to->len, room, data, n);
	assert_false(ZSTD_isError(got));
	to->len += got;
	(void)ZSTD_freeCCtx(c);
}

/* What an indexer makes of a layer. */
struct indexed {
	struct seek *seek;
	struct buf out, windows;
	struct seek_totals totals;
};

static inline void indexed_finish(struct indexed *x)
{
	seek_destroy(x->seek);
	buf_finish(&x->out);
	buf_finish(&x->windows);
}

static inline int layer_sink(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

/* Indexes a layer pushed in pieces of `piece` bytes. */
static inline int layer_index(const void *layer, size_t n, size_t piece, struct indexed *ret,
			      struct err *err)
{
	*ret = (struct indexed){.out = buf_make(LAYER_MAX), .windows = buf_make(LAYER_MAX)};
	struct indexer_options options = {
		.out = {.write = layer_sink, .data = &ret->out},
		.windows = {.write = layer_sink, .data = &ret->windows},
	};
	AUTO(indexer) struct indexer *x = NULL;
	struct digest digest;
	assert_int_equal(digest_of(DIGEST_SHA256, layer, n, &digest), 0);
	int r = indexer_create(&options, &x, err);
	for (size_t done = 0; r >= 0 && done < n;) {
		size_t part = n - done < piece ? n - done : piece;
		r = indexer_push(x, (const uint8_t *)layer + done, part, err);
		done += part;
	}
	if (r >= 0)
		r = indexer_finish(x, &digest, &ret->seek, &ret->totals, err);
	return r;
}
