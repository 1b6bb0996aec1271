/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "base/spawn.h"
#include "exec/driver_oci_priv.h"
#include "exec/hybrid.h"

enum {
	ARGS_MAX = 64,	     /* of one command line */
	LOG_MAX = 256 * 1024, /* bytes of a runtime's log that are read */
	STDERR_MAX = 64 * 1024,
	FIRST_PRESERVED_FD = 3,
};

/*
 * What runtimes say. There is no other interface to their errors: these are
 * the words of crun 1.4 … 1.14 and runc 1.1; the first that is found counts.
 */
static const struct {
	const char *words;
	enum driver_code code;
	bool program;
} SAYINGS[] = {
	{"in hybrid mode not supported", DRIVER_UNSUPPORTED, false},
	{"already exists", DRIVER_EXISTS, false},
	{"given ID already exists", DRIVER_EXISTS, false},
	{"container does not exist", DRIVER_NOT_FOUND, false},
	{"/status`: No such file", DRIVER_NOT_FOUND, false}, /* crun's state of a container */
	{"cannot open directory `", DRIVER_NOT_FOUND, false}, /* … to delete it */
	{"cannot open directory '", DRIVER_NOT_FOUND, false},
	{"does not exist", DRIVER_NOT_FOUND, false},
	{"exec.fifo`: No such file", DRIVER_INVALID, false}, /* crun: started already */
	{"is not in `created`", DRIVER_INVALID, false},
	{"already running container", DRIVER_INVALID, false},
	{"that is not stopped", DRIVER_INVALID, false},
	{"is not running", DRIVER_INVALID, false},
	{"container not running", DRIVER_INVALID, false},
	{"stopped container", DRIVER_INVALID, false},
	{"not paused", DRIVER_INVALID, false},
	{"paused state", DRIVER_INVALID, false},
	{"already paused", DRIVER_INVALID, false},
	{"` is paused", DRIVER_INVALID, false},
	{"paused container", DRIVER_INVALID, false},
	{"init still running", DRIVER_INVALID, false},
	{"No such process", DRIVER_INVALID, false},
	{"executable file `", DRIVER_NOT_FOUND, true},
	{"executable file not found", DRIVER_NOT_FOUND, true},
	{"open executable: Permission denied", DRIVER_DENIED, true},
	{"open executable: Operation not permitted", DRIVER_DENIED, true}, /* a directory */
	{"open executable: No such file", DRIVER_NOT_FOUND, true},
	{"cannot use console socket", DRIVER_UNSUPPORTED, false}, /* runc exec: not detached */
	{"not supported", DRIVER_UNSUPPORTED, false},
	{"unsupported", DRIVER_UNSUPPORTED, false},
	{"Function not implemented", DRIVER_UNSUPPORTED, false},
	{"unknown version", DRIVER_UNSUPPORTED, false},
	{"invalid configuration", DRIVER_INVALID, false},
	{"cannot parse", DRIVER_INVALID, false},
	{"invalid argument", DRIVER_INVALID, false},
	{"Invalid argument", DRIVER_INVALID, false},
	{"ermission denied", DRIVER_DENIED, false},
	{"peration not permitted", DRIVER_DENIED, false},
};

/* runc: exec failed: … exec: "/x": stat /x: no such file or directory. */
static bool classify_go_exec(const char *text, enum driver_code *ret)
{
	const char *exec = strstr(text, "exec: \"");
	if (!exec)
		return false;
	bool denied = strstr(exec, "permission denied") || strstr(exec, "is a directory") ||
		      strstr(exec, "exec format error");
	bool missing = strstr(exec, "no such file or directory") || strstr(exec, "not found");
	if (denied || missing)
		*ret = denied ? DRIVER_DENIED : DRIVER_NOT_FOUND;
	return denied || missing;
}

