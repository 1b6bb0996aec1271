/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/num.h"

enum {
	FILE_READ_STEP = 64 * 1024,
	COMMIT_TRIES = 16,
	TREE_DEPTH_MAX = 1 << 20, /* what a container made may be deep; a loop would be deeper */
	TREE_DEPTH_USUAL = 64,
};

#define COMMIT_PREFIX ".tmp-"

ssize_t file_read(int fd, void *data, size_t n)
{
	size_t done = 0;
	while (done < n) {
		ssize_t got = read(fd, (char *)data + done, n - done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

ssize_t file_pread(int fd, void *data, size_t n, uint64_t off)
{
	size_t done = 0;
	while (done < n) {
		ssize_t got = pread(fd, (char *)data + done, n - done, (off_t)(off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int file_write(int fd, const void *data, size_t n)
{
	size_t done = 0;
	while (done < n) {
		ssize_t put = write(fd, (const char *)data + done, n - done);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

int file_pwrite(int fd, const void *data, size_t n, uint64_t off)
{
	size_t done = 0;
	while (done < n) {
		ssize_t put = pwrite(fd, (const char *)data + done, n - done, (off_t)(off + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

int file_slurp_fd(int fd, struct buf *buf)
{
	for (;;) {
		size_t step = (size_t)u64_min(FILE_READ_STEP, buf->max - buf->len);
		if (step == 0) {
			char probe;
			ssize_t more = file_read(fd, &probe, 1);
			return more > 0 ? -E2BIG : (int)more;
		}
		int r = buf_reserve(buf, step);
		if (r < 0)
			return r;
		ssize_t got = file_read(fd, buf->data + buf->len, step);
		if (got < 0)
			return (int)got;
		buf->len += (size_t)got;
		buf->data[buf->len] = '\0';
		if ((size_t)got < step)
			return 0;
	}
}

int file_slurp(int dirfd, const char *name, struct buf *buf, struct err *err)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set(err, -errno, "open %s", name);
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "stat %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL, "read %s", name);
	int r = file_slurp_fd(fd, buf);
	if (r == -E2BIG)
		return err_say(err, r, "read %s: larger than the limit of %zu bytes", name, buf->max);
	if (r < 0)
		return err_set(err, r, "read %s", name);
	return 0;
}

int file_size(int fd, uint64_t *ret)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (uint64_t)st.st_size;
	return 0;
}

int dir_make(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof(part))
		return err_set(err, len ? -ENAMETOOLONG : -ENOENT, "make directory '%.200s'", path);
	memcpy(part, path, len + 1);

	for (char *p = part + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char c = *p;
		*p = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_set(err, -errno, "make directory %s", part);
		*p = c;
		if (c == '\0')
			break;
	}
	struct stat st;
	if (stat(path, &st) < 0)
		return err_set(err, -errno, "stat %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "use %s as a directory", path);
	return 0;
}

int dir_make_at(int dirfd, const char *name, mode_t mode, int *ret_fd, struct err *err)
{
	if (mkdirat(dirfd, name, mode) < 0 && errno != EEXIST)
		return err_set(err, -errno, "make directory %s", name);
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open directory %s", name);
	*ret_fd = fd;
	return 0;
}

int dir_stream(int dirfd, DIR **ret)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int r = -errno;
		cleanup_close(&fd);
		return r;
	}
	*ret = dir;
	return 0;
}

/* The directories above the one that is being emptied, so that the way back is known to be one. */
struct tree_level {
	dev_t dev;
	ino_t ino;
};

struct tree_walk {
	int fd; /* owned: the directory that is being emptied */
	struct tree_level *above; /* owned */
	size_t depth, room;
};

/* Removes what it can; the first directory with something in it is opened: 1. 0: it is empty. */
static int tree_empty(int fd, int *ret_child)
{
	DIR *dir = NULL;
	int r = dir_stream(fd, &dir);
	if (r < 0)
		return r;
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
		const char *name = entry->d_name;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    unlinkat(fd, name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			r = -errno;
		else if (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			r = errno == ENOTEMPTY || errno == EEXIST ? 1 :
			    errno == ENOTDIR ? -EPERM : -errno;
		if (r != 1)
			continue;
		*ret_child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (*ret_child < 0)
			r = -errno;
	}
	(void)closedir(dir);
	return r;
}

static int tree_down(struct tree_walk *walk, int child)
{
	struct stat st;
	if (fstat(walk->fd, &st) < 0 || walk->depth == TREE_DEPTH_MAX) {
		int r = walk->depth == TREE_DEPTH_MAX ? -ELOOP : -errno;
		(void)close(child);
		return r;
	}
	if (walk->depth == walk->room) {
		size_t room = walk->room ? 2 * walk->room : TREE_DEPTH_USUAL;
		struct tree_level *above = reallocarray(walk->above, room, sizeof(*above));
		if (!above) {
			(void)close(child);
			return -ENOMEM;
		}
		walk->above = above;
		walk->room = room;
	}
	walk->above[walk->depth++] = (struct tree_level){st.st_dev, st.st_ino};
	(void)close(walk->fd);
	walk->fd = child;
	return 0;
}

/* Somebody who moved the directory meanwhile must not have us empty where it is now. */
static int tree_up(struct tree_walk *walk)
{
	struct stat st;
	const struct tree_level *level = &walk->above[walk->depth - 1];
	int fd = openat(walk->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_dev != level->dev || st.st_ino != level->ino) {
		(void)close(fd);
		return -ESTALE;
	}
	(void)close(walk->fd);
	walk->fd = fd;
	walk->depth--;
	return 0;
}

static int tree_remove_all(int dirfd, const char *name)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	struct tree_walk walk = {
		.fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
	};
	int r = walk.fd >= 0 ? 0 : errno == ENOTDIR || errno == ELOOP ? -EPERM : -errno;
	while (r == 0) {
		int child = -1;
		r = tree_empty(walk.fd, &child);
		if (r == 0 && walk.depth == 0)
			break;
		if (r >= 0)
			r = r == 1 ? tree_down(&walk, child) : tree_up(&walk);
	}
	cleanup_close(&walk.fd);
	free(walk.above);
	if (r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

/* As deep as a container may have made it: one directory is open at a time. */
int tree_remove(int dirfd, const char *name, struct err *err)
{
	int r = tree_remove_all(dirfd, name);
	return r < 0 ? err_set(err, r, "remove %s", name) : 0;
}

struct commit {
	int dirfd;		   /* owned */
	int fd;			   /* owned */
	char name[NAME_MAX + 1];   /* the name to be */
	char temporary[32];	   /* "" once there is nothing left to remove */
};

bool commit_is_temporary(const char *name)
{
	return strncmp(name, COMMIT_PREFIX, strlen(COMMIT_PREFIX)) == 0;
}

static int commit_open(struct commit *c)
{
	for (int i = 0; i < COMMIT_TRIES; i++) {
		uint64_t salt;
		if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
			return -errno;
		(void)snprintf(c->temporary, sizeof(c->temporary), COMMIT_PREFIX "%016llx",
			       (unsigned long long)salt);
		c->fd = openat(c->dirfd, c->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (c->fd >= 0)
			return 0;
		int r = -errno;
		c->temporary[0] = '\0';
		if (r != -EEXIST)
			return r;
	}
	return -EEXIST;
}

int commit_create(int dirfd, const char *name, struct commit **ret, struct err *err)
{
	AUTO(commit) struct commit *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, -ENOMEM, "create %s", name);
	c->fd = -1;
	c->dirfd = -1;
	const char *last = strrchr(name, '/');
	last = last ? last + 1 : name;
	if (strlen(last) >= sizeof(c->name))
		return err_set(err, -ENAMETOOLONG, "create %.64s", last);
	(void)strcpy(c->name, last); // NOLINT(clang-analyzer-security.insecureAPI.strcpy)

	/* Where the name will be: a rename does not cross file systems. */
	AUTO_FREE char *place = last > name ? strndup(name, (size_t)(last - name)) : strdup(".");
	if (!place)
		return err_set(err, -ENOMEM, "create %s", name);
	/* A directory that may be fsynced: a dup of an O_PATH descriptor would not do. */
	c->dirfd = openat(dirfd, place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dirfd < 0)
		return err_set(err, -errno, "open the directory of %s", name);
	int r = commit_open(c);
	if (r < 0)
		return err_set(err, r, "create %s", name);
	*ret = steal_ptr(&c);
	return 0;
}

int commit_fd(const struct commit *c)
{
	return c->fd;
}

/*
 * A rename over a file has ext4 write the new one at once, for the sake of programs that do not
 * sync, and the next has it free those blocks again. It asks for nothing when two files change
 * places: then the old one is removed, and neither was ever on the disk. False where there is no
 * file yet, or the filesystem cannot do it.
 */
static bool commit_exchange(struct commit *c)
{
	return renameat2(c->dirfd, c->temporary, c->dirfd, c->name, RENAME_EXCHANGE) == 0;
}

int commit_finish(struct commit *c, enum commit_mode mode, struct err *err)
{
	bool keep = mode == COMMIT_KEEP || mode == COMMIT_LIVE_KEEP;
	bool sync = mode == COMMIT_KEEP || mode == COMMIT_REPLACE;
	if (mode == COMMIT_LIVE && commit_exchange(c))
		return 0; /* what was there goes with commit_destroy() */
	if (sync && fsync(c->fd) < 0)
		return err_set(err, -errno, "write %s to disk", c->name);
	unsigned int flags = keep ? RENAME_NOREPLACE : 0;
	if (renameat2(c->dirfd, c->temporary, c->dirfd, c->name, flags) < 0) {
		if (errno == EEXIST && keep)
			return 0; /* the temporary goes with commit_destroy() */
		return err_set(err, -errno, "rename to %s", c->name);
	}
	c->temporary[0] = '\0';
	if (sync && fsync(c->dirfd) < 0)
		return err_set(err, -errno, "write the directory of %s to disk", c->name);
	return 0;
}

void commit_destroy(struct commit *c)
{
	if (!c)
		return;
	if (c->temporary[0] != '\0')
		(void)unlinkat(c->dirfd, c->temporary, 0);
	cleanup_close(&c->fd);
	cleanup_close(&c->dirfd);
	free(c);
}

int file_commit(int dirfd, const char *name, const void *data, size_t n, enum commit_mode mode,
		struct err *err)
{
	AUTO(commit) struct commit *c = NULL;
	int r = commit_create(dirfd, name, &c, err);
	if (r < 0)
		return r;
	r = file_write(c->fd, data, n);
	if (r < 0)
		return err_set(err, r, "write %s", name);
	return commit_finish(c, mode, err);
}
