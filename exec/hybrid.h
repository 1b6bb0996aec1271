/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hosts with both cgroup versions mounted ("hybrid": version 1 hierarchies in
 * a tmpfs at /sys/fs/cgroup, version 2 at /sys/fs/cgroup/unified), which crun
 * refuses. It works in a mount namespace of its own in which the latter is not
 * mounted; the host's mounts stay as they are, and mounts that come and go on
 * the host still do so there.
 */

#include <stdbool.h>

enum cgroup_mode {
	CGROUP_NONE,
	CGROUP_V1,
	CGROUP_V2,
	CGROUP_HYBRID,
};

/* What is mounted at /sys/fs/cgroup. */
enum cgroup_mode cgroup_mode_get(void);

/* "none", "v1", "v2", "hybrid". */
const char *cgroup_mode_name(enum cgroup_mode mode);

/*
 * Puts the calling process (of one thread: the child between fork and exec)
 * into a mount namespace without version 2. Async-signal-safe; data is not used
 * (it is spawn.prepare's). 0 or -errno; -EPERM without CAP_SYS_ADMIN.
 */
int hybrid_enter(void *data);

/* What a runtime is to see elsewhere than where it is. */
struct hybrid_view {
	const char *from, *at; /* directories */
	bool hybrid;	       /* also without version 2 */
};

/* The same with one directory bound on another; data is a struct hybrid_view. */
int hybrid_view(void *data);
