/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The edits of the Container Device Interface, made to a config.json. Several
 * are made as one: first all variables, then all device nodes, and so on, as
 * the specification's own library does.
 */

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "exec/spec/oci.h"

/*
 * Makes the n edits, each an object of cdi_spec_edits() or NULL, in their order:
 *
 *   env		replaces a variable of the same name, else is appended
 *   deviceNodes	replace one at the same path. Type, numbers and mode that are
 *		not given are those of hostPath (else path), which is not followed
 *		when it is a symlink; the owner is then the process's user. A rule of
 *		the device cgroup allows what `permissions` says, else rwm; "none" has
 *		no rule
 *   netDevices	by the name on the host
 *   mounts	replace all at the same destination; then all mounts are sorted by
 *		how deep they are, those of one depth staying as they were. Without a
 *		type and without bind or rbind it is a bind mount
 *   hooks	are appended to those of their name
 *   intelRdt	replaces what was there
 *   additionalGids are appended once each, and never 0
 *
 * -ENOENT and what lstat gives where a device node has to be looked at; -EINVAL
 * where that is no device, or of another type; -ENOMEM. After a failure the
 * config is changed in part.
 */
int cdi_edit(struct oci_config *config, const json_t *const *edits, size_t n, struct err *err);
