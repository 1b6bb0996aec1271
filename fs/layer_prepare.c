/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_prepare.h"

#include "fs/erofs.h"
#include "fs/layer_soci.h"
#include "fs/layer_stream.h"
#include "fs/layer_toc.h"

static void layer_report(void *data, uint64_t done)
{
	const struct layer_prepare *job = data;
	const struct image_progress *progress = job->request->progress;
	progress->layer(progress->data, job->number, job->count, "reading", done, job->desc->size);
}

static int layer_prepare_stream(const struct layer_prepare *job, struct err *err)
{
	struct layer_prepare copy = *job;
	struct layer_stream stream = {
		.store = job->request->store,
		.origin = job->request->origin,
		.layer = job->desc,
		.diff_id = job->diff_id,
		.idle_ms = job->timeout_ms,
		.progress = job->request->progress ? layer_report : NULL,
		.progress_data = &copy,
	};
	return layer_stream_run(&stream, err);
}

int layer_check_diff_id(const struct store_layer *layer, const struct digest *diff_id,
			struct err *err)
{
	const struct seek *seek = store_layer_seek(layer);
	struct digest_text text;
	/* Sums of two kinds say nothing of one another. */
	if (!diff_id || digest_is_none(seek_diff_id(seek)) || diff_id->algo != seek_diff_id(seek)->algo)
		return 0;
	int r = digest_match(diff_id, seek_diff_id(seek), "the uncompressed layer", err);
	return r < 0 ? err_prefix(err, r, "layer %s", digest_str(seek_layer(seek), text.s)) : 0;
}

/*
 * Whether the store has both the table and the tree: 1 or 0; an error when it has, and they are
 * not what this image says. why: why the tree is of no use, if it is not.
 */
static int layer_is_ready(const struct layer_prepare *job, struct err *why, struct err *err)
{
	AUTO(store_layer) struct store_layer *layer = NULL;
	AUTO(erofs) struct erofs *tree = NULL;
	AUTO_CLOSE int fd = -1;
	struct err ignored;
	if (store_layer_open(job->request->store, &job->desc->digest, &layer, &ignored) < 0 ||
	    store_layer_tree(layer, &fd, &ignored) < 0 || erofs_open(fd, &tree, why) < 0)
		return 0;
	store_layer_touch(layer);
	int r = layer_check_diff_id(layer, job->diff_id, err);
	return r < 0 ? r : 1;
}

int layer_prepare_run(const struct layer_prepare *job, struct err *err)
{
	AUTO_CLOSE int lock = -1;
	struct err broken = {0};
	int r = layer_is_ready(job, &broken, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = store_lock(job->request->store, &job->desc->digest, 0, &lock, err);
	if (r < 0)
		return r;
	/* Another process may have done it while this one waited. */
	broken = (struct err){0};
	r = layer_is_ready(job, &broken, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (broken.code == -EBADMSG)
		r = store_layer_quarantine(job->request->store, &job->desc->digest, err_text(&broken),
					   err);
	if (r < 0)
		return r;
	if (job->request->index_use == IMAGE_INDEX_ANY) {
		r = layer_toc_run(job, err);
		if (r == -ENOENT)
			r = layer_soci_run(job, err);
		if (r != -ENOENT)
			return r;
	}
	return layer_prepare_stream(job, err);
}