enum driver_code oci_classify(const char *messages, bool *ret_program)
{
	enum driver_code code;
	*ret_program = classify_go_exec(messages, &code);
	if (*ret_program)
		return code;
	/* "executable file `/x` not found in $PATH: Permission denied" of crun. */
	const char *file = strstr(messages, "executable file `");
	if (file && strstr(file, "ermission denied")) {
		*ret_program = true;
		return DRIVER_DENIED;
	}
	for (size_t i = 0; i < ARRAY_LEN(SAYINGS); i++) {
		if (strstr(messages, SAYINGS[i].words)) {
			*ret_program = SAYINGS[i].program;
			return SAYINGS[i].code;
		}
	}
	return DRIVER_ENGINE;
}

/* One line of the log; what is below an error is left out. */
static int add_message(const char *line, size_t n, struct buf *out)
{
	const char *text = NULL, *level = NULL;
	AUTO_JSON json_t *entry = NULL;
	if (json_parse_object(line, n, "log", &entry, NULL) == 0) {
		(void)json_get_str(entry, "msg", JSON_MAY, &text, NULL);
		(void)json_get_str(entry, "level", JSON_MAY, &level, NULL);
		if (level && strcmp(level, "error") != 0 && strcmp(level, "fatal") != 0)
			return 0;
		if (!text)
			return 0;
		line = text;
		n = strlen(text);
	}
	if (n == 0)
		return 0;
	int r = out->len > 0 ? buf_puts(out, "; ") : 0;
	return r < 0 ? r : buf_append(out, line, n);
}

int oci_log_messages(const char *log, size_t n, struct buf *out)
{
	while (n > 0) {
		const char *end = memchr(log, '\n', n);
		size_t len = end ? (size_t)(end - log) : n;
		int r = add_message(log, len, out);
		if (r == -E2BIG)
			return 0; /* the first ones say why */
		if (r < 0)
			return r;
		len += end ? 1 : 0;
		log += len;
		n -= len;
	}
	return 0;
}

/* What the process is made of; the strings are borrowed or in here. */
struct line {
	const char *argv[ARGS_MAX];
	size_t n;
	char log[32];
};

static int line_add(struct line *line, const char *arg)
{
	if (line->n + 1 >= ARGS_MAX)
		return -E2BIG;
	line->argv[line->n++] = arg;
	line->argv[line->n] = NULL;
	return 0;
}

static int line_make(struct line *line, const struct oci_conn *conn,
		     const struct oci_command *command)
{
	(void)snprintf(line->log, sizeof(line->log), "/proc/self/fd/%zu",
		       FIRST_PRESERVED_FD + command->n_preserve_fds);
	const char *const fixed[] = {conn->name,  "--root", conn->root,	      "--log",
				     line->log,	  "--log-format", "json"};
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(fixed); i++)
		r = line_add(line, fixed[i]);
	if (r == 0 && conn->systemd_cgroup)
		r = line_add(line, "--systemd-cgroup");
	if (r == 0 && conn->cgroup_manager && strcmp(conn->name, "crun") == 0) {
		r = line_add(line, "--cgroup-manager");
		if (r == 0)
			r = line_add(line, conn->cgroup_manager);
	}
	for (size_t i = 0; r == 0 && command->args[i]; i++)
		r = line_add(line, command->args[i]);
	return r;
}

/* The table: stdio, what the container gets, and the log behind it. */
static int table_make(const struct oci_command *command, int null, int log, int **ret,
		      size_t *ret_n)
{
	size_t n = FIRST_PRESERVED_FD + command->n_preserve_fds + 1;
	int *fds = calloc(n, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < FIRST_PRESERVED_FD; i++) {
		int given = command->stdio ? command->stdio[i] : -1;
		fds[i] = given >= 0 ? given : null;
	}
	if (!command->stdio)
		fds[1] = fds[2] = SPAWN_FD_AUTO;
	for (size_t i = 0; i < command->n_preserve_fds; i++)
		fds[FIRST_PRESERVED_FD + i] = command->preserve_fds[i];
	fds[n - 1] = log;
	*ret = fds;
	*ret_n = n;
	return 0;
}

