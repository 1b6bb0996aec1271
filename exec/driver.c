/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/driver.h"

#include <poll.h>
#include <stdarg.h>
#include <string.h>

#include "base/num.h"

enum { POLL_MS = 60000 }; /* one poll at most; the deadline decides */

struct driver_conn {
	const struct driver *driver; /* borrowed */
	void *data;		     /* the driver's */
};

static const struct {
	const char *name;
	int r;
} CODES[] = {
	[DRIVER_OK] = {"ok", 0},
	[DRIVER_NOT_FOUND] = {"not found", -ENOENT},
	[DRIVER_EXISTS] = {"exists", -EEXIST},
	[DRIVER_INVALID] = {"invalid", -EINVAL},
	[DRIVER_DENIED] = {"denied", -EACCES},
	[DRIVER_UNSUPPORTED] = {"unsupported", -EOPNOTSUPP},
	[DRIVER_TIMEOUT] = {"timeout", -ETIMEDOUT},
	[DRIVER_CANCELLED] = {"cancelled", -ECANCELED},
	[DRIVER_ENGINE] = {"engine", -EIO},
};

static const char *const STATUSES[] = {
	[DRIVER_STATUS_UNKNOWN] = "unknown", [DRIVER_CREATING] = "creating",
	[DRIVER_CREATED] = "created",	     [DRIVER_RUNNING] = "running",
	[DRIVER_PAUSED] = "paused",	     [DRIVER_STOPPED] = "stopped",
};

const char *driver_code_name(enum driver_code code)
{
	return (size_t)code < ARRAY_LEN(CODES) ? CODES[code].name : "unknown";
}

int driver_code_errno(enum driver_code code)
{
	return (size_t)code < ARRAY_LEN(CODES) ? CODES[code].r : -EIO;
}

enum driver_code driver_code_from(int r)
{
	if (r == -EPERM)
		return DRIVER_DENIED;
	for (size_t i = 0; i < ARRAY_LEN(CODES); i++)
		if (CODES[i].r == r)
			return (enum driver_code)i;
	return DRIVER_ENGINE;
}

int driver_fail(struct driver_error *error, enum driver_code code, const char *raw,
		const char *fmt, ...)
{
	if (!error)
		return driver_code_errno(code);
	/* The words may quote what error holds already. */
	char text[ERR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	char kept[DRIVER_RAW_MAX] = "";
	if (raw)
		(void)snprintf(kept, sizeof(kept), "%s", raw);
	error->code = code;
	error->program = false;
	memcpy(error->raw, kept, sizeof(kept));
	return err_say(&error->err, driver_code_errno(code), "%s", text);
}

int driver_fail_set(struct driver_error *error, int r, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	struct err err = {0};
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)err_set(&err, r, "%s", text);
	return driver_fail_err(error, r, &err);
}

int driver_fail_err(struct driver_error *error, int r, const struct err *err)
{
	return driver_fail(error, driver_code_from(r), NULL, "%s", err_text(err));
}

int driver_poll(int fd, short events, const struct driver_call *call)
{
	for (;;) {
		struct pollfd fds[2] = {
			{.fd = fd, .events = events},
			{.fd = cancel_fd(call->cancel), .events = POLLIN},
		};
		uint64_t left = deadline_left_ms(call->deadline, POLL_MS);
		if (left == 0)
			return -ETIMEDOUT;
		if (poll(fds, 2, (int)left) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (fds[1].revents)
			return -ECANCELED;
		if (fds[0].revents)
			return 0;
	}
}

const char *driver_status_name(enum driver_status status)
{
	return (size_t)status < ARRAY_LEN(STATUSES) ? STATUSES[status] : "unknown";
}

enum driver_status driver_status_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(STATUSES); i++)
		if (strcmp(STATUSES[i], name) == 0)
			return (enum driver_status)i;
	return DRIVER_STATUS_UNKNOWN;
}

bool driver_id_valid(const char *id)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t n = strlen(id);
	return n > 0 && n <= DRIVER_ID_MAX && !strchr("_.-", id[0]) && strspn(id, letters) == n;
}

void driver_created_finish(struct driver_created *created)
{
	if (!created)
		return;
	free(created->id);
	*created = (struct driver_created){0};
}

void driver_container_finish(struct driver_container *container)
{
	if (!container)
		return;
	free(container->id);
	free(container->name);
	free(container->image);
	free(container->bundle);
	free(container->created);
	json_decref(container->raw);
	*container = (struct driver_container){0};
}

void driver_list_finish(struct driver_list *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->n; i++)
		driver_container_finish(&list->items[i]);
	free(list->items);
	*list = (struct driver_list){0};
}

int driver_connect(const struct driver *driver, const struct driver_options *options,
		   const struct driver_call *call, struct driver_conn **ret,
		   struct driver_error *error)
{
	static const struct driver_options none = {0};
	static const struct driver_call whenever = {0};
	if (driver->version != DRIVER_VERSION)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "connect by the driver %s: it was made for version %u of the interface, and this is version %u",
				   driver->name, driver->version, DRIVER_VERSION);
	AUTO_FREE struct driver_conn *conn = calloc(1, sizeof(*conn));
	if (!conn)
		return driver_fail_set(error, -ENOMEM, "connect by the driver %s", driver->name);
	conn->driver = driver;
	int r = driver->connect(options ? options : &none, call ? call : &whenever, &conn->data,
				error);
	if (r < 0)
		return r;
	*ret = steal_ptr(&conn);
	return 0;
}

