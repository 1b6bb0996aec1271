/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "fetcher/archive_index.h"
#include "fetcher/archive_v1.h"
#include "fetcher/indexer.h"
#include "fetcher/local_priv.h"
#include "fetcher/manifest.h"

/* One blob of a docker archive, which stands under a name that is not its digest. */
struct named_blob {
	struct digest digest;
	int fd; /* borrowed: the archive's, or config_fd */
	uint64_t off, size;
};

struct archive {
	struct local local; /* first */
	int fd;
	struct archive_index index;
	/* Of a docker archive: a manifest made from what it holds. */
	struct buf manifest;
	struct digest manifest_digest;
	struct named_blob *blobs; /* owned: config and layers */
	size_t n_blobs;
	int config_fd; /* owned; a configuration that is not in the archive; -1: none */
};

static int archive_open_file(struct local *local, const char *name, struct local_file *ret,
			     struct err *err)
{
	const struct archive *a = (const struct archive *)local;
	const struct archive_member *m = archive_index_find(&a->index, name);
	if (!m)
		return err_say(err, -ENOENT, "there is no %s in it", name);
	*ret = (struct local_file){.fd = a->fd, .off = m->off, .size = m->size};
	return 0;
}

static int docker_open_blob(struct local *local, const struct digest *digest,
			    struct local_file *ret, struct err *err)
{
	const struct archive *a = (const struct archive *)local;
	struct digest_text text;
	for (size_t i = 0; i < a->n_blobs; i++) {
		if (!digest_equal(&a->blobs[i].digest, digest))
			continue;
		*ret = (struct local_file){
			.fd = a->blobs[i].fd, .off = a->blobs[i].off, .size = a->blobs[i].size};
		return 0;
	}
	return err_say(err, -ENOENT, "there is no blob %s in it", digest_str(digest, text.s));
}

static int docker_manifest(struct origin *o, const struct digest *want, struct buf *ret,
			   struct descriptor *ret_desc, deadline_t deadline, struct err *err)
{
	(void)deadline;
	struct archive *a = (struct archive *)o;
	struct digest_text text;
	if (!want && !digest_is_none(&a->local.digest))
		want = &a->local.digest;
	if (want && !digest_equal(want, &a->manifest_digest))
		return err_say(err, -ENOENT, "%s: there is no manifest %s in it", a->local.path,
			       digest_str(want, text.s));
	int r = buf_append(ret, a->manifest.data, a->manifest.len);
	char *type = r < 0 ? NULL : strdup(MEDIA_OCI_MANIFEST);
	if (!type)
		return err_set(err, r < 0 ? r : -ENOMEM, "copy the manifest of %s", a->local.path);
	*ret_desc = (struct descriptor){
		.media_type = type, .digest = a->manifest_digest, .size = a->manifest.len};
	return 0;
}

static int docker_referrers(struct origin *o, const struct digest *subject,
			    const char *artifact_type, struct descriptors *ret,
			    deadline_t deadline, struct err *err)
{
	(void)o, (void)subject, (void)artifact_type, (void)deadline, (void)err;
	*ret = (struct descriptors){0}; /* the format has no place for any */
	return 0;
}

static void archive_destroy(struct origin *o)
{
	struct archive *a = (struct archive *)o;
	local_finish(&a->local);
	cleanup_close(&a->fd);
	cleanup_close(&a->config_fd);
	archive_index_finish(&a->index);
	buf_finish(&a->manifest);
	free(a->blobs);
	free(a);
}

static const struct origin_ops oci_ops = {
	.manifest = local_manifest,
	.blob = local_blob,
	.range = local_range,
	.stream = local_stream,
	.referrers = local_referrers,
	.push_blob = local_no_push_blob,
	.push_manifest = local_no_push_manifest,
	.destroy = archive_destroy,
};

static const struct origin_ops docker_ops = {
	.manifest = docker_manifest,
	.blob = local_blob,
	.range = local_range,
	.stream = local_stream,
	.referrers = docker_referrers,
	.push_blob = local_no_push_blob,
	.push_manifest = local_no_push_manifest,
	.destroy = archive_destroy,
};

