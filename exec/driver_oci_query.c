/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/json.h"
#include "exec/cgroup.h"
#include "exec/driver_oci_priv.h"
#include "exec/logs.h"
#include "exec/proc.h"

static int copy(const char *from, char **ret)
{
	if (!from)
		return 0;
	*ret = strdup(from);
	return *ret ? 0 : -ENOMEM;
}

/* The runtime-spec's state, as state and list print it. */
static int read_state(const json_t *state, struct driver_container *ret, struct err *err)
{
	const char *id = NULL, *status = NULL, *bundle = NULL, *created = NULL;
	uint64_t pid = 0;
	int r;
	if ((r = json_get_str(state, "id", JSON_NEED, &id, err)) < 0 ||
	    (r = json_get_str(state, "status", JSON_NEED, &status, err)) < 0 ||
	    (r = json_get_str(state, "bundle", JSON_MAY, &bundle, err)) < 0 ||
	    (r = json_get_str(state, "created", JSON_MAY, &created, err)) < 0 ||
	    (r = json_get_u64(state, "pid", JSON_MAY, &pid, err)) < 0)
		return r;
	if (pid > INT32_MAX)
		return err_say(err, -EINVAL, "\"pid\" is out of range");
	AUTO_FINISH(driver_container) struct driver_container container = {.exit_code = -1};
	if (copy(id, &container.id) < 0 || copy(bundle, &container.bundle) < 0 ||
	    copy(created, &container.created) < 0)
		return err_set(err, -ENOMEM, "read a container's state");
	container.status = driver_status_parse(status);
	container.pid = container.status == DRIVER_STOPPED ? 0 : (pid_t)pid;
	if (container.pid > 0 && !proc_alive(container.pid, 0)) {
		container.status = DRIVER_STOPPED;
		container.pid = 0;
	}
	*ret = container;
	container = (struct driver_container){0};
	return 0;
}

static int garbage(const struct oci_conn *conn, const char *what, const struct buf *text,
		   const struct err *err, struct driver_error *error)
{
	return driver_fail(error, DRIVER_ENGINE, buf_str(text), "%s: what %s says makes no sense: %s",
			   what, conn->name, err_text(err));
}

int oci_inspect(void *data, const struct driver_call *call, const char *id,
		struct driver_container *ret, struct driver_error *error)
{
	const struct oci_conn *conn = data;
	char what[64 + DRIVER_ID_MAX];
	(void)snprintf(what, sizeof(what), "inspect container %s", id);
	const char *const args[] = {"state", id, NULL};
	struct oci_command command = {.what = what, .args = args};
	AUTO_FINISH(buf) struct buf text = buf_make(DRIVER_OCI_OUTPUT_MAX);
	int r = oci_run(conn, call, &command, &text, NULL, error);
	if (r < 0)
		return r;
	struct err err = {0};
	AUTO_JSON json_t *state = NULL;
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	r = json_parse_object(buf_str(&text), text.len, "the state", &state, &err);
	if (r == 0)
		r = read_state(state, &container, &err);
	if (r < 0)
		return garbage(conn, what, &text, &err, error);
	container.raw = steal_ptr(&state);
	*ret = container;
	container = (struct driver_container){0};
	return 0;
}

static int read_list(const json_t *array, struct driver_list *ret, struct err *err)
{
	size_t n = json_array_size(array);
	if (n > DRIVER_LIST_MAX)
		return err_say(err, -E2BIG, "more than %d containers", DRIVER_LIST_MAX);
	AUTO_FINISH(driver_list) struct driver_list list = {0};
	list.items = calloc(n > 0 ? n : 1, sizeof(*list.items));
	if (!list.items)
		return err_set(err, -ENOMEM, "list containers");
	for (; list.n < n; list.n++) {
		const json_t *item = json_array_get(array, list.n);
		if (!json_is_object(item))
			return err_say(err, -EINVAL, "container %zu is not an object", list.n);
		int r = read_state(item, &list.items[list.n], err);
		if (r < 0)
			return r;
	}
	*ret = list;
	list = (struct driver_list){0};
	return 0;
}

