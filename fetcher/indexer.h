/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Indexes a layer while it streams by: compressed bytes go in, in pieces of
 * any size; the uncompressed bytes come out in order, once; at the end there
 * is a seek table. Memory does not grow with the layer but for the table
 * itself (84 bytes a MiB).
 *
 * The format is told by the first bytes, never by a media type:
 *   gzip  a checkpoint about every MiB of output, at the end of a deflate
 *         block or of a member (RFC 1951, 1952); trailing zeros or garbage
 *         after a member is ignored, as gzip(1) does; CRC and length checked
 *   zstd  units of whole frames, about a MiB or one frame (RFC 8878)
 *   tar   anything else; stored spans of one MiB
 * xz, bzip2, lz4 and lzip are -EOPNOTSUPP by name.
 *
 * An indexer belongs to one thread at a time. The digest of the compressed
 * blob is for the caller to check.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fetcher/origin.h"
#include "fetcher/seek.h"

enum {
	/* Most output for a byte of input, once there are INDEXER_RATIO_FROM bytes of output.
	 * Deflate stays below by itself; a frame of zstd may claim a hundred times that. */
	INDEXER_RATIO_MAX = 4096,
	INDEXER_RATIO_FROM = 1 << 30,
};
#define INDEXER_OUT_MAX (UINT64_C(1) << 40) /* a larger layer is refused */

struct indexer_options {
	/* Take the uncompressed bytes, and the packed windows (the windows blob), each in order.
	 * A negative result ends the work and is returned. write NULL: not wanted. */
	struct byte_sink out, windows;
	uint64_t out_max;	/* 0: INDEXER_OUT_MAX, which it cannot exceed */
	uint64_t ratio_max;	/* 0: INDEXER_RATIO_MAX */
	uint64_t ratio_from;	/* 0: INDEXER_RATIO_FROM */
};

struct indexer;

/* -ENOMEM, -EINVAL. The caller destroys it. */
int indexer_create(const struct indexer_options *options, struct indexer **ret, struct err *err);
void indexer_destroy(struct indexer *indexer);
DEFINE_CLEANUP(indexer, indexer_destroy);

/*
 * Adds compressed bytes. -EBADMSG with the offset and the reason for corrupt
 * ones, -EFBIG for a bomb, -EOPNOTSUPP, what a sink returned, -ENOMEM. After
 * a failure the indexer can only be destroyed.
 */
int indexer_push(struct indexer *indexer, const void *bytes, size_t n, struct err *err);

/*
 * The input is complete: -EBADMSG when it ends in the middle of something.
 * Otherwise the table for layer (the digest of what was pushed), with diff_id,
 * which the caller owns. ret_totals (may be NULL) is what the table says.
 */
int indexer_finish(struct indexer *indexer, const struct digest *layer, struct seek **ret,
		   struct seek_totals *ret_totals, struct err *err);