static bool image_is_meant(const struct archive *a, const json_t *image)
{
	size_t i;
	const json_t *tag;
	if (!a->local.tag)
		return true;
	json_array_foreach(json_object_get(image, "RepoTags"), i, tag)
		if (json_is_string(tag) && local_tag_matches(json_string_value(tag), a->local.tag))
			return true;
	return false;
}

static int choose_image(const struct archive *a, const json_t *list, const json_t **ret,
			struct err *err)
{
	const json_t *found = NULL;
	size_t i;
	const json_t *image;
	json_array_foreach(list, i, image) {
		if (!image_is_meant(a, image))
			continue;
		if (found)
			return err_say(err, -EINVAL, "it holds several images; name one with %s:NAME:TAG",
				       a->local.path);
		found = image;
	}
	if (!found)
		return err_say(err, -ENOENT, "it holds no image%s%s", a->local.tag ? " called " : "",
			       a->local.tag ? a->local.tag : "");
	*ret = found;
	return 0;
}

/*
 * Reads a layer once: its digest as it is stored and, when wanted, that of what
 * is in it, which the indexer gives in passing.
 */
static int sum_layer(const struct archive *a, const struct archive_member *m,
		     struct digest *ret_digest, struct digest *ret_diff_id, struct err *err)
{
	AUTO_FREE char *bytes = malloc(LOCAL_READ_BYTES);
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	AUTO(indexer) struct indexer *indexer = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct seek_totals totals = {0};
	int r = bytes ? digest_ctx_create(DIGEST_SHA256, &ctx) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "read layer %s", m->path);
	r = ret_diff_id ? indexer_create(&(struct indexer_options){0}, &indexer, err) : 0;
	for (uint64_t at = 0; r == 0 && at < m->size;) {
		size_t want = (size_t)u64_min(m->size - at, LOCAL_READ_BYTES);
		ssize_t n = file_pread(a->fd, bytes, want, m->off + at);
		if (n < 0 || (size_t)n != want)
			return err_set(err, n < 0 ? (int)n : -EIO, "read layer %s", m->path);
		at += want;
		r = digest_ctx_update(ctx, bytes, want);
		if (r < 0)
			return err_set(err, r, "sum layer %s", m->path);
		r = indexer ? indexer_push(indexer, bytes, want, err) : 0;
	}
	if (r == 0 && digest_ctx_final(ctx, ret_digest) < 0)
		return err_set(err, -EIO, "sum layer %s", m->path);
	if (r == 0 && indexer)
		r = indexer_finish(indexer, ret_digest, &seek, &totals, err);
	if (r < 0)
		return err_prefix(err, r, "layer %s", m->path);
	if (ret_diff_id)
		*ret_diff_id = totals.diff_id;
	return 0;
}

/* The media type that the first bytes of a layer tell. */
static int layer_type(const struct archive *a, const struct archive_member *m,
		      const char **ret_type, struct err *err)
{
	unsigned char magic[4] = {0};
	ssize_t n = file_pread(a->fd, magic, m->size < 4 ? (size_t)m->size : 4, m->off);
	if (n < 0)
		return err_set(err, (int)n, "read layer %s", m->path);
	*ret_type = MEDIA_OCI_LAYER;
	if (memcmp(magic, "\x1f\x8b", 2) == 0)
		*ret_type = MEDIA_OCI_LAYER_GZIP;
	else if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
		*ret_type = MEDIA_OCI_LAYER_ZSTD;
	return 0;
}

/*
 * An uncompressed layer has its diff_id for a digest. A compressed one has its
 * own, which `docker save` makes its name (blobs/sha256/…) and others do not
 * tell: then it is read for it.
 */
static int layer_digest(const struct archive *a, const struct archive_member *m, const char *name,
			struct digest *digest, struct err *err)
{
	char text[DIGEST_STR_MAX];
	(void)snprintf(text, sizeof(text), "sha256:%.64s",
		       strncmp(name, "blobs/sha256/", 13) == 0 ? name + 13 : "");
	return digest_parse(text, digest, NULL) == 0 ? 0 : sum_layer(a, m, digest, NULL, err);
}

static json_t *descriptor_json(const char *type, const struct digest *digest, uint64_t size)
{
	struct digest_text text;
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest_str(digest, text.s),
			 "size", (json_int_t)size);
}

