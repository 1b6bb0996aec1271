/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The blob of Sluice's index: everything that a machine needs to mount an
 * image whose layers it has never seen, in one piece. A bundle holds the
 * image's merged EROFS metadata and each layer's seek table; the windows of
 * gzip layers stand in blobs of their own, since only those of spans that are
 * read are ever needed.
 *
 * Layout: "SLBUNDL1", the length of a JSON document as 4 bytes little-endian,
 * the document, then the sections that it names, each zstd-compressed:
 *
 *   {"image": DIGEST,
 *    "tree":   {"offset": N, "size": N, "raw": N},
 *    "layers": [{"digest": DIGEST, "offset": N, "size": N, "raw": N,
 *                "windows": {"digest": DIGEST, "size": N}?}, …]}
 *
 * Offsets count from the end of the document. The blob is bound by its digest
 * in the index artifact; what it says is still checked as if it were not.
 */

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "fetcher/seek.h"

enum {
	BUNDLE_MAX = 1 << 29,		/* bytes of a whole bundle */
	BUNDLE_JSON_MAX = 1 << 20,
	BUNDLE_TREE_MAX = 0x7fffffff,	/* uncompressed bytes of the metadata */
	BUNDLE_LAYERS_MAX = 1024,
	BUNDLE_RATIO_MAX = 200,		/* zstd on metadata gives some 5 to 20 */
};

struct bundle_layer {
	struct digest digest;
	const struct seek *seek;       /* borrowed */
	struct digest windows_digest;  /* none: the table needs no windows */
	uint64_t windows_size;
};

/* Makes the bundle of an image from its metadata file and its layers, bottom first. -E2BIG, -ENOMEM. */
int bundle_make(const struct digest *image, int tree_fd, const struct bundle_layer *layers,
		size_t n_layers, struct buf *ret, struct err *err);

struct bundle;

/*
 * Takes a bundle of `image` apart; the bytes are borrowed until the destroy.
 * -EBADMSG with what is wrong; a bundle of another image is wrong.
 */
int bundle_parse(const struct digest *image, const void *data, size_t n, struct bundle **ret,
		 struct err *err);
void bundle_destroy(struct bundle *bundle);
DEFINE_CLEANUP(bundle, bundle_destroy);

/* Writes the metadata to a file at its position. -EBADMSG, -ENOSPC and others of write. */
int bundle_write_tree(const struct bundle *bundle, int fd, struct err *err);

size_t bundle_layer_count(const struct bundle *bundle);

/* The i-th layer without its table; plain values. */
void bundle_layer(const struct bundle *bundle, size_t i, struct bundle_layer *ret);

/* The table of the i-th layer, the caller's. -EBADMSG also when it is another layer's. */
int bundle_layer_seek(const struct bundle *bundle, size_t i, struct seek **ret, struct err *err);
