/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/json.h"
#include "exec/logs.h"
#include "exec/monitor.h"
#include "tests/unit/bundlekit.h"

/*
 * Monitors in processes of their own (this program again, started as
 * "monitor"), with crun and runc and a bundle of busybox.
 */
struct rig {
	const char *runtime;
	struct kit kit;
	char store[128];
	struct container *container;
	int fd;	       /* the launcher's connection; -1 */
	pid_t init;
	struct buf got; /* output that was received */
	struct buf got_err;
};

static struct rig RIGS[] = {{.runtime = "crun"}, {.runtime = "runc"}};

/*
 * A runtime whose init takes its time before it executes the program: until there is a file "go" in
 * the bundle. A signal that meets it before that ends it with 2, as runc's does.
 */
static void end_with_2(int sig)
{
	(void)sig;
	_exit(2);
}

static int slow_create(void *data, const struct driver_call *call,
		       const struct driver_create *create, struct driver_created *ret,
		       struct driver_error *error)
{
	(void)data;
	(void)error;
	char go[PATH_MAX];
	(void)snprintf(go, sizeof(go), "%s/go", create->bundle);
	char *id = strdup(create->id);
	pid_t pid = id ? fork() : -1;
	if (pid < 0) {
		free(id);
		return -ENOMEM;
	}
	if (pid == 0) {
		struct sigaction act = {.sa_handler = end_with_2};
		sigset_t none;
		(void)sigemptyset(&none);
		(void)sigaction(SIGTERM, &act, NULL);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		for (int i = 1; i < 3; i++)
			(void)dup2(create->stdio[i], i);
		while (access(go, F_OK) < 0 && !deadline_passed(call->deadline))
			clock_sleep_ms(1, 0);
		(void)execl("/bin/busybox", "sleep", "1000", NULL);
		_exit(3);
	}
	*ret = (struct driver_created){.id = id, .pid = pid};
	return 0;
}

static int slow_connect(const struct driver_options *options, const struct driver_call *call,
			void **ret, struct driver_error *error)
{
	static char conn;
	(void)options;
	(void)call;
	(void)error;
	*ret = &conn;
	return 0;
}

static void slow_close(void *data)
{
	(void)data;
}

static int slow_remove(void *data, const struct driver_call *call, const char *id, bool force,
		       struct driver_error *error)
{
	(void)data;
	(void)call;
	(void)id;
	(void)force;
	(void)error;
	return 0;
}

static const struct driver SLOW = {
	.version = DRIVER_VERSION, .name = "slow", .connect = slow_connect, .close = slow_close,
	.create = slow_create, .remove = slow_remove,
};

/*
 * argv: "monitor" runtime state store id flags. Flags: t tty, i stdin, o output, c created, x timeout,
 * s slow runtime.
 */
static int mark(void *data, int exit_code, struct err *err)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", exit_code);
	const struct container *container = data;
	AUTO_CLOSE int fd = openat(container_dirfd(container), "cleaned",
				   O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? err_set(err, -errno, "mark") : file_write(fd, text, (size_t)n);
}

/* In a thread, before the other: a race for sanitizers to see, if there is one. */
static void note_ended(void *data)
{
	const struct container *container = data;
	AUTO_CLOSE int fd = openat(container_dirfd(container), "ended",
				   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || faccessat(container_dirfd(container), "cleaned", F_OK, 0) == 0)
		abort(); /* twice, or late */
}

