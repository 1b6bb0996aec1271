/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Entries that are published before they are on the disk, so that a start does
 * not wait for it. What holds of every entry, that after a power cut it is
 * there whole or not at all, holds of these by a note: a file in unsynced/ that
 * names them and the boot, on the disk before the first of them is published.
 * Once they are on the disk too, the note goes (store_settle()). Whoever opens
 * the store first after another boot removes what a note still names.
 *
 *   the boot's id, newline, then lines of "layer DIGEST", "blob DIGEST" and "image DIGEST"
 *
 * Blobs are noted only to be settled with the rest, and tags not at all: both are checked whenever
 * they are read.
 */

#include "fetcher/store.h"

enum {
	UNSYNCED_BYTES_MAX = 4 << 20,	/* of a note */
	UNSYNCED_WAIT_MS = 5000,	/* for somebody who is still publishing */
};

/* What is to be published. All borrowed, also to be written to. */
struct store_unsynced {
	const struct digest *image;
	const struct digest *layers, *blobs;
	size_t n_layers, n_blobs;
	bool *ret_noted; /* n_layers, zeroed: which of them the note names; NULL: not wanted */
};

/*
 * Notes an image, its blobs, and those of its layers that are not in the store yet, and waits until
 * the note is on the disk. From then on until *ret_lock is closed what it names may be published
 * without waiting. A layer that was in the store, and is removed meanwhile, is not named.
 */
int store_unsynced_note(struct store *store, const struct store_unsynced *what, int *ret_lock,
			struct err *err);

/*
 * Sees to it that all that is noted is on the disk, and removes the notes. Waits for those who are
 * publishing, at most UNSYNCED_WAIT_MS in all: what they have noted is then left to them. Any process.
 */
int store_settle(struct store *store, struct err *err);
