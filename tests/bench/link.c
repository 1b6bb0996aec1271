/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A long link on loopback: forwards TCP from one port to another, late. What
 * depends on the link alone (link_model.h) is computed, not waited for, so that
 * being woken late costs nothing but that: a request waits for the whole round
 * trip on its way there, a new connection for one more, as a handshake would,
 * and an answer only for its place on the wire. With --rate all connections
 * share that many bytes a second; with --slow-start each begins with ten
 * segments a round trip.
 *
 * Bodies are spliced: they never enter this process. It counts what passes
 * (link_http.h).
 *
 * On the first line of stdout it says where it listens and what it measured
 * through itself (link_check.h); when that is not what it should be, it ends
 * with 3. SIGUSR1 prints the counters, SIGUSR2 clears them, SIGTERM and SIGINT
 * print them and end it. One JSON object a line.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/link_check.h"
#include "tests/bench/link_http.h"
#include "tests/bench/link_model.h"

enum {
	CONNECTIONS_MAX = 256,
	PIECE_BYTES = 64 << 10,
	/* Waiting on the way there; then the client is not read from. */
	QUEUED_MAX = 16 << 20,
	PIPE_BYTES = 1 << 20,
	/* What is handed over at once: half a millisecond's worth within these. */
	QUANTUM_MIN = 16 << 10,
	QUANTUM_MAX = 64 << 10,
	QUANTA_A_SECOND = 2000,
	PASSES_MAX = 64, /* before signals and new connections are looked at again */
	EVENTS_MAX = 64,
	RTT_MS_MAX = 10000,
	STATUS_OFF = 3,
};

/* Data on the way there, and when it arrives. None: the end. */
struct piece {
	struct piece *next;
	int64_t due;
	size_t len, sent;
	uint8_t bytes[];
};

/* A socket, and what is known of it: edges of epoll. */
struct end {
	int fd; /* owned */
	bool in, out, hung_up;
};

struct connection {
	struct end client, server;
	bool used;
	/* There. */
	struct piece *first, **last;
	size_t queued;
	int64_t not_before; /* nothing is sent earlier: the handshake */
	bool up_ended, up_shut;
	/* Back. */
	int pipe[2]; /* owned */
	size_t piped;
	int64_t ready; /* since when the server's next bytes are there, and allowed */
	bool narrow;   /* the window holds them back */
	bool down_ended, down_shut;
	struct window window;
	struct exchange exchange;
};

