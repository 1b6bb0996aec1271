/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_rootless.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "exec/userns.h"
#include "tools/rootless.h"
#include "tools/run_apply.h"

enum { GID_TTY = 5 };

/* ---- ids ---- */

static int say_unmapped(const char *what, uint32_t id, const char *file, struct err *err)
{
	return err_say(err, -EINVAL,
		       "the container would run as %s %u, which is not among the ids that this user "
		       "namespace has: give yourself more in %s, or choose another with --user", what,
		       (unsigned int)id, file);
}

int run_rootless_user(struct user *user, struct err *err)
{
	size_t kept = 0;
	if (!userns_has_uid(user->uid))
		return say_unmapped("user", user->uid, "/etc/subuid", err);
	if (!userns_has_gid(user->gid))
		return say_unmapped("group", user->gid, "/etc/subgid", err);
	bool allowed = userns_has_setgroups();
	for (size_t i = 0; i < user->n_gids; i++) {
		if (allowed && userns_has_gid(user->gids[i]))
			user->gids[kept++] = user->gids[i];
		else
			log_debug("the container does without the group %u", (unsigned int)user->gids[i]);
	}
	user->n_gids = kept;
	return 0;
}

/* A terminal's group; without it terminals belong to the user's. */
static void fit_terminals(struct oci_config *config, bool has_tty)
{
	struct oci_mount *mount = run_find_mount(config, "/dev/pts");
	for (size_t i = mount && !has_tty ? mount->n_options : 0; i > 0; i--)
		if (strcmp(mount->options[i - 1], "gid=5") == 0)
			oci_mount_remove_options(mount, i - 1);
}

/* ---- the kernel's file systems ---- */

/*
 * By path, too, for an ordinary user: only what belongs to this user namespace can be joined. What is
 * made with a user namespace of the container's belongs to that one, and nothing else does.
 */
static bool has_own(const struct oci_linux *l, const char *type, bool made)
{
	for (size_t i = 0; i < l->n_namespaces; i++)
		if (strcmp(l->namespaces[i]->type, type) == 0)
			return !made || !l->namespaces[i]->path;
	return false;
}

static void remove_mount(struct oci_config *config, const struct oci_mount *mount)
{
	for (size_t i = config->n_mounts; i > 0; i--)
		if (config->mounts[i - 1] == mount)
			oci_config_remove_mounts(config, i - 1);
}

/*
 * The kernel mounts a sysfs, a proc or an mqueue only for who owns the network, the processes or the
 * queues that it shows; where those are not the container's own, there is what this machine has, if
 * anything.
 */
static int fit_kernel_mount(struct oci_config *config, const char *place, const char *type,
			    const char *mode)
{
	const char *const words[] = {"rbind", "nosuid", "noexec", "nodev", "rslave", mode};
	struct oci_mount *mount = run_find_mount(config, place);
	if (!mount || !mount->type || strcmp(mount->type, type) != 0)
		return 0;
	if (access(place, F_OK) < 0) {
		remove_mount(config, mount);
		return 0;
	}
	return run_mount_host(mount, words, ARRAY_LEN(words));
}

/* ---- control groups ---- */

static void fit_limits(const struct run_options *o, struct oci_linux *l)
{
	const struct {
		const char *flag;
		bool given;
	} limits[] = {
		{"--memory", o->has_memory},	 {"--cpus", o->has_cpu},
		{"--cpu-shares", o->has_shares}, {"--pids-limit", o->has_pids},
		{"--cpuset-cpus", o->flags->cpuset_cpus != NULL},
		{"--cgroup-parent", o->flags->cgroup_parent != NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		if (limits[i].given)
			log_warn("%s has no effect: this user has no control groups", limits[i].flag);
	oci_linux_clear_resources(l);
	oci_linux_clear_cgroups_path(l);
}

int run_rootless_fit(const struct run_options *o, struct oci_config *config,
		     const struct id_maps *maps, struct err *err)
{
	struct oci_linux *l = oci_config_need_linux(config);
	bool inside = rootless_is_inside();
	if (!inside && !maps)
		return 0;
	if (!l)
		return err_set(err, -ENOMEM, "fit the configuration to a user namespace");
	fit_terminals(config, inside ? userns_has_gid(GID_TTY) : id_maps_has_gid(maps, GID_TTY));
	if (inside)
		fit_limits(o, l);
	int r = has_own(l, "network", maps) ? 0 : fit_kernel_mount(config, "/sys", "sysfs", "ro");
	if (r == 0 && !has_own(l, "pid", maps))
		r = fit_kernel_mount(config, "/proc", "proc", "rw");
	if (r == 0 && !has_own(l, "ipc", maps))
		r = fit_kernel_mount(config, "/dev/mqueue", "mqueue", "rw");
	return r < 0 ? err_set(err, r, "fit the configuration to a user namespace") : 0;
}
