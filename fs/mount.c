/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <mntent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/fusermount.h"

#define FUSE_TYPE "fuse.sluice"

#define FUSE_IS_CLOSED \
	"/dev/fuse: you may not use it: its owner has to make it readable and writable for you"

void mount_options_init(struct mount_options *options)
{
	*options = (struct mount_options){
		.flags = MS_RDONLY | MS_NODEV | MS_NOSUID,
		.allow_other = geteuid() == 0,
	};
}

struct option {
	const char *name;
	unsigned long set, clear;
	bool only_fuse;
};

static const struct option known[] = {
	{"allow_other", 0, 0, true},
	{"default_permissions", 0, 0, true}, /* always on */
	{"exec", 0, MS_NOEXEC, false},
	{"noatime", MS_NOATIME, MS_RELATIME, false},
	{"nodev", MS_NODEV, 0, false},
	{"noexec", MS_NOEXEC, 0, false},
	{"nosuid", MS_NOSUID, 0, false},
	{"relatime", MS_RELATIME, MS_NOATIME, false},
	{"ro", MS_RDONLY, 0, false},
	{"suid", 0, MS_NOSUID, false},
};

static int option_apply(struct mount_options *options, const char *name, size_t n,
			struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strlen(known[i].name) != n || memcmp(known[i].name, name, n) != 0)
			continue;
		if (known[i].clear == MS_NOSUID && geteuid() != 0)
			return err_say(err, -EPERM, "the mount option 'suid' needs root");
		options->flags = (options->flags & ~known[i].clear) | known[i].set;
		options->allow_other |= i == 0;
		options->only_fuse |= known[i].only_fuse;
		return 0;
	}
	return err_say(err, -EINVAL, "unknown mount option '%.*s'", (int)u64_min(n, 64), name);
}

int mount_options_parse(struct mount_options *options, const char *text, struct err *err)
{
	struct mount_options out = *options;
	while (*text != '\0') {
		size_t n = strcspn(text, ",");
		int r = n == 0 ? 0 : option_apply(&out, text, n, err);
		if (r < 0)
			return r;
		text += n + (text[n] == ',');
	}
	*options = out;
	return 0;
}

/* Of the metadata of an image in whichever store: what the kernel shows as an EROFS mount's source. */
#define TREES "*/images/sha*-*/tree.erofs"

/*
 * Whether what is on top at exactly this path is a mount of Sluice, whose source is told. An overlay
 * is when it has the given source (NULL: never).
 */
static bool mounted_here(const char *path, const char *other, char *ret_source, size_t size)
{
	FILE *table = setmntent("/proc/self/mounts", "re");
	if (!table)
		return false;
	bool found = false;
	struct mntent entry;
	char text[8192];
	while (getmntent_r(table, &entry, text, sizeof(text))) {
		if (strcmp(entry.mnt_dir, path) != 0)
			continue;
		(void)snprintf(ret_source, size, "%s", entry.mnt_fsname);
		found = strcmp(entry.mnt_type, FUSE_TYPE) == 0 ||
			(strcmp(entry.mnt_type, "erofs") == 0 &&
			 fnmatch(TREES, entry.mnt_fsname, 0) == 0) ||
			(other && strcmp(entry.mnt_fsname, other) == 0);
	}
	(void)endmntent(table);
	return found;
}

bool mount_is_there(const char *dir, const char *source)
{
	char ignored[MOUNT_SOURCE_MAX];
	return mounted_here(dir, source, ignored, sizeof(ignored));
}

static int check_empty(const char *dir, struct err *err)
{
	DIR *d = opendir(dir);
	if (!d)
		return err_set(err, -errno, "use %s as a mount point", dir);
	int r = 0;
	struct dirent *entry;
	while (r == 0 && (entry = readdir(d))) { // NOLINT(concurrency-mt-unsafe)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = -ENOTEMPTY;
	}
	(void)closedir(d);
	if (r < 0)
		return err_say(err, r, "%s is not empty: mount on an empty directory", dir);
	return 0;
}

