/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Pins as the files of the store see them; nobody else includes this. */

#include "fetcher/store_pin.h"
#include "fetcher/store_priv.h"

/* A layer that pins name. */
struct pinned_layer {
	struct digest digest;
	uint64_t bytes; /* on disk */
};

/* Behind the id in the name of a pin that may be of any of several mounts. */
#define PIN_SHARED ".shared"

/* What all pins that count name, each layer and image once. */
struct pinned {
	struct pinned_layer *layers; /* owned */
	size_t n_layers;
	struct digest *images; /* owned */
	size_t n_images;
	uint64_t dead; /* pins that were found not to count */
	bool keep_dead; /* set by the caller: they are only counted */
};
void pinned_finish(struct pinned *pinned);
DEFINE_FINISH(pinned, pinned_finish);

/*
 * Reads the pins and removes those that do not count. What is being pinned at this moment may be
 * missing, unless the caller has STORE_LOCK_EVICT, or has the layer or image that it asks about for
 * itself.
 */
int pinned_read(struct store *store, struct pinned *pinned, struct err *err);
bool pinned_has_layer(const struct pinned *pinned, const struct digest *layer);
bool pinned_has_image(const struct pinned *pinned, const struct digest *image);

/* Looks at one pin: 0 when it is not there, or not any more; -EBUSY: it counts. */
int pin_look(struct store *store, int dirfd, const char *name, struct err *err);

/* The directory of the pins. -ENOENT: there is none, unless make. */
int pins_open(struct store *store, bool make, int *ret_fd, struct err *err);

/* The names in /sys/fs/erofs, which are of mounts but for "features". */
typedef int (*pin_mount_fn)(void *data, const char *name);
int pin_mounts_each(pin_mount_fn fn, void *data);
bool pin_mount_exists(const char *name);
