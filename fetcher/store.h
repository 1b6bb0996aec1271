/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store: everything that was fetched or derived, on disk, shared by any
 * number of processes. Layout (mode 0700, formats in fetcher/README.md):
 *
 *   blobs/<algo>/<hex>      small verified blobs: manifests, configs, indexes
 *   layers/<algo>-<hex>/    one layer: see fetcher/store_layer.h
 *   images/<algo>-<hex>/    one image: `tree.erofs`, `image.json`
 *   tags/<escaped name>     what a reference last resolved to (for offline use)
 *   tmp/, quarantine/       work under way; what was found to be wrong
 *   locks/                  files that only carry locks
 *   usage                   mapped counter: bytes of layer data on disk
 *   version                 of this layout
 *
 * Every commit follows base/file.h. All functions are safe from any thread
 * and process unless they say otherwise.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/file.h"

struct store;

struct store_config {
	const char *path;      /* store_default_path() where the user named none */
	uint64_t budget_bytes; /* of layer data; 0: 20 GiB or half of the free disk, the lesser */
};

/*
 * The default place: env_store ($SLUICE_STORE) when set, else /var/lib/sluice for uid 0, else
 * env_data_home ($XDG_DATA_HOME), or ~/.local/share under env_home, with "/sluice". The caller
 * frees it. The environment is read in tools/, so it is handed in.
 */
int store_default_path(const char *env_store, const char *env_data_home, const char *env_home,
		       unsigned int uid, char **ret, struct err *err);

/*
 * Opens the store, making it when it is new. -EACCES (also for one that another user owns),
 * -EROFS, -ENOSPC, -EPROTONOSUPPORT (a newer layout), -ENOTEMPTY (a directory of something else).
 * A process that forks opens its own afterwards: locks belong to open file descriptions.
 */
int store_open(const struct store_config *config, struct store **ret, struct err *err);
void store_close(struct store *store);
DEFINE_CLEANUP(store, store_close);

/* The absolute path, borrowed. */
const char *store_path(const struct store *store);

/* Descriptor of a subdirectory ("images", "tmp" …), borrowed. */
int store_dir_images(const struct store *store);
int store_dir_layers(const struct store *store);
int store_dir_tmp(const struct store *store);

/* A small blob: appended to ret after its digest was checked again. -ENOENT; a corrupt one is removed: -ENOENT. */
int store_blob_get(struct store *store, const struct digest *digest, struct buf *ret,
		   struct err *err);
/* Keeps a blob whose digest the caller has verified; with COMMIT_LIVE nothing waits for the disk. */
int store_blob_put(struct store *store, const struct digest *digest, const void *data, size_t n,
		   struct err *err);
int store_blob_keep(struct store *store, const struct digest *digest, const void *data, size_t n,
		    enum commit_mode mode, struct err *err);

/* What a reference text resolved to when the origin was last asked; -ENOENT. */
int store_tag_get(struct store *store, const char *ref_text, struct digest *ret, struct err *err);
int store_tag_put(struct store *store, const char *ref_text, const struct digest *digest,
		  struct err *err);
int store_tag_keep(struct store *store, const char *ref_text, const struct digest *digest,
		   enum commit_mode mode, struct err *err);

/*
 * Work on one digest by one process at a time (indexing a layer, merging an
 * image): waits until the lock is free or the deadline (0: none) passes. The
 * kernel releases it when the process dies. *ret_fd is closed to unlock.
 */
int store_lock(struct store *store, const struct digest *digest, uint64_t deadline, int *ret_fd,
	       struct err *err);

/* The name of a digest as a directory entry, "sha256-<hex>". Returns out. */
char *store_entry_name(const struct digest *digest, char out[static DIGEST_STR_MAX]);

/*
 * A directory of somebody's own under tmp/, made if it is not there; gc leaves
 * it alone while *ret_lock, of any number of holders, is open. *ret_path (freed
 * by the caller) is absolute. Who is done with it removes it.
 */
int store_tmp_hold(struct store *store, const char *name, char **ret_path, int *ret_lock,
		   struct err *err);

struct store_usage {
	uint64_t data_bytes;   /* of layer data, as counted */
	uint64_t budget_bytes;
	uint64_t layers, images, blobs;
	uint64_t other_bytes;  /* trees, tables, windows, blobs */
};
int store_usage(struct store *store, struct store_usage *ret, struct err *err);

/* Bytes of layer data that the budget has room for, as counted. Costs a look at a mapped word. */
uint64_t store_room(const struct store *store);

/*
 * Frees layer data until at most target bytes are left, least recently used
 * spans first, whatever is mounted (it is fetched again). Only one process
 * evicts at a time; another caller returns 0 at once. *ret_freed: bytes.
 */
int store_evict(struct store *store, uint64_t target, uint64_t *ret_freed, struct err *err);

struct store_gc_options {
	bool dry_run;
	bool all;	       /* also images and layers that nothing mounts */
	uint64_t min_age_sec;  /* temporaries younger than this are somebody's work */
};
struct store_gc_result {
	uint64_t removed_entries, freed_bytes;
};
/*
 * Removes temporaries of dead processes, what has been in quarantine for a
 * week, layers no image names and nobody has open, blobs nothing names; with
 * `all`, also every image that is not in use (see store_image_hold()), and all
 * of the quarantine. Nothing younger than min_age_sec goes, and nothing for want
 * of a name while an image is being prepared. Recounts the usage, unless a layer
 * is in the making, and brings it under the budget. What is kept is what images/<name>/image.json
 * says: {"manifest": digest, "config": digest, "layers": [digest, …], "blobs":
 * [digest, …]}. -EBADMSG when one cannot be read: nothing it may need is removed.
 */
int store_gc(struct store *store, const struct store_gc_options *options,
	     struct store_gc_result *ret, struct err *err);

/* Marks an image as in use by this process while *ret_fd is open (a shared lock). */
int store_image_hold(struct store *store, const struct digest *image, int *ret_fd,
		     struct err *err);

/* One finding of fsck: `what` names the object, `why` says what is wrong and what was done. */
typedef void (*store_fsck_fn)(void *data, const char *what, const char *why);
struct store_fsck_options {
	bool repair; /* remove what is wrong, so that it is fetched again */
	bool deep;   /* also check the SHA-256 of every present span */
	/* Checks an open tree.erofs, which the store knows nothing of. -EBADMSG: it is wrong. May be NULL. */
	int (*tree)(int fd, struct err *err);
	/* Checks an image's startup profile; 0 without one. -EBADMSG: it is wrong. May be NULL. */
	int (*profile)(struct store *store, const struct digest *image, struct err *err);
};
/* Checks everything; *ret_wrong is the number of findings. */
int store_fsck(struct store *store, const struct store_fsck_options *options, store_fsck_fn fn,
	       void *data, uint64_t *ret_wrong, struct err *err);
