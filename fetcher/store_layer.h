/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One layer in the store, `layers/<algo>-<hex>/`:
 *
 *   tree.erofs  the layer's file tree (may be absent: an image index brings only the merged one)
 *   seek        the seek table (fetcher/seek.h)
 *   windows     zstd-compressed deflate windows, sparse until fetched (absent: none needed)
 *   data        the device's bytes, sparse
 *   present     mapped: a header, then one state word and one time word a span
 *   layer.json  where the index came from, where its windows can be fetched
 *
 * The state word of a span has the bits below and above them a generation.
 * Filling: claim the span, write the bytes, set PRESENT. Evicting: claim it,
 * clear PRESENT and add one to the generation in one step, then punch the
 * hole. A reader loads the word, reads, and loads it again: the same word
 * means that the bytes were whole all the while. A claim is a lock on the
 * span's byte of `present` (F_OFD_SETLK), which the kernel drops when a
 * process dies, so no crash leaves a span claimed, and no two processes fetch
 * one span. Within a process the caller makes sure of that itself (OFD locks
 * do not tell its threads apart).
 *
 * `present` names the boot it was written in. The first opener after another
 * boot sets UNVERIFIED on every present span: the bytes may have been lost or
 * torn by a power cut, and are checked before their first use.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fetcher/seek.h"
#include "fetcher/store.h"

enum {
	SPAN_PRESENT = 1 << 0,
	SPAN_UNVERIFIED = 1 << 1,
	SPAN_WINDOW = 1 << 2, /* its window is in `windows` */
	SPAN_GENERATION_SHIFT = 3,
};

/* Where a layer's index came from; in layer.json as the text of store_index_name(). */
enum layer_index {
	LAYER_INDEX_STREAMED,	/* downloaded whole and indexed here */
	LAYER_INDEX_ESTARGZ,
	LAYER_INDEX_ZSTD_CHUNKED,
	LAYER_INDEX_SLUICE,	/* Sluice's index in the registry */
	LAYER_INDEX_SOCI_V1,
	LAYER_INDEX_SOCI_V2,
	LAYER_INDEX_LOCAL,	/* `sluice index build` */
};
const char *layer_index_name(enum layer_index index);
bool layer_index_parse(const char *name, enum layer_index *ret);

/* What layer.json says. */
struct store_layer_info {
	enum layer_index index;
	struct digest windows_digest; /* the blob that holds `windows`; none: all windows are local or none needed */
	uint64_t windows_size;
	struct digest index_digest; /* of the artifact or TOC the index was made from; none: made here */
	bool whole_checked;	    /* digest and diff_id of the whole were checked once */
};

struct store_layer;

/* Opens a layer that has an index. -ENOENT when it has none (or a broken one, then quarantined). */
int store_layer_open(struct store *store, const struct digest *layer, struct store_layer **ret,
		     struct err *err);
void store_layer_close(struct store_layer *layer);
DEFINE_CLEANUP(store_layer, store_layer_close);

/*
 * A layer in the making: a directory under tmp/. Bytes of the device and
 * windows can be written before the seek table is known, in order, as a
 * stream brings them. One thread.
 */
struct store_layer_new;
int store_layer_new_create(struct store *store, const struct digest *layer,
			   struct store_layer_new **ret, struct err *err);
/* Appends to `data` (device bytes from 0 on). Once the store is full or over its budget, silently
 * keeps nothing further: the span is then simply not present. */
int store_layer_new_data(struct store_layer_new *n, const void *data, size_t len, struct err *err);
/* Appends to `windows`. */
int store_layer_new_windows(struct store_layer_new *n, const void *data, size_t len,
			    struct err *err);
/* A descriptor to write the tree to (created on the first call); borrowed. */
int store_layer_new_tree(struct store_layer_new *n, int *ret_fd, struct err *err);
/* From here on nothing waits for the disk: the layer is noted (fetcher/store_unsynced.h). */
void store_layer_new_late(struct store_layer_new *n);
/*
 * Publishes the layer: spans whose bytes were all kept are present. If another process was
 * first, its layer stays and this one is dropped; both are 0. Then store_layer_open() it.
 */
int store_layer_new_finish(struct store_layer_new *n, const struct seek *seek,
			   const struct store_layer_info *info, struct err *err);