int mount_check(const char *dir, struct err *err)
{
	AUTO_FREE char *real = realpath(dir, NULL);
	char source[MOUNT_SOURCE_MAX];
	if (mounted_here(real ? real : dir, NULL, source, sizeof(source)))
		return err_say(err, -EBUSY,
			       "%s: %s is mounted here already: unmount it first, or use another "
			       "directory", dir, source);
	if (!real && errno == ENOENT)
		return err_say(err, -ENOENT, "%s does not exist: make the directory first", dir);
	struct stat st;
	if (!real || stat(real, &st) < 0)
		return err_set(err, -errno, "use %s as a mount point", dir);
	if (!S_ISDIR(st.st_mode))
		return err_say(err, -ENOTDIR, "%s is not a directory", dir);
	if (geteuid() != 0 && (st.st_uid != geteuid() || access(real, W_OK) < 0))
		return err_say(err, -EACCES, "%s: you may only mount on a directory of your own", dir);
	int r = check_empty(real, err);
	if (r < 0)
		return r;
	if (access("/dev/fuse", F_OK) < 0)
		return err_say(err, -ENODEV,
			       "/dev/fuse is missing: load the fuse module, or give the container "
			       "the device");
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return err_say(err, -EACCES, FUSE_IS_CLOSED);
	return 0;
}

static int mount_as_root(const char *dir, const char *source,
			 const struct mount_options *options, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		return err_say(err, -EACCES, FUSE_IS_CLOSED);
	if (fd < 0)
		return err_set(err, -errno, "open /dev/fuse");
	char data[128];
	(void)snprintf(data, sizeof(data),
		       "fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions%s", fd,
		       (unsigned int)S_IFDIR, geteuid(), getegid(),
		       options->allow_other ? ",allow_other" : "");
	if (mount(source, dir, FUSE_TYPE, options->flags, data) < 0)
		return err_set(err, -errno, "mount on %s", dir);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The source without what fusermount3 takes as separators. */
static void helper_options(const struct mount_options *options, const char *source, char *out,
			   size_t size)
{
	char name[MOUNT_SOURCE_MAX];
	(void)snprintf(name, sizeof(name), "%s", source);
	for (char *p = name; *p; p++) {
		if (*p == ',' || *p == '\\')
			*p = '_';
	}
	(void)snprintf(out, size, "ro,nosuid,nodev,default_permissions%s%s%s,subtype=sluice,fsname=%s",
		       options->flags & MS_NOEXEC ? ",noexec" : "",
		       options->flags & MS_NOATIME ? ",noatime" : "",
		       options->allow_other ? ",allow_other" : "", name);
}

static int mount_by_helper(const char *dir, const char *source,
			   const struct mount_options *options, int *ret_fd, struct err *err)
{
	char text[MOUNT_SOURCE_MAX + 128];
	helper_options(options, source, text, sizeof(text));
	AUTO_FREE char *where = strdup(dir);
	if (!where)
		return err_set(err, -ENOMEM, "mount on %s", dir);
	char program[] = "fusermount3", o[] = "-o", end[] = "--";
	char *argv[] = {program, o, text, end, where, NULL};
	int r = fusermount_run(argv, ret_fd, err);
	return r < 0 ? err_prefix(err, r, "mount on %s", dir) : 0;
}

int mount_fuse(const char *dir, const char *source, const struct mount_options *options,
	       int *ret_fd, struct err *err)
{
	if (geteuid() == 0)
		return mount_as_root(dir, source, options, ret_fd, err);
	return mount_by_helper(dir, source, options, ret_fd, err);
}

void mount_tune(const char *dir, unsigned int kib)
{
	/* O_PATH and statx do not ask the server, which may not be there yet. */
	struct statx stx;
	if (statx(AT_FDCWD, dir, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx) < 0)
		return;
	char path[64];
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", stx.stx_dev_major,
		       stx.stx_dev_minor);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", kib);
	if (fd < 0 || file_write(fd, text, (size_t)n) < 0)
		log_debug("%s: the kernel's read-ahead stays as it is", path);
}

int mount_undo(const char *dir, bool lazy, struct err *err)
{
	if (geteuid() == 0) {
		if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0)
			return err_set(err, -errno, "unmount %s", dir);
		return 0;
	}
	AUTO_FREE char *where = strdup(dir);
	if (!where)
		return err_set(err, -ENOMEM, "unmount %s", dir);
	char program[] = "fusermount3", how[] = "-uz", plain[] = "-u", end[] = "--";
	char *argv[] = {program, lazy ? how : plain, end, where, NULL};
	int r = fusermount_run(argv, NULL, err);
	return r < 0 ? err_prefix(err, r, "unmount %s", dir) : 0;
}
