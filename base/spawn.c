/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	SPAWN_READ_BYTES = 4096,
	SPAWN_POLL_MS = 60000, /* one poll at most; the deadline decides */
	SPAWN_EXIT_FAILED = 127,
};

struct child {
	pid_t pid; /* 0: not running */
	int input, output, errors, pidfd;
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
	cleanup_close(&child->errors);
	cleanup_close(&child->pidfd);
}
DEFINE_FINISH(child, child_finish);

/* What the child works with between fork and exec; all memory is the parent's doing. */
struct launch {
	const struct spawn *spawn;
	int *fds; /* what becomes descriptor 0, 1, …; -1: closed */
	size_t n_fds;
	int program; /* -1: by path */
	int status;  /* where to write the reason of a failure */
};

/* execve(2) takes arrays of char * for the sake of old code; it does not change them. */
static char *const *exec_array(const char *const *list)
{
	static const char *const nothing[] = {NULL};
	union {
		const char *const *in;
		char *const *out;
	} cast = {.in = list ? list : nothing};
	return cast.out;
}

static void child_signals(void)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};
	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &plain, NULL); /* SIGKILL, SIGSTOP and libc's own stay */
	sigset_t none;
	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* First above everything that is to be filled, so that no descriptor runs over another. */
static int child_descriptors(struct launch *launch)
{
	int above = (int)launch->n_fds;
	int status = fcntl(launch->status, F_DUPFD_CLOEXEC, above);
	if (status < 0)
		return -errno;
	launch->status = status;
	if (launch->program >= 0 &&
	    (launch->program = fcntl(launch->program, F_DUPFD_CLOEXEC, above)) < 0)
		return -errno;
	for (size_t i = 0; i < launch->n_fds; i++)
		if (launch->fds[i] >= 0 &&
		    (launch->fds[i] = fcntl(launch->fds[i], F_DUPFD_CLOEXEC, above)) < 0)
			return -errno;
	for (size_t i = 0; i < launch->n_fds; i++) {
		if (launch->fds[i] < 0)
			(void)close((int)i);
		else if (dup2(launch->fds[i], (int)i) < 0)
			return -errno;
	}
	return close_range((unsigned int)above, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

static void __attribute__((noreturn)) child_exec(struct launch *launch)
{
	const struct spawn *spawn = launch->spawn;
	child_signals();
	int r = setpgid(0, 0) < 0 ? -errno : child_descriptors(launch);
	if (r == 0 && spawn->prepare)
		r = spawn->prepare(spawn->data);
	if (r == 0) {
		if (launch->program >= 0)
			(void)execveat(launch->program, "", exec_array(spawn->argv),
				       exec_array(spawn->env), AT_EMPTY_PATH);
		(void)execve(spawn->path, exec_array(spawn->argv), exec_array(spawn->env));
		r = -errno;
	}
	/* Four bytes into an empty pipe: whole or not at all. */
	_exit(write(launch->status, &r, sizeof(r)) < 0 ? SPAWN_EXIT_FAILED + 1 : SPAWN_EXIT_FAILED);
}

/* Forks, and waits until the program runs. Otherwise the reason why not. */
static int child_fork(struct launch *launch, pid_t *ret_pid)
{
	int status[2];
	if (pipe2(status, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int mine = status[0];
	AUTO_CLOSE int theirs = status[1];
	launch->status = theirs;
	sigset_t all, before;
	(void)sigfillset(&all);
	/* No handler of the caller's may run in the child. */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	if (pid == 0)
		child_exec(launch);
	int r = pid < 0 ? -errno : 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		return r;
	(void)setpgid(pid, pid); /* both do it, so that neither is too late */
	cleanup_close(&theirs);
	theirs = -1;
	ssize_t n;
	do {
		n = read(mine, &r, sizeof(r));
	} while (n < 0 && errno == EINTR);
	if (n == 0) {
		*ret_pid = pid;
		return 0;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return n == (ssize_t)sizeof(r) && r < 0 ? r : -EIO;
}

/* The table of descriptors: ours in the first three places where the caller names none. */
static int child_start(struct child *child, const struct spawn *spawn, const int own[3])
{
	size_t n = spawn->n_fds > 3 ? spawn->n_fds : 3;
	if (n > SPAWN_FDS_MAX)
		return -E2BIG;
	AUTO_FREE int *fds = calloc(n, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		bool named = i < spawn->n_fds && spawn->fds[i] != SPAWN_FD_AUTO;
		fds[i] = named ? spawn->fds[i] : i < 3 ? own[i] : -1;
	}
	struct launch launch = {.spawn = spawn, .fds = fds, .n_fds = n,
				.program = spawn->program ? *spawn->program : -1};
	return child_fork(&launch, &child->pid);
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

/* Reads once. 0 at the end, 1 when there may be more, -EAGAIN when there is nothing now. */
static int drain(int fd, struct buf *output)
{
	int r = buf_reserve(output, 1);
	if (r < 0)
		return r;
	char bytes[SPAWN_READ_BYTES];
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	r = n > 0 ? buf_append(output, bytes, (size_t)n) : 0;
	explicit_bzero(bytes, sizeof(bytes)); /* it may be a secret */
	return r < 0 ? r : n > 0;
}

/* The same for standard error, of which only the beginning is kept. */
static int drain_errors(int fd, struct buf *errors)
{
	char bytes[SPAWN_READ_BYTES];
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	size_t room = errors->max - errors->len;
	size_t keep = (size_t)n < room ? (size_t)n : room;
	int r = keep > 0 ? buf_append(errors, bytes, keep) : 0;
	return r < 0 ? r : n > 0;
}

/* Reads what there is; closes at the end. */
static int stream_read(int *fd, struct buf *to, int (*read_once)(int fd, struct buf *to))
{
	int r = read_once(*fd, to);
	if (r == 0) {
		cleanup_close(fd);
		*fd = -1;
	}
	return r == -EAGAIN ? 0 : r;
}

/* The program has ended: what is in the pipes is all that counts. */
static int streams_rest(struct child *child, const struct spawn *spawn, struct buf *output)
{
	int r = 1;
	while (child->output >= 0 && r > 0)
		r = stream_read(&child->output, output, drain);
	while (r >= 0 && child->errors >= 0) {
		r = stream_read(&child->errors, spawn->errors, drain_errors);
		if (r <= 0)
			break;
	}
	return r < 0 ? r : 0;
}

/* Moves bytes both ways until the output ends, then waits for the program. */
static int child_talk(struct child *child, const struct spawn *spawn, struct buf *output)
{
	size_t sent = 0;
	for (;;) {
		bool open = child->output >= 0 || child->errors >= 0;
		struct pollfd fds[5] = {
			{.fd = child->output, .events = POLLIN},
			{.fd = child->errors, .events = POLLIN},
			{.fd = child->input, .events = POLLOUT},
			{.fd = open && !spawn->until_exit ? -1 : child->pidfd, .events = POLLIN},
			{.fd = cancel_fd(spawn->cancel), .events = POLLIN},
		};
		uint64_t left = deadline_left_ms(spawn->deadline, SPAWN_POLL_MS);
		if (left == 0)
			return -ETIMEDOUT;
		if (poll(fds, 5, (int)left) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (fds[4].revents)
			return -ECANCELED;
		if (fds[2].revents)
			feed(child, spawn, &sent);
		int r = fds[0].revents ? stream_read(&child->output, output, drain) : 0;
		if (r >= 0 && fds[1].revents)
			r = stream_read(&child->errors, spawn->errors, drain_errors);
		if (r < 0)
			return r;
		if (fds[3].revents)
			return streams_rest(child, spawn, output);
	}
}

/* A pipe whose reading end does not block. */
static int output_pipe(int *ret_read, int *ret_write)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
		int r = -errno;
		(void)close(fds[0]);
		(void)close(fds[1]);
		return r;
	}
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

static bool fd_is_ours(const struct spawn *spawn, size_t i)
{
	return i >= spawn->n_fds || spawn->fds[i] == SPAWN_FD_AUTO;
}

/* Makes the descriptors of its own that the program gets, and starts it. */
static int child_open(struct child *child, const struct spawn *spawn)
{
	AUTO_CLOSE int in = -1;
	AUTO_CLOSE int out = -1;
	AUTO_CLOSE int errors = -1;
	int r = 0;
	if (fd_is_ours(spawn, 0)) {
		int pair[2];
		/* Not a pipe: a write that nobody reads would raise SIGPIPE in the caller. */
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		child->input = pair[1];
		in = pair[0];
	}
	if (fd_is_ours(spawn, 1) && (r = output_pipe(&child->output, &out)) < 0)
		return r;
	if (fd_is_ours(spawn, 2) && spawn->errors)
		r = output_pipe(&child->errors, &errors);
	else if (fd_is_ours(spawn, 2) &&
		 (errors = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
		r = -errno;
	if (r < 0)
		return r;
	const int own[3] = {in, out, errors};
	r = child_start(child, spawn, own);
	if (r < 0)
		child->pid = 0;
	return r;
}

static int child_run(struct child *child, const struct spawn *spawn, struct buf *output,
		     int *ret_status)
{
	int r = child_open(child, spawn);
	if (r < 0)
		return r;
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
	AUTO_FINISH(child) struct child child = {.input = -1, .output = -1, .errors = -1,
						 .pidfd = -1};
	if (deadline_passed(spawn->deadline) || cancel_fired(spawn->cancel))
		return err_say(err, cancel_fired(spawn->cancel) ? -ECANCELED : -ETIMEDOUT,
			       "run %s: there was no time left for it", spawn->path);
	int r = child_run(&child, spawn, output, ret_status);
	if (r == -ETIMEDOUT)
		return err_say(err, r, "run %s: it did not end in time and was killed", spawn->path);
	if (r == -ECANCELED)
		return err_say(err, r, "run %s: cancelled; it was killed", spawn->path);
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
