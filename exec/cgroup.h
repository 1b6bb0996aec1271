/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The control groups of a process, read from the host's /sys/fs/cgroup in
 * either version, or both. Runtimes make them and write to them; what a runtime
 * left is removed here.
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

/*
 * Opens the list of processes of one of its groups for writing: a descriptor, the caller's. -ENOENT;
 * -EACCES and the like for who may not.
 */
int cgroup_procs(const struct cgroup *cgroup);

/* What cannot be read is DRIVER_UNKNOWN; so is the absence of a limit. */
void cgroup_stats(const struct cgroup *cgroup, struct driver_stats *ret);

/* Processes that were killed for want of memory; 0 when that cannot be told. */
uint64_t cgroup_oom_kills(const struct cgroup *cgroup);

/* Whether the processes are frozen. */
bool cgroup_frozen(const struct cgroup *cgroup);

enum { CGROUP_REMOVE_MS = 2000, CGROUP_DEPTH_MAX = 64 };

/*
 * Removes the groups of a path (linux.cgroupsPath, absolute) in every hierarchy, and those
 * below them: what a runtime leaves that failed, or was killed, before it noted what it had made.
 * None with a process in it is removed; a dying one is waited for, CGROUP_REMOVE_MS at most:
 * -EBUSY. Groups that are not there are no failure; -EINVAL: no such path can be one.
 */
int cgroup_remove(const char *path, struct err *err);

/*
 * The same for the cgroupsPath of a bundle's config.json, if its last part names the container and is
 * therefore nobody else's; others, and what is not absolute, are left alone.
 */
int cgroup_remove_bundle(const char *bundle, const char *id, struct err *err);
