/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the store share among themselves; nobody else includes this. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fetcher/store.h"

enum {
	STORE_VERSION = 1,
	STORE_PAGE = 4096,	   /* what is punched out of `data` at a time */
	STORE_CHARGE_ALIGN = 512,  /* a span is counted in these */
	STORE_BUDGET_DEN = 10,	   /* over budget, evict down to 9/10 of it: not at every fill */
	STORE_BUDGET_NUM = 9,
	STORE_JSON_MAX = 1 << 20,  /* of layer.json and image.json */
	BOOT_ID_MAX = 40,	   /* 36 characters, padded with NUL */
	STORE_LOCK_BOOT = 0,	   /* byte of `usage` that is locked: counting after a boot */
	STORE_LOCK_EVICT = 1,	   /* evicting */
};

enum store_dir {
	STORE_DIR_BLOBS,
	STORE_DIR_SHA256,
	STORE_DIR_SHA512,
	STORE_DIR_LAYERS,
	STORE_DIR_IMAGES,
	STORE_DIR_TAGS,
	STORE_DIR_TMP,
	STORE_DIR_QUARANTINE,
	STORE_DIR_LOCKS,
	STORE_DIR_UNSYNCED,
	STORE_DIRS,
};

/* The file `usage`, mapped by every process. In host byte order: it never leaves the machine. */
struct store_counter {
	uint32_t magic;
	uint32_t version;
	char boot[BOOT_ID_MAX]; /* the boot that last counted anew; "" when never */
	_Atomic int64_t bytes;	/* of `data` files, sum of layer_charge(); see store_usage_add() */
	uint64_t reserved;
};
_Static_assert(sizeof(struct store_counter) == 64, "the file format");

struct store {
	char *path;		/* owned, absolute */
	int fd;			/* the directory itself */
	int dirs[STORE_DIRS];
	int usage_fd;
	struct store_counter *counter; /* mapped */
	uint64_t budget;
	char boot[BOOT_ID_MAX];
	_Atomic bool made; /* directories, whose names may not be on the disk yet */
};

/* An open-file-description lock on [start, start + len) (len 0: to the end). -EAGAIN when taken. */
int ofd_lock(int fd, short type, uint64_t start, uint64_t len);
/* The same, but waits. */
int ofd_lock_wait(int fd, short type, uint64_t start, uint64_t len);

/* store_lock() that does not wait: -EAGAIN. */
int store_trylock(struct store *store, const char *name, int *ret_fd, struct err *err);

/* Reads store_entry_name() back. */
bool store_entry_parse(const char *name, struct digest *ret);

/* The directory of the blobs of an algorithm. */
int store_dir_blob(const struct store *store, enum digest_algo algo);

/*
 * The counter of bytes. It is added to before a span is marked and taken from
 * after a span is gone, so a crash leaves it too high, never too low; counting
 * anew (store_recount()) heals it.
 */
uint64_t store_usage_bytes(const struct store *store);
uint64_t store_usage_add(struct store *store, uint64_t n);
void store_usage_sub(struct store *store, uint64_t n);

/* Counts n more bytes, evicting when that is over the budget. Returns whether it is within now. */
bool store_reserve(struct store *store, uint64_t n);
/* After ENOSPC: frees some. Returns whether anything was freed. */
bool store_make_room(struct store *store, uint64_t n);

/* Seconds of the real-time clock. */
uint64_t store_now_sec(void);

/*
 * Counts the bytes of all layers anew and sets the counter, unless a layer is in the making:
 * what its maker has counted so far, nobody else knows. Exact while nobody fills or evicts.
 */
int store_recount(struct store *store, struct err *err);
/* Has the names of directories that this handle made on the disk, before what is in them counts. */
int store_sync_made(struct store *store, struct err *err);
/* Removes what another boot may have lost in part: see fetcher/store_unsynced.h. */
int store_unsynced_boot(struct store *store, struct err *err);
/* Only counts. */
int store_count_layers(struct store *store, uint64_t *ret, struct err *err);

/* The names below tmp/ that store_tmp_dir() gives. */
#define STORE_WORK_PREFIX "work-"

/* Layers in the making, and what is left of those whose makers died. */
struct store_work {
	uint64_t live;	    /* of a process that lives */
	uint64_t bytes_max; /* that all of them may have counted in the usage */
};
int store_count_work(struct store *store, struct store_work *ret, struct err *err);
/* Whether a directory in tmp/ belongs to somebody who lives. */
bool store_tmp_is_live(int dirfd, const char *name);

/* Calls fn for each name in a directory (not "." and ".."), until it returns non-zero. */
typedef int (*store_name_fn)(void *data, int dirfd, const char *name, struct err *err);
int store_each(int dirfd, store_name_fn fn, void *data, struct err *err);

/* Moves dirs[from]/name into quarantine/ with a file that says why. */
int store_quarantine(struct store *store, enum store_dir from, const char *name, const char *why,
		     struct err *err);

/* A new, uniquely named directory below tmp/; name has room for NAME_MAX + 1. */
int store_tmp_dir(struct store *store, char *ret_name, int *ret_fd, struct err *err);

/*
 * What images/<name>/image.json names: fn for "manifest", "config" and each of
 * "layers" and "blobs". -ENOENT when there is none, -EBADMSG when it is damaged.
 */
typedef int (*image_names_fn)(void *data, const struct digest *digest, bool is_layer);
int store_image_names(struct store *store, const char *name, image_names_fn fn, void *data,
		      struct err *err);

/* Which image a file below tags/ names; whether it can be read: 0, -EBADMSG, -ENOENT. */
int store_tag_check(struct store *store, const char *name, struct digest *ret, struct err *err);

/*
 * Removes layers/<name> or images/<name>, unless somebody uses it or works on it (-EBUSY).
 * It vanishes at once, whole; ret_freed gets the bytes it took on disk. dry_run only looks.
 */
int store_remove_layer(struct store *store, const char *name, bool dry_run, uint64_t *ret_freed,
		       struct err *err);
int store_remove_image(struct store *store, const char *name, bool dry_run, uint64_t *ret_freed,
		       struct err *err);
/* The bytes on disk of a file, or of a directory and what is in it. */
uint64_t store_disk_bytes(int dirfd, const char *name);
