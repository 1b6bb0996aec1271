/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

enum {
	MAJOR_MAX = 1,	   /* the version of the specification that is known */
	FREEBSD_MINOR = 3, /* since 1.3.0 */
	UTS_NAME_MAX = 64, /* bytes of sethostname(2) and setdomainname(2) */
};

static const char *const hook_kinds[] = {"prestart",	   "createRuntime", "createContainer",
					 "startContainer", "poststart",	    "poststop"};

static const struct {
	const char *type;
	enum namespace_bit bit;
} namespace_types[] = {
	{"mount", NS_MOUNT}, {"pid", NS_PID},	{"network", NS_NETWORK}, {"uts", NS_UTS},
	{"ipc", NS_IPC},     {"user", NS_USER}, {"cgroup", NS_CGROUP},	 {"time", NS_TIME},
};

static bool has(const struct at *object, const char *key)
{
	return at_member(object, key).value;
}

/* What the parts have to know of each other. */
static void learn(struct check *check, const struct at *document)
{
	struct at linux_ = at_member(document, "linux");
	struct at namespaces = at_member(&linux_, "namespaces");
	/* A Linux container on Windows has both sections. */
	check->on_windows = has(document, "windows") && !linux_.value;
	check->on_linux = linux_.value || (!has(document, "windows") && !has(document, "solaris") &&
					   !has(document, "freebsd") && !has(document, "zos"));
	at_each_item(entry, &namespaces) {
		const char *type = at_member_string(&entry, "type");
		for (size_t i = 0; type && i < ARRAY_LEN(namespace_types); i++)
			if (strcmp(type, namespace_types[i].type) == 0)
				check->namespaces |= namespace_types[i].bit;
	}
}

static void check_oci_version(struct check *check, const struct at *document)
{
	struct at at = at_member(document, "ociVersion");
	struct semver version;
	if (!check_version(check, &at, &version))
		return;
	if (version.major > MAJOR_MAX)
		find(check, &at, "must be a version that 1.3 is compatible with");
	else if (has(document, "freebsd") &&
		 (version.major < MAJOR_MAX || version.minor < FREEBSD_MINOR))
		find(check, &at,
		     "must be 1.3.0 or later for a document with a section \"freebsd\"");
}

static void check_windows_root(struct check *check, const struct at *root)
{
	struct at path = at_member(root, "path"), readonly = at_member(root, "readonly");
	const char *text = at_string(&path);
	if (text && !form_volume(text))
		find(check, &path, "must be the GUID path of a volume on Windows");
	if (json_is_true(readonly.value))
		find(check, &readonly, "must be false or left out on Windows");
}

static void check_root(struct check *check, const struct at *document)
{
	struct at windows = at_member(document, "windows"), root = at_member(document, "root");
	if (has(&windows, "hyperv")) {
		if (root.value)
			find_exactly(check, &root, "must not be set for a Hyper-V container");
		return;
	}
	if (!check_there(check, &root))
		return;
	if (check->on_windows) {
		check_windows_root(check, &root);
		return;
	}
	struct at path = at_member(&root, "path");
	const char *text = at_string(&path);
	if (text && *text == '\0')
		find(check, &path, "must be a path");
}

/* hostname and domainname: those of the host would be changed. */
static void check_uts_name(struct check *check, const struct at *document, const char *key)
{
	struct at name = at_member(document, key);
	const char *text = at_string(&name);
	if (!text || *text == '\0' || !check->on_linux)
		return;
	if (strlen(text) > UTS_NAME_MAX)
		find(check, &name, "must be at most %d bytes on Linux", UTS_NAME_MAX);
	else if (!(check->namespaces & NS_UTS))
		find_exactly(check, &name,
			     "needs an entry \"uts\" in linux.namespaces, or it is the host's that "
			     "changes");
}

static void check_hooks(struct check *check, const struct at *hooks)
{
	for (size_t i = 0; i < ARRAY_LEN(hook_kinds); i++) {
		struct at kind = at_member(hooks, hook_kinds[i]);
		at_each_item(hook, &kind) {
			struct at path = at_member(&hook, "path"), env = at_member(&hook, "env");
			check_absolute(check, &path);
			check_assignments(check, &env);
		}
	}
}

void check_config(struct check *check, const struct at *document)
{
	struct at process = at_member(document, "process"), mounts = at_member(document, "mounts"),
		  hooks = at_member(document, "hooks"), linux_ = at_member(document, "linux"),
		  windows = at_member(document, "windows"), vm = at_member(document, "vm"),
		  freebsd = at_member(document, "freebsd"), zos = at_member(document, "zos"),
		  annotations = at_member(document, "annotations");
	if (!json_is_object(document->value))
		return;
	learn(check, document);
	check_oci_version(check, document);
	check_root(check, document);
	check_mounts(check, &mounts);
	if (process.value)
		check_process(check, &process);
	check_uts_name(check, document, "hostname");
	check_uts_name(check, document, "domainname");
	check_hooks(check, &hooks);
	check_annotations(check, &annotations);
	check_linux(check, &linux_);
	check_windows(check, &windows);
	check_vm(check, &vm);
	check_freebsd(check, &freebsd);
	check_zos(check, &zos);
}
