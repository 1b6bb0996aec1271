/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

enum { NANOSECONDS = 1000000000 };

static void check_id_mappings(struct check *check, const struct at *linux_)
{
	static const char *const kinds[] = {"uidMappings", "gidMappings"};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct at mappings = at_member(linux_, kinds[i]);
		check_mappings(check, &mappings);
		if (at_count(&mappings) > 0 && !(check->namespaces & NS_USER))
			find_exactly(check, &mappings,
				     "need an entry \"user\" in linux.namespaces");
	}
}

static void check_time(struct check *check, const struct at *offsets)
{
	if (json_object_size(offsets->value) == 0)
		return;
	if (!(check->namespaces & NS_TIME))
		find_exactly(check, offsets, "needs an entry \"time\" in linux.namespaces");
	at_each_member(clock, offsets) {
		struct at nanosecs = at_member(&clock, "nanosecs");
		check_range(check, &nanosecs, 0, NANOSECONDS - 1);
		if (strcmp(clock.path.key, "monotonic") != 0 &&
		    strcmp(clock.path.key, "boottime") != 0)
			find_exactly(check, &clock,
				     "must be an offset of monotonic or boottime: a time namespace "
				     "has no others");
	}
}

/* "c" and "u" are the same; a pipe has no numbers. */
static char device_kind(const struct at *device)
{
	const char *type = at_member_string(device, "type");
	char kind = type ? type[0] : '\0';
	return kind == 'u' ? 'c' : kind;
}

static bool same_device(const struct at *a, const struct at *b)
{
	wide_t a_major, a_minor, b_major, b_minor;
	char kind = device_kind(a);
	return (kind == 'c' || kind == 'b') && kind == device_kind(b) &&
	       at_member_number(a, "major", &a_major) && at_member_number(a, "minor", &a_minor) &&
	       at_member_number(b, "major", &b_major) && at_member_number(b, "minor", &b_minor) &&
	       a_major == b_major && a_minor == b_minor;
}

static void check_device_twice(struct check *check, const struct at *devices,
			       const struct at *device)
{
	struct at path = at_member(device, "path");
	const char *name = at_string(&path);
	if (device->path.index >= COMPARED_MAX)
		return;
	for (size_t i = 0; i < device->path.index; i++) {
		struct at other = at_item(devices, i);
		const char *other_name = at_member_string(&other, "path");
		if (name && other_name && strcmp(name, other_name) == 0) {
			find_exactly(check, &path, "must not repeat the path of device %zu", i);
			return;
		}
		if (same_device(device, &other)) {
			find_exactly(check, device,
				     "must not repeat the type, major and minor of device %zu", i);
			return;
		}
	}
}

static void check_devices(struct check *check, const struct at *devices)
{
	static const char *const numbers[] = {"major", "minor"};
	at_each_item(device, devices) {
		struct at path = at_member(&device, "path");
		char kind = device_kind(&device);
		check_absolute(check, &path);
		for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
			struct at number = at_member(&device, numbers[i]);
			if (number.value)
				check_range(check, &number, 0, UINT32_MAX);
			else if (kind == 'c' || kind == 'b')
				find_exactly(check, &number,
					     "is required for a device that is no pipe");
		}
		check_device_twice(check, devices, &device);
	}
}

/* The name that a network device gets inside; NULL for a template, which never meets another. */
static const char *inner_name(const struct at *device)
{
	const char *name = at_member_string(device, "name");
	if (!name)
		name = device->path.key;
	return strchr(name, '%') ? NULL : name;
}

/* Two devices cannot have one name inside. */
static void check_inner_name(struct check *check, const struct at *devices, const struct at *device)
{
	struct at name = at_member(device, "name");
	const char *inner = inner_name(device);
	size_t n = 0;
	at_each_member(other, devices) {
		if (!inner || strcmp(other.path.key, device->path.key) == 0 || n++ == COMPARED_MAX)
			return;
		const char *taken = inner_name(&other);
		if (!taken || strcmp(inner, taken) != 0)
			continue;
		find_exactly(check, name.value ? &name : device,
			     "must not be named as another device is, but so is %s",
			     other.path.key);
		return;
	}
}

