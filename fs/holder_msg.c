/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "fs/holder_priv.h"

enum { FD_PARK = 64 }; /* above all that a child is given */

int holder_send(int sock, enum holder_word word, const struct err *why, int fd)
{
	struct holder_msg text = {.word = word};
	if (why) {
		text.code = why->code;
		(void)snprintf(text.text, sizeof(text.text), "%s", err_text(why));
	}
	return fdpass_send(sock, &text, sizeof(text), fd);
}

int holder_receive(int sock, struct holder_msg *ret, int *ret_fd)
{
	int fd;
	ssize_t n = fdpass_receive(sock, ret, sizeof(*ret), 0, &fd);
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -ECONNRESET;
	if (n != (ssize_t)sizeof(*ret) || memchr(ret->text, '\0', sizeof(ret->text)) == NULL) {
		cleanup_close(&fd);
		return -EPROTO;
	}
	if (ret_fd)
		*ret_fd = fd;
	else
		cleanup_close(&fd);
	return 0;
}

/* A holder outlives who started it: it keeps neither a pipe nor a directory of theirs in use. */
static int child_detach(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return null < 0 || dup2(null, STDIN_FILENO) < 0 || chdir("/") < 0 ? -errno : 0;
}

/* dup2() onto the numbers below, out of the way of one another. */
static int child_place(int from, int to)
{
	return from < 0 || dup2(from, to) == to ? 0 : -errno;
}

static void __attribute__((noreturn)) child_exec(const struct holder_exec *exec, bool again)
{
	sigset_t none;
	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	int program = fcntl(exec->program_fd, F_DUPFD_CLOEXEC, FD_PARK);
	int control = fcntl(exec->control, F_DUPFD_CLOEXEC, FD_PARK);
	int init = exec->init < 0 ? -1 : fcntl(exec->init, F_DUPFD_CLOEXEC, FD_PARK);
	int log = exec->log < 0 ? -1 : fcntl(exec->log, F_DUPFD_CLOEXEC, FD_PARK);
	if ((log >= 0 && child_detach() < 0) || child_place(control, HOLDER_FD_CONTROL) < 0 || child_place(init, HOLDER_FD_INIT) < 0 ||
	    child_place(init, HOLDER_FD_FUSE) < 0 || /* kept free for the connection */
	    child_place(log, STDOUT_FILENO) < 0 || child_place(log, STDERR_FILENO) < 0 ||
	    close_range(init < 0 ? HOLDER_FD_INIT : HOLDER_FD_FUSE + 1, UINT_MAX,
			CLOSE_RANGE_CLOEXEC) < 0)
		_exit(127);
	if (again)
		(void)again_go(exec->again, exec->argv, init < 0 ? HOLDER_FD_INIT : HOLDER_FD_FUSE + 1);
	(void)execveat(program, "", exec->argv, exec->envp, AT_EMPTY_PATH);
	_exit(127);
}

int holder_fork(const struct holder_exec *exec, pid_t *ret_pid)
{
	bool again = exec->again && again_possible();
	pid_t pid = fork();
	if (pid < 0)
		return err_errno();
	if (pid == 0)
		child_exec(exec, again);
	*ret_pid = pid;
	return 0;
}

void holder_launch_failed(int status_fd, const struct err *err)
{
	(void)holder_send(status_fd, HOLDER_FAILED, err, -1);
}

int holder_begin(const char *program, char *const *argv, char *const *envp, again_main again,
		 int log_fd, struct holder_begun *ret, struct err *err)
{
	AUTO_CLOSE int program_fd = open(program, O_PATH | O_CLOEXEC);
	if (program_fd < 0)
		return err_set(err, -errno, "open %s", program);
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "start the holder");
	AUTO_CLOSE int mine = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	struct holder_exec exec = {.program_fd = program_fd, .argv = argv, .envp = envp,
				   .again = again, .control = theirs, .init = -1, .log = log_fd};
	pid_t pid;
	int r = holder_fork(&exec, &pid);
	if (r < 0)
		return err_set(err, r, "start the holder");
	*ret = (struct holder_begun){.pid = pid, .sock = steal_fd(&mine)};
	return 0;
}

void holder_prepared(const struct holder_begun *begun, int fd)
{
	(void)holder_send(begun->sock, HOLDER_PREPARED, NULL, fd);
}

int holder_await(struct holder_begun *begun, struct err *err)
{
	struct holder_msg msg;
	AUTO_CLOSE int sock = steal_fd(&begun->sock);
	int r = holder_receive(sock, &msg, NULL);
	if (r == 0 && msg.word == HOLDER_SERVING)
		return 0;
	/* It is about to exit by itself; with the socket gone there is nothing else to learn. */
	(void)waitpid(begun->pid, NULL, 0);
	if (r == 0 && msg.word == HOLDER_FAILED)
		return err_say(err, msg.code < 0 ? msg.code : -EIO, "%s", msg.text);
	return err_say(err, -EIO, "the holder ended without a word");
}

void holder_cancel(struct holder_begun *begun)
{
	if (begun->sock < 0)
		return;
	cleanup_close(&begun->sock);
	begun->sock = -1;
	(void)waitpid(begun->pid, NULL, 0);
}