int oci_list(void *data, const struct driver_call *call, struct driver_list *ret,
	     struct driver_error *error)
{
	const struct oci_conn *conn = data;
	static const char what[] = "list containers";
	static const char *const args[] = {"list", "--format", "json", NULL};
	struct oci_command command = {.what = what, .args = args};
	AUTO_FINISH(buf) struct buf text = buf_make(DRIVER_OCI_OUTPUT_MAX);
	int r = oci_run(conn, call, &command, &text, NULL, error);
	if (r < 0)
		return r;
	struct err err = {0};
	json_error_t why;
	AUTO_JSON json_t *array =
		json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &why);
	/* runc prints "null" when there are none. */
	if (!array && strncmp(buf_str(&text), "null", 4) == 0)
		array = json_array();
	if (!array)
		r = err_say(&err, -EINVAL, "line %d: %s", why.line, why.text);
	else if (!json_is_array(array))
		r = err_say(&err, -EINVAL, "it is not an array");
	if (r == 0)
		r = read_list(array, ret, &err);
	return r < 0 ? garbage(conn, what, &text, &err, error) : 0;
}

int oci_exit_code(int pidfd)
{
	siginfo_t info = {0};
	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    info.si_pid == 0)
		return -1;
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

int oci_wait(void *data, const struct driver_call *call, const char *id, struct driver_exit *ret,
	     struct driver_error *error)
{
	AUTO_FINISH(driver_container) struct driver_container before = {0};
	int r = oci_inspect(data, call, id, &before, error);
	if (r < 0)
		return r;
	if (before.pid == 0) {
		uint64_t pid = 0;
		(void)json_get_u64(before.raw, "pid", JSON_MAY, &pid, NULL);
		AUTO_CLOSE int fd = pid > 0 && pid <= INT32_MAX ? pidfd_open((pid_t)pid, 0) : -1;
		ret->exit_code = fd < 0 ? -1 : oci_exit_code(fd);
		return 0;
	}
	AUTO_CLOSE int fd = pidfd_open(before.pid, 0);
	/* The same container's still, and not a number that was given to another meanwhile. */
	AUTO_FINISH(driver_container) struct driver_container after = {0};
	r = oci_inspect(data, call, id, &after, error);
	if (r < 0)
		return r;
	if (fd >= 0 && after.pid == before.pid)
		r = driver_poll(fd, POLLIN, call);
	if (r < 0)
		return driver_fail_set(error, r, "wait for container %s", id);
	ret->exit_code = fd < 0 ? -1 : oci_exit_code(fd);
	return 0;
}

int oci_stats(void *data, const struct driver_call *call, const char *id,
	      struct driver_stats *ret, struct driver_error *error)
{
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	int r = oci_inspect(data, call, id, &container, error);
	if (r < 0)
		return r;
	struct err err = {0};
	AUTO(cgroup) struct cgroup *cgroup = NULL;
	if (container.pid > 0)
		r = cgroup_open(container.pid, &cgroup, &err);
	if (!cgroup && (container.pid == 0 || r == -ESRCH))
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "measure container %s: it is not running", id);
	if (r < 0)
		return driver_fail_err(error, r, &err);
	cgroup_stats(cgroup, ret);
	return 0;
}

/* Of a log in the directory that is open; with follow, until the container's init is over. */
static int read_log(struct oci_conn *conn, const struct driver_call *call,
		    const struct driver_logs *logs, int dir, struct driver_error *error)
{
	AUTO_CLOSE int over = -1;
	struct driver_logs want = *logs;
	if (logs->follow) {
		AUTO_FINISH(driver_container) struct driver_container container = {0};
		int r = oci_inspect(conn, call, logs->id, &container, error);
		if (r < 0 && r != -ENOENT)
			return r;
		over = r == 0 && container.pid > 0 ? pidfd_open(container.pid, 0) : -1;
		want.follow = over >= 0;
	}
	struct err err = {0};
	int r = logs_read(dir, strrchr(logs->path, '/') + 1, &want, over, call, &err);
	return r < 0 ? driver_fail_err(error, r, &err) : 0;
}

int oci_logs(void *data, const struct driver_call *call, const struct driver_logs *logs,
	     struct driver_error *error)
{
	struct oci_conn *conn = data;
	if (!logs->path || logs->path[0] != '/')
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "read the log of container %s: %s keeps none, and the request names no file",
				   logs->id, conn->name);
	size_t n = (size_t)(strrchr(logs->path, '/') - logs->path) + 1;
	AUTO_FREE char *dir_path = strndup(logs->path, n);
	AUTO_CLOSE int dir = dir_path ? open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = !dir_path ? -ENOMEM : dir < 0 || access(logs->path, F_OK) < 0 ? -errno : 0;
	if (r < 0)
		return driver_fail_set(error, r, "read the log of container %s: %s", logs->id,
				       logs->path);
	return read_log(conn, call, logs, dir, error);
}
