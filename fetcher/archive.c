/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "fetcher/archive_index.h"
#include "fetcher/local_priv.h"
#include "fetcher/manifest.h"

/* One blob of a docker archive, which stands under a name that is not its digest. */
struct named_blob {
	struct digest digest;
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
			.fd = a->fd, .off = a->blobs[i].off, .size = a->blobs[i].size};
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

/* "busybox:1" and "docker.io/library/busybox:1" are one image; a bare tag is compared as such. */
static bool tag_matches(const char *have, const char *want)
{
	AUTO_FINISH(ref) struct ref a = {0};
	AUTO_FINISH(ref) struct ref b = {0};
	if (strcmp(have, want) == 0)
		return true;
	if (ref_parse(have, &a, NULL) < 0 || a.kind != REF_REGISTRY || !a.tag)
		return false;
	if (!strpbrk(want, ":/"))
		return strcmp(a.tag, want) == 0;
	return ref_parse(want, &b, NULL) == 0 && b.kind == REF_REGISTRY && b.tag &&
	       strcmp(a.host, b.host) == 0 && strcmp(a.repository, b.repository) == 0 &&
	       strcmp(a.tag, b.tag) == 0;
}

static bool image_is_meant(const struct archive *a, const json_t *image)
{
	size_t i;
	const json_t *tag;
	if (!a->local.tag)
		return true;
	json_array_foreach(json_object_get(image, "RepoTags"), i, tag)
		if (json_is_string(tag) && tag_matches(json_string_value(tag), a->local.tag))
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
 * A layer that `docker save` wrote compressed has its own digest for a name
 * (blobs/sha256/…); an uncompressed one is named by its diff_id.
 */
static int layer_identity(const struct archive *a, const char *name, uint64_t off, uint64_t size,
			  struct digest *digest, const char **ret_type, struct err *err)
{
	unsigned char magic[4] = {0};
	ssize_t n = file_pread(a->fd, magic, size < 4 ? (size_t)size : 4, off);
	if (n < 0)
		return err_set(err, (int)n, "read layer %s", name);
	*ret_type = MEDIA_OCI_LAYER;
	if (memcmp(magic, "\x1f\x8b", 2) == 0)
		*ret_type = MEDIA_OCI_LAYER_GZIP;
	else if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
		*ret_type = MEDIA_OCI_LAYER_ZSTD;
	else
		return 0;
	char text[DIGEST_STR_MAX];
	(void)snprintf(text, sizeof(text), "sha256:%.64s",
		       strncmp(name, "blobs/sha256/", 13) == 0 ? name + 13 : "");
	if (digest_parse(text, digest, NULL) < 0)
		return err_say(err, -EOPNOTSUPP,
			       "layer %s is compressed, and the archive does not tell its digest", name);
	return 0;
}

static json_t *descriptor_json(const char *type, const struct digest *digest, uint64_t size)
{
	struct digest_text text;
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest_str(digest, text.s),
			 "size", (json_int_t)size);
}

static int add_layer(struct archive *a, const json_t *item, const struct digest *diff_id,
		     json_t *layers, struct err *err)
{
	const char *name = json_string_value(item);
	const char *type = NULL;
	struct named_blob *blob = &a->blobs[a->n_blobs];
	const struct archive_member *m = name ? archive_index_find(&a->index, name) : NULL;
	if (!m)
		return err_say(err, -EINVAL, "its layer %s is missing", name ? name : "(no name)");
	*blob = (struct named_blob){.digest = *diff_id, .off = m->off, .size = m->size};
	int r = layer_identity(a, name, m->off, m->size, &blob->digest, &type, err);
	if (r < 0)
		return r;
	a->n_blobs++;
	if (json_array_append_new(layers, descriptor_json(type, &blob->digest, blob->size)) < 0)
		return err_set(err, -ENOMEM, "describe its layers");
	return 0;
}

/* Reads the config, notes it as a blob, and parses it. */
static int add_config(struct archive *a, const char *name, size_t n_layers,
		      struct image_config *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(CONFIG_MAX);
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	struct named_blob *blob = &a->blobs[a->n_blobs];
	int r = archive_open_file(&a->local, name, &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, "the configuration", err);
	if (r < 0)
		return r;
	*blob = (struct named_blob){.off = file.off, .size = file.size};
	r = digest_of(DIGEST_SHA256, buf_str(&text), text.len, &blob->digest);
	if (r < 0)
		return err_set(err, r, "read the configuration");
	a->n_blobs++;
	return image_config_parse(buf_str(&text), text.len, n_layers, ret, err);
}

/* Keeps the manifest that the archive would have in a registry, its layers as they stand here. */
static int make_manifest(struct archive *a, const json_t *image, struct err *err)
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
		r = add_layer(a, json_array_get(names, i), &config.diff_ids[i], layers, err);
	if (r < 0)
		return r;
	AUTO_JSON json_t *root = json_pack(
		"{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST, "config",
		descriptor_json(MEDIA_OCI_CONFIG, &a->blobs[0].digest, a->blobs[0].size), "layers",
		layers);
	AUTO_FREE char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	if (!text)
		return err_set(err, -ENOMEM, "describe its layers");
	a->manifest = buf_make(ORIGIN_MANIFEST_MAX);
	r = buf_puts(&a->manifest, text);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, a->manifest.data, a->manifest.len, &a->manifest_digest);
	return r < 0 ? err_set(err, r, "describe its layers") : 0;
}

static int open_docker(struct archive *a, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(LOCAL_INDEX_MAX);
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	AUTO_JSON json_t *list = NULL;
	const json_t *image = NULL;
	json_error_t why;
	if (!archive_index_find(&a->index, "manifest.json"))
		return err_say(err, -EINVAL, "%s", archive_index_find(&a->index, "repositories")
			? "it is of the format of Docker before 1.10, without a manifest.json; "
			  "load it into a current Docker and save it again"
			: "it is not a docker archive: it has no manifest.json");
	int r = archive_open_file(&a->local, "manifest.json", &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, "manifest.json", err);
	if (r < 0)
		return r;
	list = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_array(list))
		return err_say(err, -EINVAL, "its manifest.json is not a JSON array");
	r = choose_image(a, list, &image, err);
	return r < 0 ? r : make_manifest(a, image, err);
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
