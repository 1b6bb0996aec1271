/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/manifest.h"

#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/json.h"

enum { MEDIA_TYPE_MAX = 255 }; /* RFC 6838: 127 characters on each side of the slash */

/* What a media type says a document is. */
enum verdict { VERDICT_NONE, VERDICT_IMAGE, VERDICT_INDEX, VERDICT_SCHEMA1 };

static const struct {
	const char *media_type;
	enum verdict verdict;
} manifest_types[] = {
	{MEDIA_OCI_MANIFEST, VERDICT_IMAGE},
	{MEDIA_DOCKER_MANIFEST, VERDICT_IMAGE},
	{MEDIA_OCI_INDEX, VERDICT_INDEX},
	{MEDIA_DOCKER_LIST, VERDICT_INDEX},
	{"application/vnd.docker.distribution.manifest.v1+json", VERDICT_SCHEMA1},
	{"application/vnd.docker.distribution.manifest.v1+prettyjws", VERDICT_SCHEMA1},
};

/* Parameters ("; charset=utf-8") and the case do not matter in a Content-Type. */
static enum verdict media_verdict(const char *media_type, const char **ret_name)
{
	if (!media_type)
		return VERDICT_NONE;
	size_t n = strcspn(media_type, "; \t");
	for (size_t i = 0; i < sizeof(manifest_types) / sizeof(manifest_types[0]); i++) {
		const char *name = manifest_types[i].media_type;
		if (strlen(name) != n || strncasecmp(name, media_type, n) != 0)
			continue;
		*ret_name = name;
		return manifest_types[i].verdict;
	}
	return VERDICT_NONE;
}

bool media_is_manifest(const char *media_type)
{
	const char *name;
	return media_verdict(media_type, &name) == VERDICT_IMAGE;
}

bool media_is_index(const char *media_type)
{
	const char *name;
	return media_verdict(media_type, &name) == VERDICT_INDEX;
}

void manifest_finish(struct manifest *manifest)
{
	if (!manifest)
		return;
	free(manifest->media_type);
	descriptor_finish(&manifest->config);
	descriptors_finish(&manifest->layers);
	descriptors_finish(&manifest->manifests);
	free(manifest->artifact_type);
	json_decref(manifest->annotations);
	*manifest = (struct manifest){0};
}

/* A copy of an optional string; *ret stays NULL when it is absent. */
static int dup_str(const json_t *object, const char *key, char **ret, struct err *err)
{
	const char *text = NULL;
	int r = json_get_str(object, key, JSON_MAY, &text, err);
	if (r < 0 || !text)
		return r;
	*ret = strdup(text);
	return *ret ? 0 : err_set(err, -ENOMEM, "copy \"%s\"", key);
}

/* An object whose values are all strings, as annotations are. */
static int get_annotations(const json_t *object, json_t **ret, struct err *err)
{
	json_t *got = NULL;
	int r = json_get_object(object, "annotations", JSON_MAY, &got, err);
	if (r < 0 || !got)
		return r;
	const char *key;
	json_t *value;
	json_object_foreach(got, key, value) {
		if (!json_is_string(value))
			return err_say(err, -EINVAL, "annotation \"%.100s\" is not a string", key);
	}
	*ret = json_incref(got);
	return 0;
}

static int get_urls(const json_t *object, struct descriptor *desc, struct err *err)
{
	json_t *urls = NULL;
	int r = json_get_array(object, "urls", JSON_MAY, &urls, err);
	if (r < 0 || !urls || json_array_size(urls) == 0)
		return r;
	size_t n = json_array_size(urls);
	if (n > MANIFEST_URLS_MAX)
		return err_say(err, -E2BIG, "\"urls\" has more than %d entries", MANIFEST_URLS_MAX);
	desc->urls = calloc(n + 1, sizeof(*desc->urls));
	if (!desc->urls)
		return err_set(err, -ENOMEM, "copy \"urls\"");
	for (size_t i = 0; i < n; i++) {
		const json_t *url = json_array_get(urls, i);
		const char *text = json_string_value(url);
		if (!text || strlen(text) != json_string_length(url))
			return err_say(err, -EINVAL, "\"urls\" holds something that is not a string");
		desc->urls[i] = strdup(text);
		if (!desc->urls[i])
			return err_set(err, -ENOMEM, "copy \"urls\"");
	}
	return 0;
}

static int get_data(const json_t *object, struct descriptor *desc, struct err *err)
{
	const char *text = NULL;
	size_t n = 0;
	int r = json_get_str(object, "data", JSON_MAY, &text, err);
	if (r < 0 || !text)
		return r;
	if (desc->size > MANIFEST_DATA_MAX)
		return err_say(err, -E2BIG, "inline \"data\" is larger than %d bytes",
			       MANIFEST_DATA_MAX);
	r = base64_decode(text, strlen(text), MANIFEST_DATA_MAX, &desc->data, &n);
	if (r < 0)
		return err_say(err, r, "inline \"data\" is not base64");
	if (n != desc->size)
		return err_say(err, -EBADMSG, "inline \"data\" has %zu bytes, \"size\" says %lu", n,
			       (unsigned long)desc->size);
	return digest_check(&desc->digest, desc->data, n, "inline \"data\"", err);
}