/* Removes the directory unless it was published. Accepts NULL. */
void store_layer_new_destroy(struct store_layer_new *n);
DEFINE_CLEANUP(store_layer_new, store_layer_new_destroy);

/* Borrowed, valid until the close. */
const struct seek *store_layer_seek(const struct store_layer *layer);
const struct store_layer_info *store_layer_info(const struct store_layer *layer);

/*
 * Makes the layer young again, for gc: it is about to be needed by an image that does not name
 * it yet. Best effort.
 */
void store_layer_touch(struct store_layer *layer);

/* Opens tree.erofs: a descriptor the caller closes. -ENOENT when the layer has no tree. */
int store_layer_tree(struct store_layer *layer, int *ret_fd, struct err *err);
/* Adds a tree to a layer that has none (committed; an existing one stays). */
int store_layer_add_tree(struct store_layer *layer, int tree_fd, struct err *err);

/* The state word of span i, as it is now. */
uint32_t store_layer_state(const struct store_layer *layer, size_t i);

/*
 * Copies device bytes [off, off + len), all of them within present spans (or
 * in the padding between spans): len. Checks what is UNVERIFIED first, and
 * stamps the spans as used. -EAGAIN when a span is absent, was evicted
 * meanwhile, or failed its check (then it is absent from now on).
 */
ssize_t store_layer_read(struct store_layer *layer, void *data, size_t len, uint64_t off);

/*
 * A descriptor of `data`, borrowed: for splicing, under the rule of the state
 * word above. Only whole pages are punched, but where the page cache holds
 * folios larger than a page the kernel may zero a punched page in place: a
 * spliced page is safe once it was consumed before the second look, not while
 * it waits in a pipe.
 */
int store_layer_data_fd(const struct store_layer *layer);

/*
 * Claims spans [first, end): 0, or -EAGAIN when another process has one of them, or an
 * eviction holds one for a moment. Look at the state again after a claim: it may be filled.
 */
int store_layer_claim(struct store_layer *layer, size_t first, size_t end);
void store_layer_release(struct store_layer *layer, size_t first, size_t end);

/*
 * Stores the verified bytes of a claimed span and sets PRESENT. Over budget it
 * first evicts. -ENOSPC or another -errno when the store cannot take it: the
 * caller still has the bytes and serves them.
 */
int store_layer_fill(struct store_layer *layer, size_t i, const void *data, struct err *err);

/* The same for what nobody asked for: -ENOSPC where it would have to evict, and nothing is. */
int store_layer_fill_spare(struct store_layer *layer, size_t i, const void *data, struct err *err);

/*
 * The window of span i, decompressed: SEEK_WINDOW_BYTES. -EAGAIN when it must be fetched first, as
 * one that the disk did not take must after its first use.
 */
int store_layer_window(struct store_layer *layer, size_t i, void *ret, struct err *err);
/* A descriptor of `windows`, borrowed; -1 when the layer has none. */
int store_layer_windows_fd(const struct store_layer *layer);
/*
 * Keeps [off, off + n) of the windows blob and marks the windows of spans [first, end). What the
 * disk does not take is kept in memory, unmarked, for one use.
 */
int store_layer_fill_windows(struct store_layer *layer, size_t first, size_t end, uint64_t off,
			     const void *data, size_t n, struct err *err);
/* Forgets a window (when the span decoded with it fails its check), unless it cannot be fetched. */
void store_layer_drop_window(struct store_layer *layer, size_t i);

struct store_layer_counts {
	uint64_t spans, spans_present;
	uint64_t bytes, bytes_present; /* of the device */
};
void store_layer_counts(const struct store_layer *layer, struct store_layer_counts *ret);

/*
 * Reads the whole device back and compares it with the diff_id (when the
 * device is a tar and every span is present; -EAGAIN otherwise, also when one
 * is evicted meanwhile), and notes the result; 0 at once when it is noted. -EBADMSG: the index lied; the layer is quarantined, and says so.
 */
int store_layer_check_whole(struct store_layer *layer, struct err *err);

/* Puts a layer whose index was found to be wrong aside: nobody opens it again. */
int store_layer_quarantine(struct store *store, const struct digest *layer, const char *why,
			   struct err *err);