static void add_blob(struct archive *a, const struct digest *digest, int fd, uint64_t off,
		     uint64_t size)
{
	a->blobs[a->n_blobs++] =
		(struct named_blob){.digest = *digest, .fd = fd, .off = off, .size = size};
}

/*
 * Adds a layer to the blobs and the manifest. diff_id is known (a
 * configuration says it), or DIGEST_NONE and then found by reading the layer.
 */
static int add_layer(struct archive *a, const char *name, struct digest *diff_id, json_t *layers,
		     struct err *err)
{
	const struct archive_member *m = name ? archive_index_find(&a->index, name) : NULL;
	struct digest digest = *diff_id;
	const char *type = NULL;
	if (!m)
		return err_say(err, -EINVAL, "its layer %s is missing", name ? name : "(no name)");
	int r = layer_type(a, m, &type, err);
	if (r == 0 && digest_is_none(diff_id))
		r = sum_layer(a, m, &digest, diff_id, err);
	else if (r == 0 && strcmp(type, MEDIA_OCI_LAYER) != 0)
		r = layer_digest(a, m, name, &digest, err);
	if (r < 0)
		return r;
	add_blob(a, &digest, a->fd, m->off, m->size);
	if (json_array_append_new(layers, descriptor_json(type, &digest, m->size)) < 0)
		return err_set(err, -ENOMEM, "describe its layers");
	return 0;
}

/* Reads the config, notes it as a blob, and parses it. */
static int add_config(struct archive *a, const char *name, size_t n_layers,
		      struct image_config *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(CONFIG_MAX);
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	struct digest digest;
	int r = archive_open_file(&a->local, name, &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, "the configuration", err);
	if (r < 0)
		return r;
	r = digest_of(DIGEST_SHA256, buf_str(&text), text.len, &digest);
	if (r < 0)
		return err_set(err, r, "read the configuration");
	add_blob(a, &digest, file.fd, file.off, file.size);
	return image_config_parse(buf_str(&text), text.len, n_layers, ret, err);
}

/* Keeps the manifest that the archive would have in a registry, its layers as they stand here. */
static int make_manifest(struct archive *a, const struct named_blob *config, json_t *layers,
			 struct err *err)
{
	AUTO_JSON json_t *root = json_pack(
		"{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST, "config",
		descriptor_json(MEDIA_OCI_CONFIG, &config->digest, config->size), "layers", layers);
	AUTO_FREE char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	if (!text)
		return err_set(err, -ENOMEM, "describe its layers");
	a->manifest = buf_make(ORIGIN_MANIFEST_MAX);
	int r = buf_puts(&a->manifest, text);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, a->manifest.data, a->manifest.len, &a->manifest_digest);
	return r < 0 ? err_set(err, r, "describe its layers") : 0;
}

static int read_image(struct archive *a, const json_t *image, struct err *err)
{
	AUTO_FINISH(image_config) struct image_config config = {0};
	AUTO_JSON json_t *layers = json_array();
	const char *name = NULL;
	json_t *names = NULL;
	int r;
	if ((r = json_get_str(image, "Config", JSON_NEED, &name, err)) < 0 ||
	    (r = json_get_array(image, "Layers", JSON_NEED, &names, err)) < 0)
		return r;
	size_t n = json_array_size(names);
	if (n > MANIFEST_LAYERS_MAX)
		return err_say(err, -E2BIG, "%zu layers are more than the limit of %d", n,
			       MANIFEST_LAYERS_MAX);
	a->blobs = calloc(n + 1, sizeof(*a->blobs));
	if (!layers || !a->blobs)
		return err_set(err, -ENOMEM, "describe its layers");
	r = add_config(a, name, n, &config, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_layer(a, json_string_value(json_array_get(names, i)), &config.diff_ids[i],
			      layers, err);
	return r < 0 ? r : make_manifest(a, &a->blobs[0], layers, err);
}

/* Puts the configuration of an archive that has none where blobs can be read from. */
static int keep_config(struct archive *a, json_t *config, json_t *diff_ids, struct err *err)
{
	struct digest digest;
	if (json_object_set_new(config, "rootfs",
				json_pack("{s:s, s:O}", "type", "layers", "diff_ids", diff_ids)) < 0)
		return err_set(err, -ENOMEM, "describe its layers");
	AUTO_FREE char *text = json_dumps(config, JSON_COMPACT);
	if (!text)
		return err_set(err, -ENOMEM, "describe its layers");
	size_t n = strlen(text);
	a->config_fd = memfd_create("sluice-config", MFD_CLOEXEC);
	int r = a->config_fd < 0 ? -errno : file_write(a->config_fd, text, n);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, text, n, &digest);
	if (r < 0)
		return err_set(err, r, "keep the image's configuration");
	add_blob(a, &digest, a->config_fd, 0, n);
	return 0;
}

