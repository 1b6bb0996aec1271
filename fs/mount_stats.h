/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Everything that is counted, in one file that is mapped: of a mount (in the
 * table of mounts, fs/mtable.h) while it is there, and of an image (in the
 * store, images/<digest>/stats) over all its mounts that have ended and all
 * commands that have read it.
 */

#include "base/digest.h"
#include "base/err.h"
#include "fetcher/net_stats.h"
#include "fetcher/pool.h"
#include "fetcher/store.h"
#include "fs/counters.h"

struct mount_stats {
	struct mount_counters mount;
	struct net_stats net;
	struct fetch_counters fetch;
	struct start_counters start;
};

/* Maps the file `stats` of a directory, shared; makes it when it is new. */
int mount_stats_map(int dirfd, struct mount_stats **ret, struct err *err);
/* Accepts NULL. */
void mount_stats_unmap(struct mount_stats *stats);

/* Adds every counter of `from`. */
void mount_stats_add(struct mount_stats *to, const struct mount_stats *from);

/* Maps those of a prepared image. -ENOENT. */
int image_stats_map(struct store *store, const struct digest *manifest, struct mount_stats **ret,
		    struct err *err);
