/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/opened.h"

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
		.transfer_ms = ctx->read_timeout_ms,
	};
	r = image_open(&config, &o.manifest, &o.image, err);
	if (r < 0)
		return r;
	*ret = o;
	o = (struct opened){0};
	return 0;
}

void opened_finish(struct opened *o)
{
	if (!o)
		return;
	image_close(o->image);
	origin_destroy(o->origin);
	ref_finish(&o->ref);
	*o = (struct opened){0};
}
