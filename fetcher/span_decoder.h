/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Compressed ranges to verified spans (fetcher/seek.h): span_decode() for a
 * range that is in memory, span_decoder for one that arrives in pieces. Both
 * work in a span_scratch, which holds the decoders' state, so that nothing is
 * allocated for a span; a scratch belongs to one thread at a time.
 *
 * Whatever the table or the bytes say, no more comes out than the table
 * states, and nothing comes out before its SHA-256 was checked. Errors common
 * to all: -EBADMSG with the span and the reason for bytes that are not what
 * the table states, -EINVAL for a wrong call, -ENOMEM.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fetcher/seek.h"

enum {
	SPAN_ZSTD_WINDOW_LOG_MAX = 27,	  /* a zstd frame may ask for 128 MiB of history at most */
	SPAN_SUM_IN_BYTES_MAX = 128 << 20, /* a range that must be whole before it can be checked */
};

/* What decodes deflate. */
enum span_engine {
	SPAN_ENGINE_BEST, /* ISA-L when it was built in, else zlib */
	SPAN_ENGINE_ZLIB,
	SPAN_ENGINE_ISAL, /* -EOPNOTSUPP unless built in */
};

struct span_scratch;
int span_scratch_create(enum span_engine engine, struct span_scratch **ret);
void span_scratch_destroy(struct span_scratch *scratch);
DEFINE_CLEANUP(span_scratch, span_scratch_destroy);

/*
 * Unpacks a window of the windows blob (span.win_off, win_len). -EBADMSG.
 * Windows have no checksum: a wrong one shows in the SHA-256 of its span.
 */
int span_window_unpack(struct span_scratch *scratch, const void *packed, size_t n,
		       uint8_t ret[static SEEK_WINDOW_BYTES], struct err *err);

/*
 * Decodes span i from its whole compressed range (n is in_len) into out, which
 * has room for out_len bytes; on failure these hold rubbish. window is
 * SEEK_WINDOW_BYTES long, NULL when win_len is 0. A later span of a unit costs
 * the decoding of what is before it: take a span_decoder for several.
 */
int span_decode(struct span_scratch *scratch, const struct seek *seek, size_t i, const void *in,
		size_t n, const void *window, void *out, struct err *err);

/*
 * Takes a span, in order; bytes are borrowed for the call. A negative result
 * ends the work and is returned.
 */
typedef int (*span_fn)(void *data, size_t i, const void *bytes, size_t len);

/* Decodes the spans [first, end), all of one unit, from the unit's compressed range. */
struct span_decoder;

/*
 * scratch and seek are borrowed until the destroy, and scratch is not used for
 * anything else until then; window is copied. -E2BIG when the range must be
 * checked as a whole (SEEK_SUM_IN) and is longer than SPAN_SUM_IN_BYTES_MAX.
 */
int span_decoder_create(struct span_scratch *scratch, const struct seek *seek, size_t first,
			size_t end, const void *window, span_fn fn, void *data,
			struct span_decoder **ret, struct err *err);
void span_decoder_destroy(struct span_decoder *decoder);
DEFINE_CLEANUP(span_decoder, span_decoder_destroy);

/*
 * Adds the next bytes of the range. 1 when all spans have been handed out, and
 * the rest of the range is of no use; 0 when more is needed. -EINVAL for bytes
 * past the range. After a failure the decoder can only be destroyed.
 */
int span_decoder_push(struct span_decoder *decoder, const void *bytes, size_t n, struct err *err);

/* No more bytes come: 0 when all spans have been handed out, else -EBADMSG. */
int span_decoder_finish(struct span_decoder *decoder, struct err *err);
