/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_soci.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/num.h"
#include "fetcher/gzip_header.h"
#include "fetcher/ztoc.h"
#include "fs/layer_table.h"

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

/* What a zTOC says, and what it leaves to be found. */
struct soci_layer {
	const struct layer_prepare *job;
	const struct ztoc *ztoc;
	uint64_t start;
};

static int soci_entries(const void *index, entry_fn fn, void *data, struct err *err)
{
	const struct soci_layer *soci = index;
	return ztoc_entries(soci->ztoc, fn, data, err);
}

static int soci_seek(const void *index, struct store_layer_new *layer, struct seek **ret,
		     struct err *err)
{
	const struct soci_layer *soci = index;
	struct soci_windows windows = {.layer = layer, .err = err};
	struct byte_sink sink = {.write = soci_window, .data = &windows};
	return ztoc_seek(soci->ztoc, &soci->job->desc->digest, soci->job->diff_id, soci->start,
			 &sink, ret, err);
}

static int soci_publish(const struct layer_prepare *job, const struct descriptor *desc,
			const struct ztoc *ztoc, struct err *err)
{
	struct soci_layer soci = {.job = job, .ztoc = ztoc};
	int r = ztoc_needs_start(ztoc) ? soci_start(job, &soci.start, err) : 0;
	if (r < 0)
		return r;
	const struct layer_table index = {
		.index = &soci,
		.entries = soci_entries,
		.seek = soci_seek,
		.device_size = ztoc_device_size(ztoc),
		.info.index = soci_index_version(job->soci) == 2 ? LAYER_INDEX_SOCI_V2 :
								   LAYER_INDEX_SOCI_V1,
		.info.index_digest = desc->digest,
	};
	return layer_table_publish(job->request->store, &job->desc->digest, &index, err);
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
