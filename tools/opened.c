/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/opened.h"

#include <sys/stat.h>

#include "base/log.h"
#include "fs/image_record.h"
#include "fs/mount_stats.h"
#include "fs/walk.h"

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

int opened_config(const struct opened *o, struct buf *ret, struct err *err)
{
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO_CLOSE int dir = -1;
	int r = image_dir_open(o->ctx->store, &o->manifest, false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &record, err);
	if (r == 0)
		r = store_blob_get(o->ctx->store, &record.config, ret, err);
	return r < 0 ? err_prefix(err, r, "read the image's configuration") : 0;
}

int opened_slurp(const struct opened *o, const char *path, struct buf *ret, struct err *err)
{
	const struct erofs *tree = image_tree(o->image);
	struct erofs_inode inode;
	size_t n = 0;
	struct source **sources = image_sources(o->image, &n);
	int r = walk_path(tree, path, true, &inode, err);
	if (r < 0)
		return r;
	if (!S_ISREG(inode.mode))
		return err_say(err, -EINVAL, "read %s: not a regular file", path);
	/* A size is a claim, and the buffer has a limit. */
	r = inode.size > SIZE_MAX ? -E2BIG : buf_reserve(ret, (size_t)inode.size);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	for (uint64_t off = 0; off < inode.size;) {
		ssize_t got = walk_read(tree, sources, n, &inode, ret->data + ret->len,
					(size_t)(inode.size - off), off, o->ctx->read_timeout_ms, err);
		if (got <= 0)
			return got < 0 ? err_prefix(err, (int)got, "read %s", path) :
					 err_set(err, -EIO, "read %s", path);
		off += (uint64_t)got;
		ret->len += (size_t)got;
		ret->data[ret->len] = '\0';
	}
	return 0;
}
