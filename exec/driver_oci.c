/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/driver_oci.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/strv.h"
#include "exec/cgroup.h"
#include "exec/driver_oci_priv.h"

enum {
	WHAT_MAX = 64 + DRIVER_ID_MAX, /* "delete container ID" */
	PID_FILE_MAX = 64,
	PID_FILE_ID_MAX = 200, /* of an id, in the name of a file */
	SALT_DIGITS = 16,
	COMMAND_ARGS_MAX = 24,
	FREEZE_MS = 10000,   /* until all of a container that is paused is frozen */
	FREEZE_LOOK_MS = 2,
};

static void oci_close(void *data)
{
	struct oci_conn *conn = data;
	if (!conn)
		return;
	free(conn->path);
	free(conn->name);
	free(conn->version);
	free(conn->root);
	free(conn->pids);
	free(conn->cgroup_manager);
	free(conn->told);
	for (char **p = conn->env; p && *p; p++)
		free(*p);
	free(conn->env);
	free(conn);
}

static void cleanup_conn(struct oci_conn **conn)
{
	oci_close(*conn);
}

/* The directories below state_root. */
static int make_places(struct oci_conn *conn, const char *state_root, struct driver_error *error)
{
	if (asprintf(&conn->root, "%s/%s", state_root, conn->name) < 0) {
		conn->root = NULL;
		return driver_fail_set(error, -ENOMEM, "connect");
	}
	if (asprintf(&conn->pids, "%s/pids", state_root) < 0) {
		conn->pids = NULL;
		return driver_fail_set(error, -ENOMEM, "connect");
	}
	struct err err = {0};
	int r = dir_make(conn->root, 0700, &err);
	if (r == 0)
		r = dir_make(conn->pids, 0700, &err);
	return r < 0 ? driver_fail_err(error, r, &err) : 0;
}

static int oci_connect(const struct driver_options *options, const struct driver_call *call,
		       void **ret, struct driver_error *error)
{
	if (!options->state_root || options->state_root[0] != '/')
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "use a container runtime: the directory for its state is not an absolute path");
	__attribute__((cleanup(cleanup_conn))) struct oci_conn *conn = calloc(1, sizeof(*conn));
	if (!conn)
		return driver_fail_set(error, -ENOMEM, "connect");
	conn->systemd_cgroup = options->systemd_cgroup;
	int r = strv_copy(options->env, &conn->env);
	if (r == 0 && options->cgroup_manager &&
	    !(conn->cgroup_manager = strdup(options->cgroup_manager)))
		r = -ENOMEM;
	if (r < 0)
		return driver_fail_set(error, r, "connect");
	r = oci_probe(conn, options, call, error);
	if (r == 0)
		r = make_places(conn, options->state_root, error);
	if (r < 0)
		return r;
	*ret = steal_ptr(&conn);
	return 0;
}

static const struct driver_info *oci_info(void *data)
{
	const struct oci_conn *conn = data;
	return &conn->info;
}

