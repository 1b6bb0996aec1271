/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_image.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "fs/devices.h"
#include "fs/image_record.h"
#include "tools/run_local.h"

void run_image_finish(struct run_image *image)
{
	if (!image)
		return;
	mounting_finish(&image->mounting);
	words_finish(&image->hold);
	origin_destroy(image->origin);
	free(image->name);
	buf_finish(&image->config);
	free(image->layers);
	*image = run_image_none();
}

static int image_hold_words(struct ctx *ctx, enum run_fs fs, struct words *ret, struct err *err)
{
	int r = mounting_words(ctx, "hold", ret, err);
	if (r < 0)
		return r;
	if (fs == RUN_FS_AUTO && words_add(ret, "--fallback") < 0)
		return err_set(err, -ENOMEM, "start the holder");
	/* A container's programs may be setuid; whether that works is the runtime's to say. */
	if (words_add_text(ret, "-o", "suid") < 0 || words_add(ret, "--thrown") < 0)
		return err_set(err, -ENOMEM, "start the holder");
	return 0;
}

static int image_try(struct ctx *ctx, const char *text, bool offline, struct run_image *image,
		     struct err *err)
{
	AUTO_FINISH(ref) struct ref ref = {0};
	bool was = ctx->offline;
	int r = 0;
	ctx->offline = was || offline;
	/* What has to be fetched leaves time to start what will serve it. */
	if (image->mounting.id[0] == '\0' && !offline)
		r = mounting_begin(ctx, text, &image->hold, true, &image->mounting, err);
	if (r == 0)
		r = ctx_prepare(ctx, text, &ref, &image->origin, &image->manifest, err);
	ctx->offline = was;
	if (r == 0 && ref_text(&ref, &image->name) < 0)
		r = err_set(err, -ENOMEM, "name the image");
	return r;
}

static int image_prepare_by(struct ctx *ctx, const char *text, enum run_pull pull,
			    enum run_fs fs, struct run_image *image, struct err *err)
{
	int r = image_hold_words(ctx, fs, &image->hold, err);
	if (r < 0)
		return r;
	ctx->current = pull == RUN_PULL_ALWAYS;
	ctx->late = true;
	if (pull == RUN_PULL_ALWAYS || pull == RUN_PULL_NEWER)
		return image_try(ctx, text, false, image, err);
	r = image_try(ctx, text, true, image, err);
	if (r < 0 && r != -EINVAL && r != -ENOMEM && pull == RUN_PULL_MISSING && !ctx->offline)
		r = image_try(ctx, text, false, image, err);
	return r;
}

static int image_config_load(struct ctx *ctx, struct run_image *image, struct err *err)
{
	AUTO_FINISH(image_record) struct image_record record = {0};
	AUTO_CLOSE int dir = -1;
	struct store *store = NULL;
	int r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = image_dir_open(store, &image->manifest, false, &dir, err);
	if (r == 0)
		r = image_record_load(dir, &record, err);
	if (r == 0)
		r = store_blob_get(store, &record.config, &image->config, err);
	if (r < 0)
		return r;
	image->layers = steal_ptr(&record.layers);
	image->n_layers = record.n_layers;
	return 0;
}

int run_image_open(struct ctx *ctx, const char *text, enum run_pull pull, enum run_fs fs,
		   struct run_image *ret, struct err *err)
{
	AUTO_FINISH(run_image) struct run_image image = run_image_none();
	int r = image_prepare_by(ctx, text, pull, fs, &image, err);
	if (r == 0)
		r = image_config_load(ctx, &image, err);
	if (r < 0)
		return r;
	*ret = image;
	image = run_image_none();
	return 0;
}

/* Whether the kernel is to read the metadata: see fs/README.md. */
static bool image_erofs(enum run_fs fs)
{
	struct err why = {0};
	if (fs == RUN_FS_AUTO && devices_probe(&why) < 0) {
		log_debug("--fs=auto is fuse: %s", err_text(&why));
		return false;
	}
	return fs != RUN_FS_FUSE;
}

int run_image_mount(struct ctx *ctx, struct run_image *image, const struct run_image_place *place,
		    struct err *err)
{
	/* The kernel tells ids as they are in the image. */
	bool erofs = !image->maps && image_erofs(place->fs);
	/* Only a server can tell what was touched. */
	bool told = image->profile && image->profile->file;
	if (erofs && !told && run_local_mount(ctx, image, place) == 0) {
		mounting_finish(&image->mounting); /* what was begun ahead serves nobody */
		return 0;
	}
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {
		.manifest = image->manifest,
		.created = (int64_t)time(NULL),
		.dir = strdup(place->rootfs),
		.image = strdup(image->name),
		.upper = strdup(place->upper),
		/* One without layers has nothing that the kernel could read. */
		.erofs = erofs && image->n_layers > 0,
	};
	struct mounting *m = &image->mounting;
	struct store *store = NULL;
	int r = ctx_store(ctx, &store, err);
	if (r < 0)
		return r;
	entry.store = strdup(store_path(store));
	if (image->maps && id_maps_copy(image->maps, &entry.maps) < 0)
		return err_set(err, -ENOMEM, "mount the image");
	if (!entry.dir || !entry.image || !entry.upper || !entry.store)
		return err_set(err, -ENOMEM, "mount the image");
	r = image->profile ? mounting_record(image->profile, &entry, err) : 0;
	if (r == 0 && m->id[0] == '\0')
		r = mounting_begin(ctx, image->name, &image->hold, false, m, err);
	memcpy(entry.id, m->id, sizeof(entry.id));
	if (r == 0)
		r = mounting_enter(ctx, m, &entry, err);
	if (r == 0)
		r = mounting_go(ctx, m, &image->hold, image->origin, err);
	return r < 0 ? err_prefix(err, r, "mount %s", image->name) : 0;
}