static int open_v1(struct archive *a, struct err *err)
{
	AUTO_FINISH(v1_image) struct v1_image image = {0};
	AUTO_JSON json_t *layers = json_array();
	AUTO_JSON json_t *diff_ids = json_array();
	int r = v1_image_load(&a->local, &image, err);
	if (r < 0)
		return r;
	a->blobs = calloc(image.n_ids + 1, sizeof(*a->blobs));
	if (!layers || !diff_ids || !a->blobs)
		return err_set(err, -ENOMEM, "describe its layers");
	for (size_t i = image.n_ids; i-- > 0;) {
		char name[V1_ID_LEN + sizeof("/layer.tar")];
		struct digest diff_id = {0};
		struct digest_text text;
		(void)snprintf(name, sizeof(name), "%s/layer.tar", image.ids[i]);
		r = add_layer(a, name, &diff_id, layers, err);
		if (r < 0)
			return r;
		if (json_array_append_new(diff_ids, json_string(digest_str(&diff_id, text.s))) < 0)
			return err_set(err, -ENOMEM, "describe its layers");
	}
	r = keep_config(a, image.config, diff_ids, err);
	return r < 0 ? r : make_manifest(a, &a->blobs[a->n_blobs - 1], layers, err);
}

static int open_docker(struct archive *a, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(LOCAL_INDEX_MAX);
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	AUTO_JSON json_t *list = NULL;
	const json_t *image = NULL;
	json_error_t why;
	if (!archive_index_find(&a->index, "manifest.json")) {
		if (archive_index_find(&a->index, "repositories"))
			return open_v1(a, err);
		return err_say(err, -EINVAL, "it is not a docker archive: it has no manifest.json");
	}
	int r = archive_open_file(&a->local, "manifest.json", &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, "manifest.json", err);
	if (r < 0)
		return r;
	list = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_array(list))
		return err_say(err, -EINVAL, "its manifest.json is not a JSON array");
	r = choose_image(a, list, &image, err);
	return r < 0 ? r : read_image(a, image, err);
}

int archive_open(const struct ref *ref, struct origin **ret, struct err *err)
{
	struct archive *a = calloc(1, sizeof(*a));
	struct stat st;
	if (!a)
		return err_set(err, -ENOMEM, "open %s", ref->path);
	AUTO(origin) struct origin *origin = &a->local.origin;
	bool docker = ref->kind == REF_DOCKER_ARCHIVE;
	origin->ops = docker ? &docker_ops : &oci_ops;
	a->local.open = archive_open_file;
	a->local.open_blob = docker ? docker_open_blob : local_open_oci_blob;
	a->fd = -1;
	a->config_fd = -1;
	if (local_init(&a->local, ref) < 0)
		return err_set(err, -ENOMEM, "open %s", ref->path);
	/* Not waiting for a writer, should it be a fifo. */
	a->fd = open(ref->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (a->fd < 0 || fstat(a->fd, &st) < 0)
		return err_set(err, -errno, "open archive %s", ref->path);
	if (!S_ISREG(st.st_mode))
		return err_say(err, -EINVAL, "%s is not a file", ref->path);
	int r = archive_index_read(a->fd, ref->path, &a->index, err);
	if (r < 0)
		return r;
	if (!docker && !archive_index_find(&a->index, "index.json"))
		return err_say(err, -EINVAL, "%s is not an OCI archive: it has no index.json", ref->path);
	r = docker ? open_docker(a, err) : 0;
	if (r < 0)
		return err_prefix(err, r, "%s", ref->path);
	*ret = steal_ptr(&origin);
	return 0;
}
