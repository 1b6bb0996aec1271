/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/image.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "fetcher/layer.h"
#include "fetcher/manifest.h"
#include "fs/image_record.h"

struct image_layer {
	struct store_layer *store; /* the source's */
	struct source *source;	   /* owned */
};

struct image {
	struct image_record record;	 /* owned */
	struct manifest manifest;	 /* owned */
	struct descriptor self;		 /* owned; of the manifest */
	struct erofs *tree;		 /* owned */
	int hold_fd;			 /* owned; against gc */
	struct image_layer *layers;	 /* owned, n_layers */
	struct source **sources;	 /* owned, n_layers; the layers' */
	size_t n_layers;
};

void image_close(struct image *image)
{
	if (!image)
		return;
	for (size_t i = 0; i < image->n_layers; i++)
		source_destroy(image->layers[i].source);
	free(image->layers);
	free(image->sources);
	erofs_close(image->tree);
	cleanup_close(&image->hold_fd);
	manifest_finish(&image->manifest);
	descriptor_finish(&image->self);
	image_record_finish(&image->record);
	free(image);
}

static int image_load_manifest(struct store *store, struct image *image, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(ORIGIN_MANIFEST_MAX);
	int r = store_blob_get(store, &image->record.manifest, &bytes, err);
	if (r == 0)
		r = manifest_parse(bytes.data, bytes.len, image->record.media_type,
				   &image->manifest, err);
	if (r < 0)
		return err_prefix(err, r, "read the manifest from the store");
	if (image->manifest.kind != MANIFEST_IMAGE)
		return err_say(err, -EBADMSG, "the stored manifest is not an image's");
	image->self.digest = image->record.manifest;
	image->self.size = bytes.len;
	image->self.media_type = strdup(image->manifest.media_type);
	return image->self.media_type ? 0 : err_set(err, -ENOMEM, "read the manifest");
}

static int image_load_tree(int dir, struct image *image, struct err *err)
{
	AUTO_CLOSE int fd = openat(dir, "tree.erofs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open the image's metadata");
	int r = erofs_open(fd, &image->tree, err);
	if (r < 0)
		return err_prefix(err, r, "open the image's metadata");
	struct erofs_stats stats;
	erofs_stats(image->tree, &stats);
	if (stats.n_devices != image->manifest.layers.count)
		return err_say(err, -EBADMSG, "the image's metadata names %u layers, its manifest %zu",
			       stats.n_devices, image->manifest.layers.count);
	return 0;
}

static int image_open_layer(const struct image_open_config *config, struct image *image, size_t i,
			    struct err *err)
{
	const struct descriptor *desc = &image->manifest.layers.items[i];
	struct image_layer *layer = &image->layers[i];
	struct digest_text text;
	int r = store_layer_open(config->store, &desc->digest, &layer->store, err);
	if (r < 0)
		return err_prefix(err, r, "open layer %s", digest_str(&desc->digest, text.s));
	struct layer_config layer_config = {
		.store = layer->store,
		.origin = config->origin,
		.blob = desc,
		.pool = config->pool,
		.counters = config->counters,
		.transfer_ms = config->transfer_ms,
	};
	r = layer_open(&layer_config, &layer->source, err);
	if (r < 0)
		return r;
	image->sources[i] = layer->source;
	return 0;
}

static int image_fill(const struct image_open_config *config, const struct digest *manifest,
		      struct image *image, struct err *err)
{
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(config->store, manifest, false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &image->record, err);
	if (r == 0)
		r = store_image_hold(config->store, manifest, &image->hold_fd, err);
	if (r == 0)
		r = image_load_manifest(config->store, image, err);
	if (r == 0)
		r = image_load_tree(dir, image, err);
	if (r < 0)
		return r;

	size_t n = image->manifest.layers.count;
	image->layers = calloc(n + 1, sizeof(*image->layers));
	image->sources = calloc(n + 1, sizeof(struct source *));
	if (!image->layers || !image->sources)
		return err_set(err, -ENOMEM, "open the image's layers");
	image->n_layers = n;
	for (size_t i = 0; i < n && r == 0; i++)
		r = image_open_layer(config, image, i, err);
	return r;
}

int image_open(const struct image_open_config *config, const struct digest *manifest,
	       struct image **ret, struct err *err)
{
	AUTO(image) struct image *image = calloc(1, sizeof(*image));
	if (!image)
		return err_set(err, -ENOMEM, "open an image");
	image->hold_fd = -1;
	int r = image_fill(config, manifest, image, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&image);
	return 0;
}

const struct erofs *image_tree(const struct image *image)
{
	return image->tree;
}

const struct descriptor *image_manifest(const struct image *image)
{
	return &image->self;
}

const char *image_reference(const struct image *image)
{
	return image->record.reference;
}

struct source **image_sources(const struct image *image, size_t *ret_n)
{
	*ret_n = image->n_layers;
	return image->sources;
}

size_t image_layer_count(const struct image *image)
{
	return image->n_layers;
}

int image_layer_stat(const struct image *image, size_t i, struct image_layer_stat *ret,
		     struct err *err)
{
	if (i >= image->n_layers)
		return err_set(err, -EINVAL, "tell of layer %zu", i);
	const struct descriptor *desc = &image->manifest.layers.items[i];
	const struct store_layer_info *info = store_layer_info(image->layers[i].store);
	*ret = (struct image_layer_stat){
		.digest = desc->digest,
		.media_type = desc->media_type,
		.size = desc->size,
		.index = info->index,
		.whole_checked = info->whole_checked,
	};
	store_layer_counts(image->layers[i].store, &ret->counts);
	return 0;
}
