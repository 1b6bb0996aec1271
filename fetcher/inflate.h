/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One decoder for all codecs of a seek table, that takes input and room for
 * output as they come. Inside fetcher only; one thread. A deflate stream runs
 * on over the ends of gzip members; what follows the last member is ignored.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>
#include <zstd.h>

#include "base/err.h"
#include "fetcher/gzip_header.h"
#include "fetcher/seek.h"

struct inflate_state; /* ISA-L's */

enum inflate_phase {
	INFLATE_PRIME, /* before the byte whose upper bits come first */
	INFLATE_HEADER,
	INFLATE_BODY,
	INFLATE_TRAILER,
	INFLATE_END, /* no more output, whatever comes in */
};

struct inflate {
	enum seek_codec codec;
	enum inflate_phase phase;
	uint8_t bits;
	bool again;	     /* after a whole member */
	size_t trailer_left; /* bytes of the member's trailer still to skip */
	struct gzip_header header;
	bool z_ready;
	z_stream z;
	struct inflate_state *isal; /* owned; NULL: zlib decodes deflate */
	ZSTD_DCtx *zstd;	    /* owned */
};

/* -ENOMEM, -EOPNOTSUPP for isal that is not built in; then inflate_finish() it all the same. */
int inflate_init(struct inflate *inf, bool isal);
void inflate_finish(struct inflate *inf);

/* Stands before the range of span; window is SEEK_WINDOW_BYTES or NULL. */
int inflate_begin(struct inflate *inf, const struct span *span, const void *window,
		  struct err *err);

/*
 * Takes from *in and fills *out, and moves both on, until there is no more
 * input that gives output, or no more room, or the end. -EBADMSG with the
 * reason.
 */
int inflate_run(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out, size_t *room,
		struct err *err);
