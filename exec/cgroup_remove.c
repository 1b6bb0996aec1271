/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "exec/cgroup.h"
#include "exec/hybrid.h"
#include "exec/spec/type.h"

#define CGROUP_DIR "/sys/fs/cgroup"

enum {
	REMOVE_STEP_MS = 5, /* between tries to remove a group whose last process dies */
};

static int remove_tree(int parent, const char *name, deadline_t until, int depth);

/* The groups in one that is open: its directories. */
static int remove_below(int fd, deadline_t until, int depth)
{
	DIR *dir = NULL;
	int r = dir_stream(fd, &dir);
	if (r < 0)
		return r;
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) /* NOLINT(concurrency-mt-unsafe) */
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			r = remove_tree(fd, entry->d_name, until, depth + 1);
	(void)closedir(dir);
	return r;
}

static int remove_tree(int parent, const char *name, deadline_t until, int depth)
{
	AUTO_CLOSE int fd =
		openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int r = depth < CGROUP_DEPTH_MAX ? remove_below(fd, until, depth) : -ELOOP;
	while (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
		if (errno != EBUSY || deadline_passed(until))
			return -errno;
		clock_sleep_ms(REMOVE_STEP_MS, until);
	}
	return r;
}

/* path begins with a slash. */
static int remove_in(const char *hierarchy, const char *path, deadline_t until, struct err *err)
{
	char name[NAME_MAX + sizeof(CGROUP_DIR) + 1];
	(void)snprintf(name, sizeof(name), CGROUP_DIR "%s%s", hierarchy[0] ? "/" : "", hierarchy);
	AUTO_CLOSE int root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = root < 0 ? -errno : remove_tree(root, path + strspn(path, "/"), until, 0);
	return r == 0 || r == -ENOENT || r == -ENOTDIR ?
		       0 : err_set(err, r, "remove the cgroup %s%s", name, path);
}

/* Absolute, not the root, and it leads nowhere else. */
static bool path_is_group(const char *path)
{
	if (path[0] != '/' || path[strspn(path, "/")] == '\0' || strlen(path) >= PATH_MAX)
		return false;
	for (const char *at = path; at; at = strchr(at + 1, '/'))
		if (strncmp(at, "/..", 3) == 0 && (at[3] == '/' || at[3] == '\0'))
			return false;
	return true;
}

int cgroup_remove(const char *path, struct err *err)
{
	if (!path_is_group(path))
		return err_say(err, -EINVAL, "\"%s\" is not the path of a cgroup", path);
	deadline_t until = deadline_in_ms(CGROUP_REMOVE_MS);
	enum cgroup_mode mode = cgroup_mode_get();
	if (mode == CGROUP_NONE)
		return 0;
	if (mode == CGROUP_V2)
		return remove_in("", path, until, err);
	DIR *dir = opendir(CGROUP_DIR);
	if (!dir)
		return err_set(err, -errno, "list the hierarchies in " CGROUP_DIR);
	int r = 0;
	struct err why = {0};
	const struct dirent *entry;
	/* What one hierarchy keeps is no reason to leave it in the others. */
	while ((entry = readdir(dir))) /* NOLINT(concurrency-mt-unsafe) */
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
		    remove_in(entry->d_name, path, until, &why) < 0)
			r = err_copy(err, &why);
	(void)closedir(dir);
	return r;
}

int cgroup_remove_bundle(const char *bundle, const char *id, struct err *err)
{
	AUTO_FREE char *name = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(OCI_JSON_MAX);
	AUTO_JSON json_t *config = NULL;
	json_t *linux_ = NULL;
	const char *path = NULL;
	if (asprintf(&name, "%s/config.json", bundle) < 0) {
		name = NULL;
		return err_set(err, -ENOMEM, "remove the cgroups of container %s", id);
	}
	int r = file_slurp(AT_FDCWD, name, &text, err);
	if (r == 0)
		r = json_parse_object(text.data, text.len, name, &config, err);
	if (r == 0)
		r = json_get_object(config, "linux", JSON_MAY, &linux_, err);
	if (r == 0 && linux_)
		r = json_get_str(linux_, "cgroupsPath", JSON_MAY, &path, err);
	if (r < 0)
		return r;
	const char *last = path && path[0] == '/' ? strrchr(path, '/') : NULL;
	return last && strstr(last, id) ? cgroup_remove(path, err) : 0;
}