static void check_net_devices(struct check *check, const struct at *devices)
{
	size_t n = 0;
	at_each_member(device, devices) {
		struct at name = at_member(&device, "name");
		const char *text = at_string(&name);
		if (!form_interface(device.path.key, false))
			find_exactly(check, &device,
				     "must have the name of a network device as its key");
		if (text && !form_interface(text, true))
			find(check, &name, "must be a name for a network device");
		else if (n++ < COMPARED_MAX)
			check_inner_name(check, devices, &device);
	}
}

static bool starts(const char *text, const char *begin)
{
	return strncmp(text, begin, strlen(begin)) == 0;
}

/* The namespace that a kernel parameter belongs to, by its name with dots; NULL: the host's. */
static const char *sysctl_namespace(const char *key, enum namespace_bit *ret_bit)
{
	static const struct {
		const char *key; /* a whole name, or the beginning of many: it ends in a dot */
		const char *type;
		enum namespace_bit bit;
	} known[] = {
		{"net.", "network", NS_NETWORK},
		{"fs.mqueue.", "ipc", NS_IPC},
		{"kernel.auto_msgmni", "ipc", NS_IPC},
		{"kernel.msg_next_id", "ipc", NS_IPC},
		{"kernel.msgmax", "ipc", NS_IPC},
		{"kernel.msgmnb", "ipc", NS_IPC},
		{"kernel.msgmni", "ipc", NS_IPC},
		{"kernel.sem", "ipc", NS_IPC},
		{"kernel.sem_next_id", "ipc", NS_IPC},
		{"kernel.shm_next_id", "ipc", NS_IPC},
		{"kernel.shm_rmid_forced", "ipc", NS_IPC},
		{"kernel.shmall", "ipc", NS_IPC},
		{"kernel.shmmax", "ipc", NS_IPC},
		{"kernel.shmmni", "ipc", NS_IPC},
		{"kernel.domainname", "uts", NS_UTS},
		{"kernel.hostname", "uts", NS_UTS},
		{"user.", "user", NS_USER},
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t n = strlen(known[i].key);
		bool many = known[i].key[n - 1] == '.';
		if (many ? starts(key, known[i].key) : strcmp(key, known[i].key) == 0) {
			*ret_bit = known[i].bit;
			return known[i].type;
		}
	}
	return NULL;
}

enum { SYSCTL_NAME_MAX = 256 };

/* sysctl(8): where the first separator is a slash, slashes and dots change places. */
static bool sysctl_name(const char *key, char out[static SYSCTL_NAME_MAX])
{
	size_t n = strlen(key), first = strcspn(key, "./");
	if (n == 0 || n >= SYSCTL_NAME_MAX || form_climbs(key))
		return false;
	bool swapped = key[first] == '/';
	for (size_t i = 0; i <= n; i++)
		out[i] = !swapped ? key[i] : key[i] == '/' ? '.' : key[i] == '.' ? '/' : key[i];
	return true;
}

static void check_sysctl(struct check *check, const struct at *sysctl)
{
	at_each_member(parameter, sysctl) {
		char name[SYSCTL_NAME_MAX];
		enum namespace_bit bit = 0;
		if (!sysctl_name(parameter.path.key, name)) {
			find_exactly(check, &parameter,
				     "must have the name of a kernel parameter as its key");
			continue;
		}
		const char *type = sysctl_namespace(name, &bit);
		if (!type)
			find_exactly(check, &parameter,
				     "must be a parameter that belongs to a namespace: this one is "
				     "the host's");
		else if (!(check->namespaces & bit))
			find_exactly(
				check, &parameter,
				"needs an entry \"%s\" in linux.namespaces, or it is the host's "
				"that changes",
				type);
	}
}

static void check_no_newline(struct check *check, const struct at *schema)
{
	const char *text = at_string(schema);
	if (text && strchr(text, '\n'))
		find(check, schema, "must not contain a newline");
}

