/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/num.h"
#include "tools/run_apply.h"
#include "tools/run_maps.h"

enum {
	DEVICES_DEPTH_MAX = 4, /* directories below /dev */
	DEVICES_MAX = 4096,
};

/* ---- namespaces ---- */

static void namespace_drop(struct oci_linux *l, const char *type)
{
	for (size_t i = l->n_namespaces; i > 0; i--)
		if (strcmp(l->namespaces[i - 1]->type, type) == 0)
			oci_linux_remove_namespaces(l, i - 1);
}

/* A runtime that is given something else says nothing that helps. */
static int check_namespace(const char *path, const char *type, int kind, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open the %s namespace %s", type, path);
	int found = ioctl(fd, NS_GET_NSTYPE);
	if (found < 0)
		return err_say(err, -EINVAL, "%s is not a namespace's file", path);
	if (found != kind)
		return err_say(err, -EINVAL, "%s is a namespace, but not a %s namespace", path, type);
	return 0;
}

static int apply_namespace(const struct run_ns *ns, const char *type, struct oci_linux *l)
{
	if (ns->kind == RUN_NS_DEFAULT)
		return 0;
	namespace_drop(l, type);
	if (ns->kind == RUN_NS_HOST)
		return 0;
	struct oci_linux_namespace *space = oci_linux_add_namespaces(l);
	int r = space ? oci_linux_namespace_set_type(space, type) : -ENOMEM;
	if (r == 0 && ns->kind == RUN_NS_PATH)
		r = oci_linux_namespace_set_path(space, ns->value);
	return r;
}

static int apply_namespaces(const struct run_options *o, struct oci_linux *l, struct err *err)
{
	const struct {
		const struct run_ns *ns;
		const char *type;
		int kind;
	} spaces[] = {
		{&o->network, "network", CLONE_NEWNET}, {&o->pid, "pid", CLONE_NEWPID},
		{&o->ipc, "ipc", CLONE_NEWIPC},		{&o->uts, "uts", CLONE_NEWUTS},
		{&o->cgroup, "cgroup", CLONE_NEWCGROUP}, {&o->user, "user", CLONE_NEWUSER},
	};
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
		const struct run_ns *ns = spaces[i].ns;
		int r = ns->kind != RUN_NS_PATH ? 0 :
			check_namespace(ns->value, spaces[i].type, spaces[i].kind, err);
		if (r == 0 && apply_namespace(ns, spaces[i].type, l) < 0)
			r = err_set(err, -ENOMEM, "write the container's configuration");
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_user_namespace(const struct run_options *o, struct oci_linux *l, struct err *err)
{
	AUTO_FINISH(id_maps) struct id_maps maps = {0};
	struct run_ns own = {.kind = RUN_NS_PRIVATE};
	int r = run_maps_make(o, &maps, err);
	if (r < 0)
		return r;
	if (!run_maps_are(&maps) && o->user.kind == RUN_NS_PRIVATE)
		return err_say(err, -EINVAL, "--userns=private needs --uidmap: there is no range of ids to choose from");
	if (!run_maps_are(&maps))
		return 0;
	if (o->user.kind == RUN_NS_HOST || o->user.kind == RUN_NS_PATH)
		return err_say(err, -EINVAL, "--uidmap and --gidmap make a user namespace: leave out --userns");
	r = apply_namespace(&own, "user", l);
	if (r == 0)
		r = run_maps_apply(&maps, l);
	return r < 0 ? err_set(err, r, "map ids") : 0;
}

/* ---- resources ---- */

static int apply_memory(const struct run_options *o, struct oci_linux_resources *resources)
{
	if (!o->has_memory)
		return 0;
	struct oci_linux_memory *memory = oci_linux_resources_need_memory(resources);
	if (!memory)
		return -ENOMEM;
	oci_linux_memory_set_limit(memory, o->memory);
	if (o->has_memory_swap)
		oci_linux_memory_set_swap(memory, o->memory_swap);
	return 0;
}

static int apply_cpu(const struct run_options *o, struct oci_linux_resources *resources)
{
	const char *cpus = o->flags->cpuset_cpus;
	if (!o->has_cpu && !o->has_shares && !cpus)
		return 0;
	struct oci_linux_cpu *cpu = oci_linux_resources_need_cpu(resources);
	if (!cpu)
		return -ENOMEM;
	if (o->has_cpu) {
		oci_linux_cpu_set_quota(cpu, o->cpu_quota);
		oci_linux_cpu_set_period(cpu, RUN_CPU_PERIOD);
	}
	if (o->has_shares)
		oci_linux_cpu_set_shares(cpu, o->shares);
	return cpus ? oci_linux_cpu_set_cpus(cpu, cpus) : 0;
}

static int apply_resources(const struct run_options *o, struct oci_linux *l)
{
	struct oci_linux_resources *resources = oci_linux_need_resources(l);
	int r = resources ? apply_memory(o, resources) : -ENOMEM;
	if (r == 0)
		r = apply_cpu(o, resources);
	if (r == 0 && o->has_pids) {
		struct oci_linux_pids *pids = oci_linux_resources_need_pids(resources);
		if (!pids)
			return -ENOMEM;
		oci_linux_pids_set_limit(pids, o->pids);
	}
	return r;
}

/* ---- devices ---- */

static int allow_device(const struct stat *st, const char *type, const char *access,
			struct oci_linux_resources *resources)
{
	struct oci_linux_device_cgroup *rule = oci_linux_resources_add_devices(resources);
	int r = rule ? oci_linux_device_cgroup_set_type(rule, type) : -ENOMEM;
	if (r == 0)
		r = oci_linux_device_cgroup_set_access(rule, access);
	if (r < 0)
		return r;
	oci_linux_device_cgroup_set_allow(rule, true);
	oci_linux_device_cgroup_set_major(rule, major(st->st_rdev));
	oci_linux_device_cgroup_set_minor(rule, minor(st->st_rdev));
	return 0;
}

static int add_device(const char *path, const struct stat *st, struct oci_linux *l)
{
	struct oci_linux_device *device = oci_linux_add_devices(l);
	int r = device ? oci_linux_device_set_path(device, path) : -ENOMEM;
	if (r == 0)
		r = oci_linux_device_set_type(device, S_ISBLK(st->st_mode) ? "b" : "c");
	if (r < 0)
		return r;
	oci_linux_device_set_major(device, major(st->st_rdev));
	oci_linux_device_set_minor(device, minor(st->st_rdev));
	oci_linux_device_set_file_mode(device, st->st_mode & 0777);
	oci_linux_device_set_uid(device, st->st_uid);
	oci_linux_device_set_gid(device, st->st_gid);
	return 0;
}

static int apply_device(const struct run_device *d, struct oci_linux *l, struct err *err)
{
	struct stat st;
	if (stat(d->path, &st) < 0)
		return err_set(err, -errno, "--device: look at %s", d->path);
	struct oci_linux_resources *resources = oci_linux_need_resources(l);
	int r = resources ? add_device(d->destination, &st, l) : -ENOMEM;
	if (r == 0)
		r = allow_device(&st, S_ISBLK(st.st_mode) ? "b" : "c", d->access, resources);
	return r < 0 ? err_set(err, r, "give the device %s", d->path) : 0;
}

/* Whether a file system or a terminal of the container's own is there. */
static bool is_own_device(const char *path)
{
	static const char *const own[] = {"/dev/console", "/dev/fd",  "/dev/full", "/dev/mqueue",
					  "/dev/null",	  "/dev/ptmx", "/dev/pts",  "/dev/random",
					  "/dev/shm",	  "/dev/tty",  "/dev/urandom", "/dev/zero"};
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (strcmp(own[i], path) == 0)
			return true;
	return false;
}

/* The devices of a directory of the host; what cannot be looked at is nobody's to have. */
static int apply_all_devices(const char *dir, unsigned int depth, struct oci_linux *l)
{
	DIR *d = depth > DEVICES_DEPTH_MAX ? NULL : opendir(dir);
	struct dirent *entry;
	int r = 0;
	while (d && r == 0 && (entry = readdir(d))) { // NOLINT(concurrency-mt-unsafe): our own stream
		AUTO_FREE char *path = NULL;
		struct stat st;
		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&path, "%s/%s", dir, entry->d_name) < 0) {
			path = NULL;
			r = -ENOMEM;
		} else if (is_own_device(path) || lstat(path, &st) < 0) {
			continue;
		} else if (S_ISDIR(st.st_mode)) {
			r = apply_all_devices(path, depth + 1, l);
		} else if ((S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) && l->n_devices < DEVICES_MAX) {
			r = add_device(path, &st, l);
		}
	}
	if (d)
		(void)closedir(d);
	return r;
}

