/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/volumes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "exec/copy_up.h"
#include "tools/attach.h"
#include "tools/containers.h"
#include "tools/run_parse.h"

#define FILLING "filling"  /* there while a copy is under way, or was cut off */
#define REMOVED ".removed" /* beside the volumes: one that is being removed, or a part that stayed */

enum { LOCK_STEP_MS = 20 };

static bool interrupted(void)
{
	return attached_signal_pending() != 0;
}

static int lock_dir(int fd)
{
	deadline_t until = deadline_in_ms(VOLUMES_LOCK_MS);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (interrupted())
			return -EINTR;
		if (deadline_passed(until))
			return -ETIMEDOUT;
		clock_sleep_ms(LOCK_STEP_MS, until);
	}
	return 0;
}

/* The directory of all, made if need be, and locked against others that make and remove. */
static int open_all(struct ctx *ctx, char **ret_path, int *ret_fd, struct err *err)
{
	struct store *store = NULL;
	AUTO_FREE char *path = NULL;
	int r = ctx_store(ctx, &store, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/volumes", store_path(store)) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "find the volumes");
	}
	r = dir_make(path, 0700, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : lock_dir(fd);
	if (r < 0)
		return err_set(err, r, "lock %s", path);
	*ret_path = steal_ptr(&path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int say_absent(const char *name, struct err *err)
{
	return err_say(err, -ENOENT, "there is no volume %s; 'sluice volume ls' lists them", name);
}

int volumes_path(struct ctx *ctx, const char *name, bool make, char **ret, struct err *err)
{
	AUTO_FREE char *all = NULL;
	AUTO_FREE char *path = NULL;
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int volume = -1;
	AUTO_CLOSE int data = -1;
	struct stat st;
	int r = open_all(ctx, &all, &fd, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%s/data", all, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "find volume %s", name);
	}
	if (!make && stat(path, &st) < 0)
		return errno == ENOENT ? say_absent(name, err) : err_set(err, -errno, "look at %s", path);
	if (make)
		r = dir_make_at(fd, name, 0700, &volume, err);
	if (r == 0 && make)
		r = dir_make_at(volume, "data", 0755, &data, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&path);
	return 0;
}

struct find_user {
	const char *volume;
	char *container; /* owned */
};

static int find_user_one(void *data, const struct opened_container *o)
{
	struct find_user *find = data;
	for (size_t i = 0; i < o->record.volumes.count; i++) {
		if (strcmp(o->record.volumes.items[i], find->volume) == 0) {
			find->container = strdup(o->record.name);
			return find->container ? 1 : -ENOMEM;
		}
	}
	return 0;
}

int volumes_remove(struct ctx *ctx, const char *name, struct err *err)
{
	AUTO_FREE char *all = NULL;
	AUTO_CLOSE int fd = -1;
	struct stat st;
	struct find_user find = {.volume = name};
	int r = open_all(ctx, &all, &fd, err);
	if (r == 0 && (!run_is_volume_name(name) ||
		       (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)))
		r = say_absent(name, err);
	/* Containers are noted before their volumes are looked for: one that begins now is seen, or waits. */
	if (r == 0)
		r = containers_each(ctx, find_user_one, &find, err);
	if (r > 0) {
		r = err_say(err, -EBUSY, "volume %s is used by container %s: remove that first "
			    "('sluice rm %s')", name, find.container, find.container);
		free(find.container);
	}
	/* Out of the way first: whoever is killed, or fails, in between leaves no part of it in use. */
	if (r == 0)
		r = tree_remove(fd, REMOVED, err);
	if (r == 0 && renameat(fd, name, fd, REMOVED) < 0)
		r = err_set(err, -errno, "remove volume %s", name);
	return r < 0 ? r : tree_remove(fd, REMOVED, err);
}

int volumes_each(struct ctx *ctx, int (*each)(void *data, const char *name), void *data,
		 struct err *err)
{
	AUTO_FREE char *all = NULL;
	AUTO_CLOSE int fd = -1;
	int r = open_all(ctx, &all, &fd, err);
	DIR *dir = r < 0 ? NULL : opendir(all);
	if (!dir)
		return r < 0 ? r : err_set(err, -errno, "list %s", all);
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) /* NOLINT(concurrency-mt-unsafe) */
		if (run_is_volume_name(entry->d_name))
			r = each(data, entry->d_name);
	(void)closedir(dir);
	return r;
}

/* ---- copies ---- */

static int is_empty(int fd, bool *ret)
{
	DIR *dir = NULL;
	int r = dir_stream(fd, &dir);
	if (r < 0)
		return r;
	size_t n = 0;
	errno = 0;
	while (n <= 2 && readdir(dir)) /* NOLINT(concurrency-mt-unsafe) */
		n++;
	r = -errno;
	(void)closedir(dir);
	*ret = n <= 2;
	return r;
}

/* What was cut off goes first; the directory itself stays, since it may be mounted. */
static int empty(int fd, struct err *err)
{
	DIR *dir = NULL;
	int r = dir_stream(fd, &dir);
	if (r < 0)
		return err_set(err, r, "empty the volume");
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) /* NOLINT(concurrency-mt-unsafe) */
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = tree_remove(fd, entry->d_name, err);
	(void)closedir(dir);
	return r;
}

static int fill_named(int volume, int to, int from, struct err *err)
{
	bool is_new = false;
	int r = lock_dir(volume);
	if (r < 0)
		return err_set(err, r, "wait for another copy into it");
	bool cut_off = faccessat(volume, FILLING, F_OK, 0) == 0;
	r = cut_off ? empty(to, err) : 0;
	if (r == 0 && (r = is_empty(to, &is_new)) < 0)
		return err_set(err, r, "look into it");
	if (r < 0 || !is_new)
		return r;
	AUTO_CLOSE int mark = openat(volume, FILLING, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (mark < 0)
		return err_set(err, -errno, "note that it is filled");
	r = from < 0 ? 0 : copy_up(from, to, interrupted, err);
	if (r < 0 && empty(to, NULL) < 0)
		return r; /* the mark stays */
	return unlinkat(volume, FILLING, 0) < 0 && r == 0 ?
		       err_set(err, -errno, "note that it is filled") : r;
}

int volumes_fill(const char *path, bool named, int from, struct err *err)
{
	AUTO_CLOSE int to = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int volume = to < 0 ? -1 : openat(to, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = volume < 0 ? err_set(err, -errno, "open it") :
		named	   ? fill_named(volume, to, from, err) :
		from < 0   ? 0 : copy_up(from, to, interrupted, err);
	return r < 0 ? err_prefix(err, r, "fill the volume %s", path) : 0;
}
