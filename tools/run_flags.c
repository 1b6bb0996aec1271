/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_flags.h"

#include <string.h>

#include "base/num.h"

static struct opt *flags_add(struct opt *table, const struct opt *rows, size_t n)
{
	memcpy(table, rows, n * sizeof(*rows));
	return table + n;
}

static struct opt *flags_life(struct run_flags *f, struct opt *table)
{
	const struct opt rows[] = {
		{"name", 0, OPT_TEXT, "NAME", "the container's name (default: made of IMAGE)", &f->name},
		{"rm", 0, OPT_FLAG, NULL, "remove the container when it ends", &f->rm},
		{"detach", 'd', OPT_FLAG, NULL, "print the container's id and leave it running", &f->detach},
		{"interactive", 'i', OPT_FLAG, NULL, "give it this standard input", &f->interactive},
		{"tty", 't', OPT_FLAG, NULL, "give it a terminal", &f->tty},
		{"detach-keys", 0, OPT_TEXT, "KEYS", "what leaves a terminal (default: ctrl-p,ctrl-q)",
		 &f->detach_keys},
		{"init", 0, OPT_FLAG, NULL, "run a small init (catatonit or tini) as process 1", &f->init},
		{"pull", 0, OPT_TEXT, "POLICY", "always, missing, newer or never (default: missing)", &f->pull},
		{"fs", 0, OPT_TEXT, "KIND", "how the image is mounted: fuse, erofs (root) or auto: what works",
		 &f->fs},
		{"rootfs", 0, OPT_FLAG, NULL, "IMAGE is a directory with a root filesystem", &f->rootfs},
		{"runtime", 0, OPT_TEXT, "PATH", "crun or runc, or a path to one (default: crun, else runc)",
		 &f->runtime},
		{"cidfile", 0, OPT_TEXT, "FILE", "write the container's id there", &f->cidfile},
		{"pidfile", 0, OPT_TEXT, "FILE", "write the pid of the container's process 1 there",
		 &f->pidfile},
		{"stop-signal", 0, OPT_TEXT, "SIGNAL", "what stop sends (default: the image's, or TERM)",
		 &f->stop_signal},
		{"stop-timeout", 0, OPT_TEXT, "SECONDS", "until stop kills (default: 10)", &f->stop_timeout},
		{"timeout", 0, OPT_TEXT, "SECONDS", "kill the container after this time (default: never)",
		 &f->timeout},
		{"dry-run", 0, OPT_FLAG, NULL, "print the configuration; run nothing", &f->dry_run},
		{"timing", 0, OPT_FLAG, NULL, "tell when each step of the start was done", &f->timing},
	};
	return flags_add(table, rows, ARRAY_LEN(rows));
}

static struct opt *flags_process(struct run_flags *f, struct opt *table)
{
	const struct opt rows[] = {
		{"entrypoint", 0, OPT_TEXT, "WORD|JSON", "instead of the image's entrypoint", &f->entrypoint},
		{"workdir", 'w', OPT_TEXT, "DIR", "the working directory", &f->workdir},
		{"user", 'u', OPT_TEXT, "USER[:GROUP]", "names or numbers", &f->user},
		{"group-add", 0, OPT_MANY, "GROUP", "one more group, by name or number", &f->group_add},
		{"env", 'e', OPT_MANY, "NAME[=VALUE]", "set a variable, or pass on the one here", &f->env},
		{"env-file", 0, OPT_MANY, "FILE", "read variables, one a line", &f->env_file},
		{"label", 'l', OPT_MANY, "KEY[=VALUE]", "a label, kept as an annotation", &f->label},
		{"annotation", 0, OPT_MANY, "KEY=VALUE", "an annotation, for the runtime", &f->annotation},
		{"preserve-fds", 0, OPT_NUMBER, "NUMBER", "pass on descriptors 3 and up, this many",
		 &f->preserve_fds},
	};
	return flags_add(table, rows, ARRAY_LEN(rows));
}

static struct opt *flags_files(struct run_flags *f, struct opt *table)
{
	const struct opt rows[] = {
		{"volume", 'v', OPT_MANY, "[SOURCE:]DIR[:OPTIONS]",
		 "show a file or directory of the host, or a volume", &f->volume},
		{"mount", 0, OPT_MANY, "type=TYPE,…", "mount a bind, volume, tmpfs, ramfs or devpts",
		 &f->mount},
		{"image-volume", 0, OPT_TEXT, "KIND",
		 "the image's volumes: anonymous, tmpfs or ignore (default: anonymous)",
		 &f->image_volume},
		{"tmpfs", 0, OPT_MANY, "DIR[:OPTIONS]", "mount a tmpfs", &f->tmpfs},
		{"read-only", 0, OPT_FLAG, NULL, "keep the root filesystem from being written",
		 &f->read_only},
		{"shm-size", 0, OPT_TEXT, "SIZE", "size of /dev/shm (default: 64m)", &f->shm_size},
		{"device", 0, OPT_MANY, "PATH[:PATH][:rwm]|CDI", "give a device of the host", &f->device},
		{"gpus", 0, OPT_MANY, "all|NUMBER|device=ID", "give GPUs, as --device nvidia.com/gpu=…",
		 &f->gpus},
		{"cdi-spec-dir", 0, OPT_MANY, "DIR", "look for CDI files here", &f->cdi_spec_dir},
	};
	return flags_add(table, rows, ARRAY_LEN(rows));
}

