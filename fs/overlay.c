/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"

/* Only what the upper's file system has no place for is left out. */
static int overlay_copy_xattrs(int from, int to)
{
	char names[XATTR_LIST_MAX];
	ssize_t n = flistxattr(from, names, sizeof(names));
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	AUTO_FREE char *value = malloc(XATTR_SIZE_MAX);
	if (!value)
		return -ENOMEM;
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		ssize_t len = fgetxattr(from, name, value, XATTR_SIZE_MAX);
		if (len < 0 ||
		    (fsetxattr(to, name, value, (size_t)len, 0) < 0 && errno != EOPNOTSUPP))
			return -errno;
	}
	return 0;
}

/* The root of the view is the upper's: a new one looks like the image's. */
static int overlay_root(int base, int lower, int *ret_upper, struct err *err)
{
	struct stat st;
	bool made = mkdirat(base, "upper", 0700) == 0;
	int r = dir_make_at(base, "upper", 0700, ret_upper, err);
	if (r < 0 || !made)
		return r;
	r = overlay_copy_xattrs(lower, *ret_upper);
	if (r == 0 && (fstat(lower, &st) < 0 || fchown(*ret_upper, st.st_uid, st.st_gid) < 0 ||
		       fchmod(*ret_upper, st.st_mode & 07777) < 0 ||
		       futimens(*ret_upper, (struct timespec[]){st.st_atim, st.st_mtim}) < 0))
		r = -errno;
	return r < 0 ? err_set(err, r, "give the upper the looks of the image's root") : 0;
}

int overlay_claim(const char *upper, int *ret_lock, struct err *err)
{
	int r = dir_make(upper, 0700, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open %s", upper);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ?
			       err_say(err, -EBUSY,
				       "%s is the upper of another mount: unmount that first, or use "
				       "another directory", upper) :
			       err_set(err, -errno, "lock %s", upper);
	*ret_lock = steal_fd(&fd);
	return 0;
}

/*
 * What the kernel notes about files goes to attributes of trusted.*, which root of a user namespace
 * may not write; removing one that is not there asks for the same right, and changes nothing.
 */
static bool overlay_wants_user_xattrs(int work)
{
	return fremovexattr(work, "trusted.overlay.sluice") < 0 && errno == EPERM;
}

static int overlay_attach(int lower, int upper, int work, const char *dir, unsigned long flags,
			  enum overlay_upper kind, const char *source)
{
	/* Names in an option string would need their colons and commas escaped; numbers do not. */
	char options[192];
	int n = snprintf(options, sizeof(options),
			 "lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d%s",
			 lower, upper, work, overlay_wants_user_xattrs(work) ? ",userxattr" : "");
	if (kind == OVERLAY_THROWN)
		(void)snprintf(options + n, sizeof(options) - (size_t)n, ",volatile");
	if (mount(source, dir, "overlay", flags, options) == 0)
		return 0;
	options[n] = '\0';
	if (kind != OVERLAY_THROWN || errno != EINVAL)
		return -errno;
	return mount(source, dir, "overlay", flags, options) < 0 ? -errno : 0;
}

int overlay_mount(const char *lower, const char *upper, const char *dir, unsigned long flags,
		  enum overlay_upper kind, const char *source, struct err *err)
{
	AUTO_CLOSE int base = -1;
	AUTO_CLOSE int upper_fd = -1;
	AUTO_CLOSE int work_fd = -1;
	int r = dir_make(upper, 0700, err);
	if (r < 0)
		return r;
	base = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return err_set(err, -errno, "open %s", upper);
	AUTO_CLOSE int lower_fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lower_fd < 0)
		return err_set(err, -errno, "open %s", lower);
	r = overlay_root(base, lower_fd, &upper_fd, err);
	if (r == 0)
		r = dir_make_at(base, "work", 0700, &work_fd, err);
	if (r < 0)
		return r;

	r = overlay_attach(lower_fd, upper_fd, work_fd, dir, flags, kind, source);
	if (r == -EPERM && overlay_wants_user_xattrs(work_fd))
		return err_say(err, r,
			       "mount a writable overlay on %s: this kernel does not let ordinary users "
			       "(Linux does since 5.11)", dir);
	return r < 0 ? err_set(err, r, "mount a writable overlay (upper %s) on %s", upper, dir) : 0;
}