static int note_created(void *data, pid_t init, struct driver_error *error)
{
	(void)error;
	const struct container *container = data;
	AUTO_CLOSE int fd = openat(container_dirfd(container), "created",
				   O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 && init > 0 ? 0 : -EIO;
}

static int as_monitor(char **argv)
{
	struct driver_options options = {.address = argv[2], .path_env = KIT_PATH,
					 .state_root = argv[3]};
	const char *flags = argv[6];
	struct driver_error why = {0};
	struct driver_call call = kit_call();
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	AUTO(container) struct container *container = NULL;
	if (container_open(argv[4], argv[5], &container, &why.err) < 0 ||
	    driver_connect(strchr(flags, 's') ? &SLOW : driver_oci(), &options, &call, &conn, &why) < 0) {
		monitor_launch_failed(MONITOR_FD_LAUNCH, &why);
		return 1;
	}
	struct monitor_config config = {
		.conn = conn, .container = container, .launch_fd = MONITOR_FD_LAUNCH,
		.launcher_output = strchr(flags, 'o') != NULL,
		.tty = strchr(flags, 't') != NULL,
		.open_stdin = strchr(flags, 'i') != NULL,
		.stdin_once = true,
		.rows = 40, .columns = 100,
		.stop_timeout_ms = strchr(flags, 'k') ? 1 : 0,
		.run_timeout_ms = strchr(flags, 'x') ? 1 : 0,
		.created = strchr(flags, 'c') ? note_created : NULL,
		.ended = note_ended,
		.cleanup = mark,
		.data = container,
	};
	return monitor_run(&config, &why) < 0;
}

static struct rig *rig_of(void **state)
{
	struct rig *rig = *state;
	const char *lacks = kit_lacks(rig->runtime);
	if (lacks) {
		print_message("# SKIP %s: %s\n", rig->runtime, lacks);
		skip();
	}
	return rig;
}

static int setup(void **state)
{
	struct rig *rig = *state;
	if (kit_lacks(rig->runtime))
		return 0;
	kit_make(&rig->kit);
	(void)snprintf(rig->store, sizeof(rig->store), "%s/containers", rig->kit.dir);
	struct err err = {0};
	AUTO_JSON json_t *extra = json_pack("{s:s}", "image", "busybox");
	assert_ok(container_create(rig->store, rig->kit.id, extra, &rig->container, &err), &err);
	rig->fd = -1;
	rig->got = buf_make(8 << 20);
	rig->got_err = buf_make(1 << 20);
	return 0;
}

/* Waits for the lock: the monitor's last act. */
static void await_monitor(struct rig *rig)
{
	deadline_t until = deadline_in_ms(KIT_CALL_MS);
	while (container_is_locked(rig->container)) {
		assert_false(deadline_passed(until));
		clock_sleep_ms(5, 0);
	}
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	if (kit_lacks(rig->runtime))
		return 0;
	cleanup_close(&rig->fd);
	AUTO_FINISH(container_state) struct container_state now = {0};
	struct err err = {0};
	if (container_state_read(rig->container, &now, &err) == 0 && container_monitor_alive(&now))
		(void)kill(now.monitor, SIGTERM);
	await_monitor(rig);
	container_close(rig->container);
	buf_finish(&rig->got);
	buf_finish(&rig->got_err);
	kit_remove(&rig->kit);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return 0;
}

static int launch(struct rig *rig, const char *line, const char *flags, struct driver_error *why)
{
	kit_config_in(&rig->kit, container_path(rig->container), line, strchr(flags, 't') != NULL);
	char program[] = "test_monitor", verb[] = "monitor";
	AUTO_FREE char *runtime = strdup(rig->runtime);
	AUTO_FREE char *copy = strdup(flags);
	char *argv[] = {program, verb, runtime, rig->kit.state, rig->store, rig->kit.id, copy,
			NULL};
	char *envp[] = {NULL};
	struct monitor_launch start = {.program = "/proc/self/exe", .argv = argv, .envp = envp,
				       .log_fd = STDERR_FILENO};
	struct driver_call call = kit_call();
	struct monitor_launched launched = {0};
	int r = monitor_launch(&start, &call, &rig->fd, &launched, why);
	rig->init = launched.init;
	if (r == 0)
		assert_true(launched.ready_ns > 0 && launched.started_ns >= launched.ready_ns &&
			    launched.started_ns <= clock_now_ns());
	return r;
}

static void launch_ok(struct rig *rig, const char *line, const char *flags)
{
	struct driver_error why = {0};
	assert_ok(launch(rig, line, flags, &why), &why.err);
	assert_true(rig->init > 0);
}

/* Receives until the container is over; its exit code. */
static int run_out(struct rig *rig, int fd)
{
	struct attach_message *message = malloc(sizeof(*message));
	assert_non_null(message);
	deadline_t until = deadline_in_ms(KIT_CALL_MS);
	int code = -1, r;
	while ((r = attach_receive(fd, message, until)) == 0) {
		if (message->word == ATTACH_STDOUT)
			assert_int_equal(buf_append(&rig->got, message->data, message->n), 0);
		if (message->word == ATTACH_STDERR)
			assert_int_equal(buf_append(&rig->got_err, message->data, message->n), 0);
		if (message->word == ATTACH_EXIT)
			code = attach_number(message);
	}
	free(message);
	assert_int_equal(r, -ECONNRESET);
	return code;
}

/* Receives until this was said. */
static void hear(struct rig *rig, int fd, const char *words)
{
	struct attach_message *message = malloc(sizeof(*message));
	assert_non_null(message);
	deadline_t until = deadline_in_ms(KIT_CALL_MS);
	while (!strstr(buf_str(&rig->got), words)) {
		assert_int_equal(attach_receive(fd, message, until), 0);
		if (message->word == ATTACH_STDOUT)
			assert_int_equal(buf_append(&rig->got, message->data, message->n), 0);
	}
	free(message);
}

static void send_input(struct rig *rig, const char *text)
{
	assert_int_equal(attach_send(rig->fd, ATTACH_STDIN, text, strlen(text),
				     deadline_in_ms(KIT_CALL_MS)), 0);
}

static int collect(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		   size_t n)
{
	struct buf *all = data;
	assert_true(time_ns > 0);
	return buf_printf(all, "%d:%.*s", (int)stream, (int)n, (const char *)bytes);
}

static void check_state(struct rig *rig, enum container_phase phase, int code)
{
	AUTO_FINISH(container_state) struct container_state now = {0};
	struct err err = {0};
	assert_ok(container_state_read(rig->container, &now, &err), &err);
	assert_int_equal(now.phase, phase);
	assert_int_equal(now.exit_code, code);
	assert_true(now.finished_ns >= now.started_ns);
	assert_false(container_init_alive(&now));
	assert_string_equal(json_string_value(json_object_get(now.extra, "image")), "busybox");
	assert_int_equal(faccessat(container_dirfd(rig->container), "ended", F_OK, 0),
			 phase == CONTAINER_EXITED ? 0 : -1);
	AUTO_FINISH(buf) struct buf cleaned = buf_make(16);
	assert_ok(file_slurp(container_dirfd(rig->container), "cleaned", &cleaned, &err), &err);
	char want[16];
	(void)snprintf(want, sizeof(want), "%d", code);
	assert_string_equal(buf_str(&cleaned), want);
}

static void test_output_and_code(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "echo one; echo two >&2; printf three; exit 5", "o");
	assert_int_equal(run_out(rig, rig->fd), 5);
	assert_string_equal(buf_str(&rig->got), "one\nthree");
	assert_string_equal(buf_str(&rig->got_err), "two\n");
	await_monitor(rig);
	check_state(rig, CONTAINER_EXITED, 5);

	AUTO_FINISH(buf) struct buf all = buf_make(4096);
	struct err err = {0};
	struct driver_logs want = {.tail = DRIVER_UNKNOWN, .line = collect, .data = &all};
	assert_ok(logs_read(container_dirfd(rig->container), CONTAINER_LOG, &want, -1, NULL, &err),
		  &err);
	assert_non_null(strstr(buf_str(&all), "1:one\n"));
	assert_non_null(strstr(buf_str(&all), "2:two\n"));
	assert_non_null(strstr(buf_str(&all), "1:three"));
}

