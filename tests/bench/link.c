/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A long link on loopback: forwards TCP from one port to another, late. Every
 * piece of data waits half a round trip each way, and a new connection a whole
 * one before its first byte, as a handshake would. With --rate all connections
 * share that many bytes a second each way.
 *
 * It also counts: connections, bytes, HTTP/1.1 requests (without bodies), and
 * how deep requests depend on each other: one that begins after the answer to
 * another has arrived is a step deeper than it.
 *
 * On the first line of stdout it says where it listens and the round trip that
 * it measured through itself; SIGUSR1 prints the counters, SIGUSR2 clears
 * them, SIGTERM and SIGINT print them and end it. One JSON object a line.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CONNECTIONS_MAX = 256,
	PIECE_BYTES = 64 << 10,
	/* Waiting in one direction of a connection; then its sender is not read from. */
	QUEUED_MAX = 16 << 20,
	HEAD_MAX = 16 << 10, /* of an HTTP message */
	EVENTS_MAX = 64,
	CALIBRATIONS = 9,
	BACKLOG = 128,
	RTT_MS_MAX = 10000,
	SECOND_NS = 1000000000,
	MILLISECOND_NS = 1000000,
};

/* Data under way, and when it arrives. */
struct piece {
	struct piece *next;
	int64_t due;
	size_t len, sent;
	uint8_t bytes[];
};

/* What HTTP is at in one direction: in a head, or in so many bytes of a body. */
struct http {
	char head[HEAD_MAX];
	size_t head_len;
	uint64_t body_left;
	bool chunked; /* until the last chunk */
};

struct direction {
	int from, to; /* borrowed from the connection */
	struct piece *first, **last;
	size_t queued;
	int64_t not_before; /* nothing is sent earlier: the handshake */
	bool ended, shut;   /* the sender has, and the receiver has been told */
	bool blocked;       /* the receiver has no room just now */
	struct http http;
};

struct connection {
	int client, server; /* owned */
	bool used;
	uint32_t depth; /* of the request under way, 0: none */
	struct direction up, down;
};

struct counters {
	uint64_t connections, requests, depth, bytes_up, bytes_down;
};

struct link {
	int epoll, listener, signals; /* owned */
	struct sockaddr_in target;
	int64_t rtt, byte_ns_up_free, byte_ns_down_free; /* when the wire is free again */
	uint64_t rate;                                   /* bytes a second, 0: unlimited */
	uint64_t depth_done; /* the deepest request whose answer has arrived */
	struct counters counters;
	struct connection connections[CONNECTIONS_MAX];
};