static void check_rdt(struct check *check, const struct at *rdt)
{
	struct at clos = at_member(rdt, "closID"), l3 = at_member(rdt, "l3CacheSchema"),
		  schemata = at_member(rdt, "schemata");
	const char *name = at_string(&clos), *text = at_string(&l3);
	if (name && strcmp(name, "/") != 0 &&
	    (*name == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 ||
	     strcmp(name, "..") == 0))
		find(check, &clos, "must be \"/\" or the name of a directory in resctrl");
	if (text && !starts(text, "L3:"))
		find(check, &l3, "must start with \"L3:\"");
	else
		check_no_newline(check, &l3);
	at_each_item(line, &schemata)
		check_no_newline(check, &line);
}

static void check_memory_policy(struct check *check, const struct at *policy)
{
	struct at mode = at_member(policy, "mode"), nodes = at_member(policy, "nodes"),
		  flags = at_member(policy, "flags");
	const char *name = at_string(&mode), *list = at_string(&nodes);
	if (!policy->value || !check_there(check, &mode) || !name)
		return;
	bool local = strcmp(name, "MPOL_DEFAULT") == 0 || strcmp(name, "MPOL_LOCAL") == 0;
	bool empty = !list || form_list_is_empty(list);
	if (list && !form_list(list))
		find(check, &nodes, "must be a list of memory nodes like \"0-3,7\"");
	else if (local && !empty)
		find(check, &nodes, "must be empty for %s", name);
	else if (!local && empty && strcmp(name, "MPOL_PREFERRED") != 0)
		find(check, &nodes, "must hold a node for %s", name);
	at_each_item(flag, &flags) {
		const char *text = at_string(&flag);
		if (!text)
			continue;
		if (strcmp(text, "MPOL_F_STATIC_NODES") == 0 &&
		    at_holds(&flags, "MPOL_F_RELATIVE_NODES"))
			find_exactly(check, &flag,
				     "must not be set together with "
				     "MPOL_F_RELATIVE_NODES");
		if (strcmp(text, "MPOL_F_NUMA_BALANCING") == 0 && strcmp(name, "MPOL_BIND") != 0 &&
		    strcmp(name, "MPOL_PREFERRED_MANY") != 0)
			find_exactly(check, &flag, "%s has no use with %s", text, name);
	}
}

static void check_personality(struct check *check, const struct at *personality)
{
	struct at domain = at_member(personality, "domain"),
		  flags = at_member(personality, "flags");
	if (!personality->value)
		return;
	(void)check_there(check, &domain);
	at_each_item(flag, &flags)
		find(check, &flag, "must not be there: no flags are supported");
}

void check_linux(struct check *check, const struct at *linux_)
{
	struct at namespaces = at_member(linux_, "namespaces"),
		  offsets = at_member(linux_, "timeOffsets"),
		  devices = at_member(linux_, "devices"), net = at_member(linux_, "netDevices"),
		  cgroup = at_member(linux_, "cgroupsPath"),
		  resources = at_member(linux_, "resources"), rdt = at_member(linux_, "intelRdt"),
		  policy = at_member(linux_, "memoryPolicy"), sysctl = at_member(linux_, "sysctl"),
		  seccomp = at_member(linux_, "seccomp"), masked = at_member(linux_, "maskedPaths"),
		  readonly = at_member(linux_, "readonlyPaths"),
		  personality = at_member(linux_, "personality");
	const char *text = at_string(&cgroup);
	check_namespaces(check, &namespaces);
	check_id_mappings(check, linux_);
	check_time(check, &offsets);
	check_devices(check, &devices);
	check_net_devices(check, &net);
	if (text && form_climbs(text))
		find(check, &cgroup, "must not climb out of where it begins by \"..\"");
	check_resources(check, &resources);
	check_rdt(check, &rdt);
	check_memory_policy(check, &policy);
	check_sysctl(check, &sysctl);
	check_seccomp(check, &seccomp);
	check_each_absolute(check, &masked);
	check_each_absolute(check, &readonly);
	check_personality(check, &personality);
}
