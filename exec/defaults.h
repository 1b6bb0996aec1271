/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a container gets that nobody said anything about: the mounts, masks,
 * capabilities, namespaces and devices that Docker and podman give it, and no
 * new privileges. The types themselves have no defaults; this is the one place.
 *
 * An image's words go on top (exec/convert.h), then what the command line
 * says, and last defaults_env() for what is still missing then.
 */

#include "base/err.h"
#include "exec/spec/oci.h"

#define DEFAULTS_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * A configuration for Linux that lacks nothing but args: root is "rootfs", cwd
 * "/", the user 0:0. The caller frees it. -ENOMEM.
 */
int defaults_create(struct oci_config **ret, struct err *err);

/* The value of a process's variable, the first one of that name; NULL: it has none. Borrowed. */
const char *defaults_find_env(const struct oci_process *process, const char *name);

/*
 * Adds the variables that the process has not: PATH; TERM when it has a
 * terminal; HOSTNAME when the configuration has one; HOME (NULL: left out).
 * Those that are there stay, the empty ones, too. -ENOMEM.
 */
int defaults_env(struct oci_config *config, const char *home, struct err *err);
