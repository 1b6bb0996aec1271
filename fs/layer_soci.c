/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_soci.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/num.h"
#include "fetcher/gzip_header.h"
#include "fetcher/ztoc.h"
#include "fs/layer_stream.h"
#include "fs/tree.h"

enum {
	SOCI_HEADER_STEP = 512,	      /* compressed bytes that have the gzip header of most layers */
	SOCI_HEADER_MAX = 128 << 10,  /* what is asked for of others: an extra field has up to 64 KiB */
};

struct soci_windows {
	struct store_layer_new *layer; /* borrowed */
	struct err *err;
};

static int soci_window(void *data, const void *bytes, size_t n)
{
	struct soci_windows *windows = data;
	return store_layer_new_windows(windows->layer, bytes, n, windows->err);
}

static int soci_append(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

/* Where the deflate stream of the layer begins, for a zTOC that does not say. */
static int soci_start(const struct layer_prepare *job, uint64_t *ret, struct err *err)
{
	struct gzip_header header = {0};
	uint64_t at = 0, ends = u64_min(job->desc->size, SOCI_HEADER_MAX);
	for (uint64_t step = SOCI_HEADER_STEP; at < ends; step = SOCI_HEADER_MAX) {
		AUTO_FINISH(buf) struct buf bytes = buf_make(SOCI_HEADER_MAX);
		struct byte_sink sink = {.write = soci_append, .data = &bytes};
		size_t used;
		int r = origin_range(job->request->origin, job->desc, at, u64_min(step, ends - at),
				     &sink, deadline_in_ms(job->timeout_ms), err);
		if (r < 0)
			return err_prefix(err, r, "read the layer's gzip header");
		r = gzip_header_push(&header, (const uint8_t *)bytes.data, bytes.len, &used);
		if (r < 0)
			return err_say(err, r, "the layer does not begin with a gzip header");
		at += used;
		if (r > 0) {
			*ret = at;
			return 0;
		}
		if (used == 0)
			break;
	}
	return err_say(err, -EFBIG, "the layer's gzip header has more than %" PRIu64 " bytes", ends);
}

static int soci_publish(const struct layer_prepare *job, const struct descriptor *desc,
			const struct ztoc *ztoc, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO(seek) struct seek *seek = NULL;
	AUTO(store_layer_new) struct store_layer_new *layer = NULL;
	const struct digest *digest = &job->desc->digest;
	uint64_t start = 0;
	int fd = -1;
	int r = tree_create(&tree);
	if (r < 0)
		return err_set(err, r, "read a zTOC");
	if (ztoc_needs_start(ztoc))
		r = soci_start(job, &start, err);
	if (r == 0)
		r = ztoc_entries(ztoc, tree_add, tree, err);
	if (r == 0)
		r = store_layer_new_create(job->request->store, digest, &layer, err);
	struct soci_windows windows = {.layer = layer, .err = err};
	struct byte_sink sink = {.write = soci_window, .data = &windows};
	if (r == 0)
		r = ztoc_seek(ztoc, digest, job->diff_id, start, &sink, &seek, err);
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