static void test_created_then_started(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "exit 77", "oc");
	assert_int_equal(run_out(rig, rig->fd), 77);
	assert_int_equal(faccessat(container_dirfd(rig->container), "created", F_OK, 0), 0);
	await_monitor(rig);
	check_state(rig, CONTAINER_EXITED, 77);
}

static void test_input(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "cat; echo end", "oi");
	send_input(rig, "some ");
	hear(rig, rig->fd, "some ");
	send_input(rig, "words\n");
	assert_int_equal(attach_send(rig->fd, ATTACH_STDIN_END, NULL, 0, 0), 0);
	assert_int_equal(run_out(rig, rig->fd), 0);
	assert_string_equal(buf_str(&rig->got), "some words\nend\n");
}

static void test_terminal(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "stty size; read x; stty size; echo got $x; exit 9", "oit");
	hear(rig, rig->fd, "40 100\r\n");
	assert_int_equal(attach_send_resize(rig->fd, 25, 77, 0), 0);
	send_input(rig, "typed\n");
	assert_int_equal(run_out(rig, rig->fd), 9);
	assert_non_null(strstr(buf_str(&rig->got), "25 77\r\n"));
	assert_non_null(strstr(buf_str(&rig->got), "got typed\r\n"));
	assert_int_equal(faccessat(container_dirfd(rig->container), "console", F_OK, 0), -1);
}

