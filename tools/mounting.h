/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What `mount`, and the processes that it starts, say to each other: `mount`
 * prepares the image and makes the entry in the table of mounts; `hold` (the
 * holder, fs/holder.h) and `serve` (a server) get the entry's id and find
 * everything else there.
 */

#include "fs/mount_stats.h"
#include "fs/mtable.h"
#include "tools/ctx.h"
#include "tools/profile_flags.h"
#include "tools/words.h"

/* This program's own path, to be started again; the caller frees it. */
int mounting_program(char **ret, struct err *err);

/*
 * The words for `sluice VERB` with the common options of ctx, made absolute,
 * and the given ones behind; NULL-terminated. Passwords go by the environment.
 */
int mounting_words(const struct ctx *ctx, const char *verb, struct words *ret, struct err *err);

/* A path that means the same in another working directory; the caller frees it. 0 or -errno. */
int mounting_path(const char *text, char **ret);

/* Counts what preparing the image cost as the first that a mount did. */
int mounting_count(const struct ctx *ctx, int entry_fd, struct err *err);

/* Starts a holder with the words for `hold`, and waits until its mount can be read. */
int mounting_hold(const struct words *words, int entry_fd, struct err *err);

/* What the options about startup profiles say, for a mount's entry. -ENOMEM and others. */
int mounting_record(const struct profile_flags *flags, struct mtable_entry *entry, struct err *err);

/* A directory's absolute path, also of one where a dead mount is; the caller frees it. */
int mounting_dir(const char *text, char **ret, struct err *err);

/*
 * The temporary upper of a mount, in the store: its path, which the caller
 * frees, and a descriptor that keeps gc away from it while it is open.
 */
int mounting_own_upper(struct ctx *ctx, const char *id, char **ret, int *ret_lock,
		       struct err *err);

/* How many layers a prepared image has. -ENOENT, -EBADMSG. */
int mounting_layers(struct store *store, const struct digest *manifest, size_t *ret,
		    struct err *err);

/*
 * Removes what a mount left in the table, and its temporary upper, when its
 * holder could not: 0 also when nothing is left, or the holder lives.
 */
int mounting_clear(const char *run_dir, const struct mtable_entry *entry, int entry_fd,
		   struct err *err);

/* Whether what the user sees on an entry's directory is, by its looks, this entry's mount. */
bool mounting_is_seen(const struct mtable_entry *entry);

/* Whether the server that an entry names still runs, and is ours. */
bool mounting_is_serving(const struct mtable_entry *entry);
