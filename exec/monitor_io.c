/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/le.h"
#include "base/log.h"
#include "base/num.h"
#include "exec/console.h"
#include "exec/monitor_priv.h"

enum {
	READ_BYTES = ATTACH_DATA_MAX,
	READS_IN_A_ROW = 8, /* of one stream, before the others have their turn */
	POLL_MS = 60000,
	BEGIN_LOOK_MS = 2, /* between looks whether init has begun, while a signal waits for that */
};

_Static_assert(NSIG - 1 <= 64, "all signals fit into a set");

static int make_pipe(int *ret_mine, int *ret_theirs, bool mine_reads)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_mine = fds[mine_reads ? 0 : 1];
	*ret_theirs = fds[mine_reads ? 1 : 0];
	return fcntl(*ret_mine, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int monitor_open_stdio(struct monitor *monitor, int fds[3], struct err *err)
{
	int r = 0;
	if (monitor->config->tty)
		return 0;
	if (monitor->config->open_stdin)
		r = make_pipe(&monitor->in, &fds[0], false);
	if (r == 0)
		r = make_pipe(&monitor->out, &fds[1], true);
	if (r == 0)
		r = make_pipe(&monitor->err, &fds[2], true);
	return r < 0 ? err_set(err, r, "make the container's pipes") : 0;
}

static void close_fd(int *fd)
{
	cleanup_close(fd);
	*fd = -1;
}

void monitor_reap(struct monitor *monitor)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			return;
		if (pid != monitor->init)
			continue;
		monitor->status = status;
		monitor->init_over = true;
		close_fd(&monitor->pidfd);
	}
}

static bool has_begun(struct monitor *monitor)
{
	bool forked;
	if (!monitor->begun)
		monitor->begun = proc_forked(monitor->init, &forked) < 0 || !forked;
	return monitor->begun;
}

/*
 * Until init executes its program it is the runtime's code, with the runtime's handlers: runc's ends
 * with status 2 at SIGTERM. A signal for the program waits until it is there.
 */
static void signal_init(struct monitor *monitor, int sig)
{
	if (monitor->pidfd < 0)
		return;
	if (sig == SIGKILL || has_begun(monitor)) {
		(void)pidfd_send_signal(monitor->pidfd, sig, NULL, 0);
		return;
	}
	if (monitor->held == 0)
		monitor->held_until = deadline_in_ms(MONITOR_BEGIN_MS);
	monitor->held |= UINT64_C(1) << (sig - 1);
}

static void send_held(struct monitor *monitor)
{
	if (monitor->held == 0 || (!has_begun(monitor) && !deadline_passed(monitor->held_until)))
		return;
	monitor->begun = true;
	for (int sig = 1; sig < NSIG; sig++)
		if (monitor->held & UINT64_C(1) << (sig - 1))
			signal_init(monitor, sig);
	monitor->held = 0;
}

/* SIGKILL, to be felt also when it is frozen. */
static void kill_init(struct monitor *monitor)
{
	signal_init(monitor, SIGKILL);
	if (!monitor->cgroup || !cgroup_frozen(monitor->cgroup))
		return;
	struct driver_call call = {.deadline = deadline_in_ms(MONITOR_CALL_MS)};
	struct driver_error why = {0};
	if (driver_resume(monitor->config->conn, &call, container_id(monitor->config->container),
			  &why) < 0)
		log_warn("%s", err_text(&why.err));
}

void monitor_stop(struct monitor *monitor, uint64_t ms)
{
	int sig = monitor->config->stop_signal > 0 ? monitor->config->stop_signal : SIGTERM;
	signal_init(monitor, sig);
	/* A second request may be more urgent, and never takes the first one back. */
	deadline_t at = clock_now_ns() + ms * NS_PER_MS;
	monitor->kill_at = deadline_earlier(monitor->kill_at, at);
}

static uint64_t stop_ms(const struct monitor *monitor)
{
	return monitor->config->stop_timeout_ms > 0 ? monitor->config->stop_timeout_ms :
						      MONITOR_STOP_MS;
}

