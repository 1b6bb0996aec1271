/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/le.h"
#include "exec/monitor.h"

enum { EXIT_NOT_STARTED = 127, STARTED_BYTES = 20 };

/* For the child: sources in the order of the numbers they get, from 0 on. */
struct places {
	int *fds;
	size_t n;
	int program;
	bool again; /* as monitor_launch's, and possible */
};

/* Everything first above where it is wanted, so that nothing is overwritten before its turn. */
static int child_place(struct places *places)
{
	int above = (int)places->n;
	places->program = fcntl(places->program, F_DUPFD_CLOEXEC, above);
	if (places->program < 0)
		return -errno;
	for (size_t i = 0; i < places->n; i++)
		if ((places->fds[i] = fcntl(places->fds[i], F_DUPFD_CLOEXEC, above)) < 0)
			return -errno;
	for (size_t i = 0; i < places->n; i++)
		if (dup2(places->fds[i], (int)i) < 0)
			return -errno;
	return close_range((unsigned int)above, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

/* A monitor outlives who started it: it keeps neither a terminal nor a directory of theirs. */
static void __attribute__((noreturn)) child_exec(const struct monitor_launch *launch,
						 struct places *places)
{
	sigset_t none;
	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (child_place(places) == 0 && chdir("/") == 0 &&
	    (!places->again || again_go(launch->again, launch->argv, (int)places->n) < 0))
		(void)execveat(places->program, "", launch->argv, launch->envp, AT_EMPTY_PATH);
	_exit(EXIT_NOT_STARTED);
}

static int fork_monitor(const struct monitor_launch *launch, int theirs, pid_t *ret_pid)
{
	AUTO_CLOSE int program = open(launch->program, O_PATH | O_CLOEXEC);
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (program < 0 || null < 0)
		return -errno;
	size_t n = MONITOR_FD_LAUNCH + 1 + launch->n_fds;
	AUTO_FREE int *fds = calloc(n, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	fds[0] = null;
	fds[1] = fds[2] = launch->log_fd >= 0 ? launch->log_fd : null;
	fds[MONITOR_FD_LAUNCH] = theirs;
	for (size_t i = 0; i < launch->n_fds; i++)
		fds[MONITOR_FD_LAUNCH + 1 + i] = launch->fds[i];
	struct places places = {.fds = fds, .n = n, .program = program,
				.again = launch->again && again_possible()};
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_exec(launch, &places);
	*ret_pid = pid;
	return 0;
}

static int wait_message(int fd, const struct driver_call *call, struct attach_message *message)
{
	int r = driver_poll(fd, POLLIN, call);
	return r < 0 ? r : attach_receive(fd, message, call->deadline);
}

/* What the monitor says before the container runs. */
static int hear_start(const struct attach_message *message, struct monitor_launched *ret,
		      struct driver_error *error)
{
	if (message->word == ATTACH_STARTED) {
		ret->init = attach_number(message);
		if (message->n >= STARTED_BYTES) {
			ret->ready_ns = le64_get(message->data + 4);
			ret->started_ns = le64_get(message->data + 12);
		}
		return 0;
	}
	if (message->word != ATTACH_FAILED || message->n < 2)
		return driver_fail(error, DRIVER_ENGINE, NULL,
				   "start the container: its monitor says what nobody understands");
	enum driver_code code = message->data[0] > DRIVER_OK && message->data[0] <= DRIVER_ENGINE ?
					(enum driver_code)message->data[0] : DRIVER_ENGINE;
	int r = driver_fail(error, code, NULL, "%s", (const char *)message->data + 2);
	if (error)
		error->program = message->data[1] != 0;
	return r;
}

/* Nobody wants it any more. Whether it is gone when this returns depends on the runtime. */
static void take_back(int fd, pid_t pid, struct attach_message *message)
{
	struct driver_call call = {.deadline = deadline_in_ms(MONITOR_CANCEL_MS)};
	(void)kill(pid, SIGTERM);
	if (wait_message(fd, &call, message) == 0 && message->word == ATTACH_FAILED)
		(void)waitpid(pid, NULL, 0);
}

int monitor_launch(const struct monitor_launch *launch, const struct driver_call *call,
		   int *ret_fd, struct monitor_launched *ret, struct driver_error *error)
{
	static const struct driver_call whenever = {0};
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return driver_fail_set(error, -errno, "start the container's monitor");
	AUTO_CLOSE int mine = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	AUTO_FREE struct attach_message *message = malloc(sizeof(*message));
	pid_t pid = 0;
	int r = message ? fork_monitor(launch, theirs, &pid) : -ENOMEM;
	if (r < 0)
		return driver_fail_set(error, r, "start the container's monitor");
	cleanup_close(&theirs);
	theirs = -1;
	r = wait_message(mine, call ? call : &whenever, message);
	struct monitor_launched launched = {0};
	int heard = r == 0 ? hear_start(message, &launched, error) : r;
	if (heard == 0) {
		*ret_fd = steal_fd(&mine);
		*ret = launched;
		return 0;
	}
	/* SIGTERM has it stop what it may have started; after its last word it ends by itself. */
	if (r == -ETIMEDOUT || r == -ECANCELED)
		take_back(mine, pid, message);
	else
		(void)waitpid(pid, NULL, 0);
	if (r == 0)
		return heard;
	if (r == -ETIMEDOUT || r == -ECANCELED)
		return driver_fail(error, driver_code_from(r), NULL, "start the container: %s",
				   r == -ETIMEDOUT ? "it took too long" : "cancelled");
	return driver_fail(error, DRIVER_ENGINE, NULL,
			   "start the container: its monitor ended without a word");
}

void monitor_launch_failed(int launch_fd, const struct driver_error *error)
{
	if (launch_fd < 0)
		return;
	unsigned char text[2 + ERR_TEXT_MAX] = {(unsigned char)error->code, error->program};
	size_t n = strnlen(err_text(&error->err), ERR_TEXT_MAX);
	memcpy(text + 2, err_text(&error->err), n);
	(void)attach_send(launch_fd, ATTACH_FAILED, text, n + 2,
			  deadline_in_ms(MONITOR_FAREWELL_MS));
}
