/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/image_index.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "fetcher/manifest.h"
#include "fetcher/store_layer.h"
#include "fs/bundle.h"
#include "fs/image.h"
#include "fs/image_record.h"

enum {
	WINDOWS_BLOB_MAX = 1 << 30, /* of one layer: some 30 GB of gzip */
};

/* What building needs to know of the image. */
struct index_build {
	struct store *store;
	int dir;			/* owned */
	struct image_record record;	/* owned */
	struct store_layer **layers;	/* owned, each */
	struct bundle_layer *heads;	/* owned */
	json_t *blobs;			/* owned: the artifact's layers */
};

static void index_build_finish(struct index_build *b)
{
	for (size_t i = 0; b->layers && i < b->record.n_layers; i++)
		store_layer_close(b->layers[i]);
	free(b->layers);
	free(b->heads);
	json_decref(b->blobs);
	image_record_finish(&b->record);
	cleanup_close(&b->dir);
}
DEFINE_FINISH(index_build, index_build_finish);

static json_t *descriptor_json(const char *media_type, const struct digest *digest, uint64_t size)
{
	struct digest_text text;
	return json_pack("{s:s,s:s,s:I}", "mediaType", media_type, "digest",
			 digest_str(digest, text.s), "size", (json_int_t)size);
}

/* Digest and size of a layer's windows, complete in the store. */
static int windows_measure(int fd, struct digest *ret, uint64_t *ret_size, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(WINDOWS_BLOB_MAX);
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_set(err, -errno, "read the windows of a layer");
	int r = file_slurp_fd(fd, &bytes);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, bytes.data, bytes.len, ret);
	if (r < 0)
		return err_set(err, r, "read the windows of a layer");
	*ret_size = bytes.len;
	return 0;
}

static int build_add_layer(struct index_build *b, size_t i, struct err *err)
{
	const struct digest *digest = &b->record.layers[i];
	struct bundle_layer *head = &b->heads[i];
	int r = store_layer_open(b->store, digest, &b->layers[i], err);
	if (r < 0)
		return r;
	const struct store_layer_info *info = store_layer_info(b->layers[i]);
	head->digest = *digest;
	head->seek = store_layer_seek(b->layers[i]);
	if (seek_windows_size(head->seek) == 0)
		return 0;
	head->windows_digest = info->windows_digest;
	head->windows_size = info->windows_size;
	if (digest_is_none(&head->windows_digest)) {
		r = windows_measure(store_layer_windows_fd(b->layers[i]), &head->windows_digest,
				    &head->windows_size, err);
		if (r < 0)
			return r;
	}
	json_t *blob = descriptor_json(IMAGE_INDEX_WINDOWS, &head->windows_digest, head->windows_size);
	struct digest_text text;
	json_t *notes = json_pack("{s:s}", IMAGE_INDEX_LAYER, digest_str(digest, text.s));
	if (json_object_set_new(blob, "annotations", notes) < 0 ||
	    json_array_append_new(b->blobs, blob) < 0)
		return err_set(err, -ENOMEM, "make an index");
	return 0;
}

static int build_start(struct index_build *b, const struct digest *manifest, struct err *err)
{
	int r = image_dir_open(b->store, manifest, false, &b->dir, err);
	if (r == 0)
		r = image_record_load(b->dir, &b->record, err);
	if (r < 0)
		return r;
	b->layers = calloc(b->record.n_layers + 1, sizeof(struct store_layer *));
	b->heads = calloc(b->record.n_layers + 1, sizeof(*b->heads));
	b->blobs = json_array();
	return b->layers && b->heads && b->blobs ? 0 : err_set(err, -ENOMEM, "make an index");
}

/* Makes the bundle, keeps it as a blob, and puts its descriptor first. */
static int build_bundle(struct index_build *b, struct digest *ret, uint64_t *ret_size,
			struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(BUNDLE_MAX);
	AUTO_CLOSE int tree = openat(b->dir, "tree.erofs", O_RDONLY | O_CLOEXEC);
	if (tree < 0)
		return err_set(err, -errno, "open the image's metadata");
	int r = bundle_make(&b->record.manifest, tree, b->heads, b->record.n_layers, &bytes, err);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, bytes.data, bytes.len, ret);
	if (r == 0)
		r = store_blob_put(b->store, ret, bytes.data, bytes.len, err);
	if (r < 0)
		return r;
	*ret_size = bytes.len;
	if (json_array_insert_new(b->blobs, 0, descriptor_json(IMAGE_INDEX_BUNDLE, ret, bytes.len)) < 0)
		return err_set(err, -ENOMEM, "make an index");
	return 0;
}

static const char empty_config[] = "{}";

