/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/devices.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "fs/erofs.h"
#include "fs/tree.h"

enum { FILE_BACKED_MAJOR = 6, FILE_BACKED_MINOR = 12 }; /* EROFS mounts files since */

#define FIRST_USER_NAMESPACE 0xeffffffdU /* its inode in nsfs: PROC_USER_INIT_INO, kernel ABI */

/* ---- the devices as files ---- */

/* An image of one file, "<number>", which is all of device 1. */
static int device_image(size_t number, uint64_t size, int *ret_fd, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO_CLOSE int fd = memfd_create("sluice-device", MFD_CLOEXEC);
	char name[24];
	(void)snprintf(name, sizeof(name), "%zu", number);
	const struct entry_extent whole = {.len = size};
	const struct entry entry = {
		.path = name,
		.type = ENTRY_REG,
		.mode = 0400,
		.size = size,
		.extents = &whole,
		.n_extents = size > 0,
	};
	const struct tree_device device = {.size = size};
	int r = fd < 0 ? -errno : tree_create(&tree);
	if (r < 0)
		return err_set(err, r, "present a device");
	r = tree_add(tree, &entry, err);
	if (r == 0)
		r = tree_write(tree, &device, 1, fd, err);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int device_apply(struct tree *tree, size_t number, uint64_t size, struct err *err)
{
	AUTO(erofs) struct erofs *one = NULL;
	AUTO_CLOSE int fd = -1;
	int r = device_image(number, size, &fd, err);
	if (r == 0)
		r = erofs_open(fd, &one, err);
	return r < 0 ? r : tree_apply(tree, one, (uint32_t)number, err);
}

int devices_image(struct source *const *devices, size_t n, int *ret_fd, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO_FREE struct tree_device *slots = calloc(n + 1, sizeof(*slots));
	AUTO_CLOSE int fd = memfd_create("sluice-devices", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : slots ? tree_create(&tree) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "present the devices");
	for (size_t i = 0; i < n && r == 0; i++) {
		/* The kernel reads whole blocks; the server fills up the last one. */
		slots[i].size = u64_align(source_size(devices[i]), ENTRY_ALIGN);
		r = device_apply(tree, i + 1, slots[i].size, err);
	}
	if (r == 0)
		r = tree_write(tree, slots, (uint32_t)n, fd, err);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---- the kernel's mount ---- */

static int erofs_context(int *ret, struct err *err)
{
	int context = fsopen("erofs", FSOPEN_CLOEXEC);
	if (context < 0 && (errno == ENODEV || errno == ENOSYS))
		return err_say(err, -EOPNOTSUPP, "this kernel has no EROFS; use --fs=fuse");
	if (context < 0)
		return err_set(err, -errno, "prepare an EROFS mount");
	*ret = context;
	return 0;
}

/* "6.12.3-amd64" and later. */
static bool kernel_reads_files(const char *release)
{
	unsigned int major = 0, minor = 0;
	return sscanf(release, "%u.%u", &major, &minor) == 2 && // NOLINT(cert-err34-c): bounded
	       (major > FILE_BACKED_MAJOR || (major == FILE_BACKED_MAJOR && minor >= FILE_BACKED_MINOR));
}

int devices_probe(struct err *err)
{
	AUTO_CLOSE int context = -1;
	struct utsname name;
	struct stat st;
	if (geteuid() != 0)
		return err_say(err, -EPERM, "only root can mount EROFS");
	/* Root of another user namespace may mount, but not this. */
	if (stat("/proc/self/ns/user", &st) < 0 || st.st_ino != FIRST_USER_NAMESPACE)
		return err_say(err, -EPERM, "only root of the first user namespace can mount EROFS");
	if (uname(&name) < 0 || !kernel_reads_files(name.release))
		return err_say(err, -EOPNOTSUPP, "EROFS from a file takes Linux 6.12");
	return erofs_context(&context, err);
}

static unsigned int mount_attributes(unsigned long flags)
{
	static const struct {
		unsigned long flag;
		unsigned int attribute;
	} pairs[] = {
		{MS_NOSUID, MOUNT_ATTR_NOSUID},
		{MS_NODEV, MOUNT_ATTR_NODEV},
		{MS_NOEXEC, MOUNT_ATTR_NOEXEC},
		{MS_NOATIME, MOUNT_ATTR_NOATIME},
	};
	unsigned int attributes = MOUNT_ATTR_RDONLY;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		if (flags & pairs[i].flag)
			attributes |= pairs[i].attribute;
	return attributes;
}

static int devices_configure(int context, const char *tree, const char *const *devices, size_t n)
{
	if (fsconfig(context, FSCONFIG_SET_STRING, "source", tree, 0) < 0)
		return -errno;
	for (size_t i = 0; i < n; i++)
		if (fsconfig(context, FSCONFIG_SET_STRING, "device", devices[i], 0) < 0)
			return -errno;
	return fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

int devices_open(const char *tree, const char *const *devices, size_t n, unsigned long flags,
		 int *ret_fd, struct err *err)
{
	AUTO_CLOSE int context = -1;
	int r = erofs_context(&context, err);
	if (r < 0)
		return r;
	r = devices_configure(context, tree, devices, n);
	/* Without file-backed mounts the kernel looks for a block device. */
	if (r == -ENOTBLK)
		return err_say(err, -EOPNOTSUPP,
			       "this kernel cannot mount EROFS from a file of the store (Linux 6.12 can, but not from a tmpfs); use --fs=fuse");
	if (r < 0)
		return err_set(err, r, "have the kernel open the image's metadata");
	int mount_fd = fsmount(context, FSMOUNT_CLOEXEC, mount_attributes(flags));
	if (mount_fd < 0)
		return err_set(err, -errno, "have the kernel mount the image's metadata");
	*ret_fd = mount_fd;
	return 0;
}

int devices_attach(int mount_fd, const char *dir, struct err *err)
{
	if (move_mount(mount_fd, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, -errno, "mount the image on %s", dir);
	return 0;
}

static void paths_free(char **paths, size_t n)
{
	for (size_t i = 0; paths && i < n; i++)
		free(paths[i]);
	free(paths);
}

int devices_mount(const char *tree, const char *devices_dir, size_t n, const char *dir,
		  unsigned long flags, struct err *err)
{
	AUTO_CLOSE int mount_fd = -1;
	char **paths = calloc(n + 1, sizeof(*paths));
	int r = paths ? 0 : -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++)
		if (asprintf(&paths[i], "%s/%zu", devices_dir, i + 1) < 0) {
			paths[i] = NULL;
			r = -ENOMEM;
		}
	if (r < 0)
		(void)err_set(err, r, "mount the image on %s", dir);
	else
		r = devices_open(tree, (const char *const *)paths, n, flags, &mount_fd, err);
	paths_free(paths, n);
	return r < 0 ? r : devices_attach(mount_fd, dir, err);
}
