/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The flags of `sluice run`, as they stand on the command line: names, letters
 * and meanings are those of podman-run(1). tools/run_options.h makes sense of
 * their values.
 */

#include <stdbool.h>

#include "tools/opt.h"
#include "tools/profile_flags.h"

struct run_flags {
	/* The container's life. */
	const char *name, *pull, *fs, *cidfile, *pidfile, *stop_signal, *stop_timeout, *timeout;
	const char *runtime;
	bool rm, detach, interactive, tty, init, rootfs, dry_run, timing;
	/* The process. */
	const char *entrypoint, *workdir, *user, *detach_keys;
	struct opt_many group_add, env, env_file, label, annotation;
	uint64_t preserve_fds;
	/* The file system. */
	struct opt_many volume, mount, tmpfs;
	const char *shm_size, *image_volume;
	bool read_only;
	/* What it sees and may. */
	const char *network, *pid, *ipc, *uts, *userns, *cgroupns, *cgroup_parent, *hostname;
	struct opt_many uidmap, gidmap, publish, add_host, dns, cap_add, cap_drop, security_opt,
		sysctl;
	bool privileged;
	/* What it may use. */
	const char *memory, *memory_swap, *cpus, *cpu_shares, *cpuset_cpus, *pids_limit,
		*oom_score_adj;
	struct opt_many ulimit, device, gpus, cdi_spec_dir;
	/* How it starts. */
	struct profile_flags profile;
};

enum { RUN_FLAGS = 63 + PROFILE_FLAGS };

/* Fills a zeroed table of more than RUN_FLAGS rows; it points into flags. */
void run_flags_options(struct run_flags *flags, struct opt *table);

/* Accepts a zeroed one. */
void run_flags_finish(struct run_flags *flags);
