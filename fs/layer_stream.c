/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_stream.h"

#include <string.h>

#include "fetcher/indexer.h"
#include "fetcher/tar.h"

/* One layer under way: origin → indexer → tar reader and store. */
struct stream {
	const struct layer_stream *config;
	struct store_layer_new *layer; /* owned */
	struct indexer *indexer;       /* owned */
	struct tar_reader *tar;	       /* owned */
	struct tree *tree;	       /* owned */
	struct digest_ctx *sum;	       /* owned; for a diff_id that the indexer has not the sum of */
	uint64_t done;		       /* compressed bytes */
	struct err *err;
	/* What was refused on the way: whoever is before it only knows that it was. */
	struct err index_err, sink_err;
};

static void stream_finish(struct stream *s)
{
	indexer_destroy(s->indexer);
	tar_reader_destroy(s->tar);
	tree_destroy(s->tree);
	digest_ctx_destroy(s->sum);
	store_layer_new_destroy(s->layer);
}

static int stream_out(void *data, const void *bytes, size_t n)
{
	struct stream *s = data;
	int r = tar_reader_push(s->tar, bytes, n, &s->sink_err);
	if (r == 0 && s->sum && (r = digest_ctx_update(s->sum, bytes, n)) < 0)
		return err_set(&s->sink_err, r, "sum the layer");
	return r < 0 ? r : store_layer_new_data(s->layer, bytes, n, &s->sink_err);
}

static int stream_windows(void *data, const void *bytes, size_t n)
{
	struct stream *s = data;
	return store_layer_new_windows(s->layer, bytes, n, &s->sink_err);
}

static int stream_in(void *data, const void *bytes, size_t n)
{
	struct stream *s = data;
	int r = indexer_push(s->indexer, bytes, n, &s->index_err);
	s->done += n;
	if (r == 0 && s->config->progress)
		s->config->progress(s->config->progress_data, s->done);
	return r;
}

static int stream_create(struct stream *s)
{
	int r = store_layer_new_create(s->config->store, &s->config->layer->digest, &s->layer,
				       s->err);
	if (r < 0)
		return r;
	struct indexer_options options = {
		.out = {.write = stream_out, .data = s},
		.windows = {.write = stream_windows, .data = s},
	};
	r = indexer_create(&options, &s->indexer, s->err);
	if (r < 0)
		return r;
	r = tree_create(&s->tree);
	if (r == 0)
		r = tar_reader_create(tree_add, s->tree, &s->tar);
	if (r == 0 && s->config->diff_id && s->config->diff_id->algo != DIGEST_SHA256)
		r = digest_ctx_create(s->config->diff_id->algo, &s->sum);
	return r < 0 ? err_set(s->err, r, "read a layer") : 0;
}

static int stream_publish(struct stream *s)
{
	const struct descriptor *layer = s->config->layer;
	AUTO(seek) struct seek *seek = NULL;
	struct seek_totals totals = {0};
	int r = indexer_finish(s->indexer, &layer->digest, &seek, &totals, s->err);
	if (r == 0)
		r = tar_reader_finish(s->tar, s->err);
	struct digest got = totals.diff_id;
	if (r == 0 && s->sum)
		r = digest_ctx_final(s->sum, &got);
	if (r == 0 && s->config->diff_id && !digest_is_none(&got))
		r = digest_match(s->config->diff_id, &got, "the uncompressed layer",
				 s->err);
	if (r < 0)
		return r;
	int fd = -1;
	r = store_layer_new_tree(s->layer, &fd, s->err);
	if (r == 0)
		r = layer_tree_write(s->tree, &layer->digest, totals.out_size, fd, s->err);
	if (r < 0)
		return r;
	/* The download had the layer's digest, and the bytes its diff_id: nothing is left to check. */
	struct store_layer_info info = {
		.index = LAYER_INDEX_STREAMED,
		.whole_checked = s->config->diff_id != NULL,
	};
	return layer_publish(s->config->store, &layer->digest, s->layer, seek, &info, fd, s->err);
}

int layer_stream_run(const struct layer_stream *config, struct err *err)
{
	struct stream s = {.config = config, .err = err};
	struct byte_sink sink = {.write = stream_in, .data = &s};
	struct digest_text text;
	int r = stream_create(&s);
	if (r == 0)
		r = origin_stream(config->origin, config->layer, &sink,
				  deadline_in_ms(config->idle_ms), err);
	if (r == 0)
		r = stream_publish(&s);
	if (r < 0 && s.sink_err.code == r)
		(void)err_copy(err, &s.sink_err);
	else if (r < 0 && s.index_err.code == r)
		(void)err_copy(err, &s.index_err);
	stream_finish(&s);
	if (r < 0)
		return err_prefix(err, r, "layer %s", digest_str(&config->layer->digest, text.s));
	return 0;
}

int layer_tree_write(struct tree *tree, const struct digest *layer, uint64_t device_size, int fd,
		     struct err *err)
{
	struct tree_device device = {.size = device_size};
	char hex[DIGEST_STR_MAX];
	/* A tag holds a whole sha256 and has no terminator; of a sha512 its first half. */
	memcpy(device.tag, digest_hex(layer, hex), sizeof(device.tag));
	return tree_write(tree, &device, 1, fd, err);
}

int layer_publish(struct store *store, const struct digest *digest, struct store_layer_new *layer,
		  const struct seek *seek, const struct store_layer_info *info, int tree_fd,
		  struct err *err)
{
	AUTO(store_layer) struct store_layer *open = NULL;
	AUTO_CLOSE int fd = -1;
	int r = store_layer_new_finish(layer, seek, info, err);
	if (r == 0)
		r = store_layer_open(store, digest, &open, err);
	if (r < 0)
		return r;
	r = store_layer_tree(open, &fd, err);
	return r == -ENOENT ? store_layer_add_tree(open, tree_fd, err) : r;
}
