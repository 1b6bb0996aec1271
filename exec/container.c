/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/container.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/driver.h"

struct container {
	char *parent; /* owned */
	char *id;     /* owned */
	char *path;   /* owned */
	int dirfd;    /* owned */
	int lock;     /* owned; -1: not held here */
};

static const char *const PHASES[] = {
	[CONTAINER_CONFIGURED] = "configured", [CONTAINER_CREATED] = "created",
	[CONTAINER_RUNNING] = "running",       [CONTAINER_EXITED] = "exited",
	[CONTAINER_FAILED] = "failed",
};

const char *container_phase_name(enum container_phase phase)
{
	return (size_t)phase < ARRAY_LEN(PHASES) ? PHASES[phase] : "unknown";
}

void container_state_finish(struct container_state *state)
{
	if (!state)
		return;
	free(state->error);
	json_decref(state->extra);
	*state = (struct container_state){0};
}

void container_close(struct container *container)
{
	if (!container)
		return;
	cleanup_close(&container->lock);
	cleanup_close(&container->dirfd);
	free(container->path);
	free(container->parent);
	free(container->id);
	free(container);
}

const char *container_id(const struct container *container)
{
	return container->id;
}

const char *container_path(const struct container *container)
{
	return container->path;
}

int container_dirfd(const struct container *container)
{
	return container->dirfd;
}

/* The object, without its directory. */
static int container_new(const char *parent, const char *id, struct container **ret,
			 struct err *err)
{
	if (!driver_id_valid(id))
		return err_say(err, -EINVAL, "\"%s\" is not a container's id", id);
	AUTO(container) struct container *container = malloc(sizeof(*container));
	if (!container)
		return err_set(err, -ENOMEM, "open container %s", id);
	*container = (struct container){.dirfd = -1, .lock = -1};
	container->parent = strdup(parent);
	container->id = strdup(id);
	if (asprintf(&container->path, "%s/%s", parent, id) < 0)
		container->path = NULL;
	if (!container->parent || !container->id || !container->path)
		return err_set(err, -ENOMEM, "open container %s", id);
	*ret = steal_ptr(&container);
	return 0;
}

