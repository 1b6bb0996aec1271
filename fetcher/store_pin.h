/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Pins: an image whose layers are wholly in the store can be mounted by the kernel straight from
 * their `data`, with no process that serves it. Nothing then looks whether a span is still there, so
 * as long as such a mount lives anywhere, none of its layers' spans may be punched out.
 *
 * A pin is a file, `pins/<id>`, that says so: the boot, the image, its layers with the bytes they
 * take, and, once it is mounted, what the kernel calls the mount in /sys/fs/erofs (until then its
 * maker holds a lock on it). Whoever wants to evict, or to remove a layer, asks the pins, and whether
 * one still counts is asked of the kernel, not of processes: it does not when it is of another boot,
 * when its maker died before it mounted, or when the kernel has no such mount any more, in whatever
 * mount namespace. So no crash leaves a pin that lasts, nor a mount without one.
 *
 * Writing a pin and looking at the spans is one step to whoever evicts (STORE_LOCK_EVICT).
 */

#include "fetcher/store.h"

enum {
	STORE_PIN_ID_MAX = 128,	  /* bytes of an id */
	STORE_PIN_LAYERS_MAX = 1024,
	STORE_PIN_MOUNTS_MAX = 16, /* that may have been made in the same moment */
	STORE_PIN_BUDGET_DEN = 2, /* pinned layers may take this part of the budget: eviction needs the rest */
};

struct store_pin;

/*
 * Pins an image for a mount that the caller is about to make, once, from store_pin_data(). id: of the
 * caller's choice, of letters, digits, '-' and '_'. -EAGAIN: not now, and the sentence says why: a
 * span is not here or was not checked in this boot, an eviction is under way, or too much of the
 * budget is pinned. -EEXIST; -ENOENT for a layer that is not in the store.
 */
int store_pin_take(struct store *store, const char *id, const struct digest *image,
		   const struct digest *layers, size_t n, struct store_pin **ret, struct err *err);

/* The bytes of layer i, open for reading; borrowed. */
int store_pin_data(const struct store_pin *pin, size_t i);

/*
 * Notes which mount it is, which has to be there by now, attached or not. From then on the pin lasts
 * as long as the mount, or as one that was made in the same moment where that cannot be told apart.
 * -EOPNOTSUPP: the kernel does not show its mounts, so its end could not be
 * known: it has to be given up.
 */
int store_pin_mounted(struct store_pin *pin, struct err *err);

/* Frees it; one that was never mounted is gone. Accepts NULL. */
void store_pin_close(struct store_pin *pin);
DEFINE_CLEANUP(store_pin, store_pin_close);

/*
 * After the unmount. 0 when there is no such pin now; -EBUSY while the kernel still has the mount,
 * in another mount namespace, say: then it goes when somebody next asks for the pins.
 */
int store_pin_release(struct store *store, const char *id, struct err *err);
