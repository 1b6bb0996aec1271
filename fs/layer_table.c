/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_table.h"

#include "fs/layer_stream.h"
#include "fs/tree.h"

int layer_table_publish(struct store *store, const struct digest *digest,
			const struct layer_table *index, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO(seek) struct seek *seek = NULL;
	AUTO(store_layer_new) struct store_layer_new *layer = NULL;
	int fd = -1; /* the layer's */
	int r = tree_create(&tree);
	if (r < 0)
		return err_set(err, r, "read a layer's index");
	r = index->entries(index->index, tree_add, tree, err);
	if (r == 0)
		r = store_layer_new_create(store, digest, &layer, err);
	if (r == 0)
		r = index->seek(index->index, layer, &seek, err);
	if (r == 0)
		r = store_layer_new_tree(layer, &fd, err);
	if (r == 0)
		r = layer_tree_write(tree, digest, index->device_size, fd, err);
	return r < 0 ? r : layer_publish(store, digest, layer, seek, &index->info, fd, err);
}
