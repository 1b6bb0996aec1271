/* SPDX-License-Identifier: Apache-2.0 */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/link_check.h"
#include "tests/bench/link_model.h"

enum {
	BACKLOG = 128,
	PINGS = 9,
	STREAMS = 4, /* that share the rate */
	ROUNDS_MAX = 4,
	RATE_MS_MIN = 120, /* for how long the rate is measured … */
	RATE_ROUNDS = 10,  /* … and for how many round trips at least */
	PIECE_BYTES = 256 << 10,
	STALL_MS_MAX = 20000,
};

struct pair {
	int client, server;
	uint64_t left; /* what the server still sends */
	uint64_t got;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "link: calibrate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

int check_listen(uint16_t port, struct sockaddr_in *ret)
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

static void pair_open(struct pair *p, const struct sockaddr_in *at, int echo)
{
	*p = (struct pair){.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (p->client < 0 || connect(p->client, (const struct sockaddr *)at, sizeof(*at)) < 0)
		die("connect");
	p->server = accept4(echo, NULL, NULL, SOCK_CLOEXEC);
	if (p->server < 0)
		die("accept");
}

static void pair_close(struct pair *p)
{
	(void)close(p->client);
	(void)close(p->server);
}

/* One request of the client, whole at the server. */
static void pair_ask(struct pair *p)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	char got[sizeof(request) - 1];
	if (send(p->client, request, sizeof(got), MSG_NOSIGNAL) != sizeof(got) ||
	    recv(p->server, got, sizeof(got), MSG_WAITALL) != sizeof(got))
		die("request");
}

static void pair_answer(struct pair *p, uint64_t n)
{
	char head[64];
	int len = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
			   (unsigned long long)n);
	if (send(p->server, head, (size_t)len, MSG_NOSIGNAL) != len)
		die("answer");
	p->left = n;
}

/* Waits until one of them has room or data, and moves that; bytes that came. */
static uint64_t pairs_move(struct pair *pairs, size_t n)
{
	static char bytes[PIECE_BYTES];
	struct pollfd polls[2 * STREAMS];
	uint64_t came = 0;
	for (size_t i = 0; i < n; i++) {
		polls[2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
		polls[2 * i + 1] = (struct pollfd){.fd = pairs[i].left ? pairs[i].server : -1,
						   .events = POLLOUT};
	}
	if (poll(polls, (nfds_t)(2 * n), STALL_MS_MAX) <= 0)
		die("nothing comes");
	for (size_t i = 0; i < n; i++) {
		struct pair *p = &pairs[i];
		if (polls[2 * i].revents) {
			ssize_t got =
				recv(p->client, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
			if (got <= 0)
				die("read");
			p->got += (uint64_t)got;
			came += (uint64_t)got;
		}
		if (polls[2 * i + 1].revents) {
			size_t want = p->left < sizeof(bytes) ? (size_t)p->left : sizeof(bytes);
			ssize_t sent = send(p->server, bytes, want, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (sent < 0 && errno != EAGAIN)
				die("write");
			p->left -= sent > 0 ? (uint64_t)sent : 0;
		}
	}
	return came;
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* The median time of a small request, the first not counted: it waits for the handshake too. */
static int64_t measure_rtt(const struct sockaddr_in *at, int echo)
{
	int64_t took[PINGS];
	struct pair p;
	pair_open(&p, at, echo);
	for (int i = -1; i < PINGS; i++) {
		int64_t start = now_ns();
		pair_ask(&p);
		pair_answer(&p, 1);
		uint64_t want = p.got + 1;
		while (p.left > 0 || p.got <= want)
			(void)pairs_move(&p, 1);
		if (i >= 0)
			took[i] = now_ns() - start;
	}
	pair_close(&p);
	qsort(took, PINGS, sizeof(took[0]), compare_ns);
	return took[PINGS / 2];
}

/* How long a new connection takes for what the window lets through in so many round trips. */
static void measure_slow_start(const struct sockaddr_in *at, int echo,
			       const struct link_terms *terms, struct link_measured *m)
{
	uint64_t flight = WINDOW_BYTES_MIN, n = flight, last = flight;
	double pipe = (double)terms->rtt / SECOND_NS * (double)terms->rate;
	m->rounds = 1;
	/* As long as the window is what holds it back, not the rate. */
	while (m->rounds < ROUNDS_MAX && (terms->rate == 0 || 4 * (double)last < pipe)) {
		last *= 2;
		n += last;
		m->rounds++;
	}
	m->slow_due = (1 + (int64_t)m->rounds) * terms->rtt +
		      (terms->rate ? (int64_t)((double)last * SECOND_NS / (double)terms->rate) : 0);
	struct pair p;
	int64_t start = now_ns();
	pair_open(&p, at, echo);
	pair_ask(&p);
	pair_answer(&p, 2 * n);
	/* The head is part of it. */
	while (p.got < n)
		(void)pairs_move(&p, 1);
	m->slow = now_ns() - start;
	pair_close(&p);
}

static uint64_t measure_rate(const struct sockaddr_in *at, int echo, const struct link_terms *terms)
{
	struct pair pairs[STREAMS];
	int64_t least = (int64_t)RATE_MS_MIN * MILLISECOND_NS;
	int64_t lead = RATE_ROUNDS * terms->rtt > least ? RATE_ROUNDS * terms->rtt : least;
	for (size_t i = 0; i < STREAMS; i++) {
		pair_open(&pairs[i], at, echo);
		pair_ask(&pairs[i]);
		pair_answer(&pairs[i], UINT64_MAX / 2);
	}
	int64_t start = now_ns(), from = 0, end = start;
	uint64_t bytes = 0;
	while (end < start + lead + least) {
		uint64_t came = pairs_move(pairs, STREAMS);
		end = now_ns();
		if (from > 0)
			bytes += came;
		else if (end > start + lead)
			from = end;
	}
	for (size_t i = 0; i < STREAMS; i++)
		pair_close(&pairs[i]);
	return (uint64_t)((double)bytes * SECOND_NS / (double)(end - from));
}

static bool off(double is, double should, double slack)
{
	double by = is > should ? is - should : should - is;
	return by > should * CHECK_PERCENT / 100 + slack;
}

bool check_holds(const struct link_terms *terms, const struct link_measured *m)
{
	double slack = (double)CHECK_SLACK_US * 1000;
	return !off((double)m->rtt, (double)terms->rtt, slack) &&
	       (terms->rate == 0 || !off((double)m->rate, (double)terms->rate, 0)) &&
	       (!terms->slow_start || !off((double)m->slow, (double)m->slow_due, slack));
}

_Noreturn void check_child(const struct sockaddr_in *at, int echo, const struct link_terms *terms,
			   int out)
{
	struct link_measured m = {0};
	for (int i = 0; i < CHECK_TRIES && (i == 0 || !check_holds(terms, &m)); i++) {
		m.rtt = measure_rtt(at, echo);
		if (terms->slow_start)
			measure_slow_start(at, echo, terms, &m);
		if (terms->rate)
			m.rate = measure_rate(at, echo, terms);
	}
	if (write(out, &m, sizeof(m)) != sizeof(m))
		die("tell");
	_exit(0);
}
