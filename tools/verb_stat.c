/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "tools/mounting.h"
#include "tools/opened.h"
#include "tools/text.h"
#include "tools/verb.h"

/* What is told: of one mount, or of an image and all its mounts together. */
struct stats_sum {
	uint64_t served, fetched, requests, hits, misses, retries, errors, reads, takeovers;
	uint64_t ahead, ahead_used, waited;
	uint64_t mounts;
};

static void stats_add(struct stats_sum *sum, const struct mount_stats *s)
{
	uint64_t network = counter_get(&s->net.bytes);
	/* A layout or an archive has no network: what was read from it counts then. */
	sum->fetched += network > 0 ? network : counter_get(&s->fetch.bytes_fetched);
	sum->requests += counter_get(&s->net.requests);
	sum->retries += counter_get(&s->net.retries);
	sum->errors += counter_get(&s->mount.errors) + counter_get(&s->net.errors);
	sum->served += counter_get(&s->mount.bytes_served);
	sum->hits += counter_get(&s->mount.cache_hits);
	sum->misses += counter_get(&s->mount.cache_misses);
	sum->reads += counter_get(&s->mount.reads);
	sum->takeovers += counter_get(&s->mount.takeovers);
	sum->ahead += counter_get(&s->fetch.ahead_bytes);
	sum->ahead_used += counter_get(&s->fetch.ahead_used);
	sum->waited += counter_get(&s->fetch.reads_waited);
}

static int stats_add_mount(int entry_fd, struct stats_sum *sum, struct err *err)
{
	struct mount_stats *stats = NULL;
	int r = mount_stats_map(entry_fd, &stats, err);
	if (r < 0)
		return r;
	stats_add(sum, stats);
	sum->mounts++;
	mount_stats_unmap(stats);
	return 0;
}

struct stat_of_image {
	const struct digest *manifest;
	struct stats_sum *sum;
	struct err *err;
};

static int stat_one_mount(void *data, int entry_fd, const struct mtable_entry *entry)
{
	struct stat_of_image *of = data;
	if (!digest_equal(&entry->manifest, of->manifest))
		return 0;
	return stats_add_mount(entry_fd, of->sum, of->err);
}

/* The layers as JSON, and their totals. */
struct layers_sum {
	json_t *json; /* owned */
	uint64_t size, bytes, present, spans, spans_present;
};

static int layers_collect(const struct image *image, struct layers_sum *ret, struct err *err)
{
	for (size_t i = 0; i < image_layer_count(image); i++) {
		struct image_layer_stat layer;
		struct digest_text text;
		int r = image_layer_stat(image, i, &layer, err);
		if (r < 0)
			return r;
		ret->size += layer.size;
		ret->bytes += layer.counts.bytes;
		ret->present += layer.counts.bytes_present;
		ret->spans += layer.counts.spans;
		ret->spans_present += layer.counts.spans_present;
		json_t *row = json_pack(
			"{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:b}", "digest",
			digest_str(&layer.digest, text.s), "media_type", layer.media_type, "index",
			layer_index_name(layer.index), "size", (json_int_t)layer.size, "bytes",
			(json_int_t)layer.counts.bytes, "bytes_present",
			(json_int_t)layer.counts.bytes_present, "spans",
			(json_int_t)layer.counts.spans, "spans_present",
			(json_int_t)layer.counts.spans_present, "whole_checked", layer.whole_checked);
		if (json_array_append_new(ret->json, row) < 0)
			return err_set(err, -ENOMEM, "tell of the layers");
	}
	return 0;
}

static json_t *stat_json(const struct image *image, const struct digest *manifest,
			 const struct stats_sum *s, const struct layers_sum *l)
{
	struct digest_text text;
	return json_pack(
		"{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:O}",
		"image", image_reference(image), "digest", digest_str(manifest, text.s),
		"bytes_total", (json_int_t)l->size, "bytes_fetched", (json_int_t)s->fetched,
		"bytes_served", (json_int_t)s->served, "bytes_uncompressed", (json_int_t)l->bytes,
		"bytes_present", (json_int_t)l->present, "requests", (json_int_t)s->requests,
		"reads", (json_int_t)s->reads, "cache_hits", (json_int_t)s->hits, "cache_misses",
		(json_int_t)s->misses, "spans", (json_int_t)l->spans, "spans_present",
		(json_int_t)l->spans_present, "retries", (json_int_t)s->retries, "errors",
		(json_int_t)s->errors, "takeovers", (json_int_t)s->takeovers,
		"bytes_prefetched", (json_int_t)s->ahead, "bytes_prefetched_used",
		(json_int_t)s->ahead_used, "reads_waited", (json_int_t)s->waited, "mounts",
		(json_int_t)s->mounts, "complete", l->spans_present == l->spans, "layers", l->json);
}

