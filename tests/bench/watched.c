/* SPDX-License-Identifier: Apache-2.0 */

/*
 * watched --mark TEXT [--usage FILE] [--signal PID] [--seconds N] COMMAND…
 *
 * Runs a command that starts a container, and tells on one line of JSON how
 * long it took, in milliseconds since just before the command's exec():
 *
 *   exec    until a process whose environment holds TEXT had its program
 *           loaded, as the kernel's process events say it
 *   ready   until a line that begins with "ready" came on its stdout
 *   end     until it ended
 *
 * and `cpu`, the processor time at `ready` by FILE, a control group's
 * cpuacct.usage or cpu.stat. PID gets SIGUSR1 at `ready`: a link that prints its counters.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	SECONDS_DEFAULT = 300,
	LINE_MAX_BYTES = 4096,
	ENVIRONMENT_MAX = 64 << 10,
	EVENTS_BUFFER = 4 << 20,
	SECOND_NS = 1000000000,
};

struct watched {
	const char *mark, *usage;
	pid_t tell, child;
	int events, out, ended; /* owned */
	int64_t start, exec, ready, end;
	double cpu_ms;
	int status;
	char line[LINE_MAX_BYTES];
	size_t line_len;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "watched: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* A socket with the kernel's process events. */
static int events_open(void)
{
	int size = EVENTS_BUFFER;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);
	struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC};
	/* A netlink header, a message's, and a word. */
	union {
		struct nlmsghdr header;
		uint8_t bytes[NLMSG_HDRLEN + sizeof(struct cn_msg) + sizeof(enum proc_cn_mcast_op)];
	} ask = {.header = {.nlmsg_len = sizeof(ask), .nlmsg_type = NLMSG_DONE}};
	const struct cn_msg message = {.id = {.idx = CN_IDX_PROC, .val = CN_VAL_PROC},
				       .len = sizeof(enum proc_cn_mcast_op)};
	const enum proc_cn_mcast_op op = PROC_CN_MCAST_LISTEN;
	memcpy(ask.bytes + NLMSG_HDRLEN, &message, sizeof(message));
	memcpy(ask.bytes + NLMSG_HDRLEN + sizeof(message), &op, sizeof(op));
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    send(fd, &ask, sizeof(ask), 0) != sizeof(ask))
		die("process events");
	return fd;
}

static size_t read_file(const char *path, char *ret, size_t max)
{
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : 1;
	for (; got > 0 && n<max - 1; n += got> 0 ? (size_t)got : 0)
		got = read(fd, ret + n, max - 1 - n);
	if (fd >= 0)
		(void)close(fd);
	ret[n] = '\0';
	return n;
}

static bool has_mark(pid_t pid, const char *mark)
{
	static char text[ENVIRONMENT_MAX];
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	size_t n = read_file(path, text, sizeof(text));
	for (size_t at = 0; at < n; at += strlen(text + at) + 1)
		if (strcmp(text + at, mark) == 0)
			return true;
	return false;
}

static void take_events(struct watched *w)
{
	enum { BEFORE = NLMSG_HDRLEN + sizeof(struct cn_msg) };
	uint8_t bytes[BEFORE + sizeof(struct proc_event)];
	struct proc_event event;
	for (;;) {
		ssize_t n = recv(w->events, bytes, sizeof(bytes), 0);
		if (n < 0 && errno == ENOBUFS)
			die("too many process events");
		if (n < 0)
			return;
		memset(&event, 0, sizeof(event));
		if (n > BEFORE)
			memcpy(&event, bytes + BEFORE, (size_t)n - BEFORE);
		if (w->exec == 0 && event.what == PROC_EVENT_EXEC &&
		    has_mark(event.event_data.exec.process_pid, w->mark))
			w->exec = (int64_t)event.timestamp_ns;
	}
}

