/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/resolve.h"

#include <string.h>

void resolved_finish(struct resolved *resolved)
{
	if (!resolved)
		return;
	manifest_finish(&resolved->manifest);
	buf_finish(&resolved->bytes);
	descriptor_finish(&resolved->desc);
	*resolved = (struct resolved){0};
}

/* One document: fetched, parsed. */
static int resolve_fetch(struct origin *origin, const struct digest *want, deadline_t deadline,
			 struct resolved *ret, struct err *err)
{
	AUTO_FINISH(resolved) struct resolved got = {.bytes = buf_make(ORIGIN_MANIFEST_MAX)};
	int r = origin_manifest(origin, want, &got.bytes, &got.desc, deadline, err);
	if (r < 0)
		return r;
	r = manifest_parse(got.bytes.data, got.bytes.len, got.desc.media_type, &got.manifest, err);
	if (r < 0)
		return r;
	got.top = got.desc.digest;
	*ret = got;
	got = (struct resolved){0};
	return 0;
}

static int resolve_choose(const struct manifest *index, const struct platform *platform,
			  struct digest *ret, struct err *err)
{
	AUTO_FREE char *offers = NULL;
	char want[PLATFORM_TEXT_MAX];
	const struct descriptor *entry = platform_choose(platform, &index->manifests, &offers);
	if (!entry)
		return err_say(err, -ENOENT, "there is no image for %s; there is: %s",
			       platform_text(platform, want), offers ? offers : "nothing");
	*ret = entry->digest;
	return 0;
}

int image_resolve(struct origin *origin, const struct platform *platform,
		  const struct digest *want, deadline_t deadline, struct resolved *ret,
		  struct err *err)
{
	AUTO_FINISH(resolved) struct resolved at = {0};
	struct digest seen[RESOLVE_DEPTH_MAX];
	int r = resolve_fetch(origin, want, deadline, &at, err);
	if (r < 0)
		return r;
	struct digest top = at.desc.digest;
	for (size_t depth = 0; at.manifest.kind == MANIFEST_INDEX; depth++) {
		struct digest next;
		if (depth == RESOLVE_DEPTH_MAX)
			return err_say(err, -ELOOP, "the image's indexes are nested deeper than %d",
				       RESOLVE_DEPTH_MAX);
		seen[depth] = at.desc.digest;
		r = resolve_choose(&at.manifest, platform, &next, err);
		if (r < 0)
			return r;
		for (size_t i = 0; i <= depth; i++)
			if (digest_equal(&seen[i], &next))
				return err_say(err, -ELOOP, "the image's indexes name each other");
		resolved_finish(&at);
		r = resolve_fetch(origin, &next, deadline, &at, err);
		if (r < 0)
			return r;
	}
	at.top = top;
	*ret = at;
	at = (struct resolved){0};
	return 0;
}

int resolved_from_bytes(struct buf *bytes, const char *media_type, const struct digest *digest,
			struct resolved *ret, struct err *err)
{
	AUTO_FINISH(resolved) struct resolved got = {.top = *digest};
	int r = manifest_parse(bytes->data, bytes->len, media_type, &got.manifest, err);
	if (r < 0)
		return r;
	if (got.manifest.kind != MANIFEST_IMAGE)
		return err_say(err, -EINVAL, "this is an index, not an image's manifest");
	got.desc.digest = *digest;
	got.desc.size = bytes->len;
	got.desc.media_type = strdup(got.manifest.media_type);
	if (!got.desc.media_type)
		return err_set(err, -ENOMEM, "read a manifest");
	got.bytes = *bytes;
	*bytes = buf_make(bytes->max);
	*ret = got;
	got = (struct resolved){0};
	return 0;
}
