/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/num.h"
#include "tools/run_apply.h"

/* ---- namespaces ---- */

static void namespace_drop(struct oci_linux *l, const char *type)
{
	for (size_t i = l->n_namespaces; i > 0; i--)
		if (strcmp(l->namespaces[i - 1]->type, type) == 0)
			oci_linux_remove_namespaces(l, i - 1);
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

static int apply_namespaces(const struct run_options *o, struct oci_linux *l)
{
	const struct {
		const struct run_ns *ns;
		const char *type;
	} spaces[] = {
		{&o->network, "network"}, {&o->pid, "pid"},	  {&o->ipc, "ipc"},
		{&o->uts, "uts"},	  {&o->cgroup, "cgroup"}, {&o->user, "user"},
	};
	int r = 0;
	for (size_t i = 0; i < ARRAY_LEN(spaces) && r == 0; i++)
		r = apply_namespace(spaces[i].ns, spaces[i].type, l);
	return r;
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

static int apply_device(const struct run_device *d, struct oci_linux *l, struct err *err)
{
	struct stat st;
	if (stat(d->path, &st) < 0)
		return err_set(err, -errno, "--device: look at %s", d->path);
	const char *type = S_ISBLK(st.st_mode) ? "b" : "c";
	struct oci_linux_resources *resources = oci_linux_need_resources(l);
	struct oci_linux_device *device = oci_linux_add_devices(l);
	int r = device && resources ? oci_linux_device_set_path(device, d->destination) : -ENOMEM;
	if (r == 0)
		r = oci_linux_device_set_type(device, type);
	if (r == 0)
		r = allow_device(&st, type, d->access, resources);
	if (r < 0)
		return err_set(err, r, "give the device %s", d->path);
	oci_linux_device_set_major(device, major(st.st_rdev));
	oci_linux_device_set_minor(device, minor(st.st_rdev));
	oci_linux_device_set_file_mode(device, st.st_mode & 0777);
	oci_linux_device_set_uid(device, st.st_uid);
	oci_linux_device_set_gid(device, st.st_gid);
	return 0;
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
	int r = l ? apply_namespaces(o, l) : -ENOMEM;
	if (r == 0)
		r = apply_resources(o, l);
	if (r == 0)
		r = apply_masks(o, l);
	if (r == 0)
		r = apply_sysctls(o, l);
	if (r < 0)
		return err_set(err, r, "write the container's configuration");
	for (size_t i = 0; i < o->n_devices && r == 0; i++)
		r = apply_device(&o->devices[i], l, err);
	return r;
}