static int open_dir(struct container *container, struct err *err)
{
	container->dirfd = open(container->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (container->dirfd < 0 && errno == ENOENT)
		return err_say(err, -ENOENT, "there is no container %s", container->id);
	return container->dirfd < 0 ? err_set(err, -errno, "open %s", container->path) : 0;
}

int container_create(const char *parent, const char *id, json_t *extra, struct container **ret,
		     struct err *err)
{
	AUTO(container) struct container *container = NULL;
	int r = container_new(parent, id, &container, err);
	if (r == 0)
		r = dir_make(parent, 0700, err);
	if (r < 0)
		return r;
	if (mkdir(container->path, 0700) < 0)
		return errno == EEXIST ?
			       err_say(err, -EEXIST, "there is a container %s already", id) :
			       err_set(err, -errno, "make %s", container->path);
	r = open_dir(container, err);
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	struct container_state state = {
		.created_ns = (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec,
		.exit_code = -1,
		.extra = extra,
	};
	proc_boot_id(state.boot_id);
	if (r == 0)
		r = container_state_write(container, &state, err);
	if (r < 0) {
		(void)tree_remove(AT_FDCWD, container->path, NULL);
		return r;
	}
	*ret = steal_ptr(&container);
	return 0;
}

int container_open(const char *parent, const char *id, struct container **ret, struct err *err)
{
	AUTO(container) struct container *container = NULL;
	int r = container_new(parent, id, &container, err);
	if (r == 0)
		r = open_dir(container, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&container);
	return 0;
}

int container_lock(struct container *container, struct err *err)
{
	if (container->lock >= 0)
		return 0;
	AUTO_CLOSE int fd = openat(container->dirfd, CONTAINER_LOCK,
				   O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "lock container %s", container->id);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ?
			       err_say(err, -EBUSY, "container %s is in use", container->id) :
			       err_set(err, -errno, "lock container %s", container->id);
	container->lock = steal_fd(&fd);
	return 0;
}

bool container_is_locked(const struct container *container)
{
	AUTO_CLOSE int fd =
		openat(container->dirfd, CONTAINER_LOCK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static int phase_parse(const char *name, enum container_phase *ret, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(PHASES); i++) {
		if (strcmp(PHASES[i], name) == 0) {
			*ret = (enum container_phase)i;
			return 0;
		}
	}
	return err_say(err, -EINVAL, "\"phase\" is \"%s\", which is none", name);
}

static int get_pid(const json_t *json, const char *key, pid_t *ret, struct err *err)
{
	uint64_t pid = 0;
	int r = json_get_u64(json, key, JSON_MAY, &pid, err);
	if (r == 0 && pid > INT32_MAX)
		return err_say(err, -EINVAL, "\"%s\" is out of range", key);
	*ret = (pid_t)pid;
	return r;
}

static int state_parse(const json_t *json, struct container_state *ret, struct err *err)
{
	const char *phase = NULL, *boot = "", *error = NULL;
	json_t *extra = NULL;
	int64_t code = -1;
	int r;
	if ((r = json_get_str(json, "phase", JSON_NEED, &phase, err)) < 0 ||
	    (r = phase_parse(phase, &ret->phase, err)) < 0 ||
	    (r = get_pid(json, "pid", &ret->pid, err)) < 0 ||
	    (r = json_get_u64(json, "pidStart", JSON_MAY, &ret->pid_start, err)) < 0 ||
	    (r = get_pid(json, "monitor", &ret->monitor, err)) < 0 ||
	    (r = json_get_u64(json, "monitorStart", JSON_MAY, &ret->monitor_start, err)) < 0 ||
	    (r = json_get_str(json, "bootId", JSON_MAY, &boot, err)) < 0 ||
	    (r = json_get_i64(json, "created", JSON_MAY, &ret->created_ns, err)) < 0 ||
	    (r = json_get_i64(json, "started", JSON_MAY, &ret->started_ns, err)) < 0 ||
	    (r = json_get_i64(json, "finished", JSON_MAY, &ret->finished_ns, err)) < 0 ||
	    (r = json_get_i64(json, "exitCode", JSON_MAY, &code, err)) < 0 ||
	    (r = json_get_bool(json, "oomKilled", JSON_MAY, &ret->oom_killed, err)) < 0 ||
	    (r = json_get_str(json, "error", JSON_MAY, &error, err)) < 0 ||
	    (r = json_get_object(json, "extra", JSON_MAY, &extra, err)) < 0)
		return r;
	if (code < -1 || code > 255)
		return err_say(err, -EINVAL, "\"exitCode\" is out of range");
	ret->exit_code = (int)code;
	(void)snprintf(ret->boot_id, sizeof(ret->boot_id), "%s", boot);
	if (error && !(ret->error = strdup(error)))
		return err_set(err, -ENOMEM, "read it");
	ret->extra = json_incref(extra);
	return 0;
}

int container_state_read(const struct container *container, struct container_state *ret,
			 struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(CONTAINER_STATE_MAX);
	AUTO_FINISH(container_state) struct container_state state = {.exit_code = -1};
	AUTO_JSON json_t *json = NULL;
	int r = file_slurp(container->dirfd, CONTAINER_STATE, &text, err);
	if (r == 0)
		r = json_parse_object(buf_str(&text), text.len, CONTAINER_STATE, &json, err);
	if (r == 0)
		r = state_parse(json, &state, err);
	if (r < 0)
		return err_prefix(err, r, "read the state of container %s", container->id);
	*ret = state;
	state = (struct container_state){0};
	return 0;
}

int container_state_write(const struct container *container, const struct container_state *state,
			  struct err *err)
{
	AUTO_JSON json_t *json = json_pack(
		"{s:s, s:i, s:I, s:i, s:I, s:s, s:I, s:I, s:I, s:i, s:b, s:s*, s:O*}",
		"phase", container_phase_name(state->phase),
		"pid", (int)state->pid, "pidStart", (json_int_t)state->pid_start,
		"monitor", (int)state->monitor, "monitorStart", (json_int_t)state->monitor_start,
		"bootId", state->boot_id, "created", (json_int_t)state->created_ns,
		"started", (json_int_t)state->started_ns, "finished", (json_int_t)state->finished_ns,
		"exitCode", state->exit_code, "oomKilled", (int)state->oom_killed,
		"error", state->error, "extra", state->extra);
	AUTO_FREE char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	if (!text)
		return err_set(err, -ENOMEM, "write the state of container %s", container->id);
	int r = file_commit(container->dirfd, CONTAINER_STATE, text, strlen(text), COMMIT_LIVE,
			    err);
	return r < 0 ? err_prefix(err, r, "write the state of container %s", container->id) : 0;
}

static bool alive(const struct container_state *state, pid_t pid, uint64_t start)
{
	char boot[BOOT_ID_MAX];
	proc_boot_id(boot);
	return strcmp(boot, state->boot_id) == 0 && proc_alive(pid, start);
}

bool container_init_alive(const struct container_state *state)
{
	return alive(state, state->pid, state->pid_start);
}

bool container_monitor_alive(const struct container_state *state)
{
	return alive(state, state->monitor, state->monitor_start);
}

/* The mounts of other people's images are below: one that was not unmounted must not be emptied. */
static int check_unmounted(const struct container *container, struct err *err)
{
	AUTO_FCLOSE FILE *mounts = fopen("/proc/self/mountinfo", "re");
	if (!mounts)
		return err_set(err, -errno, "remove container %s: read the mounts", container->id);
	AUTO_FREE char *real = realpath(container->path, NULL);
	AUTO_FREE char *line = NULL;
	size_t room = 0;
	size_t n = real ? strlen(real) : 0;
	while (real && getline(&line, &room, mounts) >= 0) {
		/* 36 35 98:0 /root /mount/point … */
		const char *at = line;
		for (int field = 0; at && field < 4; field++)
			at = (at = strchr(at, ' ')) ? at + 1 : NULL;
		if (at && strncmp(at, real, n) == 0 && (at[n] == '/' || at[n] == ' '))
			return err_say(err, -EBUSY, "remove container %s: %.*s is still mounted",
				       container->id, (int)strcspn(at, " "), at);
	}
	return 0;
}

int container_remove(struct container *container, struct err *err)
{
	if (container->lock < 0)
		return err_say(err, -EINVAL, "remove container %s: it is not locked", container->id);
	int r = check_unmounted(container, err);
	return r < 0 ? r : tree_remove(AT_FDCWD, container->path, err);
}

int container_each(const char *parent, int (*each)(void *data, const char *id), void *data,
		   struct err *err)
{
	DIR *dir = opendir(parent);
	if (!dir)
		return errno == ENOENT ? 0 : err_set(err, -errno, "list the containers in %s", parent);
	int r = 0;
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir); /* NOLINT(concurrency-mt-unsafe) */
		if (!entry) {
			if (errno != 0)
				r = err_set(err, -errno, "list the containers in %s", parent);
			break;
		}
		if (!driver_id_valid(entry->d_name))
			continue;
		r = each(data, entry->d_name);
		if (r != 0)
			break;
	}
	(void)closedir(dir);
	return r;
}
