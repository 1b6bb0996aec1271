/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/fill.h"

#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "fetcher/source_wait.h"
#include "tools/progress.h"

enum {
	FILL_STEP = 4 << 20,	/* what is waited for at a time */
	FILL_AHEAD = 32 << 20,	/* what is asked for ahead of it */
};

static int fill_check_budget(struct ctx *ctx, const struct image *image, struct err *err)
{
	struct store *store = NULL;
	struct store_usage usage;
	uint64_t need = 0;
	int r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = store_usage(store, &usage, err);
	for (size_t i = 0; i < image_layer_count(image) && r == 0; i++) {
		struct image_layer_stat layer;
		r = image_layer_stat(image, i, &layer, err);
		if (r == 0)
			need += layer.counts.bytes;
	}
	if (r != 0)
		return r;
	char want[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];
	if (need > usage.budget_bytes)
		return err_say(err, -ENOSPC,
			       "the image has %s and the store may hold %s; give a larger --budget",
			       size_text(need, want), size_text(usage.budget_bytes, have));
	return 0;
}

static int fill_layer(struct ctx *ctx, struct source *source, size_t i, size_t n,
		      const struct image_progress *progress, struct err *err)
{
	uint64_t size = source_size(source);
	AUTO_FREE char *data = malloc(FILL_STEP);
	if (!data)
		return err_set(err, -ENOMEM, "fetch layer %zu", i + 1);
	for (uint64_t off = 0; off < size;) {
		size_t len = (size_t)u64_min(FILL_STEP, size - off);
		source_advise(source, off + len, u64_min(FILL_AHEAD, size - off - len));
		int r = source_read_wait(source, data, len, off, ctx->read_timeout_ms, err);
		if (r < 0)
			return err_prefix(err, r, "fetch layer %zu", i + 1);
		off += len;
		progress->layer(progress->data, i, n, "fetching", off, size);
	}
	return 0;
}

int fill_image(struct ctx *ctx, const struct image *image, struct err *err)
{
	AUTO(progress) struct progress *progress = NULL;
	size_t n = 0;
	struct source **sources = image_sources(image, &n);
	int r = fill_check_budget(ctx, image, err);
	if (r == 0)
		r = progress_create(isatty(STDERR_FILENO) == 1, ctx->json, &progress, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct image_layer_stat layer;
		r = image_layer_stat(image, i, &layer, err);
		if (r == 0 && layer.counts.bytes_present < layer.counts.bytes)
			r = fill_layer(ctx, sources[i], i, n, progress_image(progress), err);
	}
	return r;
}