struct link {
	int epoll, listener, signals; /* owned */
	struct sockaddr_in target;
	struct link_terms terms;
	struct wire up, down;
	size_t quantum;
	struct counters counters;
	int64_t cpu; /* when the counters were cleared */
	size_t used; /* no connection from here on is */
	struct connection connections[CONNECTIONS_MAX];
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	(void)clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void watch(const struct link *link, int fd, uint32_t events, void *what)
{
	struct epoll_event event = {.events = events, .data = {.ptr = what}};
	if (epoll_ctl(link->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void connection_close(struct connection *c)
{
	for (struct piece *p = c->first, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	const int fds[] = {c->client.fd, c->server.fd, c->pipe[0], c->pipe[1]};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	c->used = false;
}

/* False when there is no server; the client is then answered as by a host without one. */
static bool connection_open(struct link *link, struct connection *c, int client)
{
	int64_t now = now_ns();
	int one = 1;
	*c = (struct connection){.client = {.fd = client, .out = true},
				 .server = {.out = true},
				 .used = true,
				 .not_before = now + link->terms.rtt,
				 .pipe = {-1, -1}};
	c->last = &c->first;
	window_init(&c->window, link->terms.rtt, now);
	c->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->server.fd < 0 ||
	    connect(c->server.fd, (struct sockaddr *)&link->target, sizeof(link->target)) < 0 ||
	    pipe2(c->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		connection_close(c);
		return false;
	}
	(void)fcntl(c->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
	(void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(c->server.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	link->counters.connections++;
	uint32_t all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	watch(link, client, all, &c->client);
	watch(link, c->server.fd, all, &c->server);
	return true;
}

static void connection_accept(struct link *link)
{
	int fd = accept4(link->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	size_t i = 0;
	while (i < CONNECTIONS_MAX && link->connections[i].used)
		i++;
	if (i == CONNECTIONS_MAX) {
		(void)close(fd);
		return;
	}
	if (connection_open(link, &link->connections[i], fd) && i >= link->used)
		link->used = i + 1;
}

/* Takes what the client sends. False when the connection is broken. */
static bool up_take(struct link *link, struct connection *c)
{
	static uint8_t buf[PIECE_BYTES];
	while (c->client.in && !c->up_ended && c->queued < QUEUED_MAX) {
		ssize_t n = recv(c->client.fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			c->client.in = false;
			return true;
		}
		if (n < 0)
			return false;
		struct piece *p = malloc(sizeof(*p) + (size_t)n);
		if (!p)
			die("malloc");
		int64_t ready = now_ns();
		if (ready < c->not_before)
			ready = c->not_before;
		*p = (struct piece){.len = (size_t)n,
				    .due = wire_passed(&link->up, ready, (uint64_t)n) +
					   link->terms.rtt};
		wire_send(&link->up, ready, (uint64_t)n);
		memcpy(p->bytes, buf, (size_t)n);
		http_up(&c->exchange, &link->counters, buf, (size_t)n);
		c->up_ended = n == 0;
		c->queued += (size_t)n;
		*c->last = p;
		c->last = &p->next;
	}
	return true;
}

/* Hands over what is due. False when the connection is broken. */
static bool up_give(struct link *link, struct connection *c, int64_t now)
{
	while (c->first && c->first->due <= now && c->server.out) {
		struct piece *p = c->first;
		if (p->len == 0) {
			(void)shutdown(c->server.fd, SHUT_WR);
			c->up_shut = true;
		}
		while (p->sent < p->len) {
			ssize_t n = send(c->server.fd, p->bytes + p->sent, p->len - p->sent,
					 MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno == EINTR)
				continue;
			c->server.out = n >= 0 || errno != EAGAIN;
			if (n < 0)
				return !c->server.out;
			link->counters.bytes_up += (uint64_t)n;
			p->sent += (size_t)n;
		}
		c->queued -= p->len;
		c->first = p->next;
		if (!c->first)
			c->last = &c->first;
		free(p);
	}
	return true;
}

/* From the pipe to the client. False when the connection is broken. */
static bool down_give(struct link *link, struct connection *c)
{
	while (c->piped > 0 && c->client.out) {
		ssize_t n = splice(c->pipe[0], NULL, c->client.fd, NULL, c->piped,
				   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (n < 0 && errno == EINTR)
			continue;
		c->client.out = n >= 0 || errno != EAGAIN;
		if (n < 0)
			return !c->client.out;
		link->counters.bytes_down += (uint64_t)n;
		c->piped -= (size_t)n;
	}
	return true;
}

/* From the server to the pipe, which is empty: how many bytes, or -1. */
static ssize_t down_take(struct link *link, struct connection *c, size_t n)
{
	static uint8_t buf[QUANTUM_MIN];
	const struct http *http = &c->exchange.down;
	ssize_t got;
	if (http->body_left > 0 && !http->chunked) {
		size_t part = http->body_left < n ? (size_t)http->body_left : n;
		got = splice(c->server.fd, NULL, c->pipe[1], NULL, part,
			     SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (got > 0)
			http_down_body(&c->exchange, &link->counters, (uint64_t)got);
	} else {
		got = recv(c->server.fd, buf, n < sizeof(buf) ? n : sizeof(buf), MSG_DONTWAIT);
		if (got > 0)
			http_down(&c->exchange, &link->counters, buf, (size_t)got);
		if (got > 0 && write(c->pipe[1], buf, (size_t)got) != got)
			die("pipe");
	}
	if (got > 0)
		c->piped = (size_t)got;
	return got;
}

/* How much may be sent to the client by its window; 0: less than is worth it. */
static size_t down_room(struct link *link, struct connection *c, size_t n, int64_t now)
{
	if (!link->terms.slow_start)
		return n;
	int64_t opened = window_opens(&c->window);
	uint64_t room = window_room(&c->window, now);
	if (room < n && room < SEGMENT_BYTES) {
		c->narrow = true;
		return 0;
	}
	if (c->narrow && opened > c->ready)
		c->ready = opened;
	c->narrow = false;
	return room < n ? (size_t)room : n;
}

/*
 * One quantum of the server's: 1 when it was handed over, 0 when not; then *due
 * is lowered to when it will be, if that is known. -1: the connection is broken.
 */
static int down_run(struct link *link, struct connection *c, int64_t now, int64_t *due)
{
	int there = 0;
	if (!down_give(link, c))
		return -1;
	if (c->piped > 0 || c->down_ended || (!c->server.in && !c->server.hung_up))
		return 0;
	if (ioctl(c->server.fd, FIONREAD, &there) < 0)
		return -1;
	if (there == 0) {
		c->server.in = false;
		c->down_ended = c->server.hung_up;
		if (c->down_ended)
			(void)shutdown(c->client.fd, SHUT_WR);
		return 0;
	}
	size_t n = (size_t)there < link->quantum ? (size_t)there : link->quantum;
	bool more = (size_t)there > n;
	n = down_room(link, c, n, now);
	int64_t at = n > 0 ? wire_passed(&link->down, c->ready, n) : window_opens(&c->window);
	if (n == 0 || at > now) {
		if (at < *due)
			*due = at;
		return 0;
	}
	ssize_t got = down_take(link, c, n);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	at = wire_passed(&link->down, c->ready, (uint64_t)got);
	wire_send(&link->down, c->ready, (uint64_t)got);
	window_send(&c->window, at, (uint64_t)got, more);
	return down_give(link, c) ? 1 : -1;
}

/* True when there may be more to do at once. */
static bool connection_run(struct link *link, struct connection *c, int64_t now, int64_t *due)
{
	int r = up_take(link, c) && up_give(link, c, now) ? down_run(link, c, now, due) : -1;
	if (r < 0 || (c->up_shut && c->down_ended)) {
		connection_close(c);
		return false;
	}
	if (c->first && c->server.out && c->first->due < *due)
		*due = c->first->due;
	return r > 0;
}

/* Everything that can be done now; when there is more to do: INT64_MAX, when something happens. */
static int64_t run_connections(struct link *link)
{
	int64_t due = INT64_MAX;
	bool more = true;
	for (int pass = 0; more && pass < PASSES_MAX; pass++) {
		int64_t now = now_ns();
		due = INT64_MAX;
		more = false;
		for (size_t i = 0; i < link->used; i++)
			if (link->connections[i].used &&
			    connection_run(link, &link->connections[i], now, &due))
				more = true;
	}
	return more ? 0 : due;
}

static void print_counters(const struct link *link)
{
	const struct counters *c = &link->counters;
	double cpu = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - link->cpu) / MILLISECOND_NS;
	(void)printf("{\"connections\": %llu, \"requests\": %llu, \"ranges\": %llu, "
		     "\"depth\": %llu, \"bytes_up\": %llu, \"bytes_down\": %llu, "
		     "\"idle_ms\": %.3f, \"cpu_ms\": %.3f}\n",
		     (unsigned long long)c->connections, (unsigned long long)c->requests,
		     (unsigned long long)c->ranges, (unsigned long long)c->depth,
		     (unsigned long long)c->bytes_up, (unsigned long long)c->bytes_down,
		     (double)link->down.idle / MILLISECOND_NS, cpu);
	(void)fflush(stdout);
}

static void clear_counters(struct link *link)
{
	link->counters = (struct counters){0};
	link->down.idle = link->down.since = 0;
	link->cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* The signal that ends run(), or 0. */
static int take_signal(struct link *link)
{
	struct signalfd_siginfo info;
	if (read(link->signals, &info, sizeof(info)) != sizeof(info))
		return 0;
	switch (info.ssi_signo) {
	case SIGUSR1:
		print_counters(link);
		return 0;
	case SIGUSR2:
		clear_counters(link);
		return 0;
	default:
		return (int)info.ssi_signo;
	}
}

static struct connection *connection_of(struct link *link, const void *end)
{
	uintptr_t at = (uintptr_t)end - (uintptr_t)link->connections;
	return &link->connections[at / sizeof(struct connection)];
}

static void take_edge(struct link *link, struct end *end, uint32_t events, int64_t now)
{
	struct connection *c = connection_of(link, end);
	/* Since its last bytes were taken there were none. */
	if (end == &c->server && !end->in && (events & EPOLLIN))
		c->ready = now;
	end->in |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	end->out |= (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
	end->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
}

/* Forwards until a signal ends it, and returns that. */
static int run(struct link *link)
{
	for (;;) {
		struct epoll_event events[EVENTS_MAX];
		int64_t due = run_connections(link), now = now_ns();
		int64_t left = due > now ? due - now : 0;
		struct timespec wait = {.tv_sec = left / SECOND_NS, .tv_nsec = left % SECOND_NS};
		int n = epoll_pwait2(link->epoll, events, EVENTS_MAX,
				     due == INT64_MAX ? NULL : &wait, NULL);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		now = now_ns();
		for (int i = 0; i < n; i++) {
			void *what = events[i].data.ptr;
			if (what == &link->listener)
				connection_accept(link);
			else if (what != &link->signals)
				take_edge(link, what, events[i].events, now);
			else {
				int signal = take_signal(link);
				if (signal)
					return signal;
			}
		}
	}
}

/* Ends the process unless the link is what it should be. */
static struct link_measured calibrate(struct link *link, const struct sockaddr_in *listening)
{
	struct sockaddr_in target = link->target;
	struct link_measured m;
	int out[2], echo = check_listen(0, &link->target);
	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		check_child(listening, echo, &link->terms, out[1]);
	(void)close(out[1]);
	if (run(link) != SIGCHLD) {
		(void)kill(child, SIGKILL);
		exit(1);
	}
	(void)waitpid(child, NULL, 0);
	if (read(out[0], &m, sizeof(m)) != sizeof(m))
		die("calibrate");
	(void)close(out[0]);
	(void)close(echo);
	link->target = target;
	for (size_t i = 0; i < link->used; i++)
		if (link->connections[i].used)
			connection_close(&link->connections[i]);
	link->used = 0;
	link->up = (struct wire){.rate = link->terms.rate};
	link->down = link->up;
	clear_counters(link);
	return m;
}

static void print_first(const struct link *link, const struct sockaddr_in *at,
			const struct link_measured *m)
{
	(void)printf("{\"port\": %u, \"rtt_ms\": %.3f", ntohs(at->sin_port),
		     (double)m->rtt / MILLISECOND_NS);
	if (link->terms.rate)
		(void)printf(", \"rate\": %llu", (unsigned long long)m->rate);
	if (link->terms.slow_start)
		(void)printf(", \"slow_start_rounds\": %u, \"slow_start_ms\": %.3f, "
			     "\"slow_start_due_ms\": %.3f",
			     m->rounds, (double)m->slow / MILLISECOND_NS,
			     (double)m->slow_due / MILLISECOND_NS);
	(void)printf("}\n");
	(void)fflush(stdout);
}

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	errno = 0;
	uint64_t n = strtoull(text, &end, 10);
	if (errno || *end || end == text || n > max) {
		(void)fprintf(stderr, "link: '%s' is no number up to %llu\n", text,
			      (unsigned long long)max);
		exit(2);
	}
	return n;
}

static void open_link(struct link *link, uint16_t port, uint16_t to, struct sockaddr_in *ret_at)
{
	sigset_t mask;
	(void)sigemptyset(&mask);
	for (size_t i = 0; i < 5; i++)
		(void)sigaddset(&mask, (int[]){SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGCHLD}[i]);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_TIMERSLACK, 1);
	link->listener = check_listen(port, ret_at);
	link->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	link->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (link->signals < 0 || link->epoll < 0)
		die("start");
	watch(link, link->listener, EPOLLIN, &link->listener);
	watch(link, link->signals, EPOLLIN, &link->signals);
	link->target = (struct sockaddr_in){.sin_family = AF_INET,
					    .sin_port = htons(to),
					    .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	link->up = (struct wire){.rate = link->terms.rate};
	link->down = link->up;
	link->quantum = QUANTUM_MAX;
	if (link->terms.rate && link->terms.rate / QUANTA_A_SECOND < QUANTUM_MAX)
		link->quantum = (size_t)(link->terms.rate / QUANTA_A_SECOND);
	if (link->quantum < QUANTUM_MIN)
		link->quantum = QUANTUM_MIN;
}

int main(int argc, char **argv)
{
	static struct link link;
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'}, {"to", required_argument, NULL, 't'},
		{"rtt-ms", required_argument, NULL, 'r'}, {"rate", required_argument, NULL, 'b'},
		{"slow-start", no_argument, NULL, 's'},	  {0}};
	uint16_t port = 0, to = 0;
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == 'l')
			port = (uint16_t)number(optarg, UINT16_MAX);
		else if (o == 't')
			to = (uint16_t)number(optarg, UINT16_MAX);
		else if (o == 'r')
			link.terms.rtt = (int64_t)number(optarg, RTT_MS_MAX) * MILLISECOND_NS;
		else if (o == 'b')
			link.terms.rate = number(optarg, INT64_MAX);
		else if (o == 's')
			link.terms.slow_start = true;
		else
			return 2;
	}
	if (to == 0 || optind != argc) {
		(void)fprintf(stderr, "link --to PORT [--listen PORT] [--rtt-ms N] [--rate BYTES] "
				      "[--slow-start]\n");
		return 2;
	}
	struct sockaddr_in at;
	open_link(&link, port, to, &at);
	struct link_measured m = calibrate(&link, &at);
	print_first(&link, &at, &m);
	if (!check_holds(&link.terms, &m)) {
		(void)fprintf(stderr, "link: it is off by more than %d %%\n", CHECK_PERCENT);
		return STATUS_OFF;
	}
	(void)run(&link);
	print_counters(&link);
	return 0;
}
