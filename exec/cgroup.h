/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The control groups of a process, read from the host's /sys/fs/cgroup in
 * either version, or both. Nothing is ever written.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "exec/driver.h"

struct cgroup;

/*
 * Looks up the groups that a process is in now. They can be read for as long
 * as they exist, also when the process is over. -ESRCH.
 */
int cgroup_open(pid_t pid, struct cgroup **ret, struct err *err);
void cgroup_close(struct cgroup *cgroup);
DEFINE_CLEANUP(cgroup, cgroup_close);

/* What cannot be read is DRIVER_UNKNOWN; so is the absence of a limit. */
void cgroup_stats(const struct cgroup *cgroup, struct driver_stats *ret);

/* Processes that were killed for want of memory; 0 when that cannot be told. */
uint64_t cgroup_oom_kills(const struct cgroup *cgroup);

/* Whether the processes are frozen. */
bool cgroup_frozen(const struct cgroup *cgroup);
