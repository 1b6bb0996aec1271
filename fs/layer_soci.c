/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_soci.h"

#include "base/log.h"
#include "fetcher/ztoc.h"
#include "fs/layer_stream.h"
#include "fs/tree.h"

struct soci_windows {
	struct store_layer_new *layer; /* borrowed */
	struct err *err;
};

static int soci_window(void *data, const void *bytes, size_t n)
{
	struct soci_windows *windows = data;
	return store_layer_new_windows(windows->layer, bytes, n, windows->err);
}

static int soci_publish(const struct layer_prepare *job, const struct descriptor *desc,
			const struct ztoc *ztoc, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO(seek) struct seek *seek = NULL;
	AUTO(store_layer_new) struct store_layer_new *layer = NULL;
	const struct digest *digest = &job->desc->digest;
	int fd = -1;
	int r = tree_create(&tree);
	if (r < 0)
		return err_set(err, r, "read a zTOC");
	r = ztoc_entries(ztoc, tree_add, tree, err);
	if (r == 0)
		r = store_layer_new_create(job->request->store, digest, &layer, err);
	struct soci_windows windows = {.layer = layer, .err = err};
	struct byte_sink sink = {.write = soci_window, .data = &windows};
	if (r == 0)
		r = ztoc_seek(ztoc, digest, job->diff_id, &sink, &seek, err);
	if (r == 0)
		r = store_layer_new_tree(layer, &fd, err);
	if (r == 0)
		r = layer_tree_write(tree, digest, ztoc_device_size(ztoc), fd, err);
	if (r < 0)
		return r;
	struct store_layer_info info = {
		.index = soci_index_version(job->soci) == 2 ? LAYER_INDEX_SOCI_V2 :
							      LAYER_INDEX_SOCI_V1,
		.index_digest = desc->digest,
	};
	return layer_publish(job->request->store, digest, layer, seek, &info, fd, err);
}

int layer_soci_run(const struct layer_prepare *job, struct err *err)
{
	const struct descriptor *desc =
		job->soci ? soci_index_ztoc(job->soci, &job->desc->digest) : NULL;
	if (!desc)
		return -ENOENT;
	AUTO_FINISH(buf) struct buf bytes = buf_make(SOCI_ZTOC_MAX);
	AUTO(ztoc) struct ztoc *ztoc = NULL;
	struct digest_text text;
	int r = origin_blob(job->request->origin, desc, &bytes, deadline_in_ms(job->timeout_ms),
			    err);
	if (r == 0)
		r = ztoc_parse(bytes.data, bytes.len, job->desc->size, &ztoc, err);
	if (r == 0)
		r = soci_publish(job, desc, ztoc, err);
	/* An index that is gone, or cannot say what the layer needs, is no fault of the layer's. */
	if (r == -ENOENT || r == -EFBIG) {
		log_debug("layer %s: %s", digest_str(&job->desc->digest, text.s), err_text(err));
		return -ENOENT;
	}
	if (r < 0)
		return err_prefix(err, r, "layer %s: its SOCI zTOC",
				  digest_str(&job->desc->digest, text.s));
	return 0;
}
