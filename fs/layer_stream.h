/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The last resort for a layer that nobody has indexed: it is downloaded once,
 * and on its way through it is indexed, its tree is made, and its bytes are
 * kept, so that the download is not wasted.
 */

#include "base/err.h"
#include "fetcher/descriptor.h"
#include "fetcher/origin.h"
#include "fetcher/store.h"
#include "fetcher/store_layer.h"
#include "fs/tree.h"

struct layer_stream {
	struct store *store;
	struct origin *origin;
	const struct descriptor *layer;
	const struct digest *diff_id; /* checked against; NULL: not known */
	uint64_t idle_ms;	      /* longest time without a byte */
	/* Told of the compressed bytes that have come so far; NULL: nobody. */
	void (*progress)(void *data, uint64_t done);
	void *progress_data;
};

/*
 * Downloads, checks (digest, diff_id, format) and publishes the layer with its
 * tree. -EBADMSG for wrong or hostile content, the errors of fetcher/origin.h;
 * nothing is kept then. Blocks the calling thread.
 */
int layer_stream_run(const struct layer_stream *stream, struct err *err);

/* Writes a layer's own tree (device 1 is the layer) to fd. */
int layer_tree_write(struct tree *tree, const struct digest *layer, uint64_t device_size, int fd,
		     struct err *err);

/*
 * Publishes a layer and opens what is then in the store: when it was there
 * already, but without a tree, it takes the one in tree_fd.
 */
int layer_publish(struct store *store, const struct digest *digest, struct store_layer_new *layer,
		  const struct seek *seek, const struct store_layer_info *info, int tree_fd,
		  struct err *err);
