/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/opened.h"

#include "base/log.h"
#include "fs/mount_stats.h"

/* What this process fetched of the image goes to the image's own counters. */
static void opened_count(const struct opened *o)
{
	struct mount_stats *stats = NULL;
	struct err err = {0};
	if (!o->ctx)
		return;
	if (image_stats_map(o->ctx->store, &o->manifest, &stats, &err) < 0) {
		log_debug("count: %s", err_text(&err));
		return;
	}
	struct mount_stats mine = {.net = o->ctx->own_net, .fetch = o->ctx->fetch};
	mount_stats_add(stats, &mine);
	mount_stats_unmap(stats);
}

int opened_start(struct ctx *ctx, const char *text, struct opened *ret, struct err *err)
{
	AUTO_FINISH(opened) struct opened o = {0};
	struct store *store = NULL;
	struct fetch_pool *pool = NULL;
	int r = ctx_prepare(ctx, text, &o.ref, &o.origin, &o.manifest, err);
	if (r == 0)
		r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = ctx_pool(ctx, &pool, err);
	if (r < 0)
		return r;
	struct image_open_config config = {
		.store = store,
		.origin = o.origin,
		.pool = pool,
		.counters = &ctx->fetch,
		.transfer_ms = ctx->read_timeout_ms,
	};
	r = image_open(&config, &o.manifest, &o.image, err);
	if (r < 0)
		return r;
	o.ctx = ctx;
	*ret = o;
	o = (struct opened){0};
	return 0;
}

void opened_finish(struct opened *o)
{
	if (!o)
		return;
	image_close(o->image);
	opened_count(o);
	origin_destroy(o->origin);
	ref_finish(&o->ref);
	*o = (struct opened){0};
}
