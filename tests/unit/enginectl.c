/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine drivers on the command line, for tests/system/test_engine*.py:
 *
 *	enginectl docker|podman SOCKET REQUEST…
 *
 * Each request is a JSON object, {"do": "inspect", "id": "c"}; all are made on
 * one connection, one after the other, or at once by "threads". What comes back
 * goes to standard output, a JSON object a line; a failure to standard error.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine.h"

enum { LIST_MAX = 64, THREADS_MAX = 64, DEADLINE_MS = 60000 };

struct context {
	struct driver_conn *conn;
	const json_t *request;
	struct driver_call call;
	struct driver_error why;
	uint64_t left;	/* call-backs until one ends the call; 0: none does */
	int result;	/* what that one returns */
};

static const char *text(const struct context *c, const char *key)
{
	return json_string_value(json_object_get(c->request, key));
}

static bool flag(const struct context *c, const char *key)
{
	return json_is_true(json_object_get(c->request, key));
}

static int64_t number(const struct context *c, const char *key, int64_t otherwise)
{
	const json_t *value = json_object_get(c->request, key);
	return value ? (int64_t)json_integer_value(value) : otherwise;
}

/* Borrowed strings; NULL when there is no such member. */
static const char *const *list(const struct context *c, const char *key, const char **room)
{
	const json_t *array = json_object_get(c->request, key);
	if (!array)
		return NULL;
	size_t n = 0;
	for (; n < json_array_size(array) && n + 1 < LIST_MAX; n++)
		room[n] = json_string_value(json_array_get(array, n));
	room[n] = NULL;
	return room;
}

static void show(json_t *value)
{
	char *line = value ? json_dumps(value, JSON_COMPACT) : NULL;
	if (!line)
		abort();
	flockfile(stdout);
	(void)puts(line);
	(void)fflush(stdout);
	funlockfile(stdout);
	free(line);
	json_decref(value);
}

static void on_progress(void *data, const char *line)
{
	(void)data;
	show(json_pack("{s:s}", "progress", line));
}

static int counted(struct context *c)
{
	return c->left > 0 && --c->left == 0 ? c->result : 0;
}

static int on_line(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		   size_t n)
{
	show(json_pack("{s:i, s:I, s:s%}", "stream", (int)stream, "time", (json_int_t)time_ns,
		       "bytes", (const char *)bytes, n));
	return counted(data);
}

static int on_event(void *data, const struct driver_event *event)
{
	show(json_pack("{s:i, s:s, s:I, s:i}", "kind", (int)event->kind, "id", event->id, "time",
		       (json_int_t)event->time_ns, "exit_code", event->exit_code));
	return counted(data);
}

static json_t *container_json(const struct driver_container *item)
{
	return json_pack("{s:s, s:s?, s:s?, s:s?, s:s, s:i, s:i}", "id", item->id, "name",
			 item->name, "image", item->image, "created", item->created, "status",
			 driver_status_name(item->status), "pid", (int)item->pid, "exit_code",
			 item->exit_code);
}

static int do_pull(struct context *c)
{
	struct driver_pull pull = {.image = text(c, "image"), .platform = text(c, "platform"),
				   .user = text(c, "user"), .secret = text(c, "secret"),
				   .progress = on_progress};
	return driver_pull(c->conn, &c->call, &pull, &c->why);
}

static int do_create(struct context *c)
{
	const char *entrypoint[LIST_MAX], *command[LIST_MAX], *env[LIST_MAX];
	struct driver_image image = {
		.image = text(c, "image"),
		.name = text(c, "name"),
		.entrypoint = list(c, "entrypoint", entrypoint),
		.command = list(c, "command", command),
		.env = list(c, "env", env),
		.workdir = text(c, "workdir"),
		.user = text(c, "user"),
		.labels = json_object_get(c->request, "labels"),
		.options = json_object_get(c->request, "options"),
	};
	struct driver_create create = {.id = text(c, "id"), .start = flag(c, "start"),
				       .tty = flag(c, "tty"), .open_stdin = flag(c, "stdin"),
				       .bundle = text(c, "bundle"),
				       .image = text(c, "bundle") ? NULL : &image};
	AUTO_FINISH(driver_created) struct driver_created made = {0};
	int r = driver_create(c->conn, &c->call, &create, &made, &c->why);
	if (r == 0)
		show(json_pack("{s:s, s:b}", "id", made.id, "has_pid", made.pid > 0));
	return r;
}

