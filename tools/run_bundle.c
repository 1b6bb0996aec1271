/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_bundle.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/spawn.h"
#include "exec/command.h"
#include "exec/convert.h"
#include "exec/defaults.h"
#include "exec/etc.h"
#include "exec/host.h"
#include "exec/seccomp_apply.h"
#include "exec/skeleton.h"
#include "exec/user.h"
#include "tools/containers.h"
#include "tools/run_apply.h"
#include "tools/run_devices.h"
#include "tools/run_maps.h"
#include "tools/run_parse.h"
#include "tools/run_rootless.h"
#include "tools/run_volumes.h"

enum { ADDRESS_MAX = 64 }; /* bytes of an IP address */

enum { STATUS_OURS = 125, STATUS_CANNOT_RUN = 126 };

#define INIT_PLACE "/dev/init"

struct making {
	struct run_bundle *bundle;
	const struct run_options *o;
	struct oci_config *config; /* owned, as the rest */
	struct image_spec spec;
	struct user user;
	struct command command;
	int root;
};

static void making_finish(struct making *m)
{
	oci_config_free(m->config);
	image_spec_finish(&m->spec);
	user_finish(&m->user);
	command_finish(&m->command);
	cleanup_close(&m->root);
}
DEFINE_FINISH(making, making_finish);

/* ---- what the image says ---- */

/* A root filesystem without an image: the words are all there is. */
static int words_as_args(const struct making *m, struct err *err)
{
	struct oci_process *process = oci_config_need_process(m->config);
	int r = process ? 0 : -ENOMEM;
	for (size_t i = 0; i < m->o->entrypoint.count && r == 0; i++)
		r = oci_process_add_args(process, m->o->entrypoint.items[i]);
	for (char *const *word = m->bundle->words; *word && r == 0; word++)
		r = oci_process_add_args(process, *word);
	if (r == 0 && process->n_args == 0)
		return err_say(err, -EINVAL, "there is no command to run: name one behind the directory");
	return r < 0 ? err_set(err, r, "write the container's configuration") : 0;
}

static int take_image(struct making *m, struct err *err)
{
	static const char *const none[] = {NULL};
	static const enum convert_volumes kinds[] = {
		[RUN_IMAGE_VOLUME_ANONYMOUS] = CONVERT_VOLUMES_BIND,
		[RUN_IMAGE_VOLUME_TMPFS] = CONVERT_VOLUMES_TMPFS,
		[RUN_IMAGE_VOLUME_IGNORE] = CONVERT_VOLUMES_NONE,
	};
	const char *const *words = (const char *const *)m->bundle->words;
	const char *const *entrypoint = (const char *const *)m->o->entrypoint.items;
	int r = defaults_create(&m->config, err);
	if (r < 0)
		return r;
	if (!m->bundle->image)
		return words_as_args(m, err);
	r = image_spec_parse(m->bundle->image->data, m->bundle->image->len, &m->spec, err);
	if (r < 0)
		return r;
	struct convert_options options = {
		.entrypoint = !m->o->has_entrypoint ? NULL : entrypoint ? entrypoint : none,
		.cmd = words[0] ? words : NULL,
		.volumes = kinds[m->o->image_volume],
	};
	AUTO_FREE char *volumes = run_volumes_dir(m->bundle->container);
	if (!volumes)
		return err_set(err, -ENOMEM, "find the volumes");
	options.volumes_dir = volumes;
	return convert_image(&m->spec, &options, m->config, err);
}

static int find_user(struct making *m, struct err *err)
{
	const struct run_flags *f = m->o->flags;
	int r = user_find(m->root, f->user ? f->user : m->spec.user, &m->user, err);
	for (size_t i = 0; i < f->group_add.count && r == 0; i++)
		r = user_add_group(m->root, &m->user, f->group_add.items[i], err);
	if (r < 0) {
		m->bundle->exit_status = STATUS_CANNOT_RUN;
		return r;
	}
	r = run_maps_user(m->bundle->maps, &m->user, err);
	return r < 0 ? r : run_rootless_user(&m->user, err);
}

