/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/skeleton.h"

#include <fcntl.h>
#include <string.h>

#include "base/num.h"

static const struct {
	const char *name;
	mode_t mode;
} skeleton[] = {
	{"dev", 0755}, {"proc", 0755}, {"sys", 0755}, {"etc", 0755}, {"tmp", 01777},
};

/* Where the runtime shows the kernel's own files. */
static const char *const kernels[] = {"/dev", "/proc", "/sys"};

/* Files of ours that are mounted there; never on what a symlink of the image names. */
static const char *const generated[] = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"};

static struct rootfs_owner owner_of(const struct id_maps *maps, mode_t mode)
{
	return (struct rootfs_owner){id_maps_uid(maps, 0), id_maps_gid(maps, 0), mode};
}

int skeleton_make(int root, const struct id_maps *maps, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(skeleton); i++) {
		const struct rootfs_owner owner = owner_of(maps, skeleton[i].mode);
		const char *name = skeleton[i].name;
		struct stat st;
		if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			if (S_ISDIR(st.st_mode))
				continue;
			if (unlinkat(root, name, 0) < 0)
				return err_set(err, -errno, "take away the image's /%s, which is "
					       "no directory", name);
		} else if (errno != ENOENT) {
			return err_set(err, -errno, "look at the image's /%s", name);
		}
		int r = rootfs_mkdirs(root, name, &owner, NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The first n mounts of a configuration. */
struct earlier {
	const struct oci_config *config;
	size_t n;
};

static bool is_hidden(const char *path, void *arg)
{
	const struct earlier *earlier = arg;
	for (size_t i = 0; i < earlier->n; i++)
		if (rootfs_is_below(path, earlier->config->mounts[i]->destination))
			return true;
	return false;
}

static bool always(const char *path, void *arg)
{
	(void)path;
	(void)arg;
	return true;
}

/* Whether it is among the kernel's files, though nobody wrote so. */
static int check_kernels(int root, const char *written, const char *real, struct err *err)
{
	AUTO_FREE char *plain = NULL;
	int r = rootfs_resolve(root, written, true, always, NULL, &plain, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(kernels); i++)
		if (rootfs_is_below(real, kernels[i]) && !rootfs_is_below(plain, kernels[i]))
			return err_say(err, -EINVAL, "the image leads the mount on %.200s into %s "
				       "by a symlink", written, kernels[i]);
	return 0;
}

static bool is_bind(const struct oci_mount *mount)
{
	if (mount->type && strcmp(mount->type, "bind") == 0)
		return true;
	for (size_t i = 0; i < mount->n_options; i++)
		if (strcmp(mount->options[i], "bind") == 0 ||
		    strcmp(mount->options[i], "rbind") == 0)
			return true;
	return false;
}

/* Whether a file is to be mounted there, not a directory. */
static int wants_file(const struct oci_mount *mount, bool *ret, struct err *err)
{
	struct stat st;
	*ret = false;
	if (!is_bind(mount))
		return 0;
	if (!mount->source)
		return err_say(err, -EINVAL, "the mount on %.200s has no source", mount->destination);
	if (stat(mount->source, &st) < 0)
		return err_set(err, -errno, "mount %.400s on %.200s", mount->source,
			       mount->destination);
	*ret = !S_ISDIR(st.st_mode);
	return 0;
}

static bool is_generated(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(generated); i++)
		if (strcmp(path, generated[i]) == 0)
			return true;
	return false;
}

/* /etc is a directory by now, so that this is the symlink itself. */
static int drop_link(int root, const char *path, struct err *err)
{
	struct stat st;
	AUTO_CLOSE int etc = rootfs_open(root, "/etc", O_PATH | O_DIRECTORY | O_NOFOLLOW);
	const char *name = path + strlen("/etc/");
	if (etc < 0)
		return err_set(err, etc, "open /etc");
	if (fstatat(etc, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) &&
	    unlinkat(etc, name, 0) < 0)
		return err_set(err, -errno, "take away the image's symlink %s", path);
	return 0;
}

static int make_target(int root, const char *real, bool file, const struct id_maps *maps,
		       const char *written, struct err *err)
{
	struct err why = {0};
	const struct rootfs_owner owner = owner_of(maps, file ? 0644 : 0755);
	int r = file ? rootfs_create(root, real, &owner, &why)
		     : rootfs_mkdirs(root, real, &owner, NULL, &why);
	if (r == -EISDIR)
		return err_say(err, r, "%.200s is a directory in the image, and a file cannot be "
			       "mounted on it", written);
	if (r == -ENOTDIR && !file)
		return err_say(err, r, "%.200s is a file in the image, or below one, and a directory "
			       "cannot be mounted on it", written);
	return r < 0 ? err_prefix(err, err_copy(err, &why), "prepare the mount on %.200s", written)
		     : 0;
}