static struct opt *flags_isolation(struct run_flags *f, struct opt *table)
{
	const struct opt rows[] = {
		{"network", 0, OPT_TEXT, "MODE", "host, none, private, ns:PATH or container:NAME",
		 &f->network},
		{"publish", 'p', OPT_MANY, "[[IP:]PORT:]PORT[/tcp]", "make a port reachable on the host",
		 &f->publish},
		{"add-host", 0, OPT_MANY, "NAME:IP", "a line for /etc/hosts", &f->add_host},
		{"dns", 0, OPT_MANY, "IP", "a name server for /etc/resolv.conf", &f->dns},
		{"hostname", 0, OPT_TEXT, "NAME", "the host's name inside", &f->hostname},
		{"pid", 0, OPT_TEXT, "MODE", "process ids: private, host, container:NAME or ns:PATH", &f->pid},
		{"ipc", 0, OPT_TEXT, "MODE", "shared memory: as --pid", &f->ipc},
		{"uts", 0, OPT_TEXT, "MODE", "host name: as --pid", &f->uts},
		{"cgroupns", 0, OPT_TEXT, "MODE", "control groups: as --pid", &f->cgroupns},
		{"userns", 0, OPT_TEXT, "MODE", "user ids: host or ns:PATH", &f->userns},
		{"uidmap", 0, OPT_MANY, "IN:OUT:SIZE", "map user ids", &f->uidmap},
		{"gidmap", 0, OPT_MANY, "IN:OUT:SIZE", "map group ids", &f->gidmap},
		{"cgroup-parent", 0, OPT_TEXT, "PATH", "the control group to be in", &f->cgroup_parent},
		{"cap-add", 0, OPT_MANY, "CAP", "a capability more, or ALL", &f->cap_add},
		{"cap-drop", 0, OPT_MANY, "CAP", "a capability less, or ALL", &f->cap_drop},
		{"privileged", 0, OPT_FLAG, NULL, "confine it hardly at all", &f->privileged},
		{"security-opt", 0, OPT_MANY, "OPTION",
		 "seccomp=FILE|unconfined, no-new-privileges[=false], mask=, unmask=, apparmor=", &f->security_opt},
		{"sysctl", 0, OPT_MANY, "NAME=VALUE", "a kernel parameter of its namespaces", &f->sysctl},
	};
	return flags_add(table, rows, ARRAY_LEN(rows));
}

static struct opt *flags_resources(struct run_flags *f, struct opt *table)
{
	const struct opt rows[] = {
		{"memory", 'm', OPT_TEXT, "SIZE", "most memory it may have", &f->memory},
		{"memory-swap", 0, OPT_TEXT, "SIZE", "most memory and swap together; -1: any", &f->memory_swap},
		{"cpus", 0, OPT_TEXT, "NUMBER", "processor time, 1.5 for one and a half", &f->cpus},
		{"cpu-shares", 'c', OPT_TEXT, "NUMBER", "its weight against others (1024)", &f->cpu_shares},
		{"cpuset-cpus", 0, OPT_TEXT, "LIST", "the processors to run on: 0-2,4", &f->cpuset_cpus},
		{"pids-limit", 0, OPT_TEXT, "NUMBER", "most processes; -1: any", &f->pids_limit},
		{"ulimit", 0, OPT_MANY, "NAME=SOFT[:HARD]", "a resource limit; -1: none", &f->ulimit},
		{"oom-score-adj", 0, OPT_TEXT, "NUMBER", "-1000 to 1000: who is killed first for memory",
		 &f->oom_score_adj},
	};
	return flags_add(table, rows, ARRAY_LEN(rows));
}

void run_flags_options(struct run_flags *flags, struct opt *table)
{
	table = flags_life(flags, table);
	table = flags_process(flags, table);
	table = flags_files(flags, table);
	table = flags_isolation(flags, table);
	table = flags_resources(flags, table);
	profile_flags_options(&flags->profile, table);
}

void run_flags_finish(struct run_flags *f)
{
	struct opt_many *const lists[] = {
		&f->group_add, &f->env, &f->env_file, &f->label, &f->annotation, &f->volume,
		&f->mount, &f->tmpfs, &f->uidmap, &f->gidmap, &f->publish, &f->add_host, &f->dns,
		&f->cap_add, &f->cap_drop, &f->security_opt, &f->sysctl, &f->ulimit, &f->device,
		&f->gpus, &f->cdi_spec_dir,
	};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		opt_many_finish(lists[i]);
}
