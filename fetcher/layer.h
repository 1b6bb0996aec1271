/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A layer as a source (fetcher/source.h): bytes that are in the store come
 * from there; the rest is fetched from the origin, one fetch a span however
 * many readers wait, decoded, checked, kept, and handed out.
 *
 * What a read that is not local goes through: its spans' units are entered in
 * a table and queued (what somebody waits for before what was only advised).
 * A transfer thread takes the first queued unit and every queued neighbour as
 * one range request, and the deflate windows that they take as another beside
 * it; as soon as the bytes of a unit are in, a processor thread decodes and
 * checks it, the store keeps it, and its waiters are served, whatever the rest
 * of the transfer does. A failure ends the waiting reads and leaves nothing
 * behind: the next read tries again.
 *
 * What source_fetch() brings has a transfer of its own, which yields to those
 * for readers in threads, processors and memory; a reader who comes for a part
 * of it joins, or, when that is far behind, has it fetched by itself. It never
 * makes the store evict anything.
 */

#include "fetcher/origin.h"
#include "fetcher/pool.h"
#include "fetcher/source.h"
#include "fetcher/store_layer.h"

enum {
	LAYER_RUN_BYTES_MAX = 16 << 20, /* compressed bytes of one range request */
	LAYER_RUN_GAP_MAX = 16 << 10,	/* unneeded bytes that cost less than a request */
	LAYER_WINDOWS_BYTES_MAX = 8 << 20, /* of deflate windows fetched in one request … */
	LAYER_WINDOWS_AHEAD_MAX = 16 << 20, /* … and for one source_fetch(), which may have more units */
	LAYER_QUEUE_MAX = 4096,		/* units queued; advice past it is dropped */
	LAYER_TRANSFER_MS = 30000,	/* default of layer_config.transfer_ms */
};

struct layer_config {
	struct store_layer *store;	/* taken over, also on failure */
	struct origin *origin;		/* borrowed; NULL: only what is local */
	const struct descriptor *blob;	/* of the layer; copied */
	struct fetch_pool *pool;	/* borrowed */
	struct fetch_counters *counters; /* borrowed; NULL: none are kept */
	uint64_t transfer_ms;		/* how long one transfer may take, retries included */
};

/*
 * What reads of a layer may fail with, beside what the origin says: -EINVAL
 * past the end, -EBADMSG when the bytes are twice not what the table says,
 * -EHOSTUNREACH without an origin, -EIO when the table itself was found to be
 * wrong, -ETIMEDOUT, -ESHUTDOWN, -ENOMEM.
 */
/* The source; source_destroy() releases it and waits for its transfers. -ENOMEM. */
int layer_open(const struct layer_config *config, struct source **ret, struct err *err);
