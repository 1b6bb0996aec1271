/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A layer as the files of the store see it; nobody else includes this. */

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "fetcher/store_layer.h"
#include "fetcher/store_priv.h"

/*
 * The file `present`, in host byte order: this header, `count` state words,
 * `count` time words (seconds since `epoch`). Locks on its bytes (F_OFD_SETLK):
 *
 *   PRESENT_LOCK_BOOT      exclusive: applying the boot rule
 *   PRESENT_LOCK_USE       shared: the layer is open; exclusive: gc removes it
 *   PRESENT_LOCK_SPAN + i  exclusive: the claim of span i
 */
struct present_header {
	uint32_t magic;
	uint32_t version;
	uint32_t count;
	uint32_t reserved;
	char boot[BOOT_ID_MAX]; /* the boot the words were last made good in */
	uint64_t epoch;
};
_Static_assert(sizeof(struct present_header) == 64, "the file format");

enum {
	PRESENT_MAGIC = 0x534c5550, /* also tells the byte order */
	PRESENT_VERSION = 1,
	PRESENT_EPOCH = 1735689600, /* 2025-01-01 00:00 UTC: 32 bits last for 136 years */
	PRESENT_LOCK_BOOT = 0,
	PRESENT_LOCK_USE = 1,
	PRESENT_LOCK_SPAN = sizeof(struct present_header),
};

struct present {
	int fd; /* owned; its open file description is what claims belong to */
	struct present_header *head; /* the mapping */
	size_t map_len;
	_Atomic uint32_t *state, *used;
	size_t count;
};

/* The bytes of a new file for a table, all spans absent but the zeros. The caller frees them. */
int present_make(const struct store *store, const struct seek *seek, void **ret, size_t *ret_len);
/* Opens and maps. -ENOENT, -EBADMSG for a file that is not what count needs. */
int present_open(int dirfd, size_t count, struct present *ret, struct err *err);
void present_finish(struct present *p);
/* The words inside a mapping or a buffer of present_make(). */
void present_words(struct present *p, void *base, size_t count);

/*
 * Windows that could not be written, as on a full disk, so that what waits for them is decoded all
 * the same. Each goes when it is taken, and the oldest when there are too many. Any thread.
 */
struct spares {
	pthread_mutex_t lock;
	struct list list;
	size_t bytes;
};

enum { SPARES_BYTES_MAX = 32 << 20 };

void spares_init(struct spares *spares);
void spares_finish(struct spares *spares);
/* Keeps a copy of a packed window. -ENOMEM. */
int spares_put(struct spares *spares, size_t span, const void *packed, size_t len);
/* The packed window of a span, which is then the caller's to free; NULL when there is none. */
void *spares_take(struct spares *spares, size_t span, size_t *ret_len);

struct store_layer {
	struct store *store; /* borrowed */
	struct digest digest;
	int dirfd, data_fd, windows_fd; /* owned; windows_fd may be -1 */
	struct seek *seek;
	struct present present;
	struct store_layer_info info;
	struct spares spares;
	atomic_bool whole_checked;
};

/*
 * Opens layers/<name>, applies the boot rule, holds PRESENT_LOCK_USE shared.
 * -ENOENT when there is none; an error layer_is_damage() means that what is there is wrong.
 */
int layer_load(struct store *store, const char *name, struct store_layer **ret, struct err *err);
bool layer_is_damage(int r);

/* What a span counts in the usage: the bytes of the device it takes, 0 for zeros. */
uint64_t span_charge(const struct span *span);

/*
 * Makes the present ones of spans [first, end) absent, frees their pages, and
 * adds to *freed what was counted for them. lock_fd: `present` opened for this
 * alone. -EAGAIN when one of them is claimed; then nothing is done.
 */
int layer_drop(struct store_layer *layer, int lock_fd, size_t first, size_t end, uint64_t *freed);
/*
 * Makes span i absent and leaves its bytes where they are, wrong as they may be, until it is fetched
 * again into the same place: for layers that are pinned. -EAGAIN as above.
 */
int layer_forget(struct store_layer *layer, int lock_fd, size_t i);
/* Frees pages of absent spans that a crash left behind. Not of layers that are pinned. */
int layer_trim(struct store_layer *layer, int lock_fd);
/* Opens `present` anew: a lock owner of its own. -errno. */
int layer_lock_fd(const struct store_layer *layer);
/* Bytes counted for the present spans. */
uint64_t layer_bytes(const struct store_layer *layer);

/* Compares span i with its SHA-256 from `data`. 0, -EBADMSG, -ENOTSUP (no sum of the output), … */
int layer_check_span(const struct store_layer *layer, size_t i);

/* Whether the window of span i, if there is one, unpacks: 0, -EBADMSG, -ENOMEM, -errno. */
int layer_check_window(const struct store_layer *layer, size_t i);

/*
 * Puts a layer that cannot be healed in quarantine, for the reason in why, so that it is made anew;
 * who has it open goes on with what is left. Another layer that has its name by now stays. Returns
 * why's code.
 */
int layer_put_aside(struct store_layer *layer, const struct err *why);

/* store_layer_read() that does not stamp the spans as used. */
ssize_t layer_read_quiet(struct store_layer *layer, void *data, size_t len, uint64_t off);

/* layer.json */
int layer_json_read(int dirfd, struct store_layer_info *ret, struct err *err);
int layer_json_write(int dirfd, const struct store_layer_info *info, enum commit_mode mode,
		     struct err *err);
