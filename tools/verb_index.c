/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "fs/image_index.h"
#include "fs/profile_registry.h"
#include "tools/opened.h"
#include "tools/text.h"
#include "tools/verb.h"

/* What the store learnt of the image's starts goes with its index. */
static int index_push_profile(struct ctx *ctx, const char *text, const struct digest *manifest,
			      struct origin *origin, bool *ret_pushed, struct err *err)
{
	struct profile_pushed pushed = {0};
	int r = profile_push(ctx->store, manifest, origin, (int64_t)time(NULL), ctx->timeout_ms,
			     &pushed, err);
	if (r == -ENOENT || r == -EBADMSG) {
		/* Of one that is wrong nothing can be learnt; the index is as good without it. */
		if (r == -EBADMSG)
			log_warn("%s: its startup profile is not pushed: %s", text, err_text(err));
		return 0;
	}
	if (r < 0)
		return err_prefix(err, r, "push the startup profile");
	if (pushed.ignored.code != 0)
		log_warn("%s: the startup profile in the registry is ignored: %s", text,
			 err_text(&pushed.ignored));
	*ret_pushed = pushed.pushed;
	return 0;
}

/* build and push share all but the last step. */
static int index_make(struct ctx *ctx, const char *text, bool push, struct err *err)
{
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO(origin) struct origin *origin = NULL;
	struct store *store = NULL;
	struct digest manifest, artifact;
	struct digest_text digest;
	bool profile = false;
	int r = ctx_prepare(ctx, text, &ref, &origin, &manifest, err);
	if (r == 0)
		r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = image_index_build(store, &manifest, &artifact, err);
	if (r == 0 && push && !origin)
		r = err_say(err, -EINVAL, "an index cannot be pushed with --offline");
	if (r == 0 && push)
		r = image_index_push(store, &manifest, origin, ctx->timeout_ms, err);
	if (r == 0 && push)
		r = index_push_profile(ctx, text, &manifest, origin, &profile, err);
	if (r < 0)
		return err_prefix(err, r, "%s", text);
	digest_str(&artifact, digest.s);
	if (!ctx->json) {
		(void)printf("%s\n", digest.s);
		return 0;
	}
	struct digest_text subject;
	AUTO_JSON json_t *json = json_pack("{s:s,s:s,s:b,s:b}", "digest", digest.s, "subject",
					   digest_str(&manifest, subject.s), "pushed", push,
					   "profile_pushed", profile);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

static json_t *index_layer_json(const struct image_layer_stat *layer)
{
	struct digest_text text;
	return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I}", "digest", digest_str(&layer->digest, text.s),
			 "media_type", layer->media_type, "index", layer_index_name(layer->index),
			 "size", (json_int_t)layer->size, "bytes", (json_int_t)layer->counts.bytes,
			 "spans", (json_int_t)layer->counts.spans);
}

static int index_show(struct ctx *ctx, const char *text, struct err *err)
{
	AUTO_FINISH(opened) struct opened opened = {0};
	struct digest_text manifest;
	AUTO_JSON json_t *layers = json_array();
	int r = opened_start(ctx, text, &opened, err);
	if (r < 0)
		return r;
	struct erofs_stats tree;
	erofs_stats(image_tree(opened.image), &tree);
	digest_str(&opened.manifest, manifest.s);
	if (!ctx->json)
		(void)printf("image   %s\nfiles   %llu\ntree    %llu bytes\n", manifest.s,
			     (unsigned long long)tree.inodes, (unsigned long long)tree.bytes);
	for (size_t i = 0; i < image_layer_count(opened.image); i++) {
		struct image_layer_stat layer;
		char size[SIZE_TEXT_MAX], bytes[SIZE_TEXT_MAX];
		struct digest_text digest;
		r = image_layer_stat(opened.image, i, &layer, err);
		if (r < 0)
			return r;
		if (ctx->json && json_array_append_new(layers, index_layer_json(&layer)) < 0)
			return err_set(err, -ENOMEM, "print");
		if (!ctx->json)
			(void)printf("layer   %s\n        %s, %s of %s, %llu spans, index: %s\n",
				     digest_str(&layer.digest, digest.s), layer.media_type,
				     size_text(layer.size, size),
				     size_text(layer.counts.bytes, bytes),
				     (unsigned long long)layer.counts.spans,
				     layer_index_name(layer.index));
	}
	if (!ctx->json)
		return 0;
	AUTO_JSON json_t *json = json_pack("{s:s,s:I,s:I,s:O}", "image", manifest.s, "files",
					   (json_int_t)tree.inodes, "tree_bytes",
					   (json_int_t)tree.bytes, "layers", layers);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

static int index_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	(void)state;
	(void)argc;
	if (strcmp(argv[0], "build") == 0)
		return index_make(ctx, argv[1], false, err);
	if (strcmp(argv[0], "push") == 0)
		return index_make(ctx, argv[1], true, err);
	if (strcmp(argv[0], "show") == 0)
		return index_show(ctx, argv[1], err);
	return ctx_misuse(ctx, err_say(err, -EINVAL,
				       "there is no 'index %s': it is build, push or show",
				       argv[0]));
}

const struct verb verb_index = {
	.name = "index",
	.args = "build|push|show IMAGE",
	.summary = "make, publish or print the index of an image",
	.teach = "An index holds what a mount needs to answer: the metadata of all files, and where in\n"
		 "the layers their bytes are. With an index in the registry, a machine that never saw the\n"
		 "image mounts it in a few round trips; without one, unless the layers bring their own\n"
		 "(eStargz, zstd:chunked, SOCI), the layers are read once.\n\n"
		 "  build   make it and keep it in the store; prints its digest\n"
		 "  push    the same, and publish it beside the image (referrers, or the fallback tag);\n"
		 "          the image itself stays as it is; with it goes the image's startup profile, if\n"
		 "          the store has one (see 'sluice profile')\n"
		 "  show    print what is known, and where each layer's table came from\n\n"
		 "  sluice index push registry.example/team/app:1.4",
	.min_words = 2,
	.max_words = 2,
	.run = index_run,
};