static void die(const char *what)
{
	(void)fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void request_begins(struct link *link, struct connection *c)
{
	c->depth = (uint32_t)link->depth_done + 1;
	link->counters.requests++;
	if (c->depth > link->counters.depth)
		link->counters.depth = c->depth;
}

static void answer_ended(struct link *link, struct connection *c)
{
	if (c->depth > link->depth_done)
		link->depth_done = c->depth;
	c->depth = 0;
}

/* The head is complete: what follows it? */
static void answer_head(struct http *h)
{
	const char *length = strcasestr(h->head, "\r\ncontent-length:");
	int status = 0;
	h->body_left = 0;
	(void)sscanf(h->head, "HTTP/1.%*c %d", &status); // NOLINT(cert-err34-c): 0 will do
	if (length && status != 304 && status != 204)
		h->body_left = strtoull(length + strlen("\r\ncontent-length:"), NULL, 10);
	h->chunked = strcasestr(h->head, "\r\ntransfer-encoding: chunked") != NULL;
}

/* Adds a byte to the head; true when it is whole. A longer one is no HTTP that we count. */
static bool head_byte(struct http *h, uint8_t byte)
{
	if (h->head_len == HEAD_MAX - 1)
		h->head_len = 0;
	h->head[h->head_len++] = (char)byte;
	h->head[h->head_len] = '\0';
	return byte == '\n' && h->head_len >= 4 &&
	       memcmp(h->head + h->head_len - 4, "\r\n\r\n", 4) == 0;
}

static void count_requests(struct link *link, struct connection *c, const uint8_t *bytes, size_t n)
{
	struct http *h = &c->up.http;
	for (size_t i = 0; i < n; i++) {
		if (h->head_len == 0)
			request_begins(link, c);
		if (head_byte(h, bytes[i]))
			h->head_len = 0;
	}
}

/* Called as bytes arrive at the client: an answer is there when its last byte is. */
static void count_answers(struct link *link, struct connection *c, const uint8_t *bytes, size_t n)
{
	static const char last_chunk[] = "0\r\n\r\n";
	struct http *h = &c->down.http;
	for (size_t i = 0; i < n;) {
		if (h->chunked) {
			size_t len = sizeof(last_chunk) - 1;
			if (n < len || memcmp(bytes + n - len, last_chunk, len) != 0)
				return;
			h->chunked = false;
			answer_ended(link, c);
			return;
		}
		if (h->body_left > 0) {
			uint64_t part = h->body_left < n - i ? h->body_left : n - i;
			h->body_left -= part;
			i += part;
			if (h->body_left == 0)
				answer_ended(link, c);
			continue;
		}
		if (!head_byte(h, bytes[i++]))
			continue;
		answer_head(h);
		h->head_len = 0;
		if (h->body_left == 0 && !h->chunked)
			answer_ended(link, c);
	}
}

static void watch(const struct link *link, int fd, uint32_t events, void *what, int how)
{
	struct epoll_event event = {.events = events, .data = {.ptr = what}};
	if (epoll_ctl(link->epoll, how, fd, &event) < 0)
		die("epoll_ctl");
}

/* Reads where there is room; writes where the receiver had none. */
static void watch_again(struct link *link, struct connection *c)
{
	uint32_t client = !c->up.ended && c->up.queued < QUEUED_MAX ? EPOLLIN : 0;
	uint32_t server = !c->down.ended && c->down.queued < QUEUED_MAX ? EPOLLIN : 0;
	if (c->up.blocked)
		server |= EPOLLOUT;
	if (c->down.blocked)
		client |= EPOLLOUT;
	watch(link, c->client, client, c, EPOLL_CTL_MOD);
	watch(link, c->server, server, c, EPOLL_CTL_MOD);
}

static void direction_start(struct direction *d, int from, int to, int64_t not_before)
{
	*d = (struct direction){.from = from, .to = to, .not_before = not_before};
	d->last = &d->first;
}

static void direction_finish(struct direction *d)
{
	for (struct piece *p = d->first, *next; p; p = next) {
		next = p->next;
		free(p);
	}
}

static void connection_close(struct connection *c)
{
	direction_finish(&c->up);
	direction_finish(&c->down);
	(void)close(c->client);
	(void)close(c->server);
	c->used = false;
}

static void connection_accept(struct link *link)
{
	int fd = accept4(link->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct connection *c = link->connections;
	while (c < link->connections + CONNECTIONS_MAX && c->used)
		c++;
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c == link->connections + CONNECTIONS_MAX || server < 0 ||
	    connect(server, (struct sockaddr *)&link->target, sizeof(link->target)) < 0) {
		/* As a host that answers with a reset. */
		if (server >= 0)
			(void)close(server);
		(void)close(fd);
		return;
	}
	int one = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*c = (struct connection){.client = fd, .server = server, .used = true};
	direction_start(&c->up, fd, server, now_ns() + link->rtt);
	direction_start(&c->down, server, fd, 0);
	link->counters.connections++;
	watch(link, fd, EPOLLIN, c, EPOLL_CTL_ADD);
	watch(link, server, EPOLLIN, c, EPOLL_CTL_ADD);
}

/* When bytes that are sent now arrive. */
static int64_t arrival(struct link *link, struct direction *d, int64_t *wire_free, size_t n)
{
	int64_t at = now_ns();
	if (at < d->not_before)
		at = d->not_before;
	if (link->rate > 0) {
		if (at < *wire_free)
			at = *wire_free;
		at += (int64_t)((double)n * SECOND_NS / (double)link->rate);
		*wire_free = at;
	}
	return at + link->rtt / 2;
}

/* False when the connection is broken. */
static bool take(struct link *link, struct connection *c, struct direction *d)
{
	bool up = d == &c->up;
	while (!d->ended && d->queued < QUEUED_MAX) {
		struct piece *p = malloc(sizeof(*p) + PIECE_BYTES);
		if (!p)
			die("malloc");
		ssize_t n = recv(d->from, p->bytes, PIECE_BYTES, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			free(p);
			return true;
		}
		if (n < 0) {
			free(p);
			return false;
		}
		d->ended = n == 0;
		p->next = NULL;
		p->len = (size_t)n;
		p->sent = 0;
		if (up)
			count_requests(link, c, p->bytes, p->len);
		p->due = arrival(link, d, up ? &link->byte_ns_up_free : &link->byte_ns_down_free,
				 p->len);
		d->queued += p->len;
		*d->last = p;
		d->last = &p->next;
	}
	return true;
}

/* Hands over what is due. An empty piece is the end. False when the connection is broken. */
static bool give(struct link *link, struct connection *c, struct direction *d, int64_t now)
{
	bool up = d == &c->up;
	while (d->first && d->first->due <= now) {
		struct piece *p = d->first;
		if (p->len == 0) {
			(void)shutdown(d->to, SHUT_WR);
			d->shut = true;
		}
		while (p->sent < p->len) {
			ssize_t n = send(d->to, p->bytes + p->sent, p->len - p->sent,
					 MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno == EINTR)
				continue;
			d->blocked = n < 0 && errno == EAGAIN;
			if (n < 0)
				return d->blocked;
			if (!up)
				count_answers(link, c, p->bytes + p->sent, (size_t)n);
			*(up ? &link->counters.bytes_up : &link->counters.bytes_down) += (size_t)n;
			p->sent += (size_t)n;
		}
		d->queued -= p->len;
		d->first = p->next;
		if (!d->first)
			d->last = &d->first;
		free(p);
	}
	return true;
}

static void connection_run(struct link *link, struct connection *c, int64_t now)
{
	bool ok = take(link, c, &c->up) && take(link, c, &c->down) && give(link, c, &c->up, now) &&
		  give(link, c, &c->down, now);
	if (!ok || (c->up.shut && c->down.shut))
		connection_close(c);
	else
		watch_again(link, c);
}

/* The next moment at which something arrives, now if it should have; INT64_MAX: none. */
static int64_t next_due(const struct link *link, int64_t now)
{
	int64_t at = INT64_MAX;
	for (const struct connection *c = link->connections;
	     c < link->connections + CONNECTIONS_MAX; c++) {
		const struct direction *ways[] = {&c->up, &c->down};
		for (size_t i = 0; c->used && i < 2; i++)
			if (ways[i]->first && !ways[i]->blocked && ways[i]->first->due < at)
				at = ways[i]->first->due;
	}
	return at < now ? now : at;
}

static void print_counters(const struct link *link)
{
	const struct counters *c = &link->counters;
	(void)printf("{\"connections\": %llu, \"requests\": %llu, \"depth\": %llu, "
		     "\"bytes_up\": %llu, \"bytes_down\": %llu}\n",
		     (unsigned long long)c->connections, (unsigned long long)c->requests,
		     (unsigned long long)c->depth, (unsigned long long)c->bytes_up,
		     (unsigned long long)c->bytes_down);
	(void)fflush(stdout);
}

/* Returns the signal that ends the link or its calibration, else 0. */
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
		link->counters = (struct counters){0};
		link->depth_done = 0;
		return 0;
	default:
		return (int)info.ssi_signo;
	}
}

