/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sluice's index as it travels: an OCI image manifest with artifactType
 * IMAGE_INDEX_ARTIFACT and the image's manifest as subject, so that the
 * referrers API, or the fallback tag, finds it beside the image. Its layers
 * are the bundle (fs/bundle.h) and, for each gzip layer, a blob of windows
 * (IMAGE_INDEX_WINDOWS, annotated with the layer it belongs to). The bundle's
 * digest also stands in an annotation of the artifact, which lists of
 * referrers repeat: who reads such a list can ask for the bundle at once.
 */

#include "base/err.h"
#include "fetcher/origin.h"
#include "fetcher/store.h"

/*
 * Makes the index of a prepared image and keeps it in the store; once made, it
 * stays the same. *ret_artifact: the digest of its manifest, in the store's
 * blobs. -ENOENT when the image is not prepared.
 */
int image_index_build(struct store *store, const struct digest *manifest,
		      struct digest *ret_artifact, struct err *err);

/* Publishes an index that was built: blobs first, then the manifest. Errors of origin_push_*(). */
int image_index_push(struct store *store, const struct digest *manifest, struct origin *origin,
		     uint64_t timeout_ms, struct err *err);
