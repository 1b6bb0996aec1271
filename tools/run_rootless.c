/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_rootless.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "tools/rootless.h"
#include "tools/run_apply.h"

static void drop_mount(struct oci_config *config, const char *destination)
{
	for (size_t i = config->n_mounts; i > 0; i--)
		if (strcmp(config->mounts[i - 1]->destination, destination) == 0)
			oci_config_remove_mounts(config, i - 1);
}

/* The group of terminals is not there where the user is the only one. */
static void drop_group(struct oci_config *config)
{
	struct oci_mount *pts = run_find_mount(config, "/dev/pts");
	for (size_t i = pts ? pts->n_options : 0; i > 0; i--)
		if (strncmp(pts->options[i - 1], "gid=", 4) == 0)
			oci_mount_remove_options(pts, i - 1);
}

/* Of a network that is the host's, the kernel's view cannot be mounted anew. */
static int bind_sys(struct oci_config *config)
{
	static const char *const words[] = {"rbind", "nosuid", "noexec", "nodev", "ro", "rslave"};
	struct oci_mount *sys = run_find_mount(config, "/sys");
	if (!sys)
		return 0;
	oci_mount_clear_options(sys);
	int r = oci_mount_set_type(sys, "bind");
	if (r == 0)
		r = oci_mount_set_source(sys, "/sys");
	for (size_t i = 0; i < ARRAY_LEN(words) && r == 0; i++)
		r = oci_mount_add_options(sys, words[i]);
	return r;
}

static void warn_limits(const struct run_options *o)
{
	const struct {
		const char *flag;
		bool given;
	} limits[] = {
		{"--memory", o->has_memory},	{"--cpus", o->has_cpu},
		{"--cpu-shares", o->has_shares}, {"--pids-limit", o->has_pids},
		{"--cpuset-cpus", o->flags->cpuset_cpus != NULL},
		{"--cgroup-parent", o->flags->cgroup_parent != NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		if (limits[i].given)
			log_warn("%s has no effect: this user has no control groups", limits[i].flag);
}

int run_rootless_apply(const struct run_options *o, struct oci_config *config, struct err *err)
{
	int r = 0;
	if (!rootless_is_in())
		return 0;
	struct oci_linux *l = oci_config_need_linux(config);
	if (!l)
		return err_set(err, -ENOMEM, "write the container's configuration");
	warn_limits(o);
	oci_linux_clear_resources(l);
	oci_linux_clear_cgroups_path(l);
	drop_mount(config, "/sys/fs/cgroup");
	if (rootless_is_single())
		drop_group(config);
	if (o->network.kind == RUN_NS_HOST)
		r = bind_sys(config);
	return r < 0 ? err_set(err, r, "write the container's configuration") : 0;
}