/* ---- names ---- */

/* Whether a namespace is the host's, and so has the host's name. */
static bool has_namespace(const struct oci_config *config, const char *type)
{
	const struct oci_linux *l = config->linux;
	for (size_t i = 0; l && i < l->n_namespaces; i++)
		if (strcmp(l->namespaces[i]->type, type) == 0)
			return true;
	return false;
}

static int name_host(struct making *m, char name[static HOST_NAME_MAX + 1], struct err *err)
{
	const struct run_flags *f = m->o->flags;
	bool own = m->o->uts.kind == RUN_NS_DEFAULT || m->o->uts.kind == RUN_NS_PRIVATE;
	if (f->hostname && !own)
		return err_say(err, -EINVAL, "--hostname needs a host name of its own: leave out --uts");
	if (f->hostname && (strlen(f->hostname) > HOST_NAME_MAX || f->hostname[0] == '\0'))
		return err_say(err, -EINVAL, "--hostname wants a name of at most %d bytes", HOST_NAME_MAX);
	if (f->hostname)
		(void)snprintf(name, HOST_NAME_MAX + 1, "%s", f->hostname);
	else if (!own || m->o->network.kind == RUN_NS_HOST)
		(void)gethostname(name, HOST_NAME_MAX + 1);
	else
		(void)snprintf(name, HOST_NAME_MAX + 1, "%.*s", CONTAINERS_SHORT_ID,
			       container_id(m->bundle->container));
	if (own && oci_config_set_hostname(m->config, name) < 0)
		return err_set(err, -ENOMEM, "name the host");
	return 0;
}

static int make_etc(struct making *m, const char *hostname, struct err *err)
{
	AUTO_CLOSE int dirfd = -1;
	AUTO_FREE char *dir = NULL;
	AUTO_FREE const char **dns = calloc(m->o->flags->dns.count + 1, sizeof(*dns));
	const struct cni_result *network = m->bundle->network;
	char address[ADDRESS_MAX] = "";
	if (asprintf(&dir, "%s/etc", container_path(m->bundle->container)) < 0)
		dir = NULL;
	if (!dir || !dns)
		return err_set(err, -ENOMEM, "write the container's /etc");
	for (size_t i = 0; i < m->o->flags->dns.count; i++)
		dns[i] = m->o->flags->dns.items[i];
	/* Without the length of its prefix. */
	if (network->n_addresses > 0)
		(void)snprintf(address, sizeof(address), "%.*s",
			       (int)strcspn(network->addresses[0].cidr, "/"),
			       network->addresses[0].cidr);
	struct etc_words words = {
		.hostname = hostname,
		.address = address[0] ? address : NULL,
		.hosts = (const char *const *)m->o->hosts.items,
		.dns = dns[0] ? dns : network->nameservers,
		.dns_search = network->searches,
		.dns_options = network->options,
		.own_network = has_namespace(m->config, "network"),
	};
	/* Every user of the container reads these. */
	int r = dir_make_at(container_dirfd(m->bundle->container), "etc", 0755, &dirfd, err);
	if (r == 0)
		r = etc_write(dirfd, &words, err);
	if (r == 0 && m->bundle->maps)
		r = run_maps_give(m->bundle->maps, container_dirfd(m->bundle->container), "etc", err);
	return r == 0 ? etc_mount(dir, m->config, err) : r;
}

/* ---- the command ---- */

/* Finds what runs, so that it is known before a runtime ends with 1 whatever is wrong. */
static int find_command(struct making *m, struct err *err)
{
	const struct oci_process *process = m->config->process;
	AUTO_FREE const char **mounts = calloc(m->config->n_mounts + 1, sizeof(*mounts));
	if (!mounts)
		return err_set(err, -ENOMEM, "find the command");
	for (size_t i = 0; i < m->config->n_mounts; i++)
		mounts[i] = m->config->mounts[i]->destination;
	struct command_search search = {
		.root = m->root,
		.path = defaults_find_env(process, "PATH"),
		.cwd = process->cwd,
		.user = &m->user,
		.maps = m->bundle->maps,
		.mounts = mounts,
	};
	int r = command_find(&search, process->args[0], &m->command, err);
	if (r < 0)
		m->bundle->exit_status = command_exit_status(r);
	return r;
}

