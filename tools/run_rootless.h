/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a container of an ordinary user cannot have. */

#include "exec/spec/oci.h"
#include "tools/run_options.h"

/*
 * Takes from a configuration what no user can give: control groups, devices
 * that are made, terminals' group. Says what of the flags has no effect
 * therefore. Nothing for root. -ENOMEM.
 */
int run_rootless_apply(const struct run_options *options, struct oci_config *config,
		       struct err *err);
