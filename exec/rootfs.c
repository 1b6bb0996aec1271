/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/rootfs.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/file.h"

enum { ROOTFS_PATH_MAX = 64 * 1024 }; /* a path with its symlinks put in */

bool rootfs_is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static int open_how(int dirfd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.resolve = resolve | RESOLVE_NO_MAGICLINKS,
	};
	if (!(flags & O_PATH))
		how.flags |= O_NOCTTY;
	for (int i = 0; i < ROOTFS_AGAIN_MAX; i++) {
		long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

int rootfs_open(int root, const char *path, int flags)
{
	return open_how(root, path, flags, RESOLVE_IN_ROOT);
}

/* One name in a directory, itself and not what it points at. */
static int open_name(int dirfd, const char *name, int flags)
{
	return open_how(dirfd, name, O_PATH | O_NOFOLLOW | flags, RESOLVE_BENEATH);
}

int rootfs_open_file(int root, const char *path, int *ret_fd, struct err *err)
{
	char self[32];
	struct stat st;
	AUTO_CLOSE int at = rootfs_open(root, path, O_PATH);
	if (at < 0)
		return err_set(err, at, "open %s", path);
	if (fstat(at, &st) < 0)
		return err_set(err, -errno, "open %s", path);
	if (S_ISDIR(st.st_mode))
		return err_say(err, -EISDIR, "%s is a directory", path);
	if (!S_ISREG(st.st_mode))
		return err_say(err, -EINVAL, "%s is not a regular file", path);
	/* The very file that was looked at: opening a device by its name can do things. */
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", at);
	int fd = open(self, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open %s", path);
	*ret_fd = fd;
	return 0;
}

int rootfs_slurp(int root, const char *path, struct buf *buf, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int r = rootfs_open_file(root, path, &fd, err);
	if (r < 0)
		return r;
	r = file_slurp_fd(fd, buf);
	if (r == -E2BIG)
		return err_say(err, r, "%s is larger than the limit of %zu bytes", path, buf->max);
	return r < 0 ? err_set(err, r, "read %s", path) : 0;
}

int rootfs_stat(int root, const char *path, struct stat *ret)
{
	struct stat st;
	AUTO_CLOSE int fd = rootfs_open(root, path, O_PATH);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = st;
	return 0;
}

/* A path on its way to one without symlinks. */
struct resolving {
	struct buf done;     /* "" or "/a/b": so far, without symlinks */
	struct buf left;     /* what is still to be walked */
	bool missing;	     /* nothing is at `done`: the rest is taken as written */
	unsigned int links;
};

static void resolving_finish(struct resolving *w)
{
	buf_finish(&w->done);
	buf_finish(&w->left);
}
DEFINE_FINISH(resolving, resolving_finish);

static void resolving_up(struct resolving *w)
{
	char *slash = w->done.len ? strrchr(w->done.data, '/') : NULL;
	if (!slash)
		return;
	w->done.len = (size_t)(slash - w->done.data);
	*slash = '\0';
}

/* Puts the target of the symlink `fd` in front of what is left. */
static int resolving_link(struct resolving *w, int fd)
{
	char target[PATH_MAX];
	AUTO_FINISH(buf) struct buf left = buf_make(ROOTFS_PATH_MAX);
	ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ENOENT;
	target[n] = '\0';
	if (++w->links > ROOTFS_LINKS_MAX)
		return -ELOOP;
	int r = buf_printf(&left, "%s/%s", target, buf_str(&w->left));
	if (r < 0)
		return r == -E2BIG ? -ENAMETOOLONG : r;
	if (target[0] == '/')
		buf_clear(&w->done);
	struct buf old = w->left;
	w->left = left;
	left = old;
	return 0;
}

/* Takes the next component off what is left into name. False at the end. */
static bool resolving_next(struct resolving *w, char name[static NAME_MAX + 1], int *ret)
{
	size_t skip = strspn(buf_str(&w->left), "/");
	size_t n = strcspn(buf_str(&w->left) + skip, "/");
	*ret = n > NAME_MAX ? -ENAMETOOLONG : 0;
	if (n == 0 || n > NAME_MAX)
		return false;
	memcpy(name, w->left.data + skip, n);
	name[n] = '\0';
	buf_shift(&w->left, skip + n);
	return true;
}

static bool resolving_at_end(const struct resolving *w)
{
	const char *left = buf_str(&w->left);
	return left[strspn(left, "/")] == '\0';
}

/* One component that is a name: look what is there. */
static int resolving_step(struct resolving *w, int root, const char *name, bool keep_last)
{
	size_t before = w->done.len;
	struct stat st;
	int r = buf_printf(&w->done, "/%s", name);
	if (r < 0 || w->missing)
		return r == -E2BIG ? -ENAMETOOLONG : r;
	AUTO_CLOSE int fd = open_how(root, w->done.data, O_PATH | O_NOFOLLOW,
				     RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (fd == -ENOENT) {
		w->missing = true;
		return 0;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode) && !(keep_last && resolving_at_end(w))) {
		w->done.len = before;
		w->done.data[before] = '\0';
		return resolving_link(w, fd);
	}
	if (!S_ISDIR(st.st_mode) && !resolving_at_end(w))
		return -ENOTDIR;
	return 0;
}

int rootfs_resolve(int root, const char *path, bool keep_last, rootfs_stop_fn stop, void *arg,
		   char **ret, struct err *err)
{
	char name[NAME_MAX + 1];
	int r;
	AUTO_FINISH(resolving) struct resolving w = {
		.done = buf_make(ROOTFS_PATH_MAX),
		.left = buf_make(ROOTFS_PATH_MAX),
	};
	if ((r = buf_puts(&w.left, path)) < 0 || (r = buf_puts(&w.done, "")) < 0)
		return err_set(err, r == -E2BIG ? -ENAMETOOLONG : r, "resolve %s", path);
	w.missing = stop && stop("/", arg);
	while (resolving_next(&w, name, &r)) {
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			resolving_up(&w);
			/* A name that comes next may exist again. */
			w.missing = w.missing && stop && stop(w.done.data, arg);
			continue;
		}
		r = resolving_step(&w, root, name, keep_last);
		if (r < 0)
			break;
		if (stop && stop(w.done.data, arg))
			w.missing = true;
	}
	if (r < 0)
		return err_set(err, r, "resolve %s", path);
	if (w.done.len == 0 && (r = buf_puts(&w.done, "/")) < 0)
		return err_set(err, r, "resolve %s", path);
	*ret = buf_steal(&w.done);
	return 0;
}

static const struct rootfs_owner root_owner = {.mode = 0755};
static const struct rootfs_owner root_file = {.mode = 0644};

static int owner_set(int fd, const struct rootfs_owner *owner)
{
	char self[32];
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fchownat(fd, "", owner->uid, owner->gid, AT_EMPTY_PATH) < 0 ||
	    fchmodat(AT_FDCWD, self, owner->mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

/* The directory of this name in dirfd, made where it is missing. */
static int mkdir_name(int dirfd, const char *name, const struct rootfs_owner *owner, int *ret_fd)
{
	bool made = mkdirat(dirfd, name, 0700) == 0;
	if (!made && errno != EEXIST)
		return -errno;
	AUTO_CLOSE int fd = open_name(dirfd, name, O_DIRECTORY);
	if (fd < 0)
		return fd == -ELOOP ? -ENOTDIR : fd;
	int r = made ? owner_set(fd, owner) : 0;
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* As rootfs_mkdirs for a path without symlinks, which is changed and put back. */
static int mkdirs_real(int root, char *path, const struct rootfs_owner *owner, int *ret_fd)
{
	AUTO_CLOSE int dir = open_name(root, ".", O_DIRECTORY);
	if (dir < 0)
		return dir;
	for (char *name = path + 1; *name;) {
		char *end = strchrnul(name, '/');
		char c = *end;
		int next = -1;
		*end = '\0';
		int r = mkdir_name(dir, name, owner, &next);
		*end = c;
		if (r < 0)
			return r;
		cleanup_close(&dir);
		dir = next;
		name = c ? end + 1 : end;
	}
	*ret_fd = steal_fd(&dir);
	return 0;
}

int rootfs_mkdirs(int root, const char *path, const struct rootfs_owner *owner, int *ret_fd,
		  struct err *err)
{
	AUTO_FREE char *real = NULL;
	AUTO_CLOSE int fd = -1;
	int r = rootfs_resolve(root, path, false, NULL, NULL, &real, err);
	if (r < 0)
		return r;
	r = mkdirs_real(root, real, owner ? owner : &root_owner, &fd);
	if (r < 0)
		return err_set(err, r, "make the directory %s", path);
	if (ret_fd)
		*ret_fd = steal_fd(&fd);
	return 0;
}

static int create_name(int dirfd, const char *name, const struct rootfs_owner *owner)
{
	struct stat st;
	AUTO_CLOSE int fd = openat(dirfd, name,
				   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		return owner_set(fd, owner);
	if (errno != EEXIST)
		return -errno;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? -EISDIR : 0;
}

int rootfs_create(int root, const char *path, const struct rootfs_owner *owner, struct err *err)
{
	AUTO_FREE char *real = NULL;
	AUTO_CLOSE int dir = -1;
	char top[] = "/";
	int r = rootfs_resolve(root, path, false, NULL, NULL, &real, err);
	if (r < 0)
		return r;
	char *name = strrchr(real, '/');
	if (name[1] == '\0')
		return err_set(err, -EISDIR, "make the file %s", path);
	struct rootfs_owner above = owner ? *owner : root_owner;
	above.mode = root_owner.mode;
	*name++ = '\0';
	r = mkdirs_real(root, real[0] ? real : top, &above, &dir);
	if (r == 0)
		r = create_name(dir, name, owner ? owner : &root_file);
	return r < 0 ? err_set(err, r, "make the file %s", path) : 0;
}