static int prepare_mount(int root, struct oci_config *config, size_t i, const struct id_maps *maps,
			 struct err *err)
{
	struct oci_mount *mount = config->mounts[i];
	struct earlier earlier = {.config = config, .n = i};
	const char *written = mount->destination;
	AUTO_FREE char *real = NULL;
	bool file = false;
	if (!written || written[0] != '/')
		return err_say(err, -EINVAL, "the mount on '%.200s' is not on an absolute path",
			       written ? written : "");
	int r;
	if ((r = wants_file(mount, &file, err)) < 0 ||
	    (is_generated(written) && !is_hidden(written, &earlier) &&
	     (r = drop_link(root, written, err)) < 0) ||
	    (r = rootfs_resolve(root, written, false, is_hidden, &earlier, &real, err)) < 0 ||
	    (r = check_kernels(root, written, real, err)) < 0)
		return r;
	if (strcmp(real, "/") == 0)
		return err_say(err, -EINVAL, "nothing can be mounted on %.200s, which is the root",
			       written);
	if (!is_hidden(real, &earlier))
		r = make_target(root, real, file, maps, written, err);
	if (r == 0 && oci_mount_set_destination(mount, real) < 0)
		r = err_set(err, -ENOMEM, "prepare the mounts");
	return r;
}

/* A device outside of /dev: only what is above it is made, the runtime makes the node. */
static int prepare_device(int root, const struct oci_config *config,
			  struct oci_linux_device *device, const struct id_maps *maps,
			  struct err *err)
{
	const struct rootfs_owner owner = owner_of(maps, 0755);
	struct earlier mounts = {.config = config, .n = config->n_mounts};
	const char *written = device->path;
	AUTO_FREE char *real = NULL;
	AUTO_FREE char *above = NULL;
	if (!written || written[0] != '/')
		return err_say(err, -EINVAL, "the device '%.200s' is not at an absolute path",
			       written ? written : "");
	int r = rootfs_resolve(root, written, false, is_hidden, &mounts, &real, err);
	if (r < 0)
		return r;
	if (!is_hidden(real, &mounts)) {
		above = strndup(real, (size_t)(strrchr(real, '/') - real));
		r = above ? rootfs_mkdirs(root, above, &owner, NULL, err)
			  : err_set(err, -ENOMEM, "prepare the devices");
	}
	if (r == 0 && oci_linux_device_set_path(device, real) < 0)
		r = err_set(err, -ENOMEM, "prepare the devices");
	return r;
}

int skeleton_mounts(int root, struct oci_config *config, const struct id_maps *maps,
		    struct err *err)
{
	if (config->n_mounts > SKELETON_MOUNTS_MAX)
		return err_say(err, -E2BIG, "%zu mounts are more than the limit of %d",
			       config->n_mounts, SKELETON_MOUNTS_MAX);
	for (size_t i = 0; i < config->n_mounts; i++) {
		int r = prepare_mount(root, config, i, maps, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; config->linux && i < config->linux->n_devices; i++) {
		int r = prepare_device(root, config, config->linux->devices[i], maps, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int skeleton_cwd(int root, const struct oci_config *config, const struct rootfs_owner *owner,
		 struct err *err)
{
	struct earlier mounts = {.config = config, .n = config->n_mounts};
	AUTO_FREE char *real = NULL;
	const char *cwd = config->process ? config->process->cwd : NULL;
	if (!cwd || cwd[0] != '/')
		return err_say(err, -EINVAL, "the working directory '%.200s' is not absolute",
			       cwd ? cwd : "");
	int r = rootfs_resolve(root, cwd, false, is_hidden, &mounts, &real, err);
	if (r == -ENOTDIR)
		return err_say(err, r, "the working directory %.200s is below a file of the image", cwd);
	if (r < 0)
		return err_prefix(err, r, "the working directory");
	if (rootfs_is_below(real, "/proc"))
		return err_say(err, -EINVAL, "the working directory %.200s leads into /proc", cwd);
	if (is_hidden(real, &mounts))
		return 0;
	r = rootfs_mkdirs(root, real, owner, NULL, err);
	if (r == -ENOTDIR)
		return err_say(err, r, "the working directory %.200s is a file in the image", cwd);
	return r;
}
