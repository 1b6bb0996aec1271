/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/convert.h"

#include <string.h>

#include "base/num.h"
#include "exec/elf_file.h"
#include "exec/rootfs.h"

enum { VALUE_MAX = IMAGE_SPEC_MAX };

#define IMAGE_KEY "org.opencontainers.image."

static const char *const foreign[] = {
	"run.oci.", "org.systemd.property.", "org.criu.", "cdi.k8s.io/", "io.katacontainers.",
	"module.wasm.", "dev.gvisor.",
};

/* ---- the platform ---- */

/* Go's name for a machine that may go by another one. */
static const char *go_name(const char *arch)
{
	static const struct {
		const char *name, *go;
	} names[] = {
		{"x86_64", "amd64"}, {"x86-64", "amd64"}, {"aarch64", "arm64"}, {"i386", "386"},
		{"i686", "386"},     {"loongarch64", "loong64"},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(arch, names[i].name) == 0)
			return names[i].go;
	return arch;
}

/* 64-bit machines of these kinds run the 32-bit programs of their elders. */
static bool runs_on(const char *arch, const char *machine)
{
	return strcmp(arch, machine) == 0 ||
	       (strcmp(machine, "amd64") == 0 && strcmp(arch, "386") == 0) ||
	       (strcmp(machine, "arm64") == 0 && strcmp(arch, "arm") == 0);
}

static int check_platform(const struct image_spec *image, const char *asked, struct err *err)
{
	const char *os = image->os ? image->os : "linux";
	const char *machine = asked ? go_name(asked) : elf_native();
	const char *arch = image->architecture ? go_name(image->architecture) : machine;
	if (strcmp(os, "linux") == 0 && runs_on(arch, machine))
		return 0;
	return err_say(err, -ENOEXEC, "the image is for %.64s/%.64s, not for linux/%.64s", os, arch,
		       machine);
}

/* ---- annotations ---- */

bool convert_is_foreign(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (strncmp(key, foreign[i], strlen(foreign[i])) == 0)
			return true;
	return false;
}

static int annotate(struct oci_config *config, const char *key, const char *value)
{
	return value ? oci_config_put_annotations(config, key, value) : 0;
}

/* A list, with commas between. */
static int annotate_list(struct oci_config *config, const char *key, char *const *list)
{
	AUTO_FINISH(buf) struct buf text = buf_make(VALUE_MAX);
	int r = 0;
	for (size_t i = 0; list && list[i] && r == 0; i++)
		r = buf_printf(&text, "%s%s", i ? "," : "", list[i]);
	return r == 0 && text.len > 0 ? oci_config_put_annotations(config, key, text.data) : r;
}

static int convert_annotations(const struct image_spec *image, struct oci_config *config)
{
	int r;
	if ((r = annotate(config, IMAGE_KEY "os", image->os)) < 0 ||
	    (r = annotate(config, IMAGE_KEY "architecture", image->architecture)) < 0 ||
	    (r = annotate(config, IMAGE_KEY "variant", image->variant)) < 0 ||
	    (r = annotate(config, IMAGE_KEY "os.version", image->os_version)) < 0 ||
	    (r = annotate_list(config, IMAGE_KEY "os.features", image->os_features)) < 0 ||
	    (r = annotate(config, IMAGE_KEY "author", image->author)) < 0 ||
	    (r = annotate(config, IMAGE_KEY "created", image->created)) < 0 ||
	    (r = annotate(config, IMAGE_KEY "stopSignal", image->stop_signal)) < 0 ||
	    (r = annotate_list(config, IMAGE_KEY "exposedPorts", image->exposed_ports)) < 0)
		return r;
	for (size_t i = 0; i < image->n_labels && r == 0; i++) {
		const struct image_label *label = &image->labels[i];
		/* The runtime-spec knows no empty key. */
		if (label->key[0] != '\0' && !convert_is_foreign(label->key))
			r = oci_config_put_annotations(config, label->key, label->value);
	}
	return r;
}

/* ---- the process ---- */

static int add_args(struct oci_process *process, const char *const *args)
{
	int r = 0;
	for (size_t i = 0; args && args[i] && r == 0; i++)
		r = oci_process_add_args(process, args[i]);
	return r;
}

static int convert_args(const struct image_spec *image, const struct convert_options *options,
			struct oci_process *process)
{
	const char *const *entrypoint = (const char *const *)image->entrypoint;
	const char *const *cmd = (const char *const *)image->cmd;
	if (options->entrypoint) {
		entrypoint = options->entrypoint;
		cmd = NULL;
	}
	if (options->cmd)
		cmd = options->cmd;
	oci_process_clear_args(process);
	int r = add_args(process, entrypoint);
	return r < 0 ? r : add_args(process, cmd);
}

static int convert_process(const struct image_spec *image, const struct convert_options *options,
			   struct oci_process *process, struct err *err)
{
	int r = convert_args(image, options, process);
	for (size_t i = 0; image->env && image->env[i] && r == 0; i++)
		r = oci_process_add_env(process, image->env[i]);
	if (r == 0 && image->working_dir)
		r = oci_process_set_cwd(process, image->working_dir);
	if (r < 0)
		return err_set(err, r, "convert the image's configuration");
	if (process->n_args == 0)
		return err_say(err, -EINVAL, "the image names no command, and none was given");
	if (image->working_dir && image->working_dir[0] != '/')
		return err_say(err, -EINVAL, "the image's working directory '%.200s' is not absolute",
			       image->working_dir);
	return 0;
}

