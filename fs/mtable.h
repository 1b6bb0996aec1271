/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of this machine's mounts: a directory (/run/sluice, or a user's
 * own) with one directory a mount, named by a random id:
 *
 *   mount.json  what is mounted where (struct mtable_entry)
 *   lock        locked by the holder while it lives
 *   stats       what it counts (fs/mount_stats.h)
 *   log         what holder and servers say
 *   lower/      where the FUSE mount is before something is mounted with it
 *   erofs/      the same for the kernel's mount below an overlay
 *
 * A mount whose holder died but whose server lives goes on; one whose both
 * died is stale. Nothing here touches the mount itself.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/idmap.h"

enum {
	MTABLE_ID_MAX = 17, /* 16 hex digits and a NUL */
	MTABLE_ENTRIES_MAX = 65536,
};

/* What a mount does for the startup profile of its image while it is young. */
struct mtable_record {
	bool off;	    /* nothing is recorded, and nothing fetched by a profile */
	char *touched;	    /* owned; absolute: the file that gets what was touched, as profile_emit()
			       writes it; NULL: the store learns it, profile_learn() */
	uint64_t quiet_ms;  /* recording ends when nothing new was touched for so long, … */
	uint64_t cap_ms;    /* … after so long in any case, … */
	uint64_t cap_bytes; /* … or with so much touched; 0, each: the recorder's default */
};

/* What else a mount fetches, and how. */
struct mount_start {
	bool fill;		/* everything, in the background (fs/prefetch.h) */
	bool no_prefetch;	/* nothing before it is read, but for a fill */
	uint64_t prefetch_rate; /* most bytes a second of what nobody waits for; 0: no limit */
};

struct mtable_entry {
	char id[MTABLE_ID_MAX];
	char *dir;	 /* owned, as the rest; absolute */
	char *image;	 /* canonical reference */
	char *store;
	char *upper;	 /* of --rw; NULL: read-only */
	bool erofs;	 /* the kernel mounts the metadata; FUSE serves the devices only */
	bool own_upper;	 /* a temporary one, removed with the mount */
	struct mtable_record record;
	struct id_maps maps; /* of the user namespace it is for; zeroed: none */
	struct digest manifest;
	pid_t holder, server;
	int64_t created; /* seconds since the epoch */
	struct mount_start start;
};

void mtable_entry_finish(struct mtable_entry *entry);
DEFINE_FINISH(mtable_entry, mtable_entry_finish);

/*
 * Makes an entry's directory, which says nothing of a mount until mtable_save(), and gives it an
 * id. *ret_fd: the directory, the caller's.
 */
int mtable_reserve(const char *run_dir, char ret_id[static MTABLE_ID_MAX], int *ret_fd,
		   struct err *err);

/* Makes an entry: sets its id, writes it. *ret_fd: its directory, the caller's. */
int mtable_add(const char *run_dir, struct mtable_entry *entry, int *ret_fd, struct err *err);

/* Opens an entry's directory. -ENOENT. */
int mtable_open(const char *run_dir, const char *id, int *ret_fd, struct err *err);

/* Reads, or replaces, what an entry says. */
int mtable_load(int entry_fd, struct mtable_entry *ret, struct err *err);
int mtable_save(int entry_fd, const struct mtable_entry *entry, struct err *err);

/*
 * Takes the holder's lock for as long as *ret_fd is open. -EBUSY: another
 * holder lives, still after wait_ms: the lock of one that was killed goes when
 * its last descriptor does, which on a busy machine is later than its end is
 * heard of.
 */
int mtable_lock(int entry_fd, uint64_t wait_ms, int *ret_fd, struct err *err);
/* Whether a holder lives. */
bool mtable_is_held(int entry_fd);

/* Removes an entry and all it holds. */
int mtable_remove(const char *run_dir, const char *id, struct err *err);

/*
 * Calls fn for every entry that can be read, with its open directory; a
 * non-zero result ends it and is returned. No table at all is no entry.
 */
typedef int (*mtable_fn)(void *data, int entry_fd, const struct mtable_entry *entry);
int mtable_each(const char *run_dir, mtable_fn fn, void *data, struct err *err);

/*
 * Removes the directories that say nothing of a mount, that no holder has, and that nobody touched
 * for age_sec: their maker died, or the disk was full. With dry_run they are only counted; *ret is
 * how many. One that cannot be removed, since something is mounted in it, stays.
 */
int mtable_collect(const char *run_dir, uint64_t age_sec, bool dry_run, uint64_t *ret,
		   struct err *err);

/* The entry for a directory (absolute): one that is held, else the newest. -ENOENT. */
int mtable_find(const char *run_dir, const char *dir, struct mtable_entry *ret, int *ret_fd,
		struct err *err);