static void stat_print(const struct image *image, const struct digest *manifest,
		       const struct stats_sum *s, const struct layers_sum *l)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	const char *full = l->spans_present == l->spans ? ": fully local" : "";
	struct digest_text text;
	size_t i;
	json_t *row;
	(void)printf("image          %s\n", image_reference(image));
	(void)printf("digest         %s\n", digest_str(manifest, text.s));
	(void)printf("fetched        %s of %s\n", size_text(s->fetched, a), size_text(l->size, b));
	(void)printf("local          %s of %s uncompressed, %llu of %llu spans%s\n",
		     size_text(l->present, a), size_text(l->bytes, b),
		     (unsigned long long)l->spans_present, (unsigned long long)l->spans, full);
	(void)printf("served         %s in %llu reads, %llu of them local at once\n",
		     size_text(s->served, a), (unsigned long long)s->reads,
		     (unsigned long long)s->hits);
	(void)printf("prefetched     %s uncompressed, of which %s were read since\n",
		     size_text(s->ahead, a), size_text(s->ahead_used, b));
	(void)printf("requests       %llu, retries %llu, errors %llu, takeovers %llu\n",
		     (unsigned long long)s->requests, (unsigned long long)s->retries,
		     (unsigned long long)s->errors, (unsigned long long)s->takeovers);
	json_array_foreach(l->json, i, row) {
		const char *digest = NULL, *index = NULL;
		json_int_t spans = 0, present = 0;
		(void)json_unpack(row, "{s:s,s:s,s:I,s:I}", "digest", &digest, "index", &index,
				  "spans", &spans, "spans_present", &present);
		(void)printf("layer %2zu       %.19s  index: %-13s %lld of %lld spans\n", i + 1,
			     digest ? digest : "", index ? index : "", (long long)present,
			     (long long)spans);
	}
}

static int stat_tell(struct ctx *ctx, const struct image *image, const struct digest *manifest,
		     const struct stats_sum *sum, struct err *err)
{
	AUTO_JSON json_t *rows = json_array();
	struct layers_sum layers = {.json = rows};
	int r = layers_collect(image, &layers, err);
	if (r < 0)
		return r;
	if (!ctx->json) {
		stat_print(image, manifest, sum, &layers);
		return 0;
	}
	AUTO_JSON json_t *json = stat_json(image, manifest, sum, &layers);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

static int stat_mount(struct ctx *ctx, const struct mtable_entry *entry, int entry_fd,
		      struct err *err)
{
	AUTO(image) struct image *image = NULL;
	AUTO(store) struct store *store = NULL;
	struct fetch_pool *pool = NULL;
	struct stats_sum sum = {0};
	/* The mount's own store, whatever this command's would be. */
	struct store_config config = {.path = entry->store, .budget_bytes = ctx->budget};
	int r = store_open(&config, &store, err);
	if (r == 0)
		r = ctx_pool(ctx, &pool, err);
	if (r < 0)
		return r;
	struct image_open_config open = {.store = store, .pool = pool};
	r = image_open(&open, &entry->manifest, &image, err);
	if (r == 0)
		r = stats_add_mount(entry_fd, &sum, err);
	return r < 0 ? r : stat_tell(ctx, image, &entry->manifest, &sum, err);
}

static int stat_image(struct ctx *ctx, const char *text, const char *run_dir, struct err *err)
{
	AUTO_FINISH(opened) struct opened opened = {0};
	struct stats_sum sum = {0};
	int r = opened_start(ctx, text, &opened, err);
	if (r < 0)
		return r;
	struct mount_stats *past = NULL;
	r = image_stats_map(ctx->store, &opened.manifest, &past, err);
	if (r < 0)
		return r;
	stats_add(&sum, past);
	mount_stats_unmap(past);
	struct stat_of_image of = {.manifest = &opened.manifest, .sum = &sum, .err = err};
	r = mtable_each(run_dir, stat_one_mount, &of, err);
	return r < 0 ? r : stat_tell(ctx, opened.image, &opened.manifest, &sum, err);
}

static int stat_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_CLOSE int entry_fd = -1;
	AUTO_FREE char *dir = NULL;
	const char *run_dir = NULL;
	struct stat st;
	(void)state;
	(void)argc;
	int r = ctx_run_dir(ctx, &run_dir, err);
	if (r < 0)
		return r;
	/* A directory that is there is meant as one; no image is named like a path. */
	bool is_there = stat(argv[0], &st) == 0;
	if (is_there ? !S_ISDIR(st.st_mode) : errno != ENOTCONN)
		return stat_image(ctx, argv[0], run_dir, err);
	r = mounting_dir(argv[0], &dir, err);
	if (r == 0)
		r = mtable_find(run_dir, dir, &entry, &entry_fd, err);
	return r < 0 ? r : stat_mount(ctx, &entry, entry_fd, err);
}

const struct verb verb_stat = {
	.name = "stat",
	.args = "IMAGE|DIR",
	.summary = "tell what an image or a mount has cost so far",
	.teach = "For a mount (DIR): bytes fetched of bytes total, bytes served, requests, spans that are\n"
		 "local, cache hits, retries and errors, what was fetched before anybody asked and how\n"
		 "much of that was read since, and for each layer where its index came from. An image of\n"
		 "which every byte is here is \"fully local\".\n"
		 "For an IMAGE: the same over all its mounts, past and present, and all commands that\n"
		 "read it.",
	.min_words = 1,
	.max_words = 1,
	.run = stat_run,
};
