/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The half of indexing that all formats share: takes uncompressed bytes, sums
 * and hands them on, cuts them into spans, and writes the records of a unit
 * once its compressed range is known. Inside fetcher only; one thread.
 */

#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "fetcher/indexer.h"
#include "fetcher/seek.h"

enum {
	/* Bytes decoded at a time: still in the cache when they are summed and handed on. */
	INDEX_STEP_BYTES = 128 << 10,
	/* A span that finds no end of a unit is cut here, and the unit goes on. */
	INDEX_SPAN_MAX = 2 * SEEK_SPAN_BYTES,
	/* Spans of one unit that wait for its end, as bytes: for 2^40 bytes of output. */
	INDEX_PENDING_MAX = 64 << 20,
};

struct index_cut {
	struct indexer_options options;
	struct seek_builder *builder;		/* owned */
	struct digest_ctx *span_sum, *diff_sum; /* owned */
	uint64_t in;				/* compressed bytes taken in so far */
	uint64_t out, unit_out, span_out;	/* where we are, where unit and span began */
	uint64_t windows_size;
	struct buf pending;			/* struct index_span of the open unit */
};

int index_cut_init(struct index_cut *cut, const struct indexer_options *options);
void index_cut_finish(struct index_cut *cut);

/* Output of the unit so far. */
static inline uint64_t index_cut_len(const struct index_cut *cut)
{
	return cut->out - cut->unit_out;
}

/* Takes the next uncompressed bytes. */
int index_cut_bytes(struct index_cut *cut, const void *bytes, size_t n, struct err *err);

/*
 * Ends the unit; `unit` says in_off, in_len, codec and bits, the window is its
 * packed window (n 0: none). A unit without output leaves nothing.
 */
int index_cut_unit(struct index_cut *cut, const struct span *unit, const void *window, size_t n,
		   struct err *err);

/* One format. State is its own; push and finish as those of the indexer. */
struct index_format {
	int (*create)(struct index_cut *cut, void **ret_state);
	int (*push)(void *state, const uint8_t *bytes, size_t n, struct err *err);
	int (*finish)(void *state, struct err *err);
	void (*destroy)(void *state);
};

extern const struct index_format index_gzip;
extern const struct index_format index_zstd;
extern const struct index_format index_tar;