static int parse_descriptor(const json_t *object, struct descriptor *desc, struct err *err)
{
	json_t *platform = NULL;
	int r = dup_str(object, "mediaType", &desc->media_type, err);
	if (r < 0)
		return r;
	if (!desc->media_type || desc->media_type[0] == '\0')
		return err_say(err, -EINVAL, "\"mediaType\" is missing");
	if (strlen(desc->media_type) > MEDIA_TYPE_MAX)
		return err_say(err, -E2BIG, "\"mediaType\" is longer than %d bytes", MEDIA_TYPE_MAX);
	if ((r = json_get_digest(object, "digest", JSON_NEED, &desc->digest, err)) < 0 ||
	    (r = json_get_u64(object, "size", JSON_NEED, &desc->size, err)) < 0 ||
	    (r = dup_str(object, "artifactType", &desc->artifact_type, err)) < 0 ||
	    (r = get_annotations(object, &desc->annotations, err)) < 0 ||
	    (r = json_get_object(object, "platform", JSON_MAY, &platform, err)) < 0 ||
	    (r = get_urls(object, desc, err)) < 0)
		return r;
	desc->platform = json_incref(platform);
	return get_data(object, desc, err);
}

int descriptor_parse(const json_t *object, const char *what, struct descriptor *ret,
		     struct err *err)
{
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	if (!json_is_object(object))
		return err_say(err, -EINVAL, "%s is missing or not an object", what);
	int r = parse_descriptor(object, &desc, err);
	if (r < 0)
		return err_prefix(err, r, "%s", what);
	*ret = desc;
	desc = (struct descriptor){0};
	return 0;
}

/* One element of `layers` or `manifests`. */
static int add_descriptor(struct descriptors *list, const json_t *item, const char *what, size_t i,
			  struct err *err)
{
	char name[64];
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	(void)snprintf(name, sizeof(name), "%s %zu", what, i);
	int r = descriptor_parse(item, name, &desc, err);
	if (r < 0)
		return r;
	r = descriptors_add(list, &desc);
	return r < 0 ? err_set(err, r, "%s", name) : 0;
}