/* Forwards until a signal ends it, and returns that. */
static int run(struct link *link)
{
	for (;;) {
		struct epoll_event events[EVENTS_MAX];
		int64_t now = now_ns(), due = next_due(link, now);
		struct timespec wait = {.tv_sec = (due - now) / SECOND_NS,
					.tv_nsec = (due - now) % SECOND_NS};
		int n = epoll_pwait2(link->epoll, events, EVENTS_MAX,
				     due == INT64_MAX ? NULL : &wait, NULL);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &link->listener)
				connection_accept(link);
			if (events[i].data.ptr != &link->signals)
				continue;
			int signal = take_signal(link);
			if (signal)
				return signal;
		}
		now = now_ns();
		for (struct connection *c = link->connections;
		     c < link->connections + CONNECTIONS_MAX; c++)
			if (c->used)
				connection_run(link, c, now);
	}
}

static int listen_on(uint16_t port, struct sockaddr_in *ret)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(at);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		die("listen");
	*ret = at;
	return fd;
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* In a process of its own: sends a byte there and back, and writes the median time to `out`. */
static void calibrate_child(const struct sockaddr_in *link, int echo, int out)
{
	int64_t took[CALIBRATIONS], start = 0;
	char byte = 0;
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client < 0 || connect(client, (const struct sockaddr *)link, sizeof(*link)) < 0)
		die("calibrate");
	int server = accept4(echo, NULL, NULL, SOCK_CLOEXEC);
	/* The first is not counted: it waits for the handshake too. */
	for (int i = -1; i < CALIBRATIONS; i++) {
		start = now_ns();
		if (send(client, &byte, 1, 0) != 1 || recv(server, &byte, 1, 0) != 1 ||
		    send(server, &byte, 1, 0) != 1 || recv(client, &byte, 1, 0) != 1)
			die("calibrate");
		if (i >= 0)
			took[i] = now_ns() - start;
	}
	qsort(took, CALIBRATIONS, sizeof(took[0]), compare_ns);
	if (write(out, &took[CALIBRATIONS / 2], sizeof(took[0])) != sizeof(took[0]))
		die("calibrate");
	_exit(0);
}

