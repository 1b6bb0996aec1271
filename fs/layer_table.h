/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Publishes a layer from an index that was found beside it or inside it (a
 * TOC, a zTOC): what it says of entries becomes the tree, what it says of
 * places the seek table. Not a byte of the layer itself is read.
 */

#include "base/err.h"
#include "fetcher/entry.h"
#include "fetcher/store_layer.h"

struct layer_table {
	const void *index; /* borrowed; what both functions are given */
	/* Emits the layer's entries; what fn returns ends it. */
	int (*entries)(const void *index, entry_fn fn, void *data, struct err *err);
	/* Makes the seek table; its windows go to `layer`. */
	int (*seek)(const void *index, struct store_layer_new *layer, struct seek **ret,
		    struct err *err);
	uint64_t device_size;
	struct store_layer_info info;
};

/* Errors are those of the two functions, of the store's, and of fs/tree.h; nothing is kept then. */
int layer_table_publish(struct store *store, const struct digest *layer,
			const struct layer_table *index, struct err *err);
