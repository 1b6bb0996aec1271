/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/monitor.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/le.h"
#include "base/log.h"
#include "exec/console.h"
#include "exec/monitor_priv.h"

static int64_t now_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec;
}

static void monitor_finish(struct monitor *monitor)
{
	clients_finish(&monitor->clients, container_dirfd(monitor->config->container));
	logs_destroy(monitor->logs);
	cgroup_close(monitor->cgroup);
	cleanup_close(&monitor->signals);
	cleanup_close(&monitor->pidfd);
	cleanup_close(&monitor->in);
	cleanup_close(&monitor->out);
	cleanup_close(&monitor->err);
	buf_finish(&monitor->input);
	container_state_finish(&monitor->state);
}
DEFINE_FINISH(monitor, monitor_finish);

/* Those that end a container. */
static void ending_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGHUP);
}

/* Children's ends come to this process, and signals as something to poll. */
static int prepare_process(struct monitor *monitor, struct err *err)
{
	sigset_t set;
	ending_signals(&set);
	(void)sigaddset(&set, SIGCHLD);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ||
	    sigaction(SIGPIPE, &ignore, NULL) < 0 || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return err_set(err, -errno, "start the container's monitor");
	monitor->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return monitor->signals < 0 ? err_set(err, -errno, "start the container's monitor") : 0;
}

static int open_log(struct monitor *monitor, struct err *err)
{
	const struct monitor_config *config = monitor->config;
	if (config->no_log)
		return 0;
	return logs_create(container_dirfd(config->container), CONTAINER_LOG,
			   config->log_bytes > 0 ? config->log_bytes : MONITOR_LOG_BYTES,
			   MONITOR_LOG_FILES, &monitor->logs, err);
}