/* The launcher goes; others come, two at once; one goes, and the container does not care. */
static void test_attach(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "trap 'echo bye; exit 4' USR1; while :; do echo tick; sleep 1; done", "");
	cleanup_close(&rig->fd);
	rig->fd = -1;
	assert_true(container_is_locked(rig->container));
	struct err err = {0};
	int a = -1, b = -1;
	assert_ok(attach_connect(container_dirfd(rig->container), &a, &err), &err);
	assert_ok(attach_connect(container_dirfd(rig->container), &b, &err), &err);
	assert_int_equal(attach_send(a, ATTACH_OUTPUT, NULL, 0, 0), 0);
	assert_int_equal(attach_send_signal(b, 0x7f, 0), 0); /* no such signal: nothing happens */
	(void)close(b);
	hear(rig, a, "tick");
	assert_int_equal(attach_send_signal(a, SIGUSR1, 0), 0);
	assert_int_equal(run_out(rig, a), 4);
	assert_non_null(strstr(buf_str(&rig->got), "\nbye\n"));
	(void)close(a);
	await_monitor(rig);
	assert_err(attach_connect(container_dirfd(rig->container), &a, &err), -ENOENT, &err,
		   "not running");
}

/* SIGTERM means nothing to a shell that is pid 1: SIGKILL follows. */
static void test_stop(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "while :; do sleep 1; done", "ok");
	AUTO_FINISH(container_state) struct container_state now = {0};
	struct err err = {0};
	assert_ok(container_state_read(rig->container, &now, &err), &err);
	assert_int_equal(now.phase, CONTAINER_RUNNING);
	assert_true(container_init_alive(&now) && container_monitor_alive(&now));
	assert_int_equal(kill(now.monitor, SIGTERM), 0);
	assert_int_equal(run_out(rig, rig->fd), 128 + SIGKILL);
	await_monitor(rig);
	check_state(rig, CONTAINER_EXITED, 128 + SIGKILL);
}

/* A signal that comes before init is the container's program is the program's all the same. */
static void test_stop_before_exec(void **state)
{
	enum { TO_BE_WRONG_MS = 200 };
	struct rig *rig = rig_of(state);
	launch_ok(rig, "true", "os");
	AUTO_FINISH(container_state) struct container_state now = {0};
	struct err err = {0};
	assert_ok(container_state_read(rig->container, &now, &err), &err);
	assert_int_equal(kill(now.monitor, SIGTERM), 0);
	clock_sleep_ms(TO_BE_WRONG_MS, 0);
	AUTO_CLOSE int go = openat(container_dirfd(rig->container), "go",
				   O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(go >= 0);
	assert_int_equal(run_out(rig, rig->fd), 128 + SIGTERM);
	await_monitor(rig);
	check_state(rig, CONTAINER_EXITED, 128 + SIGTERM);
}

static void test_timeout(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "while :; do sleep 1; done", "okx");
	assert_int_equal(run_out(rig, rig->fd), 128 + SIGKILL);
}

static void test_not_started(void **state)
{
	struct rig *rig = rig_of(state);
	struct driver_error why = {0};
	(void)snprintf(rig->kit.bundle, sizeof(rig->kit.bundle), "/nonexistent");
	int r = launch(rig, "true", "o", &why);
	assert_true(r < 0);
	assert_non_null(strstr(err_text(&why.err), rig->kit.id));
	await_monitor(rig);
	check_state(rig, CONTAINER_FAILED, -1);
}

/* More than every queue holds, to a reader that comes late. */
static void test_flood(void **state)
{
	struct rig *rig = rig_of(state);
	launch_ok(rig, "i=0; while [ $i -lt 300 ]; do cat /bin/busybox | head -c 10000; i=$((i+1)); done", "o");
	clock_sleep_ms(200, 0);
	assert_int_equal(run_out(rig, rig->fd), 0);
	assert_int_equal(rig->got.len, 3000000);
}

#define RIG(test, n) \
	{#test, test, setup, teardown, &RIGS[n]}

int main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "monitor") == 0)
		return as_monitor(argv);
	const struct CMUnitTest tests[] = {
		RIG(test_output_and_code, 0),	   RIG(test_output_and_code, 1),
		RIG(test_created_then_started, 0), RIG(test_created_then_started, 1),
		RIG(test_input, 0),		   RIG(test_input, 1),
		RIG(test_terminal, 0),		   RIG(test_terminal, 1),
		RIG(test_attach, 0),		   RIG(test_attach, 1),
		RIG(test_stop, 0),		   RIG(test_stop, 1),
		RIG(test_stop_before_exec, 0),
		RIG(test_timeout, 0),		   RIG(test_not_started, 0),
		RIG(test_not_started, 1),	   RIG(test_flood, 0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