/* Says why the runtime failed, out of its log or else its standard error. */
static int failed(const struct oci_conn *conn, const struct oci_command *command, int status,
		  struct buf *log, struct buf *errors, struct driver_error *error)
{
	AUTO_FINISH(buf) struct buf words = buf_make(DRIVER_RAW_MAX - 1);
	int r = oci_log_messages(buf_str(log), log->len, &words);
	if (r == 0 && words.len == 0)
		r = oci_log_messages(buf_str(errors), errors->len, &words);
	if (r < 0)
		return driver_fail_set(error, r, "%s", command->what);
	bool program = false;
	enum driver_code code = oci_classify(buf_str(&words), &program);
	const char *raw = log->len > 0 ? buf_str(log) : buf_str(errors);
	if (words.len > 0)
		r = driver_fail(error, code, raw, "%s: %s says: %s", command->what, conn->name,
				buf_str(&words));
	else if (WIFSIGNALED(status))
		r = driver_fail(error, code, raw, "%s: %s was killed by signal %d (%s)",
				command->what, conn->name, WTERMSIG(status),
				sigdescr_np(WTERMSIG(status)));
	else
		r = driver_fail(error, code, raw, "%s: %s ended with status %d and no message",
				command->what, conn->name, WEXITSTATUS(status));
	if (error)
		error->program = program;
	return r;
}

static bool has_errors(const struct buf *log)
{
	AUTO_FINISH(buf) struct buf words = buf_make(DRIVER_RAW_MAX - 1);
	return oci_log_messages(buf_str(log), log->len, &words) < 0 || words.len > 0;
}

/* The log, of which only the beginning counts. */
static void read_log(int fd, struct buf *log)
{
	char chunk[4096];
	uint64_t off = 0;
	while (log->len < LOG_MAX) {
		ssize_t n = file_pread(fd, chunk, sizeof(chunk), off);
		if (n <= 0 || buf_append(log, chunk, (size_t)n) < 0)
			return;
		off += (uint64_t)n;
	}
}

int oci_run(const struct oci_conn *conn, const struct driver_call *call,
	    const struct oci_command *command, struct buf *output, int *ret_status,
	    struct driver_error *error)
{
	AUTO_FINISH(buf) struct buf nothing = buf_make(DRIVER_OCI_OUTPUT_MAX);
	AUTO_FINISH(buf) struct buf errors = buf_make(STDERR_MAX);
	AUTO_FINISH(buf) struct buf log = buf_make(LOG_MAX + 4096);
	AUTO_FREE int *fds = NULL;
	size_t n_fds = 0;
	struct line line = {0};
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	AUTO_CLOSE int log_fd = memfd_create("runtime-log", MFD_CLOEXEC);
	AUTO_CLOSE int sealed = -1;
	int r = null < 0 || log_fd < 0 ? -errno : line_make(&line, conn, command);
	if (r == 0)
		r = table_make(command, null, log_fd, &fds, &n_fds);
	if (r < 0)
		return driver_fail_set(error, r, "%s: prepare %s", command->what, conn->name);
	struct hybrid_view view = {command->view_from, command->view_at, conn->hybrid};
	/* One that could not be made is only slower. */
	if (strcmp(conn->name, "crun") == 0)
		(void)oci_seal(conn->path, &sealed);
	struct spawn spawn = {
		.path = conn->path,
		.program = &sealed,
		.argv = line.argv,
		.env = (const char *const *)conn->env,
		.deadline = call->deadline,
		.cancel = call->cancel,
		.fds = fds,
		.n_fds = n_fds,
		.errors = command->stdio ? NULL : &errors,
		.until_exit = true,
		.prepare = command->view_from ? hybrid_view : conn->hybrid ? hybrid_enter : NULL,
		.data = &view,
	};
	struct err err = {0};
	int status = 0;
	r = spawn_run(&spawn, output ? output : &nothing, &status, &err);
	read_log(log_fd, &log);
	if (r < 0) {
		enum driver_code code = r == -ETIMEDOUT ? DRIVER_TIMEOUT :
					r == -ECANCELED ? DRIVER_CANCELLED : DRIVER_ENGINE;
		return driver_fail(error, code, buf_str(&log), "%s: %s", command->what,
				   err_text(&err));
	}
	bool success = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || command->any_status);
	if (!success || (WEXITSTATUS(status) != 0 && has_errors(&log)))
		return failed(conn, command, status, &log, &errors, error);
	if (ret_status)
		*ret_status = WEXITSTATUS(status);
	return 0;
}
