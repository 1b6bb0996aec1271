/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_local.h"

#include <stdio.h>
#include <sys/mount.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "fetcher/store_pin.h"
#include "fs/devices.h"
#include "fs/mount.h"
#include "fs/overlay.h"
#include "tools/containers.h"

/* For copies of the mount in namespaces that are being made; then it is left to whoever comes next. */
enum { RELEASE_TRIES = 10, RELEASE_STEP_MS = 1 };

/* The kernel opens the files of the store that are pinned, by our descriptors of them. */
static int local_open(struct ctx *ctx, const struct run_image *image, const struct store_pin *pin,
		      int *ret_fd, struct err *err)
{
	struct device_name {
		char path[32];
	};
	AUTO_FREE struct device_name *names = calloc(image->n_layers, sizeof(*names));
	AUTO_FREE const char **devices = calloc(image->n_layers, sizeof(*devices));
	AUTO_FREE char *tree = NULL;
	char name[DIGEST_STR_MAX];
	if (asprintf(&tree, "%s/images/%s/tree.erofs", store_path(ctx->store),
		     store_entry_name(&image->manifest, name)) < 0)
		tree = NULL;
	if (!names || !devices || !tree)
		return err_set(err, -ENOMEM, "mount the image");
	for (size_t i = 0; i < image->n_layers; i++) {
		(void)snprintf(names[i].path, sizeof(names[i].path), "/proc/self/fd/%d",
			       store_pin_data(pin, i));
		devices[i] = names[i].path;
	}
	return devices_open(tree, devices, image->n_layers, MS_NODEV, ret_fd, err);
}

/* Through a place of its own, since older kernels put an overlay only on what is attached. */
static int local_present(const struct run_image *image, const struct run_image_place *place,
			 int mount_fd, struct err *err)
{
	AUTO_FREE char *lower = NULL;
	if (asprintf(&lower, "%s/" CONTAINERS_LOWER, place->upper) < 0) {
		lower = NULL;
		return err_set(err, -ENOMEM, "mount the image");
	}
	int r = dir_make(lower, 0700, err);
	if (r == 0)
		r = devices_attach(mount_fd, lower, err);
	if (r < 0)
		return r;
	r = overlay_mount(lower, place->upper, place->rootfs, MS_NODEV, OVERLAY_THROWN,
			  image->name, err);
	int undone = mount_undo(lower, true, r < 0 ? NULL : err);
	if (r == 0 && undone < 0)
		(void)mount_undo(place->rootfs, true, NULL);
	return r < 0 ? r : undone;
}

static int local_mount(struct ctx *ctx, const struct run_image *image,
		       const struct run_image_place *place, struct err *err)
{
	AUTO(store_pin) struct store_pin *pin = NULL;
	AUTO_CLOSE int mount_fd = -1;
	if (image->n_layers == 0)
		return err_say(err, -EAGAIN, "it has no layers");
	int r = store_pin_take(ctx->store, place->id, &image->manifest, image->layers,
			       image->n_layers, &pin, err);
	if (r == 0)
		r = local_open(ctx, image, pin, &mount_fd, err);
	if (r == 0)
		r = store_pin_mounted(pin, err);
	return r < 0 ? r : local_present(image, place, mount_fd, err);
}

int run_local_mount(struct ctx *ctx, const struct run_image *image,
		    const struct run_image_place *place)
{
	struct store *store = NULL;
	struct err err = {0};
	int r = ctx_store(ctx, &store, &err);
	if (r == 0)
		r = local_mount(ctx, image, place, &err);
	if (r == 0)
		return 0;
	log_debug("%s: a process serves the mount: %s", image->name, err_text(&err));
	/* What had noted its mount waits for that one's end, which is now. */
	if (store)
		(void)store_pin_release(store, place->id, NULL);
	return r;
}

int run_local_unmounted(struct ctx *ctx, const char *id, struct err *err)
{
	struct store *store = NULL;
	struct err why = {0};
	int r = ctx_store(ctx, &store, err);
	if (r < 0)
		return r;
	r = store_pin_release(store, id, &why);
	for (int i = 0; i < RELEASE_TRIES && r == -EBUSY; i++) {
		clock_sleep_ms(RELEASE_STEP_MS, 0);
		r = store_pin_release(store, id, &why);
	}
	if (r != -EBUSY)
		return r < 0 ? err_copy(err, &why) : 0;
	log_debug("%s", err_text(&why));
	return 0;
}
