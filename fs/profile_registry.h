/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A startup profile as it travels: an OCI image manifest with artifactType
 * PROFILE_ARTIFACT and the image's manifest as subject, whose one layer is the
 * text of the profile, zstd-compressed. Digest and size of that blob, and when
 * it was made, also stand in annotations of the artifact, which lists of
 * referrers repeat: who reads such a list can ask for the blob at once. Of
 * several the newest counts.
 */

#include <stdbool.h>

#include "fetcher/origin.h"
#include "fs/profile_store.h"

#define PROFILE_ARTIFACT    "application/vnd.sluice.profile.v1"
#define PROFILE_BLOB	    "application/vnd.sluice.profile.v1+zstd"
#define PROFILE_BLOB_DIGEST "dev.sluice.profile.digest"
#define PROFILE_BLOB_SIZE   "dev.sluice.profile.size"
#define PROFILE_CREATED	    "org.opencontainers.image.created" /* RFC 3339, in UTC, whole seconds */

enum {
	PROFILE_BLOB_MAX = 4 << 20,   /* bytes of the compressed text */
	PROFILE_CREATED_MAX = 24,     /* room for the text of PROFILE_CREATED */
	PROFILE_FETCH_MS = 5000,      /* a start waits no longer than this for what only helps it */
};

/*
 * The newest profile's blob in a list of referrers. -ENOENT: there is none.
 * Entries whose annotations make no sense are passed over; err then tells of
 * the last of them, also when the result is 0.
 */
int profile_find(const struct descriptors *referrers, struct descriptor *ret, struct err *err);

/*
 * Reads a profile, as text or as the blob that travels. -EBADMSG as
 * profile_parse(), and for what does not unpack; -ENOMEM.
 */
int profile_decode(const struct profile_facts *facts, const void *data, size_t n,
		   struct profile **ret, struct err *err);

/* Appends the blob that travels. As profile_emit(). */
int profile_encode(const struct profile_facts *facts, const struct profile *p, struct buf *ret,
		   struct err *err);

/* The text of PROFILE_CREATED for a time in seconds; "" for one that cannot be written so. */
void profile_created_text(int64_t when, char out[static PROFILE_CREATED_MAX]);

struct profile_pushed {
	bool pushed;		/* false: what the registry has says the same */
	struct digest artifact; /* of what was pushed; else none */
	struct err ignored;	/* what was wrong with the one in the registry, if anything was */
};

/*
 * Joins the store's profile with the newest one in the registry, keeps the
 * result in the store, and publishes it unless it is what was there. now: the
 * time, in seconds. -ENOENT: the store has no profile of the image; errors of
 * the origin.
 */
int profile_push(struct store *store, const struct digest *manifest, struct origin *origin,
		 int64_t now, uint64_t timeout_ms, struct profile_pushed *ret, struct err *err);