static int note_command(const struct making *m, struct run_record *record, struct err *err)
{
	const struct oci_process *process = m->config->process;
	for (size_t i = 0; i < process->n_args; i++)
		if (words_add(&record->command, process->args[i]) < 0)
			return err_set(err, -ENOMEM, "note the command");
	record->stop_signal = m->o->stop_signal;
	if (record->stop_signal == 0 && m->spec.stop_signal &&
	    run_parse_signal("the image's StopSignal", m->spec.stop_signal, &record->stop_signal, err) < 0) {
		log_warn("%s; TERM is used", err_text(err));
		record->stop_signal = 0;
	}
	return 0;
}

/* A small init of this machine's becomes process 1: the image has none, and ours is not static. */
static int add_init(struct making *m, struct err *err)
{
	static const char *const names[] = {"catatonit", "tini", "tini-static", "docker-init"};
	AUTO_FREE char *path = NULL;
	AUTO(oci_process) struct oci_process *old = NULL;
	struct oci_process *process = m->config->process;
	if (!m->o->flags->init)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(names) && !path; i++)
		(void)spawn_find(getenv("PATH"), names[i], &path);
	if (!path)
		return err_say(err, -ENOENT,
			       "--init needs catatonit or tini, and neither is on PATH: install one "
			       "(apt-get install catatonit)");
	struct oci_mount *mount = oci_config_add_mounts(m->config);
	old = oci_process_clone(process);
	int r = mount && old ? oci_mount_set_destination(mount, INIT_PLACE) : -ENOMEM;
	if (r == 0)
		r = oci_mount_set_source(mount, path);
	if (r == 0)
		r = oci_mount_set_type(mount, "bind");
	if (r == 0)
		r = oci_mount_add_options(mount, "bind");
	if (r == 0)
		r = oci_mount_add_options(mount, "ro");
	if (r == 0) {
		oci_process_clear_args(process);
		r = oci_process_add_args(process, INIT_PLACE);
	}
	if (r == 0)
		r = oci_process_add_args(process, "--");
	for (size_t i = 0; i < (old ? old->n_args : 0) && r == 0; i++)
		r = oci_process_add_args(process, old->args[i]);
	return r < 0 ? err_set(err, r, "add an init") : 0;
}

/* ---- all together ---- */

static int set_cgroup(struct making *m, struct err *err)
{
	struct oci_linux *l = oci_config_need_linux(m->config);
	const char *parent = m->o->flags->cgroup_parent ? m->o->flags->cgroup_parent : "";
	AUTO_FREE char *path = NULL;
	if (parent[0] != '\0' && (parent[0] != '/' || strstr(parent, "..")))
		return err_say(err, -EINVAL,
			       "--cgroup-parent does not take '%s': it wants an absolute path", parent);
	if (asprintf(&path, "%s/sluice-%s", strcmp(parent, "/") == 0 ? "" : parent,
		     container_id(m->bundle->container)) < 0)
		path = NULL;
	if (!l || !path || oci_linux_set_cgroups_path(l, path) < 0)
		return err_set(err, -ENOMEM, "name the control group");
	return 0;
}

static int preserve_fds(struct making *m, struct err *err)
{
	char text[40];
	uint64_t n = m->o->flags->preserve_fds;
	if (n == 0)
		return 0;
	(void)snprintf(text, sizeof(text), "LISTEN_FDS=%llu", (unsigned long long)n);
	if (oci_process_add_env(m->config->process, text) < 0 ||
	    oci_process_add_env(m->config->process, "LISTEN_PID=1") < 0)
		return err_set(err, -ENOMEM, "pass on descriptors");
	return 0;
}

static int confine(struct making *m, struct err *err)
{
	bool open = m->o->flags->privileged && !m->o->seccomp;
	struct seccomp_choice choice = {
		.profile = open ? SECCOMP_UNCONFINED : m->o->seccomp,
		.native_only = !command_has_32bit(m->root, &m->command),
		.crun = strcmp(m->bundle->runtime->name, "crun") == 0,
		.cache_dirfd = m->bundle->cache_dirfd,
	};
	return seccomp_apply(m->config, &choice, err);
}

