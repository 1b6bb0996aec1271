/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/exec_tty.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/console.h"

enum {
	TTY_BYTES = 16 << 10,
	TTY_START_MS = 30000, /* for the runtime to send the terminal */
};

static void copy_size(int master)
{
	struct winsize size;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		(void)console_resize(master, size.ws_row, size.ws_col);
}

/* Bytes that the terminal takes when it can; -EIO when it is gone. */
static int master_write(int master, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t done = write(master, data, n);
		struct pollfd fd = {.fd = master, .events = POLLOUT};
		if (done < 0 && errno == EAGAIN && poll(&fd, 1, -1) >= 0)
			continue;
		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			data += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

/* False at the end. */
static bool copy_output(int master)
{
	char bytes[TTY_BYTES];
	ssize_t n = read(master, bytes, sizeof(bytes));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	(void)file_write(STDOUT_FILENO, bytes, (size_t)n);
	return true;
}

static bool copy_input(int master)
{
	char bytes[TTY_BYTES];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		const char end = 4; /* ctrl-d: what a terminal's reader takes for the end */
		(void)master_write(master, &end, 1);
		return false;
	}
	return master_write(master, bytes, (size_t)n) == 0;
}

static void pump(int master, int signal_fd, int over_fd, bool interactive)
{
	bool output = true;
	while (output) {
		struct pollfd fds[] = {
			{.fd = master, .events = POLLIN},
			{.fd = interactive ? STDIN_FILENO : -1, .events = POLLIN},
			{.fd = signal_fd, .events = POLLIN},
			{.fd = over_fd, .events = POLLIN},
		};
		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return;
		if (fds[2].revents) {
			struct signalfd_siginfo info;
			if (read(signal_fd, &info, sizeof(info)) > 0)
				copy_size(master);
		}
		if (fds[1].revents)
			interactive = copy_input(master);
		if (fds[0].revents)
			output = copy_output(master);
		else if (fds[3].revents)
			return; /* others may hold the terminal open for ever */
	}
}

static void converse(int master, int over_fd, bool interactive)
{
	struct termios old, raw;
	bool changed = false;
	sigset_t set, was;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGWINCH);
	(void)pthread_sigmask(SIG_BLOCK, &set, &was);
	AUTO_CLOSE int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (interactive && isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &old) == 0) {
		raw = old;
		cfmakeraw(&raw);
		changed = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
	}
	copy_size(master);
	pump(master, signal_fd, over_fd, interactive);
	if (changed)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &old);
	(void)pthread_sigmask(SIG_SETMASK, &was, NULL);
}

/* How a process that the runtime left to us ended; we are its subreaper. */
static int wait_for(pid_t pid, int *ret_code, struct err *err)
{
	siginfo_t info = {0};
	while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0)
		if (errno != EINTR)
			return err_set(err, -errno, "wait for the command");
	*ret_code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	return 0;
}

static int tty_converse(struct console *console, pid_t pid, bool interactive, int *ret_code,
			struct err *err)
{
	struct driver_call call = {.deadline = deadline_in_ms(TTY_START_MS)};
	AUTO_CLOSE int master = -1;
	AUTO_CLOSE int pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return err_set(err, -errno, "watch the command");
	int r = console_accept(console, &call, &master, err);
	if (r < 0) {
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
		(void)wait_for(pid, ret_code, NULL);
		return r;
	}
	converse(master, pidfd, interactive);
	return wait_for(pid, ret_code, err);
}

int exec_tty(struct driver_conn *conn, struct driver_exec *request, const char *dir,
	     bool interactive, struct driver_executed *ret, struct driver_error *error)
{
	AUTO(console) struct console *console = NULL;
	struct driver_executed started = {0};
	struct err err = {0};
	int r = console_create(dir, &console, &err);
	if (r == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		r = err_set(&err, -errno, "become a subreaper");
	if (r < 0)
		return driver_fail_err(error, r, &err);
	/* runc gives a terminal only to what it does not wait for; so we do. */
	request->detach = true;
	request->console_socket = console_path(console);
	r = driver_exec(conn, NULL, request, &started, error);
	if (r < 0)
		return r;
	r = tty_converse(console, started.pid, interactive, &ret->exit_code, &err);
	return r < 0 ? driver_fail_err(error, r, &err) : 0;
}