static void take_ready(struct watched *w)
{
	static const char usage_usec[] = "usage_usec ";
	char text[LINE_MAX_BYTES] = "";
	w->ready = now_ns();
	if (w->tell > 0)
		(void)kill(w->tell, SIGUSR1);
	if (!w->usage || read_file(w->usage, text, sizeof(text)) == 0)
		return;
	bool v2 = strncmp(text, usage_usec, strlen(usage_usec)) == 0;
	const char *number = v2 ? text + strlen(usage_usec) : text;
	w->cpu_ms = strtod(number, NULL) / (v2 ? 1e3 : 1e6);
}

static void take_output(struct watched *w)
{
	char bytes[LINE_MAX_BYTES];
	ssize_t n = read(w->out, bytes, sizeof(bytes));
	if (n <= 0) {
		(void)close(w->out);
		w->out = -1;
	}
	for (ssize_t i = 0; i < n && w->ready == 0; i++) {
		if (bytes[i] != '\n') {
			if (w->line_len < sizeof(w->line) - 1)
				w->line[w->line_len++] = bytes[i];
			continue;
		}
		if (strncmp(w->line, "ready", strlen("ready")) == 0)
			take_ready(w);
		w->line_len = 0;
	}
}

static void start(struct watched *w, char **command)
{
	int out[2];
	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	w->start = now_ns();
	w->child = fork();
	if (w->child < 0)
		die("fork");
	if (w->child == 0) {
		if (dup2(out[1], STDOUT_FILENO) < 0)
			die("dup");
		(void)execvp(command[0], command);
		die(command[0]);
	}
	(void)close(out[1]);
	w->out = out[0];
	w->ended = (int)syscall(SYS_pidfd_open, w->child, 0);
	if (w->ended < 0)
		die("pidfd_open");
}

static void run(struct watched *w, int64_t deadline)
{
	while (w->end == 0 || w->out >= 0) {
		struct pollfd polls[] = {{.fd = w->out, .events = POLLIN},
					 {.fd = w->events, .events = POLLIN},
					 {.fd = w->end ? -1 : w->ended, .events = POLLIN}};
		int64_t left = (deadline - now_ns()) / (SECOND_NS / 1000);
		if (left <= 0 || poll(polls, 3, (int)left) < 0) {
			(void)kill(w->child, SIGTERM);
			errno = ETIMEDOUT;
			die("the command");
		}
		if (polls[0].revents)
			take_output(w);
		if (polls[1].revents)
			take_events(w);
		if (polls[2].revents) {
			w->end = now_ns();
			(void)waitpid(w->child, &w->status, 0);
			/* What it left behind may hold its stdout. */
			if (w->out >= 0)
				(void)close(w->out);
			w->out = -1;
		}
	}
}

static double after(const struct watched *w, int64_t at)
{
	return at ? (double)(at - w->start) / 1e6 : -1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"mark", required_argument, NULL, 'm'},
						{"usage", required_argument, NULL, 'u'},
						{"signal", required_argument, NULL, 's'},
						{"seconds", required_argument, NULL, 't'},
						{0}};
	static struct watched w;
	long seconds = SECONDS_DEFAULT;
	for (int o; (o = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
		if (o == 'm')
			w.mark = optarg;
		else if (o == 'u')
			w.usage = optarg;
		else if (o == 's')
			w.tell = (pid_t)strtol(optarg, NULL, 10);
		else if (o == 't')
			seconds = strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (!w.mark || optind == argc || seconds <= 0) {
		(void)fprintf(stderr, "watched --mark TEXT [--usage FILE] "
				      "[--signal PID] [--seconds N] COMMAND…\n");
		return 2;
	}
	w.events = events_open();
	start(&w, argv + optind);
	run(&w, w.start + seconds * SECOND_NS);
	(void)printf("{\"exec\": %.3f, \"ready\": %.3f, \"end\": %.3f, \"cpu\": %.3f, "
		     "\"status\": %d}\n",
		     after(&w, w.exec), after(&w, w.ready), after(&w, w.end), w.cpu_ms,
		     WIFEXITED(w.status) ? WEXITSTATUS(w.status) : 128 + WTERMSIG(w.status));
	return 0;
}