/* Asks for no more than the host can give, and says so: runtimes would fail. */
static int clamp(struct making *m, struct err *err)
{
	struct host_facts facts;
	char **warnings = NULL;
	int r = host_facts_read(&facts, err);
	if (r == 0)
		r = host_clamp(&facts, m->config, &warnings, err);
	for (size_t i = 0; r == 0 && warnings && warnings[i]; i++)
		log_warn("%s", warnings[i]);
	host_warnings_free(warnings);
	return r;
}

/* What the root filesystem has to have before a runtime looks at it. */
static int furnish(struct making *m, struct err *err)
{
	const struct id_maps *maps = m->bundle->maps;
	struct rootfs_owner owner = {.uid = id_maps_uid(maps, m->user.uid),
				     .gid = id_maps_gid(maps, m->user.gid), .mode = 0755};
	const struct container *container = m->bundle->container;
	int r = run_sort_mounts(m->config);
	if (r < 0)
		return err_set(err, r, "sort the mounts");
	r = run_volumes_make(container, m->config, maps, err);
	if (r == 0)
		r = skeleton_mounts(m->root, m->config, maps, err);
	if (r == 0 && !m->o->flags->dry_run)
		r = run_volumes_fill(m->root, container, m->o, m->config, err);
	if (r < 0)
		return r;
	r = skeleton_cwd(m->root, m->config, &owner, err);
	if (r < 0)
		m->bundle->exit_status = STATUS_CANNOT_RUN;
	return r;
}

static int set_root(struct making *m, const struct run_record *record, struct err *err)
{
	struct oci_root *root = record->view ? oci_config_need_root(m->config) : NULL;
	if (!record->view)
		return 0;
	return root && oci_root_set_path(root, record->view) == 0 ?
		       0 : err_set(err, -ENOMEM, "place the root filesystem");
}

static int make_config(struct making *m, struct run_record *record, struct err *err)
{
	char hostname[HOST_NAME_MAX + 1] = "";
	int r = take_image(m, err);
	if (r == 0)
		r = skeleton_make(m->root, m->bundle->maps, err);
	if (r == 0)
		r = find_user(m, err);
	if (r == 0)
		r = run_apply(m->o, m->config, err);
	if (r == 0)
		r = name_host(m, hostname, err);
	if (r == 0)
		r = make_etc(m, hostname, err);
	if (r == 0)
		r = clamp(m, err);
	if (r == 0)
		r = convert_user(&m->user, m->config, err);
	if (r == 0)
		r = defaults_env(m->config, m->user.home, err);
	if (r == 0)
		r = run_devices(m->o, m->config, err);
	if (r == 0)
		r = preserve_fds(m, err);
	if (r == 0)
		r = furnish(m, err);
	if (r == 0)
		r = find_command(m, err);
	if (r == 0)
		r = note_command(m, record, err);
	if (r == 0)
		r = add_init(m, err);
	if (r == 0)
		r = set_cgroup(m, err);
	if (r == 0)
		r = run_rootless_fit(m->o, m->config, m->bundle->maps, err);
	record->poststop = m->config && m->config->hooks && m->config->hooks->n_poststop > 0;
	if (r == 0)
		r = set_root(m, record, err);
	return r == 0 ? confine(m, err) : r;
}

int run_bundle_make(struct run_bundle *bundle, struct run_record *record, struct buf *ret,
		    struct err *err)
{
	AUTO_FINISH(making) struct making m = {.bundle = bundle, .o = bundle->options, .root = -1};
	bundle->exit_status = STATUS_OURS;
	m.root = openat(container_dirfd(bundle->container), CONTAINER_ROOTFS,
			O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m.root < 0)
		return err_set(err, -errno, "open the container's root filesystem");
	int r = make_config(&m, record, err);
	return r == 0 ? oci_config_emit(m.config, ret, err) : r;
}
