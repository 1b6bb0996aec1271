/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "tools/opened.h"
#include "tools/text.h"
#include "tools/verb.h"

struct image_row {
	uint64_t size, bytes, present;
	size_t layers;
};

static int images_measure(struct image *image, struct image_row *ret, struct err *err)
{
	struct image_row row = {.layers = image_layer_count(image)};
	for (size_t i = 0; i < row.layers; i++) {
		struct image_layer_stat layer;
		int r = image_layer_stat(image, i, &layer, err);
		if (r < 0)
			return r;
		row.size += layer.size;
		row.bytes += layer.counts.bytes;
		row.present += layer.counts.bytes_present;
	}
	*ret = row;
	return 0;
}

static int images_row(struct ctx *ctx, const struct digest *digest, json_t *json, struct err *err)
{
	AUTO(image) struct image *image = NULL;
	struct image_row row = {0};
	struct digest_text text;
	struct image_open_config config = {.store = ctx->store, .pool = ctx->pool};
	int r = image_open(&config, digest, &image, err);
	if (r == 0)
		r = images_measure(image, &row, err);
	if (r < 0)
		return r;
	digest_str(digest, text.s);
	if (json) {
		json_t *object = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "reference",
					   image_reference(image), "digest", text.s, "layers",
					   (json_int_t)row.layers, "size", (json_int_t)row.size,
					   "bytes", (json_int_t)row.bytes, "bytes_present",
					   (json_int_t)row.present);
		return json_array_append_new(json, object) < 0 ? -ENOMEM : 0;
	}
	char size[SIZE_TEXT_MAX], present[SIZE_TEXT_MAX];
	(void)printf("%-50s %.19s %6zu %10s %10s\n", image_reference(image), text.s, row.layers,
		     size_text(row.bytes, size), size_text(row.present, present));
	return 0;
}

/* "sha256-<hex>" back into a digest. */
static bool images_parse_entry(const char *name, struct digest *ret)
{
	char text[DIGEST_STR_MAX];
	const char *dash = strchr(name, '-');
	if (!dash || strlen(name) >= sizeof(text))
		return false;
	(void)snprintf(text, sizeof(text), "%.*s:%s", (int)(dash - name), name, dash + 1);
	return digest_parse(text, ret, NULL) == 0;
}

static int images_each(struct ctx *ctx, DIR *dir, json_t *json, struct err *err)
{
	struct dirent *entry;
	int wrong = 0;
	while ((entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): a stream of our own
		struct digest digest;
		struct err why = {0};
		if (!images_parse_entry(entry->d_name, &digest))
			continue;
		int r = images_row(ctx, &digest, json, &why);
		/* Half prepared: no image yet. */
		if (r == -ENOENT)
			continue;
		if (r == -ENOMEM)
			return err_set(err, r, "list the images");
		if (r < 0) {
			(void)fprintf(stderr, "sluice images: %s: %s\n", entry->d_name, err_text(&why));
			wrong = 1;
		}
	}
	return wrong;
}

static int images_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	struct store *store = NULL;
	struct fetch_pool *pool = NULL;
	AUTO_JSON json_t *json = ctx->json ? json_array() : NULL;
	(void)state;
	(void)argc;
	(void)argv;
	int r = ctx_store_there(ctx, &store, err);
	if (r == 0)
		r = ctx_pool(ctx, &pool, err);
	if (r < 0)
		return r;
	DIR *dir = NULL;
	r = dir_stream(store_dir_images(store), &dir);
	if (r < 0)
		return err_set(err, r, "list the images in %s", store_path(store));
	if (!json)
		(void)printf("%-50s %-19s %6s %10s %10s\n", "IMAGE", "DIGEST", "LAYERS", "SIZE", "LOCAL");
	r = images_each(ctx, dir, json, err);
	(void)closedir(dir);
	if (r >= 0 && json) {
		int written = text_print_json(json, err);
		r = written < 0 ? written : r;
	}
	return r;
}

const struct verb verb_images = {
	.name = "images",
	.args = "",
	.summary = "list the images in the store",
	.teach = "Lists the images that can be mounted without asking anybody, with their uncompressed\n"
		 "size and how much of it is local.",
	.min_words = 0,
	.max_words = 0,
	.run = images_run,
};
