/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Startup profiles and SOCI's prefetch lists (fetcher/soci_prefetch.h). A list
 * names spans of a layer's zTOC, a profile ranges of its device; the zTOC says
 * which is which. Layers that the SOCI index leaves out have no list.
 */

#include "fetcher/manifest.h"
#include "fetcher/soci.h"
#include "fetcher/store.h"
#include "fs/profile.h"

/* An image and its SOCI index; all borrowed. */
struct profile_soci {
	struct store *store;	    /* the image is prepared there */
	struct origin *origin;
	const struct soci_index *soci;
	const struct descriptors *layers; /* of the image, bottom first */
	uint64_t timeout_ms;	    /* of each request */
	deadline_t deadline;	    /* of all of them; 0: none */
};

enum { PROFILE_LISTS_MAX = 64 << 20 }; /* bytes of all lists of an index */

/* Prefetch lists, one a layer; an empty buffer: it has none. */
struct profile_lists {
	struct buf *items; /* owned, each */
	size_t n;
};
void profile_lists_finish(struct profile_lists *lists);
DEFINE_FINISH(profile_lists, profile_lists_finish);

/* Whether the index has any list at all. */
bool profile_soci_is_there(const struct profile_soci *soci);

/* Fetches the lists. Errors of the origin; -EFBIG past PROFILE_LISTS_MAX, before anything is fetched. */
int profile_soci_fetch(const struct profile_soci *soci, struct profile_lists *ret, struct err *err);

/*
 * Makes a profile of lists, as one run that touched their spans: lower
 * priorities first, then in the order of the layers and of their lists.
 * -EBADMSG for a list that is wrong, or names a span that its zTOC has not;
 * errors of the origin; -ENOMEM.
 */
int profile_soci_read(const struct profile_soci *soci, const struct profile_lists *lists,
		      struct profile **ret, struct err *err);

/*
 * Makes lists of a profile. A span's priority is the number of the first range
 * that needs it, so that profile_soci_read() finds the same order. Errors as
 * above; -E2BIG.
 */
int profile_soci_write(const struct profile_soci *soci, const struct profile *p,
		       struct profile_lists *ret, struct err *err);

/*
 * Publishes the index with these lists in place of those it had: a new index
 * manifest of version 1, made at `now` (seconds), beside the image `subject`.
 * What the index says besides stays. -EOPNOTSUPP for version 2, which the image
 * itself names by its digest; errors of origin_push_*(). *ret: its digest.
 */
int profile_soci_push(const struct profile_soci *soci, const struct profile_lists *lists,
		      const struct digest *subject, int64_t now, struct digest *ret,
		      struct err *err);
