/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	SPAWN_READ_BYTES = 4096,
	SPAWN_POLL_MS = 60000, /* one poll at most; the deadline decides */
};

struct child {
	pid_t pid; /* 0: not running */
	int input, output, pidfd;
};

static void child_finish(struct child *child)
{
	if (child->pid > 0) {
		(void)kill(-child->pid, SIGKILL);
		while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	cleanup_close(&child->input);
	cleanup_close(&child->output);
	cleanup_close(&child->pidfd);
}
DEFINE_FINISH(child, child_finish);

static int set_actions(posix_spawn_file_actions_t *actions, int in, int out)
{
	int r;
	if ((r = posix_spawn_file_actions_adddup2(actions, in, STDIN_FILENO)) != 0 ||
	    (r = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO)) != 0 ||
	    (r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY,
						  0)) != 0)
		return -r;
	return -posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	int r;
	if ((r = posix_spawnattr_setsigmask(attr, &none)) != 0 ||
	    (r = posix_spawnattr_setsigdefault(attr, &all)) != 0 ||
	    (r = posix_spawnattr_setpgroup(attr, 0)) != 0)
		return -r;
	return -posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						       POSIX_SPAWN_SETPGROUP);
}

/* posix_spawn(3) takes arrays of char * for the sake of old code; it does not change them. */
static char *const *exec_array(const char *const *list)
{
	static const char *const nothing[] = {NULL};
	union {
		const char *const *in;
		char *const *out;
	} cast = {.in = list ? list : nothing};
	return cast.out;
}

static int child_start(const struct spawn *spawn, int in, int out, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = -posix_spawnattr_init(&attr);
	if (r == 0) {
		r = set_actions(&actions, in, out);
		if (r == 0)
			r = set_attributes(&attr);
		if (r == 0)
			r = -posix_spawn(ret, spawn->path, &actions, &attr, exec_array(spawn->argv),
					 exec_array(spawn->env));
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* Writes what the socket takes. A program that does not read its input is its own affair. */
static void feed(struct child *child, const struct spawn *spawn, size_t *sent)
{
	while (*sent < spawn->input_len) {
		ssize_t n = send(child->input, (const char *)spawn->input + *sent,
				 spawn->input_len - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		*sent += (size_t)n;
	}
	cleanup_close(&child->input);
	child->input = -1;
}

/* Reads once. 0 at the end, 1 when there may be more. */
static int drain(const struct child *child, struct buf *output)
{
	int r = buf_reserve(output, 1);
	if (r < 0)
		return r;
	char bytes[SPAWN_READ_BYTES];
	ssize_t n = read(child->output, bytes, sizeof(bytes));
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	r = n > 0 ? buf_append(output, bytes, (size_t)n) : 0;
	explicit_bzero(bytes, sizeof(bytes)); /* it may be a secret */
	return r < 0 ? r : n > 0;
}

/* Moves bytes both ways until the output ends, then waits for the program. */
static int child_talk(struct child *child, const struct spawn *spawn, struct buf *output)
{
	size_t sent = 0;
	bool open = true;
	while (open || child->pid > 0) {
		struct pollfd fds[3] = {
			{.fd = open ? child->output : -1, .events = POLLIN},
			{.fd = child->input, .events = POLLOUT},
			{.fd = open ? -1 : child->pidfd, .events = POLLIN},
		};
		uint64_t left = deadline_left_ms(spawn->deadline, SPAWN_POLL_MS);
		if (left == 0)
			return -ETIMEDOUT;
		if (poll(fds, 3, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			feed(child, spawn, &sent);
		if (fds[0].revents) {
			int r = drain(child, output);
			if (r < 0)
				return r;
			open = r > 0;
		}
		if (fds[2].revents)
			return 0;
	}
	return 0;
}

static int child_run(struct child *child, const struct spawn *spawn, struct buf *output,
		     int *ret_status)
{
	int in[2], out[2];
	/* A socket, since a write to a pipe nobody reads would raise SIGPIPE in the caller. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0)
		return -errno;
	child->input = in[1];
	AUTO_CLOSE int child_in = in[0];
	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	child->output = out[0];
	AUTO_CLOSE int child_out = out[1];
	int r = child_start(spawn, child_in, child_out, &child->pid);
	if (r < 0) {
		child->pid = 0;
		return r;
	}
	cleanup_close(&child_in);
	cleanup_close(&child_out);
	child_in = child_out = -1;
	child->pidfd = pidfd_open(child->pid, 0);
	if (child->pidfd < 0)
		return -errno;
	r = child_talk(child, spawn, output);
	if (r < 0)
		return r;
	int status = 0;
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	child->pid = 0;
	*ret_status = status;
	return 0;
}

int spawn_run(const struct spawn *spawn, struct buf *output, int *ret_status, struct err *err)
{
	AUTO_FINISH(child) struct child child = {.input = -1, .output = -1, .pidfd = -1};
	int r = child_run(&child, spawn, output, ret_status);
	if (r == -ETIMEDOUT)
		return err_say(err, r, "run %s: it did not end in time and was killed", spawn->path);
	if (r == -E2BIG)
		return err_say(err, r, "run %s: it wrote more than the limit of %zu bytes",
			       spawn->path, output->max);
	return r < 0 ? err_set(err, r, "run %s", spawn->path) : 0;
}

int spawn_find(const char *path_env, const char *name, char **ret)
{
	if (name[0] == '\0' || strchr(name, '/'))
		return -EINVAL;
	for (const char *p = path_env; p;) {
		const char *end = strchrnul(p, ':');
		AUTO_FREE char *path = NULL;
		/* "" and relative entries would run whatever the current directory holds. */
		if (p[0] == '/') {
			if (asprintf(&path, "%.*s/%s", (int)(end - p), p, name) < 0) {
				path = NULL;
				return -ENOMEM;
			}
			if (access(path, X_OK) == 0) {
				*ret = steal_ptr(&path);
				return 0;
			}
		}
		p = *end ? end + 1 : NULL;
	}
	return -ENOENT;
}
