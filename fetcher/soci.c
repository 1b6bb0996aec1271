/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/soci.h"

#include <string.h>

#define SOCI_V1_ARTIFACT  "application/vnd.amazon.soci.index.v1+json"
#define SOCI_V2_ARTIFACT  "application/vnd.amazon.soci.index.v2+json"
#define SOCI_INDEX_DIGEST "com.amazon.soci.index-digest"

struct soci_index {
	struct manifest manifest; /* owned */
	struct buf bytes;	  /* owned; the manifest's */
	struct descriptor self;	  /* owned */
	int version;
};

void soci_index_destroy(struct soci_index *soci)
{
	if (!soci)
		return;
	manifest_finish(&soci->manifest);
	buf_finish(&soci->bytes);
	descriptor_finish(&soci->self);
	free(soci);
}

/* When an index was made, as text that sorts by time; "" where it does not say. */
static const char *soci_created(const struct descriptor *desc)
{
	const char *text = descriptor_annotation(desc, SOCI_CREATED);
	return text ? text : "";
}

/* The digest of the index manifest, and its version: 0 when the image has none. */
static int soci_locate(const struct manifest *image, const struct descriptors *referrers,
		       struct digest *ret, struct err *err)
{
	const char *named = json_string_value(json_object_get(image->annotations, SOCI_INDEX_DIGEST));
	if (named)
		return digest_parse(named, ret, err) < 0 ? -EBADMSG : 2;
	const struct descriptor *newest = NULL;
	for (size_t i = 0; i < referrers->count; i++) {
		const struct descriptor *desc = &referrers->items[i];
		if (!desc->artifact_type || strcmp(desc->artifact_type, SOCI_V1_ARTIFACT) != 0)
			continue;
		if (!newest || strcmp(soci_created(desc), soci_created(newest)) > 0)
			newest = desc;
	}
	if (!newest)
		return 0;
	*ret = newest->digest;
	return 1;
}

static int soci_check(const struct soci_index *soci, struct err *err)
{
	const struct manifest *m = &soci->manifest;
	const char *want = soci->version == 2 ? SOCI_V2_ARTIFACT : SOCI_V1_ARTIFACT;
	const char *type = m->artifact_type ? m->artifact_type : m->config.media_type;
	if (m->kind != MANIFEST_IMAGE || !type || strcmp(type, want) != 0)
		return err_say(err, -EBADMSG, "the SOCI index is of type %s instead of %s",
			       type ? type : "none", want);
	for (size_t i = 0; i < m->layers.count; i++) {
		struct digest layer;
		const char *text = descriptor_annotation(&m->layers.items[i], SOCI_LAYER_DIGEST);
		if (text && digest_parse(text, &layer, err) < 0)
			return -EBADMSG;
	}
	return 0;
}

int soci_index_find(struct origin *origin, const struct manifest *image,
		    const struct descriptors *referrers, deadline_t deadline,
		    struct soci_index **ret, struct err *err)
{
	AUTO(soci_index) struct soci_index *soci = calloc(1, sizeof(*soci));
	struct digest digest = {0};
	if (!soci)
		return err_set(err, -ENOMEM, "look for a SOCI index");
	int version = soci_locate(image, referrers, &digest, err);
	if (version <= 0)
		return version < 0 ? version : -ENOENT;
	soci->version = version;
	soci->bytes = buf_make(ORIGIN_MANIFEST_MAX);
	int r = origin_manifest(origin, &digest, &soci->bytes, &soci->self, deadline, err);
	if (r < 0)
		return r;
	r = manifest_parse(soci->bytes.data, soci->bytes.len, soci->self.media_type,
			   &soci->manifest, err);
	if (r == 0)
		r = soci_check(soci, err);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	*ret = steal_ptr(&soci);
	return 0;
}

int soci_index_version(const struct soci_index *soci)
{
	return soci->version;
}

/* The blob about a layer that is a prefetch list, or is none. */
static const struct descriptor *soci_find(const struct soci_index *soci,
					  const struct digest *layer, bool prefetch)
{
	for (size_t i = 0; i < soci->manifest.layers.count; i++) {
		const struct descriptor *desc = &soci->manifest.layers.items[i];
		const char *text = descriptor_annotation(desc, SOCI_LAYER_DIGEST);
		struct digest digest;
		if ((strcmp(desc->media_type, SOCI_PREFETCH_TYPE) == 0) == prefetch && text &&
		    digest_parse(text, &digest, NULL) == 0 && digest_equal(&digest, layer))
			return desc;
	}
	return NULL;
}

const struct descriptor *soci_index_ztoc(const struct soci_index *soci, const struct digest *layer)
{
	return soci_find(soci, layer, false);
}

const struct descriptor *soci_index_prefetch(const struct soci_index *soci,
					     const struct digest *layer)
{
	return soci_find(soci, layer, true);
}

const struct buf *soci_index_bytes(const struct soci_index *soci)
{
	return &soci->bytes;
}

const struct descriptor *soci_index_self(const struct soci_index *soci)
{
	return &soci->self;
}