/* The launcher is the first client, so that it misses nothing. */
static int add_launcher(struct monitor *monitor, struct err *err)
{
	const struct monitor_config *config = monitor->config;
	if (config->launch_fd < 0)
		return 0;
	if (fcntl(config->launch_fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ||
	    fcntl(config->launch_fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(err, -errno, "talk to who started the monitor");
	monitor->launcher = clients_add(&monitor->clients, config->launch_fd);
	if (!monitor->launcher)
		return err_set(err, -ENOMEM, "talk to who started the monitor");
	monitor->launcher->output = config->launcher_output;
	monitor->launcher->gave_input = config->launcher_output && config->open_stdin;
	return 0;
}

/* All that is needed before the runtime is called; the lock is held. */
static int prepare(struct monitor *monitor, struct err *err)
{
	const struct monitor_config *config = monitor->config;
	int r = container_state_read(config->container, &monitor->state, err);
	if (r == 0)
		r = clients_listen(&monitor->clients, container_dirfd(config->container), err);
	if (r == 0)
		r = open_log(monitor, err);
	if (r < 0)
		return r;
	monitor->state.monitor = getpid();
	proc_boot_id(monitor->state.boot_id);
	r = proc_start_time(getpid(), &monitor->state.monitor_start, NULL);
	return r < 0 ? err_set(err, r, "start the container's monitor") : 0;
}

/* The terminal's one descriptor serves both ways. */
static int take_terminal(struct monitor *monitor, struct console *console,
			 const struct driver_call *call, struct err *err)
{
	const struct monitor_config *config = monitor->config;
	int r = console_accept(console, call, &monitor->out, err);
	if (r < 0)
		return r;
	monitor->in = fcntl(monitor->out, F_DUPFD_CLOEXEC, 0);
	if (monitor->in < 0)
		return err_set(err, -errno, "keep the container's terminal");
	if (config->rows > 0 && config->columns > 0)
		(void)console_resize(monitor->out, config->rows, config->columns);
	return 0;
}

/* Gets hold of the process that the runtime made. */
static int know_init(struct monitor *monitor, pid_t pid, struct driver_error *error)
{
	struct err err = {0};
	if (pid <= 0)
		return driver_fail(error, DRIVER_ENGINE, NULL,
				   "start container %s: the runtime does not tell its process",
				   container_id(monitor->config->container));
	monitor->init = pid;
	monitor->pidfd = pidfd_open(pid, 0);
	if (monitor->pidfd < 0)
		return driver_fail_set(error, -errno, "start container %s: watch it",
				       container_id(monitor->config->container));
	monitor->state.pid = pid;
	(void)proc_start_time(pid, &monitor->state.pid_start, NULL);
	/* A program may be over before anyone looks: then there is nothing to measure. */
	if (cgroup_open(pid, &monitor->cgroup, &err) == 0)
		monitor->oom_kills = cgroup_oom_kills(monitor->cgroup);
	return 0;
}

static int create(struct monitor *monitor, const struct driver_call *call, struct console *console,
		  struct driver_error *error)
{
	const struct monitor_config *config = monitor->config;
	struct err err = {0};
	int fds[3] = {-1, -1, -1};
	int r = monitor_open_stdio(monitor, fds, &err);
	AUTO_FINISH(driver_created) struct driver_created made = {0};
	AUTO_FREE char *rootfs = NULL;
	if (r == 0 && config->rootfs_at &&
	    asprintf(&rootfs, "%s/" CONTAINER_ROOTFS, container_path(config->container)) < 0) {
		rootfs = NULL;
		r = err_set(&err, -ENOMEM, "find the root filesystem");
	}
	if (r == 0) {
		struct driver_create request = {
			.id = container_id(config->container),
			.bundle = container_path(config->container),
			.stdio = {fds[0], fds[1], fds[2]},
			.console_socket = console ? console_path(console) : NULL,
			.preserve_fds = config->preserve_fds,
			.n_preserve_fds = config->n_preserve_fds,
			.rootfs = rootfs,
			.rootfs_at = config->rootfs_at,
			/* A terminal has its size before anyone can ask for it. */
			.start = config->created == NULL && !console,
		};
		r = driver_create(config->conn, call, &request, &made, error);
	} else {
		r = driver_fail_err(error, r, &err);
	}
	for (int i = 0; i < 3; i++)
		cleanup_close(&fds[i]);
	monitor->made = r == 0;
	if (r == 0)
		r = know_init(monitor, made.pid, error);
	if (r == 0 && console) {
		r = take_terminal(monitor, console, call, &err);
		r = r < 0 ? driver_fail_err(error, r, &err) : 0;
	}
	return r;
}

static int save(struct monitor *monitor, enum container_phase phase, struct driver_error *error)
{
	struct err err = {0};
	monitor->state.phase = phase;
	int r = container_state_write(monitor->config->container, &monitor->state, &err);
	return r < 0 ? driver_fail_err(error, r, &err) : 0;
}

static int write_pidfile(const struct monitor *monitor, struct driver_error *error)
{
	const char *path = monitor->config->pidfile;
	if (!path)
		return 0;
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)monitor->init);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : file_write(fd, text, (size_t)n);
	return r < 0 ? driver_fail_set(error, r, "write the pid file %s", path) : 0;
}

static int start(struct monitor *monitor, struct driver_error *error)
{
	const struct monitor_config *config = monitor->config;
	struct err err = {0};
	sigset_t ends;
	AUTO(cancel) struct cancel *cancel = NULL;
	AUTO(console) struct console *console = NULL;
	ending_signals(&ends);
	if (cancel_on_signals(&ends, &cancel, &err) < 0)
		return driver_fail_err(error, err.code, &err);
	struct driver_call call = {.deadline = deadline_in_ms(MONITOR_START_MS), .cancel = cancel};
	if (config->tty && console_create(container_path(config->container), &console, &err) < 0)
		return driver_fail_err(error, err.code, &err);
	monitor->ready_ns = clock_now_ns();
	int r = create(monitor, &call, console, error);
	if (r == 0 && (config->created || console)) {
		r = save(monitor, CONTAINER_CREATED, error);
		if (r == 0 && config->created)
			r = config->created(config->data, monitor->init, error);
		if (r == 0)
			r = driver_start(config->conn, &call, container_id(config->container),
					 error);
	}
	monitor->started_ns = clock_now_ns();
	if (r == 0)
		r = write_pidfile(monitor, error);
	monitor->state.started_ns = now_ns();
	return r < 0 ? r : save(monitor, CONTAINER_RUNNING, error);
}

/* Has the runtime forget the container; what does not succeed is logged, and gc's to finish. */
static void delete(struct monitor *monitor)
{
	const struct monitor_config *config = monitor->config;
	const char *id = container_id(config->container);
	struct driver_call call = {.deadline = deadline_in_ms(MONITOR_DELETE_MS)};
	struct driver_error why = {0};
	monitor_reap(monitor);
	int r = monitor->init_over ? driver_delete(config->conn, &call, id, false, &why) : -EINVAL;
	if (r == -ENOENT)
		return;
	if (r < 0 && driver_delete(config->conn, &call, id, true, &why) < 0)
		log_error("%s", err_text(&why.err));
	monitor_reap(monitor);
}

static void *run_ended(void *data)
{
	const struct monitor_config *config = data;
	config->ended(config->data);
	return NULL;
}

/* Side by side. The thread has the blocked signals of this one, and so takes none of them. */
static void delete_ended(struct monitor *monitor)
{
	pthread_t thread;
	bool apart = monitor->config->ended && monitor->init_over &&
		     pthread_create(&thread, NULL, run_ended, (void *)(uintptr_t)monitor->config) == 0;
	delete(monitor);
	if (apart)
		(void)pthread_join(thread, NULL);
}

static void clean_up(const struct monitor_config *config, int exit_code)
{
	struct err err = {0};
	if (config->cleanup && config->cleanup(config->data, exit_code, &err) < 0)
		log_error("clean up after container %s: %s", container_id(config->container),
			  err_text(&err));
}

static void tell_failed(struct monitor *monitor, const struct driver_error *why)
{
	if (!monitor->launcher)
		return;
	unsigned char text[2 + ERR_TEXT_MAX] = {(unsigned char)why->code, why->program};
	size_t n = strnlen(err_text(&why->err), ERR_TEXT_MAX);
	memcpy(text + 2, err_text(&why->err), n);
	client_send(monitor->launcher, ATTACH_FAILED, text, n + 2);
	clients_farewell(&monitor->clients, MONITOR_FAREWELL_MS);
}

/* It was made, perhaps, but not started: nothing of it stays but the reason. */
static void give_up(struct monitor *monitor, const struct driver_error *why)
{
	if (monitor->made)
		delete(monitor);
	struct driver_error error = {0};
	monitor->state.finished_ns = now_ns();
	free(monitor->state.error);
	monitor->state.error = strdup(err_text(&why->err));
	if (save(monitor, CONTAINER_FAILED, &error) < 0)
		log_error("%s", err_text(&error.err));
	clean_up(monitor->config, -1);
	tell_failed(monitor, why);
}

static int exit_code(const struct monitor *monitor)
{
	return WIFEXITED(monitor->status) ? WEXITSTATUS(monitor->status) :
					    128 + WTERMSIG(monitor->status);
}

/* It ran and is over: on disk first, then told, then taken away. */
static void conclude(struct monitor *monitor)
{
	struct driver_error why = {0};
	/* Only when the loop failed: then its end is a matter of the runtime. */
	int code = monitor->init_over ? exit_code(monitor) : -1;
	monitor->state.exit_code = code;
	monitor->state.finished_ns = now_ns();
	monitor->state.oom_killed =
		monitor->cgroup && cgroup_oom_kills(monitor->cgroup) > monitor->oom_kills;
	if (save(monitor, CONTAINER_EXITED, &why) < 0)
		log_error("%s", err_text(&why.err));
	unsigned char number[4];
	le32_put(number, (uint32_t)code);
	clients_tell(&monitor->clients, ATTACH_EXIT, number, sizeof(number));
	cleanup_close(&monitor->in);
	cleanup_close(&monitor->out);
	cleanup_close(&monitor->err);
	monitor->in = monitor->out = monitor->err = -1;
	delete_ended(monitor);
	clean_up(monitor->config, code);
	clients_farewell(&monitor->clients, MONITOR_FAREWELL_MS);
}

static void tell_started(struct monitor *monitor)
{
	if (!monitor->launcher)
		return;
	unsigned char numbers[20];
	le32_put(numbers, (uint32_t)monitor->init);
	le64_put(numbers + 4, monitor->ready_ns);
	le64_put(numbers + 12, monitor->started_ns);
	client_send(monitor->launcher, ATTACH_STARTED, numbers, sizeof(numbers));
	monitor->launcher = NULL; /* a client like any other now */
}

/* Up to the lock nothing of the container's is touched: it may be another monitor's. */
static int begin(struct monitor *monitor, struct driver_error *why)
{
	struct err err = {0};
	int r = prepare_process(monitor, &err);
	if (r == 0)
		r = add_launcher(monitor, &err);
	if (r == 0)
		r = container_lock(monitor->config->container, &err);
	if (r < 0) {
		r = driver_fail_err(why, r, &err);
		tell_failed(monitor, why);
		return r;
	}
	r = prepare(monitor, &err);
	r = r < 0 ? driver_fail_err(why, r, &err) : start(monitor, why);
	if (r < 0)
		give_up(monitor, why);
	return r;
}

int monitor_run(const struct monitor_config *config, struct driver_error *error)
{
	struct driver_error why = {0};
	AUTO_FINISH(monitor) struct monitor monitor = {
		.config = config, .signals = -1, .pidfd = -1, .in = -1, .out = -1, .err = -1,
		.clients = {.listening = -1},
		.input = buf_make(ATTACH_STDIN_MAX + ATTACH_DATA_MAX),
	};
	list_init(&monitor.clients.list);
	int r = begin(&monitor, &why);
	if (r < 0) {
		if (error)
			*error = why;
		return r;
	}
	tell_started(&monitor);
	if (config->run_timeout_ms > 0)
		monitor.timeout_at = deadline_in_ms(config->run_timeout_ms);
	r = monitor_loop(&monitor, &why.err);
	if (r < 0)
		log_error("%s", err_text(&why.err));
	conclude(&monitor);
	return 0;
}