static int build_artifact(struct index_build *b, const struct digest *bundle, uint64_t bundle_size,
			  struct digest *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf image = buf_make(ORIGIN_MANIFEST_MAX);
	struct digest config;
	struct digest_text text;
	char size[24];
	int r = store_blob_get(b->store, &b->record.manifest, &image, err);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, empty_config, strlen(empty_config), &config);
	if (r < 0)
		return r;
	(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)bundle_size);
	AUTO_JSON json_t *root = json_pack(
		"{s:i,s:s,s:s,s:o,s:O,s:o,s:{s:s,s:s}}", "schemaVersion", 2, "mediaType",
		MEDIA_OCI_MANIFEST, "artifactType", IMAGE_INDEX_ARTIFACT, "config",
		descriptor_json(MEDIA_OCI_EMPTY, &config, strlen(empty_config)), "layers", b->blobs,
		"subject", descriptor_json(b->record.media_type, &b->record.manifest, image.len),
		"annotations", IMAGE_INDEX_BUNDLE_DIGEST, digest_str(bundle, text.s),
		IMAGE_INDEX_BUNDLE_SIZE, size);
	AUTO_FREE char *json = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (!json)
		return err_set(err, -ENOMEM, "make an index");
	r = digest_of(DIGEST_SHA256, json, strlen(json), ret);
	return r < 0 ? r : store_blob_put(b->store, ret, json, strlen(json), err);
}

int image_index_build(struct store *store, const struct digest *manifest,
		      struct digest *ret_artifact, struct err *err)
{
	AUTO_FINISH(index_build) struct index_build b = {.store = store, .dir = -1};
	struct digest bundle;
	uint64_t bundle_size = 0;
	int r = build_start(&b, manifest, err);
	if (r < 0)
		return r;
	if (!digest_is_none(&b.record.artifact)) {
		*ret_artifact = b.record.artifact;
		return 0;
	}
	for (size_t i = 0; i < b.record.n_layers && r == 0; i++)
		r = build_add_layer(&b, i, err);
	if (r == 0)
		r = build_bundle(&b, &bundle, &bundle_size, err);
	if (r == 0)
		r = build_artifact(&b, &bundle, bundle_size, &b.record.artifact, err);
	if (r == 0 && (image_record_add_blob(&b.record, &bundle) < 0 ||
		       image_record_add_blob(&b.record, &b.record.artifact) < 0))
		r = err_set(err, -ENOMEM, "make an index");
	if (r == 0)
		r = image_record_save(b.dir, &b.record, err);
	if (r < 0)
		return r;
	*ret_artifact = b.record.artifact;
	return 0;
}

/* ---- publishing ---- */

static int push_windows(struct store *store, const struct descriptor *blob, struct origin *origin,
			deadline_t deadline, struct err *err)
{
	AUTO(store_layer) struct store_layer *layer = NULL;
	AUTO_FINISH(buf) struct buf bytes = buf_make(WINDOWS_BLOB_MAX);
	struct digest digest;
	const char *text = descriptor_annotation(blob, IMAGE_INDEX_LAYER);
	int r = text ? digest_parse(text, &digest, err) :
		       err_say(err, -EBADMSG, "the index does not say whose windows it has");
	if (r == 0)
		r = store_layer_open(store, &digest, &layer, err);
	if (r < 0)
		return r;
	/* An index that came from the registry has its windows there. */
	if (!digest_is_none(&store_layer_info(layer)->windows_digest))
		return 0;
	int fd = store_layer_windows_fd(layer);
	r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : file_slurp_fd(fd, &bytes);
	if (r < 0)
		return err_set(err, r, "read the windows of a layer");
	r = digest_check(&blob->digest, bytes.data, bytes.len, "the windows of a layer", err);
	return r < 0 ? r : origin_push_blob(origin, blob, bytes.data, bytes.len, deadline, err);
}

static int push_stored(struct store *store, const struct descriptor *blob, struct origin *origin,
		       deadline_t deadline, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(BUNDLE_MAX);
	int r = store_blob_get(store, &blob->digest, &bytes, err);
	return r < 0 ? r : origin_push_blob(origin, blob, bytes.data, bytes.len, deadline, err);
}

static int push_blobs(struct store *store, const struct manifest *artifact, struct origin *origin,
		      uint64_t timeout_ms, struct err *err)
{
	int r = origin_push_blob(origin, &artifact->config, empty_config, strlen(empty_config),
				 deadline_in_ms(timeout_ms), err);
	for (size_t i = 0; i < artifact->layers.count && r == 0; i++) {
		const struct descriptor *blob = &artifact->layers.items[i];
		deadline_t deadline = deadline_in_ms(timeout_ms);
		r = strcmp(blob->media_type, IMAGE_INDEX_WINDOWS) == 0 ?
			    push_windows(store, blob, origin, deadline, err) :
			    push_stored(store, blob, origin, deadline, err);
	}
	return r;
}

int image_index_push(struct store *store, const struct digest *manifest, struct origin *origin,
		     uint64_t timeout_ms, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(manifest) struct manifest artifact = {0};
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	int r = image_index_build(store, manifest, &desc.digest, err);
	if (r == 0)
		r = store_blob_get(store, &desc.digest, &bytes, err);
	if (r == 0)
		r = manifest_parse(bytes.data, bytes.len, MEDIA_OCI_MANIFEST, &artifact, err);
	if (r == 0)
		r = push_blobs(store, &artifact, origin, timeout_ms, err);
	if (r < 0)
		return r;
	desc.size = bytes.len;
	desc.media_type = strdup(MEDIA_OCI_MANIFEST);
	desc.artifact_type = strdup(IMAGE_INDEX_ARTIFACT);
	desc.annotations = json_incref(artifact.annotations);
	if (!desc.media_type || !desc.artifact_type)
		return err_set(err, -ENOMEM, "push an index");
	return origin_push_manifest(origin, &desc, bytes.data, bytes.len, manifest,
				    deadline_in_ms(timeout_ms), err);
}
