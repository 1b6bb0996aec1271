/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An image, from its name to a file system. Two steps, since the process that
 * asks is not the one that serves:
 *
 *   image_prepare()  makes sure that the store has all that mounting takes:
 *                    manifest, configuration, each layer's seek table, and the
 *                    merged metadata. It asks the origin for an index before
 *                    it reads a layer, and reads a layer only when it must.
 *   image_open()     opens what is in the store: no network, so it works while
 *                    the registry is away. Its devices fetch bytes on demand.
 *
 * In the store, images/<manifest digest>/ holds `tree.erofs` and `image.json`:
 * reference, manifest, config, layers (bottom first), blobs (everything else
 * that gc must keep), index ("sluice" when all came from one bundle, else
 * "layers").
 */

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/phases.h"
#include "fetcher/descriptor.h"
#include "fetcher/origin.h"
#include "fetcher/platform.h"
#include "fetcher/pool.h"
#include "fetcher/source.h"
#include "fetcher/store.h"
#include "fetcher/store_layer.h"
#include "fs/erofs.h"

/* The artifact type of Sluice's index, and the media types of its blobs. */
#define IMAGE_INDEX_ARTIFACT "application/vnd.sluice.index.v1"
#define IMAGE_INDEX_BUNDLE   "application/vnd.sluice.index.bundle.v1"
#define IMAGE_INDEX_WINDOWS  "application/vnd.sluice.index.windows.v1"
/* In the artifact's annotations and so in the list of referrers: saves a round trip. */
#define IMAGE_INDEX_BUNDLE_DIGEST "dev.sluice.bundle.digest"
#define IMAGE_INDEX_BUNDLE_SIZE	  "dev.sluice.bundle.size"
/* On a windows blob: the layer it belongs to. */
#define IMAGE_INDEX_LAYER "dev.sluice.layer"

/* What is told while layers are read; called on several threads at once. */
struct image_progress {
	/* Layer i of n: `what` is being done; done of total compressed bytes. */
	void (*layer)(void *data, size_t i, size_t n, const char *what, uint64_t done,
		      uint64_t total);
	void *data;
};

/* Which indexes found in the registry are believed. */
enum image_index_use {
	IMAGE_INDEX_ANY,  /* Sluice's, TOCs, SOCI's */
	IMAGE_INDEX_NONE, /* none: every layer is read and indexed here */
};

struct image_request {
	struct store *store;
	struct origin *origin;		 /* NULL: only what is in the store */
	struct fetch_pool *pool;
	const char *reference;		 /* canonical text, as store_tag_get() takes it */
	const struct digest *pinned;	 /* the digest in the reference; NULL: none */
	bool current;			 /* what the name meant last time is no answer */
	const struct platform *platform; /* NULL: this machine's */
	bool platform_asked;		 /* for this one: an image of another, without an index, is refused */
	enum image_index_use index_use;
	/*
	 * What is put into the store is noted first and on the disk later, by store_settle() in
	 * whoever serves it (fetcher/store_unsynced.h).
	 */
	bool late;
	const struct image_progress *progress; /* NULL: nobody listens */
	uint64_t timeout_ms;		 /* of each small request */
	struct phases *phases;		 /* NULL: nobody asks */
};

/*
 * Prepares the image and tells the digest of its manifest. Errors are those of
 * fetcher/origin.h, -ENOENT when the reference is unknown here and there, and
 * -EBADMSG for content that is not what its digest or its format says; nothing
 * wrong is stored.
 */
int image_prepare(const struct image_request *request, struct digest *ret_manifest,
		  struct err *err);

struct image;

struct image_open_config {
	struct store *store;
	struct origin *origin;		 /* borrowed; NULL: nothing is fetched */
	struct fetch_pool *pool;	 /* borrowed */
	struct fetch_counters *counters; /* borrowed; NULL: none */
	uint64_t transfer_ms;		 /* see fetcher/layer.h; 0: its default */
};

/* Opens a prepared image and holds it against gc. -ENOENT when it is not (any more) prepared. */
int image_open(const struct image_open_config *config, const struct digest *manifest,
	       struct image **ret, struct err *err);
/* Waits for transfers under way. Accepts NULL. */
void image_close(struct image *image);
DEFINE_CLEANUP(image, image_close);

/* All borrowed, valid until the close. */
const struct erofs *image_tree(const struct image *image);
const struct descriptor *image_manifest(const struct image *image);
const char *image_reference(const struct image *image);
/* Device k of the tree is sources[k - 1]; NULL is never among them. */
struct source **image_sources(const struct image *image, size_t *ret_n);

/* A layer as `sluice stat` tells of it. */
struct image_layer_stat {
	struct digest digest;
	const char *media_type; /* borrowed from the image */
	uint64_t size;		/* compressed, as in the manifest */
	enum layer_index index;
	struct store_layer_counts counts;
	bool whole_checked;
};
size_t image_layer_count(const struct image *image);
int image_layer_stat(const struct image *image, size_t i, struct image_layer_stat *ret,
		     struct err *err);