/* A name for a container's pid file that nobody else uses: "ID.SALT". */
static int pid_file_name(const struct oci_conn *conn, const char *id, char **ret)
{
	uint64_t salt;
	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return -EIO;
	if (asprintf(ret, "%s/%.*s.%0*llx", conn->pids, PID_FILE_ID_MAX, id, SALT_DIGITS,
		     (unsigned long long)salt) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

static void cleanup_pid_file(char **path)
{
	if (*path)
		(void)unlink(*path);
	free(*path);
}
#define AUTO_PID_FILE __attribute__((cleanup(cleanup_pid_file)))

/* What callers left that were killed; runc puts a dot before the name while it writes. */
static void pid_files_remove(const struct oci_conn *conn, const char *id)
{
	size_t n = strlen(id);
	DIR *dir = n <= PID_FILE_ID_MAX ? opendir(conn->pids) : NULL;
	if (!dir)
		return;
	const struct dirent *entry;
	while ((entry = readdir(dir))) { /* NOLINT(concurrency-mt-unsafe) */
		const char *name = entry->d_name + (entry->d_name[0] == '.');
		if (strncmp(name, id, n) == 0 && name[n] == '.' &&
		    strlen(name + n + 1) == SALT_DIGITS)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	(void)closedir(dir);
}

/* 0 when the runtime wrote none. */
static pid_t pid_file_read(const char *path)
{
	AUTO_FINISH(buf) struct buf text = buf_make(PID_FILE_MAX);
	uint64_t pid;
	if (file_slurp(AT_FDCWD, path, &text, NULL) < 0 || !text.data)
		return 0;
	text.data[strcspn(text.data, "\n")] = '\0';
	return u64_parse(text.data, INT32_MAX, &pid) == 0 ? (pid_t)pid : 0;
}

/* Arguments, collected one by one; the first that does not fit is remembered. */
struct args {
	const char *list[COMMAND_ARGS_MAX + 1];
	size_t n;
	char preserve[32];
};

static void args_add(struct args *args, const char *option, const char *value)
{
	_Static_assert(COMMAND_ARGS_MAX >= 16, "no command has more");
	args->list[args->n++] = option;
	if (value)
		args->list[args->n++] = value;
	args->list[args->n] = NULL;
}

static void args_add_preserve(struct args *args, size_t n)
{
	if (n == 0)
		return;
	(void)snprintf(args->preserve, sizeof(args->preserve), "%zu", n);
	args_add(args, "--preserve-fds", args->preserve);
}

static int oci_remove(void *data, const struct driver_call *call, const char *id, bool force,
		      struct driver_error *error);

static bool state_exists(const struct oci_conn *conn, const char *id)
{
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "%s/%s", conn->root, id) < 0) {
		path = NULL;
		return false;
	}
	return access(path, F_OK) == 0;
}

/*
 * After a create that failed. A runtime that was killed could not clean up after itself, and crun
 * leaves cgroups that it could not put a process or a limit into, of which it has no state.
 */
static void clean_up(struct oci_conn *conn, const struct driver_create *create)
{
	struct driver_call call = {.deadline = deadline_in_ms(DRIVER_OCI_CLEAN_MS)};
	struct err err = {0};
	/* It looked before: what is there now is what this call made. */
	if (state_exists(conn, create->id))
		(void)oci_remove(conn, &call, create->id, true, NULL);
	if (cgroup_remove_bundle(create->bundle, create->id, &err) < 0)
		log_debug("%s", err_text(&err));
}

static int oci_create(void *data, const struct driver_call *call,
		      const struct driver_create *create, struct driver_created *ret,
		      struct driver_error *error)
{
	struct oci_conn *conn = data;
	if (!create->bundle)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "create container %s: %s runs bundles and not images", create->id,
				   conn->name);
	/* Also so that cleaning up never takes what was there before. */
	if (state_exists(conn, create->id))
		return driver_fail(error, DRIVER_EXISTS, NULL,
				   "create container %s: %s has a container of that name already",
				   create->id, conn->name);
	AUTO_PID_FILE char *pid_file = NULL;
	AUTO_FREE char *id = strdup(create->id);
	int r = id ? pid_file_name(conn, create->id, &pid_file) : -ENOMEM;
	if (r < 0)
		return driver_fail_set(error, r, "create container %s", create->id);
	struct args args = {0};
	args_add(&args, create->start ? "run" : "create", create->start ? "--detach" : NULL);
	args_add(&args, "--bundle", create->bundle);
	args_add(&args, "--pid-file", pid_file);
	if (create->console_socket)
		args_add(&args, "--console-socket", create->console_socket);
	args_add_preserve(&args, create->n_preserve_fds);
	args_add(&args, create->id, NULL);
	char what[WHAT_MAX];
	(void)snprintf(what, sizeof(what), "create container %s", create->id);
	struct oci_command command = {.what = what, .args = args.list, .stdio = create->stdio,
				      .preserve_fds = create->preserve_fds,
				      .n_preserve_fds = create->n_preserve_fds,
				      .view_from = create->rootfs, .view_at = create->rootfs_at};
	r = oci_run(conn, call, &command, NULL, NULL, error);
	if (r < 0) {
		clean_up(conn, create);
		return r;
	}
	*ret = (struct driver_created){.id = steal_ptr(&id), .pid = pid_file_read(pid_file)};
	return 0;
}

