/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's own user namespace, which --uidmap and --gidmap ask for. The image's files, and what is
 * made for the container, belong to the ids that its users are outside of it.
 */

#include "base/idmap.h"
#include "exec/container.h"
#include "exec/spec/oci.h"
#include "exec/user.h"
#include "tools/run_options.h"

/*
 * The ranges that were asked for; of users and groups, what is said of one alone goes for both. Zeroed:
 * none were. The caller finishes *ret. -EINVAL: nobody is the container's root. -EOPNOTSUPP: an
 * ordinary user wants others than those that run has given already.
 */
int run_maps_make(const struct run_options *options, struct id_maps *ret, struct err *err);

/* Whether there is a user namespace of the container's own. */
bool run_maps_are(const struct id_maps *maps);

/* The same from a configuration. -E2BIG, -ENOMEM. */
int run_maps_of(const struct oci_linux *l, struct id_maps *ret);

/* Checks that the user has ids there (-EINVAL); groups that have none are left out. maps may be NULL. */
int run_maps_user(const struct id_maps *maps, struct user *user, struct err *err);

/* Adds the ids. -ENOMEM. */
int run_maps_apply(const struct id_maps *maps, struct oci_linux *l);

/* Gives a directory of ours and what is in it, one level deep, to the container's root. */
int run_maps_give(const struct id_maps *maps, int dirfd, const char *name, struct err *err);