/* ---- masks and the rest ---- */

/* Whether the path is, or is below, one of the list. */
static bool is_below(const char *path, const struct words *list)
{
	for (size_t i = 0; i < list->count; i++) {
		size_t n = strlen(list->items[i]);
		if (strncmp(path, list->items[i], n) == 0 && (path[n] == '\0' || path[n] == '/'))
			return true;
	}
	return false;
}

static int apply_masks(const struct run_options *o, struct oci_linux *l)
{
	bool all = o->unmask_all || o->flags->privileged;
	for (size_t i = l->n_masked_paths; i > 0; i--)
		if (all || is_below(l->masked_paths[i - 1], &o->unmask))
			oci_linux_remove_masked_paths(l, i - 1);
	for (size_t i = l->n_readonly_paths; i > 0; i--)
		if (all || is_below(l->readonly_paths[i - 1], &o->unmask))
			oci_linux_remove_readonly_paths(l, i - 1);
	int r = 0;
	for (size_t i = 0; i < o->mask.count && r == 0; i++)
		r = oci_linux_add_masked_paths(l, o->mask.items[i]);
	return r;
}

static int apply_sysctls(const struct run_options *o, struct oci_linux *l)
{
	int r = 0;
	for (size_t i = 0; i < o->sysctls.count && r == 0; i++) {
		const char *value = strchr(o->sysctls.items[i], '=') + 1;
		AUTO_FREE char *key = strndup(o->sysctls.items[i],
					      (size_t)(value - o->sysctls.items[i]) - 1);
		r = key ? oci_linux_put_sysctl(l, key, value) : -ENOMEM;
	}
	return r;
}

int run_apply_linux(const struct run_options *o, struct oci_config *config, struct err *err)
{
	struct oci_linux *l = oci_config_need_linux(config);
	if (!l)
		return err_set(err, -ENOMEM, "write the container's configuration");
	int r = apply_namespaces(o, l, err);
	if (r == 0)
		r = apply_user_namespace(o, l, err);
	if (r < 0)
		return r;
	r = apply_resources(o, l);
	if (r == 0)
		r = apply_masks(o, l);
	if (r == 0)
		r = apply_sysctls(o, l);
	if (r < 0)
		return err_set(err, r, "write the container's configuration");
	if (o->flags->privileged && apply_all_devices("/dev", 0, l) < 0)
		return err_set(err, -ENOMEM, "give the host's devices");
	for (size_t i = 0; i < o->n_devices && r == 0; i++)
		r = apply_device(&o->devices[i], l, err);
	return r;
}
