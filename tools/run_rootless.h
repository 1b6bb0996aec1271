/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a container of an ordinary user cannot have: ids that nobody gave him, limits, a sysfs of its own. */

#include "base/idmap.h"
#include "exec/spec/oci.h"
#include "exec/user.h"
#include "tools/run_options.h"

/*
 * Checks that the ids of a container's user are in this process's user namespace (-EINVAL). Groups
 * that are not, or cannot be set, are left out.
 */
int run_rootless_user(struct user *user, struct err *err);

/*
 * Fits the configuration to an ordinary user; what it loses that was asked for is logged as a
 * warning. For root it stays as it is, but for what a user namespace with these maps (NULL:
 * none) may not mount.
 */
int run_rootless_fit(const struct run_options *options, struct oci_config *config,
		     const struct id_maps *maps, struct err *err);
