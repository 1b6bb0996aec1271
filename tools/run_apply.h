/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What was asked for on the command line, put over a container's configuration
 * that has the image's words and the defaults (exec/convert.h,
 * exec/defaults.h). Namespaces of other containers are paths by now.
 */

#include "exec/spec/oci.h"
#include "tools/run_options.h"

/* Everything. -EINVAL with a sentence; -ENOMEM. */
int run_apply(const struct run_options *options, struct oci_config *config, struct err *err);

/* Namespaces, resources, devices and masks: the parts that only Linux has. For run_apply(). */
int run_apply_linux(const struct run_options *options, struct oci_config *config,
		    struct err *err);
/* Capabilities, and whether more can be had. For run_apply(). */
int run_apply_privileges(const struct run_options *options, struct oci_config *config,
			 struct err *err);

/* NAME=VALUE of each in the list: takes the place of one with that name. -ENOMEM. */
int run_apply_env(struct oci_process *process, const struct words *env);

/* The mount at exactly this place; NULL: there is none. Borrowed. */
struct oci_mount *run_find_mount(const struct oci_config *config, const char *destination);

/* Puts what is mounted deeper behind what it is mounted on; else the order stays. -ENOMEM. */
int run_sort_mounts(struct oci_config *config);

/* Has a mount bind what the host has at that place, with these options. -ENOMEM. */
int run_mount_host(struct oci_mount *mount, const char *const *options, size_t n);

/* Every capability that this process may hand on, in the three sets that matter. -ENOMEM. */
int run_apply_all_caps(struct oci_process_capabilities *caps);