static int do_exec(struct context *c)
{
	AUTO_FREE char *process = json_dumps(json_object_get(c->request, "process"), 0);
	struct driver_exec exec = {.id = text(c, "id"), .process = process,
				   .process_len = process ? strlen(process) : 0,
				   .stdio = {0, 1, 2}, .detach = flag(c, "detach"),
				   .console_socket = text(c, "console")};
	struct driver_executed done = {0};
	int r = driver_exec(c->conn, &c->call, &exec, &done, &c->why);
	if (r == 0)
		show(json_pack("{s:i, s:b}", "exit_code", done.exit_code, "has_pid", done.pid > 0));
	return r;
}

static int do_wait(struct context *c)
{
	struct driver_exit done = {0};
	int r = driver_wait(c->conn, &c->call, text(c, "id"), &done, &c->why);
	if (r == 0)
		show(json_pack("{s:i}", "exit_code", done.exit_code));
	return r;
}

static int do_logs(struct context *c)
{
	struct driver_logs logs = {.id = text(c, "id"), .follow = flag(c, "follow"),
				   .tail = (uint64_t)number(c, "tail", -1),
				   .since_ns = number(c, "since", 0), .line = on_line, .data = c};
	return driver_logs(c->conn, &c->call, &logs, &c->why);
}

static int do_events(struct context *c)
{
	struct driver_events events = {.id = text(c, "id"), .event = on_event, .data = c};
	return driver_events(c->conn, &c->call, &events, &c->why);
}

static int do_list(struct context *c)
{
	AUTO_FINISH(driver_list) struct driver_list found = {0};
	int r = driver_list(c->conn, &c->call, &found, &c->why);
	for (size_t i = 0; r == 0 && i < found.n; i++)
		show(container_json(&found.items[i]));
	return r;
}

static int do_inspect(struct context *c)
{
	AUTO_FINISH(driver_container) struct driver_container found = {0};
	int r = driver_inspect(c->conn, &c->call, text(c, "id"), &found, &c->why);
	if (r == 0)
		show(container_json(&found));
	return r;
}

static int do_stats(struct context *c)
{
	struct driver_stats s = {0};
	int r = driver_stats(c->conn, &c->call, text(c, "id"), &s, &c->why);
	if (r == 0) /* unknown is -1 here */
		show(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "cpu_ns",
			       (json_int_t)s.cpu_ns, "cpu_user_ns", (json_int_t)s.cpu_user_ns,
			       "cpu_system_ns", (json_int_t)s.cpu_system_ns, "memory_bytes",
			       (json_int_t)s.memory_bytes, "memory_peak_bytes",
			       (json_int_t)s.memory_peak_bytes, "memory_limit",
			       (json_int_t)s.memory_limit, "pids", (json_int_t)s.pids, "pids_limit",
			       (json_int_t)s.pids_limit, "read_bytes", (json_int_t)s.read_bytes,
			       "write_bytes", (json_int_t)s.write_bytes, "oom_kills",
			       (json_int_t)s.oom_kills));
	return r;
}

static int do_info(struct context *c)
{
	const struct driver_info *info = driver_info(c->conn);
	show(json_pack("{s:s, s:s, s:s, s:s, s:b}", "driver", info->driver, "name", info->name,
		       "address", info->address, "version", info->version, "pulls",
		       (info->features & DRIVER_PULL) != 0));
	return 0;
}

static int do_start(struct context *c)
{
	return driver_start(c->conn, &c->call, text(c, "id"), &c->why);
}

static int do_pause(struct context *c)
{
	return driver_pause(c->conn, &c->call, text(c, "id"), &c->why);
}

static int do_resume(struct context *c)
{
	return driver_resume(c->conn, &c->call, text(c, "id"), &c->why);
}

static int do_kill(struct context *c)
{
	return driver_kill(c->conn, &c->call, text(c, "id"), (int)number(c, "signal", 9), &c->why);
}

static int do_delete(struct context *c)
{
	return driver_delete(c->conn, &c->call, text(c, "id"), flag(c, "force"), &c->why);
}