static int64_t calibrate(struct link *link, const struct sockaddr_in *listening)
{
	struct sockaddr_in target = link->target;
	int64_t took = 0;
	int out[2], echo = listen_on(0, &link->target);
	if (pipe(out) < 0)
		die("pipe");
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		calibrate_child(listening, echo, out[1]);
	(void)close(out[1]);
	if (run(link) != SIGCHLD)
		exit(1);
	if (read(out[0], &took, sizeof(took)) != sizeof(took))
		die("calibrate");
	(void)waitpid(child, NULL, 0);
	(void)close(out[0]);
	(void)close(echo);
	link->target = target;
	return took;
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

int main(int argc, char **argv)
{
	static struct link link;
	static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
						{"to", required_argument, NULL, 't'},
						{"rtt-ms", required_argument, NULL, 'r'},
						{"rate", required_argument, NULL, 'b'},
						{0}};
	uint16_t port = 0, to = 0;
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == 'l')
			port = (uint16_t)number(optarg, UINT16_MAX);
		else if (o == 't')
			to = (uint16_t)number(optarg, UINT16_MAX);
		else if (o == 'r')
			link.rtt = (int64_t)number(optarg, RTT_MS_MAX) * MILLISECOND_NS;
		else if (o == 'b')
			link.rate = number(optarg, INT64_MAX);
		else
			return 2;
	}
	if (to == 0 || optind != argc) {
		(void)fprintf(stderr,
			      "link --to PORT [--listen PORT] [--rtt-ms N] [--rate BYTES]\n");
		return 2;
	}
	sigset_t mask;
	(void)sigemptyset(&mask);
	for (size_t i = 0; i < 5; i++)
		(void)sigaddset(&mask, (int[]){SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGCHLD}[i]);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	struct sockaddr_in at;
	link.listener = listen_on(port, &at);
	link.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	link.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (link.signals < 0 || link.epoll < 0)
		die("start");
	watch(&link, link.listener, EPOLLIN, &link.listener, EPOLL_CTL_ADD);
	watch(&link, link.signals, EPOLLIN, &link.signals, EPOLL_CTL_ADD);
	link.target = (struct sockaddr_in){.sin_family = AF_INET,
					   .sin_port = htons(to),
					   .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	int64_t rtt = calibrate(&link, &at);
	link.counters = (struct counters){0};
	link.depth_done = 0;
	(void)printf("{\"port\": %u, \"rtt_ms\": %.3f}\n", ntohs(at.sin_port),
		     (double)rtt / MILLISECOND_NS);
	(void)fflush(stdout);
	(void)run(&link);
	print_counters(&link);
	return 0;
}
