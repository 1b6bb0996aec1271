/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From what a reference names to the manifest of one image, through indexes. */

#include "fetcher/manifest.h"
#include "fetcher/origin.h"
#include "fetcher/platform.h"

enum {
	RESOLVE_DEPTH_MAX = 4, /* indexes within indexes */
};

struct resolved {
	struct manifest manifest; /* of an image */
	struct buf bytes;	  /* exactly as they came */
	struct descriptor desc;	  /* digest, size, media type of the manifest */
	struct digest top;	  /* what the reference itself named: an index, or the same */
};

void resolved_finish(struct resolved *resolved);
DEFINE_FINISH(resolved, resolved_finish);

/*
 * Asks the origin for `want` (NULL: what its reference names) and walks down
 * to the platform's image. -ENOENT: no such image, or none for the platform
 * (the text lists those there are); -ELOOP: indexes that name each other or
 * nest too deep; the errors of origin_manifest() and manifest_parse().
 */
int image_resolve(struct origin *origin, const struct platform *platform,
		  const struct digest *want, deadline_t deadline, struct resolved *ret,
		  struct err *err);

/* The same for a manifest whose verified bytes are at hand (taken over from *bytes). */
int resolved_from_bytes(struct buf *bytes, const char *media_type, const struct digest *digest,
			struct resolved *ret, struct err *err);
