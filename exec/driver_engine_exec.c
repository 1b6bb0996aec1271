/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <termios.h>

#include "base/fdpass.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine_hijack.h"

/* One program on its way. */
struct running {
	const struct engine *engine;
	const struct driver_call *call;
	const char *what;
	const char *id; /* of the exec, not of the container */
	bool tty;
};

/* "uid:gid", or the name. *ret stays NULL where the process does not say. */
static int user_text(const json_t *process, char **ret)
{
	const json_t *user = json_object_get(process, "user");
	const char *name = engine_text(user, "username");
	uint64_t uid = engine_number(user, "uid"), gid = engine_number(user, "gid");
	if (!json_is_object(user) || (!name && uid == DRIVER_UNKNOWN && gid == DRIVER_UNKNOWN))
		return 0;
	if (name) {
		*ret = strdup(name);
	} else if (asprintf(ret, "%llu:%llu", (unsigned long long)(uid == DRIVER_UNKNOWN ? 0 : uid),
			    (unsigned long long)(gid == DRIVER_UNKNOWN ? 0 : gid)) < 0) {
		*ret = NULL;
	}
	return *ret ? 0 : -ENOMEM;
}

static json_t *exec_body(const struct driver_exec *exec, const json_t *process, const char *user)
{
	bool tty = engine_true(process, "terminal");
	bool in = !exec->detach && (exec->stdio[0] >= 0 || exec->console_socket);
	json_t *body = json_pack("{s:b, s:b, s:b, s:b, s:O}", "AttachStdin", in, "AttachStdout",
				 !exec->detach, "AttachStderr", !exec->detach && !tty, "Tty", tty,
				 "Cmd", json_object_get(process, "args"));
	static const char *const SAME[][2] = {{"env", "Env"}, {"cwd", "WorkingDir"}};
	for (size_t i = 0; body && i < ARRAY_LEN(SAME); i++) {
		json_t *value = json_object_get(process, SAME[i][0]);
		if (value && json_object_set(body, SAME[i][1], value) < 0) {
			json_decref(body);
			return NULL;
		}
	}
	if (body && user && json_object_set_new(body, "User", json_string(user)) < 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

/* POST /containers/ID/exec: the program is described, and gets an id. */
static int exec_make(const struct running *run, const struct driver_exec *exec,
		     const json_t *process, char **ret_id, struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/containers/%s/exec", exec->id);
	AUTO_FREE char *user = NULL;
	int r = user_text(process, &user);
	AUTO_JSON json_t *body = r == 0 ? exec_body(exec, process, user) : NULL;
	AUTO_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	if (!text)
		return driver_fail_set(error, -ENOMEM, "%s", run->what);
	struct engine_request request = {.what = run->what, .method = "POST", .path = path,
					 .body = text, .body_len = strlen(text)};
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	AUTO_JSON json_t *answer = NULL;
	r = engine_http(run->engine, run->call, &request, &reply, error);
	if (r == 0)
		r = engine_json(run->what, &reply.body, JSON_OBJECT, &answer, error);
	if (r < 0)
		return r;
	const char *id = engine_text(answer, "Id");
	if (!id || !driver_id_valid(id))
		return driver_fail(error, DRIVER_ENGINE, buf_str(&reply.body),
				   "%s: the engine's answer has no Id", run->what);
	*ret_id = strdup(id);
	return *ret_id ? 0 : driver_fail_set(error, -ENOMEM, "%s", run->what);
}

struct state {
	bool running;
	pid_t pid; /* 0: not known */
	int exit_code; /* -1: not known */
};

static int exec_state(const struct running *run, const struct driver_call *call, struct state *ret,
		      struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/exec/%s/json", run->id);
	AUTO_JSON json_t *answer = NULL;
	int r = engine_get(run->engine, call, run->what, path, &answer, error);
	if (r < 0)
		return r;
	uint64_t pid = engine_number(answer, "Pid"), code = engine_number(answer, "ExitCode");
	*ret = (struct state){.running = engine_true(answer, "Running"),
			      .pid = run->engine->same_pids && pid <= INT32_MAX ? (pid_t)pid : 0,
			      .exit_code = code <= UINT8_MAX ? (int)code : -1};
	return 0;
}

/*
 * Kills a program whose caller is gone; engines have no request for it. It is the right process:
 * it still ran after the descriptor was made. Whether it is over.
 */
static bool exec_kill(const struct running *run)
{
	struct driver_call call = {.deadline = deadline_in_ms(DRIVER_ENGINE_CLEAN_MS)};
	struct state before, after;
	if (exec_state(run, &call, &before, NULL) < 0)
		return false;
	if (!before.running || before.pid == 0)
		return !before.running;
	AUTO_CLOSE int pidfd = pidfd_open(before.pid, 0);
	if (pidfd < 0 || exec_state(run, &call, &after, NULL) < 0)
		return false;
	if (!after.running || after.pid != before.pid)
		return !after.running;
	return pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH;
}

/* The output has ended, and the engine will know the exit code in a moment. */
static int exec_result(const struct running *run, struct driver_executed *ret,
		       struct driver_error *error)
{
	struct state now;
	for (;;) {
		int r = exec_state(run, run->call, &now, error);
		if (r < 0)
			return r;
		if (!now.running)
			break;
		if (cancel_fired(run->call->cancel))
			return engine_cut(run->what, run->call, -ECANCELED, error);
		if (deadline_passed(run->call->deadline))
			return engine_cut(run->what, run->call, -ETIMEDOUT, error);
		clock_sleep_ms(DRIVER_ENGINE_LOOK_MS, run->call->deadline);
	}
	if (now.exit_code < 0)
		return driver_fail(error, DRIVER_ENGINE, NULL,
				   "%s: the engine does not say how it ended", run->what);
	*ret = (struct driver_executed){.exit_code = now.exit_code};
	return 0;
}

/* A size that cannot be set is no reason to end the program. */
static void resize(void *data, unsigned int rows, unsigned int columns)
{
	const struct running *run = data;
	char path[ENGINE_PATH_MAX];
	struct driver_call call = {
		.deadline = deadline_earlier(run->call->deadline,
					     deadline_in_ms(DRIVER_ENGINE_CLEAN_MS)),
		.cancel = run->call->cancel};
	(void)snprintf(path, sizeof(path), "/exec/%s/resize?h=%u&w=%u", run->id, rows, columns);
	(void)engine_post(run->engine, &call, run->what, path, NULL);
}

/* Both ends of a terminal: the master goes to the caller, the other is a pipe for us. */
static int terminal_make(const char *console_socket, const struct driver_call *call,
			 const char *what, int *ret_fd, struct driver_error *error)
{
	AUTO_CLOSE int sock = -1;
	AUTO_CLOSE int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || unlockpt(master) < 0)
		return driver_fail_set(error, -errno, "%s: make a terminal", what);
	AUTO_CLOSE int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct termios raw;
	if (fd < 0 || tcgetattr(fd, &raw) < 0)
		return driver_fail_set(error, -errno, "%s: make a terminal", what);
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return driver_fail_set(error, -errno, "%s: make a terminal", what);
	int r = engine_dial(console_socket, call, what, &sock, error);
	if (r < 0)
		return r;
	r = fdpass_send(sock, "engine", strlen("engine"), master);
	if (r < 0)
		return driver_fail_set(error, r, "%s: hand over the terminal", what);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* With its stdio, until its end. */
static int exec_attached(const struct running *run, const struct driver_exec *exec,
			 const json_t *process, struct driver_executed *ret,
			 struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/exec/%s/start", run->id);
	AUTO_CLOSE int terminal = -1;
	AUTO_FINISH(engine_hijacked) struct engine_hijacked hijacked = {.fd = -1};
	struct engine_pump pump = {.what = run->what, .tty = run->tty, .size_fd = -1,
				   .stdio = {exec->stdio[0], exec->stdio[1], exec->stdio[2]},
				   .resize = resize, .data = (void *)(uintptr_t)run};
	int r = 0;
	if (run->tty && exec->console_socket) {
		r = terminal_make(exec->console_socket, run->call, run->what, &terminal, error);
		pump.stdio[0] = pump.stdio[1] = terminal;
	}
	for (int i = 1; run->tty && i >= 0; i--)
		pump.size_fd = pump.stdio[i] >= 0 && isatty(pump.stdio[i]) ? pump.stdio[i]
									   : pump.size_fd;
	if (r == 0)
		r = engine_hijack(run->engine, run->call, run->what, path,
				  run->tty ? "{\"Detach\":false,\"Tty\":true}"
					   : "{\"Detach\":false,\"Tty\":false}",
				  &hijacked, error);
	const json_t *size = json_object_get(process, "consoleSize");
	uint64_t rows = engine_number(size, "height"), columns = engine_number(size, "width");
	if (r == 0 && run->tty && rows <= UINT16_MAX && columns <= UINT16_MAX)
		resize((void *)(uintptr_t)run, (unsigned int)rows, (unsigned int)columns);
	if (r == 0)
		r = engine_pump(&hijacked, run->call, &pump, error);
	return r < 0 ? r : exec_result(run, ret, error);
}

static int exec_detached(const struct running *run, struct driver_executed *ret,
			 struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/exec/%s/start", run->id);
	const char *body = run->tty ? "{\"Detach\":true,\"Tty\":true}"
				    : "{\"Detach\":true,\"Tty\":false}";
	struct engine_request request = {.what = run->what, .method = "POST", .path = path,
					 .body = body, .body_len = strlen(body)};
	int r = engine_http(run->engine, run->call, &request, NULL, error);
	struct state now = {0};
	if (r == 0)
		r = exec_state(run, run->call, &now, error);
	if (r == 0)
		*ret = (struct driver_executed){.pid = now.running ? now.pid : 0, .exit_code = -1};
	return r;
}

static int process_parse(const struct driver_exec *exec, const char *what, json_t **ret,
			 struct driver_error *error)
{
	struct err err = {0};
	AUTO_JSON json_t *process = NULL;
	json_t *args = NULL;
	int r = json_parse_object(exec->process, exec->process_len, "process", &process, &err);
	if (r == 0)
		r = json_get_array(process, "args", JSON_NEED, &args, &err);
	if (r < 0)
		return driver_fail(error, DRIVER_INVALID, NULL, "%s: %s", what, err_text(&err));
	*ret = steal_ptr(&process);
	return 0;
}

int engine_exec(void *conn, const struct driver_call *call, const struct driver_exec *exec,
		struct driver_executed *ret, struct driver_error *error)
{
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "run a program in container %s", exec->id);
	struct running run = {.engine = conn, .call = call, .what = what};
	AUTO_JSON json_t *process = NULL;
	AUTO_FREE char *id = NULL;
	if (exec->n_preserve_fds > 0)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "%s: %s takes no descriptors but stdio", what,
				   run.engine->info.name);
	int r = process_parse(exec, what, &process, error);
	if (r < 0)
		return r;
	run.tty = engine_true(process, "terminal");
	r = exec_make(&run, exec, process, &id, error);
	if (r < 0)
		return r;
	run.id = id;
	struct driver_error why = {0};
	r = exec->detach ? exec_detached(&run, ret, &why)
			 : exec_attached(&run, exec, process, ret, &why);
	if (r < 0 && !exec_kill(&run))
		(void)driver_fail(&why, why.code, why.raw, "%s; the program may still run",
				  err_text(&why.err));
	if (r < 0 && error)
		*error = why;
	return r;
}
