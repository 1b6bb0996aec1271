/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/copy_up.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

enum { CHUNK = 1 << 20 }; /* bytes between two questions whether to stop */

struct copy {
	bool (*stop)(void);
	char *names, *value; /* owned: COPY_UP_XATTRS_MAX bytes each */
};

static bool is_refusal(int error)
{
	return error == EPERM || error == EINVAL;
}

/* Labels belong to the machine and not to the image; what overlays note is theirs. */
static bool xattr_is_copied(const char *name)
{
	return strncmp(name, "trusted.", 8) != 0 && strcmp(name, "security.selinux") != 0;
}

static int copy_xattrs(const struct copy *copy, int from, int to)
{
	ssize_t n = flistxattr(from, copy->names, COPY_UP_XATTRS_MAX);
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *name = copy->names; name < copy->names + n; name += strlen(name) + 1) {
		if (!xattr_is_copied(name))
			continue;
		ssize_t size = fgetxattr(from, name, copy->value, COPY_UP_XATTRS_MAX);
		if (size < 0)
			return -errno;
		if (fsetxattr(to, name, copy->value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP &&
		    !is_refusal(errno))
			return -errno;
	}
	return 0;
}

/* Owner, mode and the rest of what is open, the times last. */
static int copy_meta(const struct copy *copy, const struct stat *st, int from, int to)
{
	mode_t mode = st->st_mode & 07777;
	if (fchown(to, st->st_uid, st->st_gid) < 0) {
		if (!is_refusal(errno))
			return -errno;
		mode &= (mode_t)~(S_ISUID | S_ISGID);
	}
	if (fchmod(to, mode) < 0)
		return -errno;
	int r = copy_xattrs(copy, from, to);
	const struct timespec times[] = {st->st_atim, st->st_mtim};
	return r < 0 ? r : futimens(to, times) < 0 ? -errno : 0;
}

static int copy_file(const struct copy *copy, int from, int to, const char *name)
{
	struct stat st;
	AUTO_CLOSE int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (in < 0 || fstat(in, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ESTALE; /* it was one a moment ago */
	AUTO_CLOSE int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	for (;;) {
		if (copy->stop && copy->stop())
			return -EINTR;
		ssize_t n = sendfile(out, in, NULL, CHUNK);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return copy_meta(copy, &st, in, out);
	}
}

/*
 * By a descriptor that is only a name: a container that has the volume already may put a link to
 * another file in the pipe's place, or a device, which must not be opened.
 */
static int copy_pipe(int to, const char *name, const struct stat *st)
{
	char path[32];
	struct stat made;
	if (mknodat(to, name, S_IFIFO | 0600, 0) < 0)
		return -errno;
	AUTO_CLOSE int fd = openat(to, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &made) < 0)
		return -errno;
	if (!S_ISFIFO(made.st_mode))
		return -ESTALE;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fchownat(fd, "", st->st_uid, st->st_gid, AT_EMPTY_PATH) < 0 && !is_refusal(errno))
		return -errno;
	return chmod(path, st->st_mode & 0777) < 0 ? -errno : 0;
}

static int copy_link(int from, int to, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (symlinkat(target, to, name) < 0)
		return -errno;
	return fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 &&
			       !is_refusal(errno) ? -errno : 0;
}

/* What has no content, or is not opened for it. */
static int copy_special(int from, int to, const char *name, const struct stat *st)
{
	if (!S_ISLNK(st->st_mode) && !S_ISFIFO(st->st_mode))
		return 0; /* a device means nothing on a volume, nor does a socket without its server */
	int r = S_ISLNK(st->st_mode) ? copy_link(from, to, name, st) : copy_pipe(to, name, st);
	const struct timespec times[] = {st->st_atim, st->st_mtim};
	return r < 0 ? r : utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_dir(const struct copy *copy, int from, int to, int depth, struct err *err);

static int copy_one(const struct copy *copy, int from, int to, const char *name, int depth,
		    struct err *err)
{
	struct stat st;
	int r = fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	if (r == 0 && S_ISDIR(st.st_mode)) {
		AUTO_CLOSE int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		AUTO_CLOSE int out = -1;
		if (in < 0 || mkdirat(to, name, 0700) < 0 ||
		    (out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
			return err_set(err, -errno, "copy the directory %.200s", name);
		return copy_dir(copy, in, out, depth + 1, err);
	}
	if (r == 0)
		r = S_ISREG(st.st_mode) ? copy_file(copy, from, to, name) :
					  copy_special(from, to, name, &st);
	return r < 0 ? err_set(err, r, "copy the file %.200s", name) : 0;
}

static int copy_dir(const struct copy *copy, int from, int to, int depth, struct err *err)
{
	struct stat st;
	if (depth > COPY_UP_DEPTH_MAX)
		return err_say(err, -ELOOP, "directories are deeper than %d", COPY_UP_DEPTH_MAX);
	DIR *dir = NULL;
	int r = dir_stream(from, &dir);
	if (r == 0 && fstat(from, &st) < 0)
		r = -errno;
	if (r < 0)
		r = err_set(err, r, "read a directory");
	while (r == 0) {
		errno = 0;
		const struct dirent *entry = readdir(dir); /* NOLINT(concurrency-mt-unsafe) */
		if (!entry) {
			r = errno ? err_set(err, -errno, "read a directory") : 0;
			break;
		}
		if (copy->stop && copy->stop())
			r = err_set(err, -EINTR, "copy %.200s", entry->d_name);
		else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = copy_one(copy, from, to, entry->d_name, depth, err);
	}
	if (dir)
		(void)closedir(dir);
	if (r == 0 && (r = copy_meta(copy, &st, from, to)) < 0)
		r = err_set(err, r, "copy what belongs to a directory");
	return r;
}

int copy_up(int from, int to, bool (*stop)(void), struct err *err)
{
	AUTO_FREE char *names = malloc(COPY_UP_XATTRS_MAX);
	AUTO_FREE char *value = malloc(COPY_UP_XATTRS_MAX);
	if (!names || !value)
		return err_set(err, -ENOMEM, "copy a directory");
	struct copy copy = {.stop = stop, .names = names, .value = value};
	return copy_dir(&copy, from, to, 0, err);
}
