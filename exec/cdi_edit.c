/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cdi_edit.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Of a member that is not there: NULL, 0. Their types have been checked. */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text && *text ? text : NULL;
}

static uint32_t number_of(const json_t *object, const char *key)
{
	return (uint32_t)json_integer_value(json_object_get(object, key));
}

static bool has_number(const json_t *object, const char *key)
{
	return json_is_integer(json_object_get(object, key));
}

/* Appends a list of texts with one of the functions of oci.h. */
#define ADD_TEXTS(object, key, add, target)                                       \
	({                                                                        \
		const json_t *list_ = json_object_get((object), (key));           \
		int r_ = 0;                                                       \
		for (size_t i_ = 0; r_ == 0 && i_ < json_array_size(list_); i_++) \
			r_ = add((target), json_string_value(json_array_get(list_, i_))); \
		r_;                                                               \
	})

/* ---- variables ---- */

static int edit_variable(struct oci_process *process, const char *text)
{
	size_t n = strcspn(text, "=") + 1;
	for (size_t i = 0; i < process->n_env; i++) {
		if (strncmp(process->env[i], text, n) != 0)
			continue;
		char *copy = strdup(text);
		if (!copy)
			return -ENOMEM;
		free(process->env[i]);
		process->env[i] = copy;
		return 0;
	}
	return oci_process_add_env(process, text);
}

static int edit_env(struct oci_config *config, const json_t *edits)
{
	const json_t *env = json_object_get(edits, "env");
	if (json_array_size(env) == 0)
		return 0;
	struct oci_process *process = oci_config_need_process(config);
	return process ? ADD_TEXTS(edits, "env", edit_variable, process) : -ENOMEM;
}

/* ---- device nodes ---- */

struct node {
	char type[2];
	uint32_t major, minor;
	bool has_mode;
	uint32_t mode;
};

static char type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFBLK:
		return 'b';
	case S_IFCHR:
		return 'c';
	case S_IFIFO:
		return 'p';
	default:
		return '\0';
	}
}

/* 'u' is what some call a character device. */
static bool same_type(char a, char b)
{
	return a == b || (a == 'u' && b == 'c');
}

/*
 * What the file does not say is what the host's node has. One that says its type and its major
 * number need not be there; its writers leave out a minor number that is 0.
 */
static int node_complete(const json_t *json, struct node *node, struct err *err)
{
	const char *path = text_of(json, "hostPath");
	const char *type = text_of(json, "type");
	struct stat st;
	if (!path)
		path = text_of(json, "path");
	*node = (struct node){
		.major = number_of(json, "major"),
		.minor = number_of(json, "minor"),
		.has_mode = has_number(json, "fileMode"),
		.mode = number_of(json, "fileMode"),
	};
	node->type[0] = type ? *type : '\0';
	bool complete = type && (node->major != 0 || *type == 'p');
	if (lstat(path, &st) < 0)
		return complete ? 0 : err_set(err, -errno, "look at the device %s", path);
	char found = type_of(st.st_mode);
	if (!node->has_mode && found) {
		node->has_mode = true;
		node->mode = st.st_mode & 07777;
	}
	if (complete)
		return 0;
	if (!found)
		return err_say(err, -EINVAL, "%s is not a device", path);
	if (type && !same_type(*type, found))
		return err_say(err, -EINVAL, "%s is a device of type %c, and should be %s", path,
			       found, type);
	if (!type)
		node->type[0] = found;
	if (node->major == 0 && found != 'p') {
		node->major = major(st.st_rdev);
		node->minor = minor(st.st_rdev);
	}
	return 0;
}

static int node_add(struct oci_config *config, const json_t *json, const struct node *node)
{
	struct oci_linux *linux = oci_config_need_linux(config);
	const char *path = text_of(json, "path");
	const struct oci_process_user *user = config->process ? config->process->user : NULL;
	if (!linux)
		return -ENOMEM;
	for (size_t i = linux->n_devices; i-- > 0;)
		if (linux->devices[i]->path && strcmp(linux->devices[i]->path, path) == 0)
			oci_linux_remove_devices(linux, i);
	struct oci_linux_device *device = oci_linux_add_devices(linux);
	if (!device || oci_linux_device_set_path(device, path) < 0 ||
	    oci_linux_device_set_type(device, node->type) < 0)
		return -ENOMEM;
	if (node->type[0] != 'p') {
		oci_linux_device_set_major(device, node->major);
		oci_linux_device_set_minor(device, node->minor);
	}
	if (node->has_mode)
		oci_linux_device_set_file_mode(device, node->mode & 0777);
	if (has_number(json, "uid"))
		oci_linux_device_set_uid(device, number_of(json, "uid"));
	else if (user && user->has_uid && user->uid > 0)
		oci_linux_device_set_uid(device, user->uid);
	if (has_number(json, "gid"))
		oci_linux_device_set_gid(device, number_of(json, "gid"));
	else if (user && user->has_gid && user->gid > 0)
		oci_linux_device_set_gid(device, user->gid);
	return 0;
}