static const struct {
	const char *name;
	int (*run)(struct context *c);
} VERBS[] = {
	{"info", do_info},     {"pull", do_pull},   {"create", do_create}, {"start", do_start},
	{"exec", do_exec},     {"kill", do_kill},   {"wait", do_wait},	   {"pause", do_pause},
	{"resume", do_resume}, {"logs", do_logs},   {"list", do_list},	   {"inspect", do_inspect},
	{"stats", do_stats},   {"events", do_events}, {"delete", do_delete},
};

static int failed(int r, const struct driver_error *why)
{
	json_t *words = json_pack("{s:i, s:s, s:b, s:s, s:s}", "result", r, "code",
				  driver_code_name(why->code), "program", why->program, "sentence",
				  err_text(&why->err), "raw", why->raw);
	char *line = words ? json_dumps(words, JSON_COMPACT) : NULL;
	(void)fprintf(stderr, "%s\n", line ? line : "{}");
	free(line);
	json_decref(words);
	return 1;
}

static void *fire(void *data)
{
	cancel_fire(data);
	return NULL;
}

/* A call that is taken back while it is under way, "cancel" milliseconds on. */
static void *fire_later(void *data)
{
	const struct context *c = data;
	clock_sleep_ms((uint64_t)number(c, "cancel", 0), 0);
	return fire((void *)(uintptr_t)c->call.cancel);
}

static int request_run(struct context *c)
{
	AUTO(cancel) struct cancel *cancel = NULL;
	pthread_t thread;
	bool cancels = json_object_get(c->request, "cancel") != NULL;
	c->call = (struct driver_call){
		.deadline = deadline_in_ms((uint64_t)number(c, "deadline", DEADLINE_MS))};
	c->left = (uint64_t)number(c, "calls", 0);
	c->result = (int)number(c, "result", 1);
	if (cancels) {
		if (cancel_create(&cancel, NULL) < 0)
			abort();
		c->call.cancel = cancel;
		if (pthread_create(&thread, NULL, fire_later, c) != 0)
			abort();
	}
	const char *name = text(c, "do");
	int r = -ENOSYS;
	for (size_t i = 0; name && i < ARRAY_LEN(VERBS); i++)
		if (strcmp(VERBS[i].name, name) == 0)
			r = VERBS[i].run(c);
	if (cancels)
		(void)pthread_join(thread, NULL);
	return r < 0 ? failed(r, &c->why) : 0;
}

/* {"threads": N, "each": [requests]}: every thread makes all of them. */
static void *thread_main(void *data)
{
	struct context *shared = data;
	size_t i;
	intptr_t bad = 0;
	const json_t *request;
	json_array_foreach(json_object_get(shared->request, "each"), i, request)
	{
		struct context c = {.conn = shared->conn, .request = request};
		bad |= request_run(&c);
	}
	return (void *)bad;
}

static int threads_run(struct context *c)
{
	pthread_t threads[THREADS_MAX];
	size_t n = (size_t)u64_min((uint64_t)number(c, "threads", 1), THREADS_MAX);
	intptr_t bad = 0;
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, thread_main, c) != 0)
			abort();
	for (size_t i = 0; i < n; i++) {
		void *result;
		(void)pthread_join(threads[i], &result);
		bad |= (intptr_t)result;
	}
	return (int)bad;
}

static int one(struct driver_conn *conn, const char *words)
{
	AUTO_JSON json_t *request = json_loads(words, 0, NULL);
	struct context c = {.conn = conn, .request = request};
	if (!request) {
		(void)fprintf(stderr, "not JSON: %s\n", words);
		return 2;
	}
	return json_object_get(request, "threads") ? threads_run(&c) : request_run(&c);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	const struct driver *driver =
		strcmp(argv[1], "podman") == 0 ? driver_podman() : driver_docker();
	struct driver_options options = {.address = argv[2]};
	struct driver_call call = {.deadline = deadline_in_ms(DEADLINE_MS)};
	struct driver_error why = {0};
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	int r = driver_connect(driver, &options, &call, &conn, &why);
	if (r < 0)
		return failed(r, &why);
	int status = 0;
	for (int i = 3; i < argc; i++)
		status |= one(conn, argv[i]);
	return status;
}
