/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/soci.h"

#include <string.h>

#define SOCI_V1_ARTIFACT  "application/vnd.amazon.soci.index.v1+json"
#define SOCI_V2_ARTIFACT  "application/vnd.amazon.soci.index.v2+json"
#define SOCI_INDEX_DIGEST "com.amazon.soci.index-digest"
#define SOCI_LAYER_DIGEST "com.amazon.soci.image-layer-digest"

struct soci_index {
	struct manifest manifest; /* owned */
	int version;
};

void soci_index_destroy(struct soci_index *soci)
{
	if (!soci)
		return;
	manifest_finish(&soci->manifest);
	free(soci);
}

/* The digest of the index manifest, and its version: 0 when the image has none. */
static int soci_locate(const struct manifest *image, const struct descriptors *referrers,
		       struct digest *ret, struct err *err)
{
	const char *named = json_string_value(json_object_get(image->annotations, SOCI_INDEX_DIGEST));
	if (named)
		return digest_parse(named, ret, err) < 0 ? -EBADMSG : 2;
	for (size_t i = 0; i < referrers->count; i++) {
		const struct descriptor *desc = &referrers->items[i];
		if (!desc->artifact_type || strcmp(desc->artifact_type, SOCI_V1_ARTIFACT) != 0)
			continue;
		*ret = desc->digest;
		return 1;
	}
	return 0;
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
		/* Its prefetch lists name no layer. */
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
	AUTO_FINISH(buf) struct buf bytes = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	struct digest digest = {0};
	if (!soci)
		return err_set(err, -ENOMEM, "look for a SOCI index");
	int version = soci_locate(image, referrers, &digest, err);
	if (version <= 0)
		return version < 0 ? version : -ENOENT;
	soci->version = version;
	int r = origin_manifest(origin, &digest, &bytes, &desc, deadline, err);
	if (r < 0)
		return r;
	r = manifest_parse(bytes.data, bytes.len, desc.media_type, &soci->manifest, err);
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

const struct descriptor *soci_index_ztoc(const struct soci_index *soci, const struct digest *layer)
{
	for (size_t i = 0; i < soci->manifest.layers.count; i++) {
		const struct descriptor *desc = &soci->manifest.layers.items[i];
		const char *text = descriptor_annotation(desc, SOCI_LAYER_DIGEST);
		struct digest digest;
		if (text && digest_parse(text, &digest, NULL) == 0 && digest_equal(&digest, layer))
			return desc;
	}
	return NULL;
}
