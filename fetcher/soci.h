/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finds the SOCI index of an image in its registry (awslabs/soci-snapshotter,
 * docs/soci-index-manifest-v2.md): version 2 by the image manifest's annotation
 * com.amazon.soci.index-digest, version 1 among the manifest's referrers. What
 * a zTOC says is fetcher/ztoc.h's business.
 */

#include "fetcher/manifest.h"
#include "fetcher/origin.h"

enum {
	SOCI_ZTOC_MAX = 512 << 20, /* bytes of one zTOC: 32 KiB a checkpoint, and the names */
};

struct soci_index;

/* -ENOENT: the image has none. -EBADMSG: it has one that is broken. */
int soci_index_find(struct origin *origin, const struct manifest *image,
		    const struct descriptors *referrers, deadline_t deadline,
		    struct soci_index **ret, struct err *err);
void soci_index_destroy(struct soci_index *soci);
DEFINE_CLEANUP(soci_index, soci_index_destroy);

#define SOCI_PREFETCH_TYPE "application/vnd.amazon.soci.prefetch.v1+json"
#define SOCI_LAYER_DIGEST  "com.amazon.soci.image-layer-digest" /* on a zTOC and a prefetch list */
#define SOCI_CREATED	   "org.opencontainers.image.created"	/* of several indexes the newest counts */

/* 1 or 2. */
int soci_index_version(const struct soci_index *soci);

/* The zTOC of a layer, borrowed; NULL: the index leaves this layer out (small ones are). */
const struct descriptor *soci_index_ztoc(const struct soci_index *soci,
					 const struct digest *layer);

/* The prefetch list of a layer (fetcher/soci_prefetch.h), borrowed; NULL: the index has none of it. */
const struct descriptor *soci_index_prefetch(const struct soci_index *soci,
					     const struct digest *layer);

/* The index manifest as it came, and its descriptor; borrowed. */
const struct buf *soci_index_bytes(const struct soci_index *soci);
const struct descriptor *soci_index_self(const struct soci_index *soci);
