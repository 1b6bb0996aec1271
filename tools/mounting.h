/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What `mount`, and the processes that it starts, say to each other: `mount`
 * prepares the image and makes the entry in the table of mounts; `hold` (the
 * holder, fs/holder.h) and `serve` (a server) get the entry's id and find
 * everything else there.
 */

#include "fs/holder.h"
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

/*
 * A mount on its way: an entry of the table and, when it is begun ahead, a holder and a server
 * that start while the image is prepared (see holder_begin()).
 */
struct mounting {
	char id[MTABLE_ID_MAX]; /* of the entry; "": there is none */
	const char *run_dir;	/* borrowed from the ctx; of the table */
	int entry_fd;		/* owned; its directory */
	struct holder_begun holder; /* owned */
};

static inline struct mounting mounting_none(void)
{
	return (struct mounting){.entry_fd = -1, .holder.sock = -1};
}

/* Takes back what never became a mount, with its entry. */
void mounting_finish(struct mounting *mounting);
DEFINE_FINISH(mounting, mounting_finish);

/*
 * Reserves an entry, which is to be entered at once, or gc may take it for what a dead process
 * left. With `ahead`, the image that text names is about to be fetched: its holder starts at once,
 * with the words for `hold`, and its server opens connections to the registry. That is to be called
 * while the process has a single thread, since both are then mere forks; an image of this machine's
 * files, and --offline, leave nothing to be begun ahead, and *ret as it is.
 */
int mounting_begin(struct ctx *ctx, const char *text, const struct words *hold, bool ahead,
		   struct mounting *ret, struct err *err);

/* Enters what is mounted where, and what preparing the image cost as the first that is counted. */
int mounting_enter(const struct ctx *ctx, struct mounting *mounting,
		   const struct mtable_entry *entry, struct err *err);

/*
 * Has the holder mount what was entered, or a new one that is started with the words for `hold`,
 * and waits until it can be read. A server that waits is given what was learned of the origin.
 */
int mounting_go(struct ctx *ctx, struct mounting *mounting, const struct words *hold,
		struct origin *origin, struct err *err);

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
