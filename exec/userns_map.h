/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a user namespace gets its ids (userns.c): newuidmap and newgidmap have to
 * be run from outside, so a child that stays there does it.
 */

#include "base/cleanup.h"
#include "exec/userns.h"

struct userns_mapper;

/* Looks up what the user has, and starts the child that will map it, before the namespace is made. */
int userns_mapper_start(const char *path_env, struct userns_mapper **ret, struct err *err);

/* Ends the child. Accepts NULL. */
void userns_mapper_destroy(struct userns_mapper *mapper);
DEFINE_CLEANUP(userns_mapper, userns_mapper_destroy);

/*
 * Maps the ids of this process's namespace: all that the user has, or its own alone, which *lack
 * then explains. *ret_denied: it was the kernel that refused.
 */
int userns_mapper_map(struct userns_mapper *mapper, char lack[static USERNS_LACK_MAX],
		      bool *ret_denied, struct err *err);