void driver_close(struct driver_conn *conn)
{
	if (!conn)
		return;
	conn->driver->close(conn->data);
	free(conn);
}

const struct driver_info *driver_info(const struct driver_conn *conn)
{
	return conn->driver->info(conn->data);
}

/*
 * What all calls have in common before the driver sees them: it knows the
 * call, there is time left, and the id (NULL: the call has none) is well-formed.
 */
static int call_check(const struct driver_conn *conn, bool known, const char *what,
		      const struct driver_call *call, const char *id, struct driver_error *error)
{
	if (!known)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL, "%s: the driver %s cannot do that",
				   what, conn->driver->name);
	if (id && !driver_id_valid(id))
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "%s: \"%s\" is not a container's id ([a-zA-Z0-9][a-zA-Z0-9_.-]*, at most %d characters)",
				   what, id, DRIVER_ID_MAX);
	if (call && cancel_fired(call->cancel))
		return driver_fail(error, DRIVER_CANCELLED, NULL, "%s: cancelled before it began",
				   what);
	if (call && deadline_passed(call->deadline))
		return driver_fail(error, DRIVER_TIMEOUT, NULL,
				   "%s: the deadline had passed before it began", what);
	return 0;
}

static const struct driver_call WHENEVER = {0};

/* Checks, then hands the call to the driver. */
#define CALL(op, what, id, ...)                                                               \
	({                                                                                    \
		int r_ = call_check(conn, conn->driver->op != NULL, what, call, id, error);   \
		if (r_ == 0)                                                                  \
			r_ = conn->driver->op(conn->data, call ? call : &WHENEVER, __VA_ARGS__); \
		r_;                                                                           \
	})

static int missing(struct driver_error *error, const char *what, const char *lacks)
{
	return driver_fail(error, DRIVER_INVALID, NULL, "%s: the request has no %s", what, lacks);
}

int driver_pull(struct driver_conn *conn, const struct driver_call *call,
		const struct driver_pull *pull, struct driver_error *error)
{
	if (!pull->image)
		return missing(error, "pull an image", "image");
	return CALL(pull, "pull an image", NULL, pull, error);
}

int driver_create(struct driver_conn *conn, const struct driver_call *call,
		  const struct driver_create *create, struct driver_created *ret,
		  struct driver_error *error)
{
	if (!create->id)
		return missing(error, "create a container", "id");
	if (!create->bundle == !create->image)
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "create a container: the request wants a bundle or an image, and one only");
	return CALL(create, "create a container", create->id, create, ret, error);
}

int driver_start(struct driver_conn *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error)
{
	return CALL(start, "start a container", id, id, error);
}

int driver_exec(struct driver_conn *conn, const struct driver_call *call,
		const struct driver_exec *exec, struct driver_executed *ret,
		struct driver_error *error)
{
	if (!exec->id || !exec->process)
		return missing(error, "run a program in a container", exec->id ? "process" : "id");
	return CALL(exec, "run a program in a container", exec->id, exec, ret, error);
}

int driver_kill(struct driver_conn *conn, const struct driver_call *call, const char *id, int sig,
		struct driver_error *error)
{
	if (sig < 1 || sig > 64)
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "send a signal to a container: there is no signal %d", sig);
	return CALL(kill, "send a signal to a container", id, id, sig, error);
}

int driver_wait(struct driver_conn *conn, const struct driver_call *call, const char *id,
		struct driver_exit *ret, struct driver_error *error)
{
	return CALL(wait, "wait for a container", id, id, ret, error);
}

int driver_pause(struct driver_conn *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error)
{
	return CALL(pause, "pause a container", id, id, error);
}

int driver_resume(struct driver_conn *conn, const struct driver_call *call, const char *id,
		  struct driver_error *error)
{
	return CALL(resume, "resume a container", id, id, error);
}

int driver_logs(struct driver_conn *conn, const struct driver_call *call,
		const struct driver_logs *logs, struct driver_error *error)
{
	if (!logs->id || !logs->line)
		return missing(error, "read a container's log", logs->id ? "call-back" : "id");
	return CALL(logs, "read a container's log", logs->id, logs, error);
}

int driver_list(struct driver_conn *conn, const struct driver_call *call, struct driver_list *ret,
		struct driver_error *error)
{
	return CALL(list, "list the containers", NULL, ret, error);
}

int driver_inspect(struct driver_conn *conn, const struct driver_call *call, const char *id,
		   struct driver_container *ret, struct driver_error *error)
{
	return CALL(inspect, "inspect a container", id, id, ret, error);
}

int driver_stats(struct driver_conn *conn, const struct driver_call *call, const char *id,
		 struct driver_stats *ret, struct driver_error *error)
{
	return CALL(stats, "measure a container", id, id, ret, error);
}

int driver_events(struct driver_conn *conn, const struct driver_call *call,
		  const struct driver_events *events, struct driver_error *error)
{
	if (!events->event)
		return missing(error, "watch containers", "call-back");
	return CALL(events, "watch containers", events->id, events, error);
}

int driver_delete(struct driver_conn *conn, const struct driver_call *call, const char *id,
		  bool force, struct driver_error *error)
{
	return CALL(remove, "delete a container", id, id, force, error);
}