static int node_allow(struct oci_config *config, const struct node *node, const char *access)
{
	struct oci_linux_resources *resources =
		oci_linux_need_resources(oci_config_need_linux(config));
	struct oci_linux_device_cgroup *rule =
		resources ? oci_linux_resources_add_devices(resources) : NULL;
	if (!rule || oci_linux_device_cgroup_set_access(rule, access) < 0 ||
	    oci_linux_device_cgroup_set_type(rule, node->type[0] == 'b' ? "b" : "c") < 0)
		return -ENOMEM;
	oci_linux_device_cgroup_set_allow(rule, true);
	oci_linux_device_cgroup_set_major(rule, node->major);
	oci_linux_device_cgroup_set_minor(rule, node->minor);
	return 0;
}

static int edit_nodes(struct oci_config *config, const json_t *edits, struct err *err)
{
	const json_t *list = json_object_get(edits, "deviceNodes");
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const json_t *json = json_array_get(list, i);
		const char *access = text_of(json, "permissions");
		struct node node;
		r = node_complete(json, &node, err);
		if (r < 0)
			return r;
		r = node_add(config, json, &node);
		if (r == 0 && node.type[0] != 'p' && !(access && strcmp(access, "none") == 0))
			r = node_allow(config, &node, access ? access : "rwm");
	}
	return r;
}

static int edit_nets(struct oci_config *config, const json_t *edits)
{
	const json_t *list = json_object_get(edits, "netDevices");
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const json_t *json = json_array_get(list, i);
		struct oci_linux *linux = oci_config_need_linux(config);
		struct oci_linux_net_device *net =
			linux ? oci_linux_put_net_devices(linux, text_of(json, "hostInterfaceName"))
			      : NULL;
		r = net ? oci_linux_net_device_set_name(net, text_of(json, "name")) : -ENOMEM;
	}
	return r;
}

/* ---- mounts ---- */

static bool is_bind(const struct oci_mount *mount)
{
	for (size_t i = 0; i < mount->n_options; i++)
		if (strcmp(mount->options[i], "bind") == 0 ||
		    strcmp(mount->options[i], "rbind") == 0)
			return true;
	return false;
}

static int mount_add(struct oci_config *config, const json_t *json)
{
	const char *target = text_of(json, "containerPath"), *type = text_of(json, "type");
	for (size_t i = config->n_mounts; i-- > 0;)
		if (config->mounts[i]->destination &&
		    strcmp(config->mounts[i]->destination, target) == 0)
			oci_config_remove_mounts(config, i);
	struct oci_mount *mount = oci_config_add_mounts(config);
	if (!mount)
		return -ENOMEM;
	int r = oci_mount_set_destination(mount, target);
	if (r == 0)
		r = oci_mount_set_source(mount, text_of(json, "hostPath"));
	if (r == 0)
		r = ADD_TEXTS(json, "options", oci_mount_add_options, mount);
	if (r == 0 && !type && !is_bind(mount))
		r = oci_mount_add_options(mount, "rbind");
	return r == 0 ? oci_mount_set_type(mount, type ? type : "bind") : r;
}

/* The directories above a path. */
static size_t depth_of(const char *path)
{
	size_t depth = 0;
	for (const char *p = path; p && *p; p++)
		if (*p == '/' && p[1] != '/' && p[1] != '\0')
			depth++;
	return depth;
}

/* By insertion: few are out of place, and the order of equals has to stay. */
static void mounts_sort(struct oci_config *config)
{
	for (size_t i = 1; i < config->n_mounts; i++) {
		struct oci_mount *mount = config->mounts[i];
		size_t depth = depth_of(mount->destination), to = i;
		for (; to > 0 && depth_of(config->mounts[to - 1]->destination) > depth; to--)
			config->mounts[to] = config->mounts[to - 1];
		config->mounts[to] = mount;
	}
}

static int edit_mounts(struct oci_config *config, const json_t *edits)
{
	const json_t *list = json_object_get(edits, "mounts");
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
		r = mount_add(config, json_array_get(list, i));
	return r;
}

/* ---- the rest ---- */

