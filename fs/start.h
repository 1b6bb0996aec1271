/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The start of a mount, from its server's side: what earlier starts read is
 * fetched before this one asks (fs/prefetch.h), and what this one reads is
 * recorded for later ones (fs/recorder.h, fs/profile_store.h).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fs/image.h"
#include "fs/mount_stats.h"
#include "fs/mtable.h"
#include "fs/recorder.h"

struct start_config {
	struct store *store; /* all borrowed until the end */
	struct image *image;
	struct fetch_pool *pool;
	struct mount_stats *stats;
	const struct mtable_record *record;
	const struct mount_start *start;
	bool online;	 /* the image has an origin to fetch from */
	int ready_fd;	 /* see fs/recorder.h; -1: none */
	uint64_t read_timeout_ms;
};

struct start;

/*
 * Begins what the options ask for, without waiting. A server that took over
 * from one that answered reads does not begin anew, but goes on with a fill.
 * -ENOMEM, -EAGAIN.
 */
int start_begin(const struct start_config *config, struct start **ret, struct err *err);

/* Who is to be told what is read; NULL: nobody. Valid until start_end(). */
struct recorder *start_recorder(const struct start *start);

/* Ends all of it: nothing is fetched any more, and what was recorded is learnt. Accepts NULL. */
void start_end(struct start *start);
DEFINE_CLEANUP(start, start_end);
