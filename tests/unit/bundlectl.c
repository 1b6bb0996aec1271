/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bundlectl IMAGE ROOT BUNDLE SOURCE [CMD…]: makes a bundle for a runtime out of an
 * image's configuration and a root filesystem, with the directory SOURCE mounted
 * at /srv/volume. Ends with what `run` would end with. For tests/system/test_bundle.py.
 */

#include <fcntl.h>
#include <stdio.h>

#include "base/file.h"
#include "exec/command.h"
#include "exec/convert.h"
#include "exec/defaults.h"
#include "exec/etc.h"
#include "exec/host.h"
#include "exec/skeleton.h"

enum { CONFIG_MAX = 16 << 20, STATUS_OURS = 125 };

static int add_volume(struct oci_config *config, const char *source)
{
	struct oci_mount *mount = oci_config_add_mounts(config);
	int r = mount ? oci_mount_set_destination(mount, "/srv/volume") : -ENOMEM;
	if (r == 0)
		r = oci_mount_set_source(mount, source);
	if (r == 0)
		r = oci_mount_set_type(mount, "bind");
	return r < 0 ? r : oci_mount_add_options(mount, "rbind");
}

static int make_config(char **argv, struct image_spec *image, struct oci_config **ret,
		       struct err *err)
{
	AUTO(oci_config) struct oci_config *config = NULL;
	AUTO_FINISH(buf) struct buf json = buf_make(IMAGE_SPEC_MAX);
	const struct convert_options options = {
		.cmd = argv[5] ? (const char *const *)argv + 5 : NULL,
		.volumes = CONVERT_VOLUMES_TMPFS,
	};
	int r;
	if ((r = file_slurp(AT_FDCWD, argv[1], &json, err)) < 0 ||
	    (r = image_spec_parse(json.data, json.len, image, err)) < 0 ||
	    (r = defaults_create(&config, err)) < 0 ||
	    (r = convert_image(image, &options, config, err)) < 0 ||
	    (r = etc_mount(argv[3], config, err)) < 0)
		return r;
	if ((r = oci_config_set_hostname(config, "box")) < 0 ||
	    (r = oci_root_set_path(config->root, argv[2])) < 0 ||
	    (r = add_volume(config, argv[4])) < 0)
		return err_set(err, r, "make the configuration");
	*ret = steal_ptr(&config);
	return 0;
}

/* The destinations of all mounts. The list is the caller's, the strings are not. */
static const char **mounts_of(const struct oci_config *config)
{
	const char **list = calloc(config->n_mounts + 1, sizeof(*list));
	for (size_t i = 0; list && i < config->n_mounts; i++)
		list[i] = config->mounts[i]->destination;
	return list;
}

static int make_root(int root, const struct image_spec *image, struct oci_config *config,
		     int *ret_status, struct err *err)
{
	AUTO_FINISH(user) struct user user = {0};
	AUTO_FINISH(command) struct command command = {0};
	int r;
	if ((r = skeleton_make(root, NULL, err)) < 0 || (r = skeleton_mounts(root, config, NULL, err)) < 0 ||
	    (r = user_find(root, image->user, &user, err)) < 0)
		return r;
	const struct rootfs_owner owner = {.uid = user.uid, .gid = user.gid, .mode = 0755};
	if ((r = skeleton_cwd(root, config, &owner, err)) < 0 ||
	    (r = convert_user(&user, config, err)) < 0 ||
	    (r = defaults_env(config, user.home, err)) < 0)
		return r;
	AUTO_FREE const char **mounts = mounts_of(config);
	const struct command_search search = {
		.root = root,
		.path = DEFAULTS_PATH,
		.cwd = config->process->cwd,
		.user = &user,
		.mounts = mounts,
	};
	r = mounts ? command_find(&search, config->process->args[0], &command, err) : -ENOMEM;
	if (r < 0)
		*ret_status = command_exit_status(r);
	return r;
}

static int make_bundle(char **argv, int *ret_status, struct err *err)
{
	AUTO_FINISH(image_spec) struct image_spec image = {0};
	AUTO_FINISH(buf) struct buf json = buf_make(CONFIG_MAX);
	AUTO(oci_config) struct oci_config *config = NULL;
	const struct etc_words words = {.hostname = "box", .own_network = true};
	struct host_facts facts;
	char **warnings = NULL;
	int r;
	AUTO_CLOSE int root = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int bundle = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || bundle < 0)
		return err_set(err, -errno, "open %s and %s", argv[2], argv[3]);
	if ((r = make_config(argv, &image, &config, err)) < 0 ||
	    (r = etc_write(bundle, &words, err)) < 0 ||
	    (r = make_root(root, &image, config, ret_status, err)) < 0 ||
	    (r = host_facts_read(&facts, err)) < 0 ||
	    (r = host_clamp(&facts, config, &warnings, err)) < 0)
		return r;
	for (size_t i = 0; warnings && warnings[i]; i++)
		(void)fprintf(stderr, "warning: %s\n", warnings[i]);
	host_warnings_free(warnings);
	r = oci_config_emit(config, &json, err);
	return r < 0 ? r : file_commit(bundle, "config.json", json.data, json.len, COMMIT_REPLACE, err);
}

int main(int argc, char **argv)
{
	struct err err = {0};
	int status = STATUS_OURS;
	if (argc < 5) {
		(void)fputs("usage: bundlectl IMAGE ROOT BUNDLE SOURCE [CMD...]\n", stderr);
		return STATUS_OURS;
	}
	if (make_bundle(argv, &status, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err_text(&err));
		return status;
	}
	return 0;
}