static int parse_image(const json_t *root, struct manifest *m, struct err *err)
{
	json_t *layers = NULL;
	int r = descriptor_parse(json_object_get(root, "config"), "the config", &m->config, err);
	if (r < 0)
		return r;
	r = json_get_array(root, "layers", JSON_NEED, &layers, err);
	if (r < 0)
		return r;
	if (json_array_size(layers) > MANIFEST_LAYERS_MAX)
		return err_say(err, -E2BIG, "%zu layers are more than the limit of %d",
			       json_array_size(layers), MANIFEST_LAYERS_MAX);
	for (size_t i = 0; i < json_array_size(layers); i++) {
		r = add_descriptor(&m->layers, json_array_get(layers, i), "layer", i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* An entry whose type is not known is somebody else's (image-index.md): it need not even parse. */
static int parse_index(const json_t *root, struct manifest *m, struct err *err)
{
	json_t *list = NULL;
	int r = json_get_array(root, "manifests", JSON_NEED, &list, err);
	if (r < 0)
		return r;
	if (json_array_size(list) > DESCRIPTORS_MAX)
		return err_say(err, -E2BIG, "%zu entries are more than the limit of %d",
			       json_array_size(list), DESCRIPTORS_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const char *type = json_string_value(json_object_get(item, "mediaType"));
		if (type && !media_is_manifest(type) && !media_is_index(type))
			continue;
		r = add_descriptor(&m->manifests, item, "entry", i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int refuse_schema1(struct err *err)
{
	return err_say(err, -EOPNOTSUPP,
		       "it is a Docker schema 1 manifest, which is no longer supported; "
		       "push the image again with a current tool");
}

/* Decides what the document is and what media type it is treated as. */
static int decide(const json_t *root, const char *content_type, enum verdict *ret,
		  const char **ret_type, struct err *err)
{
	bool image = json_object_get(root, "config") || json_object_get(root, "layers");
	bool index = json_object_get(root, "manifests");
	const char *own = NULL;
	uint64_t version = 0;
	int r = json_get_str(root, "mediaType", JSON_MAY, &own, err);
	if (r < 0)
		return r;
	r = json_get_u64(root, "schemaVersion", JSON_NEED, &version, err);
	if (r < 0)
		return r;
	if (version == 1 || json_object_get(root, "fsLayers"))
		return refuse_schema1(err);
	if (version != 2)
		return err_say(err, -EINVAL, "\"schemaVersion\" is not 2");
	if (image && index)
		return err_say(err, -EINVAL, "it is both a manifest and an index");

	enum verdict verdict = media_verdict(own ? own : content_type, ret_type);
	if (own && verdict == VERDICT_NONE)
		return err_say(err, -EINVAL, "its media type '%.200s' is that of no manifest", own);
	if (verdict == VERDICT_SCHEMA1)
		return refuse_schema1(err);
	if (verdict == VERDICT_NONE && (image || index)) {
		verdict = image ? VERDICT_IMAGE : VERDICT_INDEX;
		*ret_type = image ? MEDIA_OCI_MANIFEST : MEDIA_OCI_INDEX;
	}
	if (verdict == VERDICT_NONE)
		return err_say(err, -EINVAL, "it is neither a manifest nor an index");
	if ((verdict == VERDICT_IMAGE && index) || (verdict == VERDICT_INDEX && image))
		return err_say(err, -EINVAL, "its content contradicts its media type '%s'", *ret_type);
	*ret = verdict;
	return 0;
}

static int get_subject(const json_t *root, struct manifest *m, struct err *err)
{
	json_t *subject = NULL;
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	int r = json_get_object(root, "subject", JSON_MAY, &subject, err);
	if (r < 0 || !subject)
		return r;
	r = descriptor_parse(subject, "the subject", &desc, err);
	if (r < 0)
		return r;
	m->subject = desc.digest;
	return 0;
}

static int parse_document(const void *data, size_t n, const char *content_type,
			  struct manifest *m, struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	enum verdict verdict = VERDICT_NONE;
	const char *type = NULL;
	int r = json_parse_object(data, n, "the document", &root, err);
	if (r < 0)
		return r;
	if ((r = decide(root, content_type, &verdict, &type, err)) < 0 ||
	    (r = get_subject(root, m, err)) < 0 ||
	    (r = dup_str(root, "artifactType", &m->artifact_type, err)) < 0 ||
	    (r = get_annotations(root, &m->annotations, err)) < 0)
		return r;
	m->media_type = strdup(type);
	if (!m->media_type)
		return err_set(err, -ENOMEM, "copy the media type");
	m->kind = verdict == VERDICT_IMAGE ? MANIFEST_IMAGE : MANIFEST_INDEX;
	return m->kind == MANIFEST_IMAGE ? parse_image(root, m, err) : parse_index(root, m, err);
}

int manifest_parse(const void *data, size_t n, const char *content_type, struct manifest *ret,
		   struct err *err)
{
	AUTO_FINISH(manifest) struct manifest m = {0};
	int r = parse_document(data, n, content_type, &m, err);
	if (r < 0)
		return err_prefix(err, r, "bad manifest");
	*ret = m;
	m = (struct manifest){0};
	return 0;
}

static const struct {
	const char *media_type;
	struct layer_type type;
} layer_types[] = {
	{MEDIA_OCI_LAYER, {LAYER_TAR, false}},
	{MEDIA_OCI_LAYER_GZIP, {LAYER_GZIP, false}},
	{MEDIA_OCI_LAYER_ZSTD, {LAYER_ZSTD, false}},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar", {LAYER_TAR, true}},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", {LAYER_GZIP, true}},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", {LAYER_ZSTD, true}},
	{"application/vnd.docker.image.rootfs.diff.tar", {LAYER_TAR, false}},
	{"application/vnd.docker.image.rootfs.diff.tar.gzip", {LAYER_GZIP, false}},
	{"application/vnd.docker.image.rootfs.diff.tar.zstd", {LAYER_ZSTD, false}},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar", {LAYER_TAR, true}},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", {LAYER_GZIP, true}},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", {LAYER_ZSTD, true}},
};

int layer_type_parse(const char *media_type, struct layer_type *ret, struct err *err)
{
	for (size_t i = 0; i < sizeof(layer_types) / sizeof(layer_types[0]); i++) {
		if (strcmp(media_type, layer_types[i].media_type) != 0)
			continue;
		*ret = layer_types[i].type;
		return 0;
	}
	return err_say(err, -EOPNOTSUPP, "layers of type '%.200s' cannot be mounted", media_type);
}

int manifest_check_layers(const struct manifest *m, struct err *err)
{
	const char *config = m->config.media_type;
	bool of_image = strcmp(config, MEDIA_OCI_CONFIG) == 0 ||
			strcmp(config, MEDIA_DOCKER_CONFIG) == 0;
	bool artifact = !of_image && (m->artifact_type || strcmp(config, MEDIA_OCI_EMPTY) == 0);
	for (size_t i = 0; i < m->layers.count && !artifact; i++) {
		struct layer_type type;
		int r = layer_type_parse(m->layers.items[i].media_type, &type, err);
		if (r < 0 && of_image)
			return err_prefix(err, r, "layer %zu", i + 1);
		/* Old images have configurations of odd types, but their layers are layers. */
		artifact = r < 0;
	}
	if (artifact)
		return err_say(err, -EOPNOTSUPP, "this is an artifact of type '%.200s', not an image",
			       m->artifact_type ? m->artifact_type : config);
	return 0;
}