/* The commands that take an id and say nothing. */
static int simple(void *data, const struct driver_call *call, const char *verb, const char *option,
		  const char *id, const char *last, struct driver_error *error)
{
	const struct oci_conn *conn = data;
	char what[WHAT_MAX];
	(void)snprintf(what, sizeof(what), "%s container %s", verb, id);
	struct args args = {0};
	args_add(&args, verb, option);
	args_add(&args, id, last);
	struct oci_command command = {.what = what, .args = args.list};
	return oci_run(conn, call, &command, NULL, NULL, error);
}

static int oci_start(void *data, const struct driver_call *call, const char *id,
		     struct driver_error *error)
{
	return simple(data, call, "start", NULL, id, NULL, error);
}

static int oci_kill(void *data, const struct driver_call *call, const char *id, int sig,
		    struct driver_error *error)
{
	char number[16];
	(void)snprintf(number, sizeof(number), "%d", sig);
	return simple(data, call, "kill", NULL, id, number, error);
}

static int oci_pause(void *data, const struct driver_call *call, const char *id,
		     struct driver_error *error)
{
	int r = simple(data, call, "pause", NULL, id, NULL, error);
	deadline_t until = deadline_earlier(call->deadline, deadline_in_ms(FREEZE_MS));
	/* The kernel freezes one task after another, and a runtime only tells it to. */
	while (r == 0) {
		AUTO_FINISH(driver_container) struct driver_container container = {0};
		r = oci_inspect(data, call, id, &container, error);
		if (r < 0 || container.status != DRIVER_RUNNING)
			break;
		if (deadline_passed(until))
			return driver_fail_set(error, -ETIMEDOUT,
					       "pause container %s: not all of it is frozen", id);
		clock_sleep_ms(FREEZE_LOOK_MS, until);
	}
	return r;
}

static int oci_resume(void *data, const struct driver_call *call, const char *id,
		      struct driver_error *error)
{
	return simple(data, call, "resume", NULL, id, NULL, error);
}

/* Kills what still runs, and waits until it is dead (and perhaps not waited for by its parent). */
static int kill_first(struct oci_conn *conn, const struct driver_call *call, const char *id,
		      struct driver_error *error)
{
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	int r = oci_inspect(conn, call, id, &container, error);
	if (r < 0 || container.pid == 0)
		return r;
	AUTO_CLOSE int pidfd = pidfd_open(container.pid, 0);
	if (pidfd < 0)
		return 0; /* it is gone */
	r = oci_kill(conn, call, id, SIGKILL, error);
	if (r < 0 && r != -EINVAL)
		return r;
	if (container.status == DRIVER_PAUSED)
		(void)oci_resume(conn, call, id, NULL);
	struct driver_call wait = *call;
	wait.deadline = deadline_earlier(call->deadline, deadline_in_ms(DRIVER_OCI_CLEAN_MS));
	r = driver_poll(pidfd, POLLIN, &wait);
	return r < 0 ? driver_fail_set(error, r, "delete container %s: it does not die", id) : 0;
}

/* Whether it is over. */
static bool is_over(struct oci_conn *conn, const struct driver_call *call, const char *id)
{
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	return oci_inspect(conn, call, id, &container, NULL) == 0 &&
	       container.status == DRIVER_STOPPED;
}

/*
 * crun calls a container running until its init's parent has waited for it,
 * and then only deletes it by force; runc, by force, waits for just that parent.
 */