static struct oci_hook *hook_add(struct oci_hooks *hooks, const char *name)
{
	if (strcmp(name, "prestart") == 0)
		return oci_hooks_add_prestart(hooks);
	if (strcmp(name, "createRuntime") == 0)
		return oci_hooks_add_create_runtime(hooks);
	if (strcmp(name, "createContainer") == 0)
		return oci_hooks_add_create_container(hooks);
	if (strcmp(name, "startContainer") == 0)
		return oci_hooks_add_start_container(hooks);
	if (strcmp(name, "poststart") == 0)
		return oci_hooks_add_poststart(hooks);
	return oci_hooks_add_poststop(hooks);
}

static int edit_hooks(struct oci_config *config, const json_t *edits)
{
	const json_t *list = json_object_get(edits, "hooks");
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		const json_t *json = json_array_get(list, i);
		struct oci_hooks *hooks = oci_config_need_hooks(config);
		struct oci_hook *hook = hooks ? hook_add(hooks, text_of(json, "hookName")) : NULL;
		if (!hook)
			return -ENOMEM;
		r = oci_hook_set_path(hook, text_of(json, "path"));
		if (r == 0)
			r = ADD_TEXTS(json, "args", oci_hook_add_args, hook);
		if (r == 0)
			r = ADD_TEXTS(json, "env", oci_hook_add_env, hook);
		if (has_number(json, "timeout"))
			oci_hook_set_timeout(hook, number_of(json, "timeout"));
	}
	return r;
}

static int edit_rdt(struct oci_config *config, const json_t *edits)
{
	const json_t *json = json_object_get(edits, "intelRdt");
	if (!json_is_object(json))
		return 0;
	struct oci_linux *linux = oci_config_need_linux(config);
	if (!linux)
		return -ENOMEM;
	oci_linux_clear_intel_rdt(linux);
	struct oci_linux_intel_rdt *rdt = oci_linux_need_intel_rdt(linux);
	if (!rdt)
		return -ENOMEM;
	int r = oci_linux_intel_rdt_set_clos_id(rdt, text_of(json, "closID"));
	if (r == 0)
		r = oci_linux_intel_rdt_set_l3_cache_schema(rdt, text_of(json, "l3CacheSchema"));
	if (r == 0)
		r = oci_linux_intel_rdt_set_mem_bw_schema(rdt, text_of(json, "memBwSchema"));
	if (r == 0)
		r = ADD_TEXTS(json, "schemata", oci_linux_intel_rdt_add_schemata, rdt);
	if (json_is_true(json_object_get(json, "enableMonitoring")))
		oci_linux_intel_rdt_set_enable_monitoring(rdt, true);
	return r;
}

static int gid_add(struct oci_config *config, uint32_t gid)
{
	struct oci_process *process = oci_config_need_process(config);
	struct oci_process_user *user = process ? oci_process_need_user(process) : NULL;
	if (!user)
		return -ENOMEM;
	for (size_t i = 0; i < user->n_additional_gids; i++)
		if (user->additional_gids[i] == gid)
			return 0;
	return oci_process_user_add_additional_gids(user, gid);
}

static int edit_gids(struct oci_config *config, const json_t *edits)
{
	static const char *const keys[] = {"additionalGids", "additionalGIDs"};
	int r = 0;
	for (size_t k = 0; k < 2; k++) {
		const json_t *list = json_object_get(edits, keys[k]);
		for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
			uint32_t gid = (uint32_t)json_integer_value(json_array_get(list, i));
			/* The group of root is nobody's to give. */
			r = gid == 0 ? 0 : gid_add(config, gid);
		}
	}
	return r;
}

int cdi_edit(struct oci_config *config, const json_t *const *edits, size_t n, struct err *err)
{
	static int (*const steps[])(struct oci_config *config, const json_t *edits) = {
		edit_nets, edit_mounts, edit_hooks, edit_rdt, edit_gids,
	};
	bool has_mounts = false;
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = edit_env(config, edits[i]);
		has_mounts |= json_array_size(json_object_get(edits[i], "mounts")) > 0;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = edit_nodes(config, edits[i], err);
		if (r < 0 && r != -ENOMEM)
			return r;
	}
	for (size_t s = 0; r == 0 && s < sizeof(steps) / sizeof(steps[0]); s++)
		for (size_t i = 0; r == 0 && i < n; i++)
			r = steps[s](config, edits[i]);
	if (r < 0)
		return err_set(err, r, "give the container its devices");
	if (has_mounts)
		mounts_sort(config);
	return 0;
}
