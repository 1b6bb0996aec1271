/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fusermount.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"

/* In the child: becomes fusermount3, which takes its socket's number from the environment. */
static void __attribute__((noreturn)) become(char *const *argv, int comm, int said)
{
	char variable[32];
	(void)snprintf(variable, sizeof(variable), "_FUSE_COMMFD=%d", comm);
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char *env[] = {path, comm >= 0 ? variable : NULL, NULL};
	if (comm >= 0)
		(void)fcntl(comm, F_SETFD, 0);
	if (dup2(said, STDERR_FILENO) >= 0)
		(void)execvpe(argv[0], argv, env);
	_exit(127);
}

/* Reads what it says until it has ended: 0, -ETIMEDOUT or another -errno. */
static int listen_to(int fd, char text[static FUSERMOUNT_SAID_MAX])
{
	deadline_t deadline = deadline_in_ms(FUSERMOUNT_WAIT_MS);
	size_t n = 0;
	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int r = poll(&poll_fd, 1, (int)deadline_left_ms(deadline, FUSERMOUNT_WAIT_MS));
		if (r == 0)
			return -ETIMEDOUT;
		char rest[FUSERMOUNT_SAID_MAX]; /* past the limit it is read and dropped */
		bool full = n == FUSERMOUNT_SAID_MAX - 1;
		ssize_t got = r < 0 ? -1 : read(fd, full ? rest : text + n,
						full ? sizeof(rest) : FUSERMOUNT_SAID_MAX - 1 - n);
		if (got < 0 && errno != EINTR)
			return err_errno();
		if (got == 0)
			break;
		n += got > 0 && !full ? (size_t)got : 0;
	}
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0'; /* what follows is a consequence */
	return 0;
}

/* What its end means. */
static int judge(int status, const char *said, struct err *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_say(err, -ENOENT, "fusermount3 is missing: install fuse3, or run as root");
	if (said[0] == '\0')
		return err_say(err, -EPERM, "fusermount3 failed without a word");
	/* It speaks no other language than the C locale's. */
	int r = -EPERM;
	if (strstr(said, strerrordesc_np(EBUSY)))
		r = -EBUSY;
	else if (strstr(said, "not found in"))
		r = -EINVAL;
	return err_say(err, r, "%s", said);
}

static int receive_fd(int sock, int *ret_fd)
{
	char byte;
	int fd;
	ssize_t n = fdpass_receive(sock, &byte, 1, MSG_DONTWAIT, &fd);
	if (n < 0)
		return (int)n;
	if (fd < 0)
		return n == 0 ? -EPIPE : -EPROTO;
	*ret_fd = fd;
	return 0;
}

int fusermount_run(char *const *argv, int *ret_fd, struct err *err)
{
	int said[2], comm[2];
	if (pipe2(said, O_CLOEXEC) < 0)
		return err_set(err, -errno, "start fusermount3");
	AUTO_CLOSE int hear = said[0];
	AUTO_CLOSE int say = said[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, comm) < 0)
		return err_set(err, -errno, "start fusermount3");
	AUTO_CLOSE int mine = comm[0];
	AUTO_CLOSE int theirs = comm[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_set(err, -errno, "start fusermount3");
	if (pid == 0)
		become(argv, ret_fd ? theirs : -1, say);
	(void)close(steal_fd(&say));
	(void)close(steal_fd(&theirs));

	char text[FUSERMOUNT_SAID_MAX];
	int r = listen_to(hear, text);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	int status;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return err_set(err, -errno, "wait for fusermount3");
	}
	if (r < 0)
		return err_set(err, r, "wait for fusermount3");
	r = judge(status, text, err);
	if (r < 0 || !ret_fd)
		return r;
	r = receive_fd(mine, ret_fd);
	return r < 0 ? err_set(err, r, "take /dev/fuse from fusermount3") : 0;
}