static int oci_remove(void *data, const struct driver_call *call, const char *id, bool force,
		      struct driver_error *error)
{
	struct oci_conn *conn = data;
	const char *by_force = strcmp(conn->name, "crun") == 0 ? "--force" : NULL;
	struct driver_error why = {0};
	int r = force ? kill_first(conn, call, id, &why) : 0;
	if (r == -ETIMEDOUT || r == -ECANCELED) {
		if (error)
			*error = why;
		return r;
	}
	pid_files_remove(conn, id);
	/* A state that cannot be read is one more reason to delete it. */
	r = simple(conn, call, "delete", r < 0 ? "--force" : force ? by_force : NULL, id, NULL, &why);
	if (r < 0 && force && why.code == DRIVER_NOT_FOUND)
		return 0;
	if (r < 0 && !force && by_force && why.code == DRIVER_INVALID && is_over(conn, call, id))
		return simple(conn, call, "delete", by_force, id, NULL, error);
	if (r < 0 && error)
		*error = why;
	return r;
}

/* A program that was started and is not waited for any more. */
static void kill_pid_file(const char *path)
{
	pid_t pid = pid_file_read(path);
	if (pid > 0)
		(void)kill(pid, SIGKILL);
}

static int exec_run(struct oci_conn *conn, const struct driver_call *call,
		    const struct driver_exec *exec, const char *process_path,
		    const char *pid_file, struct driver_executed *ret, struct driver_error *error)
{
	struct args args = {0};
	args_add(&args, "exec", exec->detach ? "--detach" : NULL);
	args_add(&args, "--process", process_path);
	args_add(&args, "--pid-file", pid_file);
	if (exec->console_socket)
		args_add(&args, "--console-socket", exec->console_socket);
	args_add_preserve(&args, exec->n_preserve_fds);
	args_add(&args, exec->id, NULL);
	char what[WHAT_MAX];
	(void)snprintf(what, sizeof(what), "run a program in container %s", exec->id);
	struct oci_command command = {.what = what, .args = args.list, .stdio = exec->stdio,
				      .preserve_fds = exec->preserve_fds,
				      .n_preserve_fds = exec->n_preserve_fds,
				      .any_status = !exec->detach};
	int status = 0;
	int r = oci_run(conn, call, &command, NULL, &status, error);
	if (r == -ETIMEDOUT || r == -ECANCELED)
		kill_pid_file(pid_file);
	if (r < 0)
		return r;
	ret->pid = exec->detach ? pid_file_read(pid_file) : 0;
	ret->exit_code = exec->detach ? -1 : status;
	return 0;
}

static int oci_exec(void *data, const struct driver_call *call, const struct driver_exec *exec,
		    struct driver_executed *ret, struct driver_error *error)
{
	struct oci_conn *conn = data;
	AUTO_PID_FILE char *pid_file = NULL;
	AUTO_PID_FILE char *process = NULL;
	int r = pid_file_name(conn, exec->id, &pid_file);
	if (r == 0)
		r = pid_file_name(conn, exec->id, &process);
	if (r == 0) {
		AUTO_CLOSE int fd =
			open(process, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		r = fd < 0 ? -errno : file_write(fd, exec->process, exec->process_len);
	}
	if (r < 0)
		return driver_fail_set(
			error, r, "run a program in container %s: write its description", exec->id);
	return exec_run(conn, call, exec, process, pid_file, ret, error);
}

const struct driver *driver_oci(void)
{
	static const struct driver driver = {
		.version = DRIVER_VERSION,
		.name = "oci",
		.connect = oci_connect,
		.close = oci_close,
		.info = oci_info,
		.create = oci_create,
		.start = oci_start,
		.exec = oci_exec,
		.kill = oci_kill,
		.wait = oci_wait,
		.pause = oci_pause,
		.resume = oci_resume,
		.logs = oci_logs,
		.list = oci_list,
		.inspect = oci_inspect,
		.stats = oci_stats,
		.events = oci_events,
		.remove = oci_remove,
	};
	return &driver;
}
