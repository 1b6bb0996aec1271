/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which files of an image have their bytes in the ranges of its profile, for people to read. */

#include "fs/erofs.h"
#include "fs/profile.h"

enum {
	PROFILE_NAMES_MAX = 4,	   /* names that are kept of one range */
	PROFILE_DEPTH_MAX = 1100,  /* levels of directories that are looked into */
};

/* The files of one range. */
struct profile_files {
	uint64_t count;			/* of all; of a file with several names, each counts */
	char *names[PROFILE_NAMES_MAX]; /* owned by the list: absolute paths, the first in the tree's order */
};

struct profile_names {
	struct profile_files *ranges; /* one a range, in the profile's order */
	size_t n;
	uint64_t files; /* that any range has something of */
};

/* Reads the whole tree. -EBADMSG, -ELOOP past PROFILE_DEPTH_MAX, -ENOMEM. The caller finishes it. */
int profile_names_make(const struct erofs *tree, const struct profile *p, struct profile_names *ret,
		       struct err *err);
/* Accepts NULL and a zeroed one. */
void profile_names_finish(struct profile_names *names);
DEFINE_FINISH(profile_names, profile_names_finish);
