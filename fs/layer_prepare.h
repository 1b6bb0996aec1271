/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Gives one layer its seek table and tree, from the first that has them: the
 * store, a TOC inside the layer (eStargz, zstd:chunked), a SOCI zTOC; else the
 * layer is streamed (fs/layer_stream.h). Registry indexes are believed only
 * where something binds them: a TOC by the digest in the manifest, a zTOC by
 * the digest in the SOCI index; what they then say is checked span by span,
 * and the whole layer against its diff_id once it is local.
 */

#include "fetcher/soci.h"
#include "fetcher/store_layer.h"
#include "fs/image.h"

struct layer_prepare {
	const struct image_request *request;
	uint64_t timeout_ms;
	const struct descriptor *desc;
	const struct digest *diff_id;
	const struct soci_index *soci; /* NULL: none */
	size_t number, count;	       /* for progress: layer `number` of `count` */
};

/* Blocks until the layer is ready. -EBADMSG for an index that is not what it claims to be. */
int layer_prepare_run(const struct layer_prepare *job, struct err *err);

/*
 * Whether a layer of the store is what an image's configuration says it is: another image, or
 * another place in the same one, may have brought it. 0 also when the layer's index has no
 * diff_id; -EBADMSG.
 */
int layer_check_diff_id(const struct store_layer *layer, const struct digest *diff_id,
			struct err *err);