static void on_signal(struct monitor *monitor)
{
	struct signalfd_siginfo info;
	while (read(monitor->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			monitor_reap(monitor);
		else
			monitor_stop(monitor, stop_ms(monitor));
	}
}

/* A piece of the container's output, for the log and for everyone. */
static void spread(struct monitor *monitor, enum driver_stream stream, const char *bytes, size_t n)
{
	struct err err = {0};
	if (monitor->logs && logs_write(monitor->logs, stream, bytes, n, &err) < 0 &&
	    !monitor->log_failed) {
		monitor->log_failed = true;
		log_error("%s", err_text(&err));
	}
	clients_output(&monitor->clients, stream == DRIVER_STDERR ? ATTACH_STDERR : ATTACH_STDOUT,
		       bytes, n);
}

static void on_output(struct monitor *monitor, int *fd, enum driver_stream stream)
{
	char bytes[READ_BYTES];
	deadline_t unused = 0;
	for (int i = 0; i < READS_IN_A_ROW && !clients_full(&monitor->clients, &unused); i++) {
		ssize_t n = read(*fd, bytes, sizeof(bytes));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		/* A terminal that nobody has open any more gives EIO. */
		if (n <= 0) {
			close_fd(fd);
			return;
		}
		spread(monitor, stream, bytes, (size_t)n);
		if ((size_t)n < sizeof(bytes) && !monitor->init_over)
			return;
	}
}

/* Passes on what waits. */
static void feed_input(struct monitor *monitor)
{
	while (monitor->in >= 0 && monitor->input.len > 0) {
		ssize_t n = write(monitor->in, monitor->input.data, monitor->input.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			close_fd(&monitor->in);
		else
			buf_shift(&monitor->input, (size_t)n);
	}
	if (monitor->in < 0)
		buf_clear(&monitor->input);
	else if (monitor->input_end && !monitor->config->tty)
		close_fd(&monitor->in);
}

static void on_message(struct monitor *monitor, struct client *client,
		       const struct attach_message *message)
{
	const unsigned char *data = message->data;
	switch ((int)message->word) {
	case ATTACH_OUTPUT:
		client->output = true;
		break;
	case ATTACH_STDIN:
		client->gave_input = true;
		if (monitor->in >= 0 && !monitor->input_end)
			(void)buf_append(&monitor->input, data, message->n);
		feed_input(monitor);
		break;
	case ATTACH_STDIN_END:
		monitor->input_end = true;
		feed_input(monitor);
		break;
	case ATTACH_RESIZE:
		if (message->n == 4 && monitor->config->tty && monitor->out >= 0)
			(void)console_resize(monitor->out, le16_get(data), le16_get(data + 2));
		break;
	case ATTACH_SIGNAL:
		if (message->n == 1 && data[0] == SIGKILL)
			kill_init(monitor);
		else if (message->n == 1 && data[0] > 0 && data[0] < NSIG)
			signal_init(monitor, data[0]);
		break;
	case ATTACH_STOP:
		if (message->n == 4)
			monitor_stop(monitor, le32_get(data));
		break;
	default:
		client->gone = true; /* it speaks another language */
	}
}

static bool can_hear(const struct monitor *monitor)
{
	return monitor->input.len < ATTACH_STDIN_MAX;
}

static void on_client(struct monitor *monitor, struct client *client, short events)
{
	if (events & POLLOUT)
		client_flush(client);
	if (!(events & (POLLIN | POLLHUP | POLLERR)) || !can_hear(monitor))
		return;
	struct attach_message *message = malloc(sizeof(*message));
	int r = message ? attach_receive(client->fd, message, clock_now_ns()) : -ENOMEM;
	if (r == 0)
		on_message(monitor, client, message);
	else if (r != -ETIMEDOUT)
		client->gone = true;
	free(message);
}

/* Frees those who left; with the one whose input it was, the input ends. */
static void sweep(struct monitor *monitor)
{
	const struct client *client;
	bool ends = false;
	list_for_each(client, &monitor->clients.list, link)
		ends = ends || (client->gone && client->gave_input && monitor->config->stdin_once);
	if (ends) {
		monitor->input_end = true;
		feed_input(monitor);
	}
	clients_sweep(&monitor->clients);
}

enum place { AT_SIGNALS, AT_PIDFD, AT_LISTEN, AT_IN, AT_OUT, AT_ERR, AT_CLIENTS };

/* What to wait for; the clients in the order of their list. */
static nfds_t fill_poll(struct monitor *monitor, struct pollfd *fds, deadline_t *next)
{
	bool full = clients_full(&monitor->clients, next);
	fds[AT_SIGNALS] = (struct pollfd){.fd = monitor->signals, .events = POLLIN};
	fds[AT_PIDFD] = (struct pollfd){.fd = monitor->pidfd, .events = POLLIN};
	fds[AT_LISTEN] = (struct pollfd){.fd = monitor->clients.listening, .events = POLLIN};
	bool fed = monitor->input.len == 0;
	/* Without input a terminal has nothing to tell, and a pipe only that its reader left. */
	fds[AT_IN] = (struct pollfd){.fd = fed && monitor->config->tty ? -1 : monitor->in,
				     .events = fed ? 0 : POLLOUT};
	fds[AT_OUT] = (struct pollfd){.fd = full ? -1 : monitor->out, .events = POLLIN};
	fds[AT_ERR] = (struct pollfd){.fd = full ? -1 : monitor->err, .events = POLLIN};
	nfds_t n = AT_CLIENTS;
	const struct client *client;
	list_for_each(client, &monitor->clients.list, link) {
		int events = (can_hear(monitor) ? POLLIN : 0) |
			     (client->queue.len > 0 ? POLLOUT : 0);
		fds[n++] = (struct pollfd){.fd = events ? client->fd : -1,
					   .events = (short)events};
	}
	return n;
}

static void on_poll(struct monitor *monitor, const struct pollfd *fds)
{
	if (fds[AT_OUT].revents)
		on_output(monitor, &monitor->out, DRIVER_STDOUT);
	if (fds[AT_ERR].revents)
		on_output(monitor, &monitor->err, DRIVER_STDERR);
	if (fds[AT_IN].revents & POLLERR)
		close_fd(&monitor->in);
	if (fds[AT_IN].revents)
		feed_input(monitor);
	struct client *client;
	nfds_t n = AT_CLIENTS;
	list_for_each(client, &monitor->clients.list, link) {
		short events = fds[n++].revents;
		if (events)
			on_client(monitor, client, events);
	}
	sweep(monitor);
	/* Last: they were not in the list when it was polled. */
	if (fds[AT_LISTEN].revents)
		clients_accept(&monitor->clients);
	if (fds[AT_SIGNALS].revents)
		on_signal(monitor);
	if (fds[AT_PIDFD].revents)
		monitor_reap(monitor);
}

static void on_time(struct monitor *monitor)
{
	if (monitor->init_over)
		return;
	send_held(monitor);
	if (monitor->timeout_at != 0 && deadline_passed(monitor->timeout_at)) {
		monitor->timeout_at = 0;
		monitor_stop(monitor, stop_ms(monitor));
	}
	if (monitor->kill_at != 0 && deadline_passed(monitor->kill_at)) {
		/* Again in a while, should somebody have frozen it meanwhile. */
		monitor->kill_at = deadline_in_ms(MONITOR_STOP_MS);
		kill_init(monitor);
	}
}

int monitor_loop(struct monitor *monitor, struct err *err)
{
	deadline_t drain_until = 0;
	for (;;) {
		if (monitor->init_over && drain_until == 0)
			drain_until = deadline_in_ms(MONITOR_DRAIN_MS);
		if (monitor->init_over && monitor->out < 0 && monitor->err < 0)
			return 0;
		struct pollfd fds[AT_CLIENTS + ATTACH_CLIENTS_MAX];
		deadline_t next = monitor->init_over ? 0 : deadline_earlier(monitor->kill_at,
									    monitor->timeout_at);
		deadline_t stall = 0;
		nfds_t n = fill_poll(monitor, fds, &stall);
		/* While a client is waited for, the container's last words wait for it as well. */
		if (monitor->init_over && stall != 0)
			drain_until = deadline_in_ms(MONITOR_DRAIN_MS);
		if (drain_until != 0 && deadline_passed(drain_until))
			return 0;
		next = deadline_earlier(deadline_earlier(next, stall), drain_until);
		if (monitor->held != 0)
			next = deadline_earlier(next, deadline_in_ms(BEGIN_LOOK_MS));
		int r = poll(fds, n, (int)deadline_left_ms(next, POLL_MS));
		if (r < 0 && errno != EINTR)
			return err_set(err, -errno, "wait for the container");
		if (r > 0)
			on_poll(monitor, fds);
		on_time(monitor);
	}
}