/* ---- volumes ---- */

/* An absolute path of plain names, and none of the kernel's. */
static bool is_volume(const char *path)
{
	bool any = false;
	if (path[0] != '/')
		return false;
	if (rootfs_is_below(path, "/proc") || rootfs_is_below(path, "/sys") ||
	    rootfs_is_below(path, "/dev"))
		return false;
	for (const char *p = path; *p;) {
		size_t n = strcspn(++p, "/");
		/* Only at the end may there be no name. */
		if ((n == 0 && *p) || (n == 1 && p[0] == '.') || (n == 2 && memcmp(p, "..", 2) == 0))
			return false;
		any = any || n > 0;
		p += n;
	}
	return any;
}

static bool has_mount(const struct oci_config *config, const char *path)
{
	for (size_t i = 0; i < config->n_mounts; i++)
		if (strcmp(config->mounts[i]->destination, path) == 0)
			return true;
	return false;
}

/* dir: where the volume of that number is; NULL: in memory. */
static int add_volume(const char *path, const char *dir, size_t number, struct oci_config *config)
{
	static const char *const memory[] = {"nosuid", "nodev", "tmpcopyup"};
	static const char *const bound[] = {"rbind", "rprivate", "rw", "nosuid", "nodev"};
	const char *const *options = dir ? bound : memory;
	size_t n = dir ? ARRAY_LEN(bound) : ARRAY_LEN(memory);
	AUTO_FREE char *source = NULL;
	int n_source = dir ? asprintf(&source, "%s/%zu", dir, number) : asprintf(&source, "tmpfs");
	if (n_source < 0)
		source = NULL;
	struct oci_mount *mount = source ? oci_config_add_mounts(config) : NULL;
	int r = mount ? oci_mount_set_destination(mount, path) : -ENOMEM;
	if (r == 0)
		r = oci_mount_set_type(mount, dir ? "bind" : "tmpfs");
	if (r == 0)
		r = oci_mount_set_source(mount, source);
	for (size_t i = 0; i < n && r == 0; i++)
		r = oci_mount_add_options(mount, options[i]);
	return r;
}

static int convert_volumes(const struct image_spec *image, const struct convert_options *options,
			   struct oci_config *config, struct err *err)
{
	const char *dir = options->volumes == CONVERT_VOLUMES_BIND ? options->volumes_dir : NULL;
	for (size_t i = 0; image->volumes && image->volumes[i]; i++) {
		const char *path = image->volumes[i];
		if (!is_volume(path))
			return err_say(err, -EINVAL, "the image wants a volume at '%.200s', where "
				       "none can be", path);
		AUTO_FREE char *plain = strdup(path);
		size_t n = plain ? strlen(plain) : 0;
		while (n > 1 && plain[n - 1] == '/')
			plain[--n] = '\0';
		int r = !plain ? -ENOMEM :
			has_mount(config, plain) ? 0 : add_volume(plain, dir, i, config);
		if (r < 0)
			return err_set(err, r, "convert the image's configuration");
	}
	return 0;
}

int convert_image(const struct image_spec *image, const struct convert_options *options,
		  struct oci_config *config, struct err *err)
{
	static const struct convert_options none = {0};
	if (!options)
		options = &none;
	int r = check_platform(image, options->architecture, err);
	if (r < 0)
		return r;
	struct oci_process *process = oci_config_need_process(config);
	r = process ? convert_annotations(image, config) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "convert the image's configuration");
	r = convert_process(image, options, process, err);
	if (r == 0 && options->volumes != CONVERT_VOLUMES_NONE)
		r = convert_volumes(image, options, config, err);
	return r;
}

/* ---- the user ---- */

static int drop_capabilities(struct oci_process_capabilities *caps)
{
	oci_process_capabilities_clear_effective(caps);
	oci_process_capabilities_clear_permitted(caps);
	oci_process_capabilities_clear_inheritable(caps);
	oci_process_capabilities_clear_ambient(caps);
	int r = oci_process_capabilities_need_effective(caps);
	if (r == 0)
		r = oci_process_capabilities_need_permitted(caps);
	return r < 0 ? r : oci_process_capabilities_need_inheritable(caps);
}

int convert_user(const struct user *user, struct oci_config *config, struct err *err)
{
	struct oci_process *process = oci_config_need_process(config);
	struct oci_process_user *to = process ? oci_process_need_user(process) : NULL;
	int r = to ? 0 : -ENOMEM;
	if (r == 0) {
		oci_process_user_set_uid(to, user->uid);
		oci_process_user_set_gid(to, user->gid);
		oci_process_user_clear_additional_gids(to);
	}
	for (size_t i = 0; i < user->n_gids && r == 0; i++)
		r = oci_process_user_add_additional_gids(to, user->gids[i]);
	if (r == 0 && user->uid != 0 && process->capabilities)
		r = drop_capabilities(process->capabilities);
	return r < 0 ? err_set(err, r, "set the user") : 0;
}
