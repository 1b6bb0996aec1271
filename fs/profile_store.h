/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The startup profile of an image in the store: images/<manifest digest>/profile,
 * which goes when the image goes. Every change is made under a lock of its own
 * and committed. All functions are safe from any thread and process.
 *
 * A profile that is wrong is -EBADMSG; callers that start an image say so and
 * go on without it. A learner puts it aside: it begins anew.
 */

#include "fetcher/store.h"
#include "fs/erofs.h"
#include "fs/profile.h"

#define PROFILE_FILE "profile"

enum { PROFILE_LOCK_MS = 10000 }; /* how long a change waits for others' */

/* What a profile is checked against: the image's layers and the sizes of their devices. */
struct profile_facts {
	struct digest image;
	struct digest *layers; /* owned; n, bottom first */
	uint64_t *sizes;       /* owned; n */
	size_t n;
};
void profile_facts_finish(struct profile_facts *facts);
DEFINE_FINISH(profile_facts, profile_facts_finish);

/* Of an image that is prepared. -ENOENT, -EBADMSG, -ENOMEM. */
int profile_facts_load(struct store *store, const struct digest *manifest,
		       struct profile_facts *ret, struct err *err);
/* From its metadata and its layers' digests, one a device of the tree. -EBADMSG, -ENOMEM. */
int profile_facts_make(const struct erofs *tree, const struct digest *manifest,
		       const struct digest *layers, size_t n, struct profile_facts *ret,
		       struct err *err);

/* The image's profile. -ENOENT: it has none, or is not prepared. -EBADMSG: it is wrong. */
int profile_load(struct store *store, const struct digest *manifest, struct profile **ret,
		 struct err *err);

/* Learns from one run: profile_learn_run(). -ENOENT: no such image; -ETIMEDOUT: the lock; -ENOSPC … */
int profile_learn(struct store *store, const struct digest *manifest, const struct profile *run,
		  struct err *err);

/*
 * Joins another profile of the image into the store's: profile_join(). Writes
 * nothing when that changes nothing. ret (NULL: not asked for): the result.
 */
int profile_adopt(struct store *store, const struct profile_facts *facts,
		  const struct profile *other, struct profile **ret, struct err *err);

/* Removes the profile. -ENOENT: there is none. */
int profile_remove(struct store *store, const struct digest *manifest, struct err *err);

/* For fsck (store_fsck_options): 0 also when there is none. -EBADMSG with what is wrong. */
int profile_check(struct store *store, const struct digest *manifest, struct err *err);
