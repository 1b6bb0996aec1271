/* SPDX-License-Identifier: Apache-2.0 */

/*
 * oracle --port PORT [--connections N] [--check]
 *
 * How soon can a start's bytes be here? It is told beforehand what others have
 * to find out: on stdin, for each layer,
 *
 *   layer PATH SEEK WINDOWS    where the server has the blob, and the files of
 *                              its seek table and of its windows ("-": none)
 *   OFFSET LENGTH              a range of its device that is needed; any number
 *
 * Then the clock starts: all connections open at once, each sends all of its
 * requests at once, and a thread a processor inflates what has come, a unit of
 * the seek table at a time. Nothing is written, checked or kept: --check checks
 * every span's SHA-256, which a test wants. Prints one JSON object.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/workers.h"
#include "fetcher/inflate.h"
#include "fetcher/seek.h"
#include "fetcher/span_decoder.h"

enum {
	LAYERS_MAX = 512,
	CONNECTIONS_DEFAULT = 16,
	CONNECTIONS_MAX = 128,
	THREADS_MAX = 64,
	LINE_BYTES_MAX = 8192,
	HEAD_MAX = 4096, /* of an answer */
	REQUEST_MAX = 1024,
	STALL_MS_MAX = 60000,
	SECOND_NS = 1000000000,
};

struct layer {
	char *path;
	struct seek *seek;
	const uint8_t *windows;
	bool *needed; /* a flag a span: the first of a unit stands for it */
};

struct unit {
	const struct layer *layer;
	size_t first, end;
	uint64_t in_off, in_len;
	const uint8_t *bytes; /* once they are here */
};

/* Units that follow each other in a blob: one request. */
struct range {
	size_t first, n, done; /* units; those that are here */
	uint64_t off, len, got;
	uint8_t *bytes;
};

struct connection {
	int fd;
	size_t range, end; /* being received; one past the last */
	char *requests;
	size_t requests_len, sent;
	char head[HEAD_MAX];
	size_t head_len;
	bool in_body;
};

struct oracle {
	struct layer layers[LAYERS_MAX];
	size_t n_layers, n_units, n_ranges, n_connections, n_threads;
	struct unit *units;
	struct range *ranges;
	struct connection connections[CONNECTIONS_MAX];
	bool check;
	uint64_t total;	      /* compressed bytes of all ranges */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t more;
	const struct unit **queue; /* n_units */
	size_t queued, taken;
	uint64_t out;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "oracle: %s: %s\n", what, strerror(errno));
	exit(1);
}

static _Noreturn void die_of(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "oracle: %s: %s\n", what, err_text(err));
	exit(1);
}

static void *need(void *memory)
{
	if (!memory)
		die("memory");
	return memory;
}

static int64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* The plan. */

static void add_layer(struct oracle *o, const char *path, const char *seek, const char *windows)
{
	struct err err = {0};
	struct layer *l = &o->layers[o->n_layers++];
	AUTO_CLOSE int fd = open(seek, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(seek);
	if (seek_map(fd, &l->seek, &err) < 0)
		die_of(seek, &err);
	l->path = need(strdup(path));
	l->needed = need(calloc(seek_count(l->seek) + 1, sizeof(bool)));
	if (strcmp(windows, "-") == 0)
		return;
	AUTO_CLOSE int file = open(windows, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (file < 0 || fstat(file, &st) < 0)
		die(windows);
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
	if (map == MAP_FAILED)
		die(windows);
	l->windows = map;
}

static void add_range(struct oracle *o, uint64_t off, uint64_t len)
{
	struct layer *l = &o->layers[o->n_layers - 1];
	struct span span;
	for (size_t i = seek_find(l->seek, off); i < seek_count(l->seek); i++) {
		size_t first, end;
		seek_get(l->seek, i, &span);
		if (span.out_off >= off + len)
			break;
		seek_unit(l->seek, i, &first, &end);
		if (!l->needed[first] && span.codec != SEEK_ZEROS) {
			l->needed[first] = true;
			o->n_units++;
		}
	}
}

static void read_plan(struct oracle *o)
{
	char line[LINE_BYTES_MAX], path[LINE_BYTES_MAX], seek[LINE_BYTES_MAX],
		windows[LINE_BYTES_MAX];
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long off, len;
		if (o->n_layers < LAYERS_MAX &&
		    sscanf(line, "layer %s %s %s", path, seek, windows) == 3)
			add_layer(o, path, seek, windows);
		else if (o->n_layers > 0 &&
			 sscanf(line, "%llu %llu", &off, &len) == 2) // NOLINT(cert-err34-c)
			add_range(o, off, len);
		else {
			(void)fprintf(stderr, "oracle: what is '%s'?\n", line);
			exit(2);
		}
	}
}

/* Cuts what is needed into equal parts, one a connection, each of as few ranges as it has. */
static void cut(struct oracle *o)
{
	o->units = need(calloc(o->n_units + 1, sizeof(*o->units)));
	o->ranges = need(calloc(o->n_units + 1, sizeof(*o->ranges)));
	o->queue = need(calloc(o->n_units + 1, sizeof(struct unit *)));
	size_t n = 0;
	for (struct layer *l = o->layers; l < o->layers + o->n_layers; l++) {
		struct span span;
		for (size_t i = 0; i < seek_count(l->seek); i++) {
			struct unit *u = &o->units[n];
			if (!l->needed[i])
				continue;
			seek_get(l->seek, i, &span);
			*u = (struct unit){
				.layer = l, .in_off = span.in_off, .in_len = span.in_len};
			seek_unit(l->seek, i, &u->first, &u->end);
			o->total += u->in_len;
			n++;
		}
	}
	uint64_t before = 0;
	size_t last = 0;
	for (size_t i = 0; i < n; i++) {
		const struct unit *u = &o->units[i];
		size_t part =
			(size_t)((double)before * (double)o->n_connections / (double)o->total);
		struct connection *c = &o->connections[part < o->n_connections ? part : last];
		struct range *r = o->n_ranges > 0 ? &o->ranges[o->n_ranges - 1] : NULL;
		/* Neighbours share a byte where one ends within it. */
		if (r && part == last && u->layer == o->units[r->first].layer &&
		    u->in_off <= r->off + r->len) {
			r->len = u->in_off + u->in_len - r->off;
			r->n++;
		} else {
			if (c->end == 0)
				c->range = o->n_ranges;
			o->ranges[o->n_ranges++] = (struct range){
				.first = i, .n = 1, .off = u->in_off, .len = u->in_len};
			c->end = o->n_ranges;
		}
		last = part;
		before += u->in_len;
	}
}

static void write_requests(struct oracle *o)
{
	for (struct connection *c = o->connections; c < o->connections + o->n_connections; c++) {
		c->requests = need(malloc((c->end - c->range) * REQUEST_MAX + 1));
		for (size_t i = c->range; i < c->end; i++) {
			const struct range *r = &o->ranges[i];
			int n = snprintf(c->requests + c->requests_len, REQUEST_MAX,
					 "GET %s HTTP/1.1\r\nHost: localhost\r\n"
					 "Range: bytes=%llu-%llu\r\n\r\n",
					 o->units[r->first].layer->path, (unsigned long long)r->off,
					 (unsigned long long)(r->off + r->len - 1));
			if (n >= REQUEST_MAX) {
				errno = ENAMETOOLONG;
				die("request");
			}
			c->requests_len += (size_t)n;
		}
	}
}

/* Inflating. */

static uint64_t inflate_unit(struct inflate *inf, struct span_scratch *scratch,
			     const struct unit *u, uint8_t *out, const struct oracle *o)
{
	struct err err = {0};
	struct span span;
	uint8_t window[SEEK_WINDOW_BYTES];
	uint64_t made = 0;
	const uint8_t *in = u->bytes;
	size_t n = (size_t)u->in_len;
	seek_get(u->layer->seek, u->first, &span);
	int r = 0;
	if (span.win_len > 0)
		r = span_window_unpack(scratch, u->layer->windows + span.win_off, span.win_len,
				       window, &err);
	const void *history = span.win_len > 0 ? window : NULL;
	for (size_t i = u->first; o->check && r >= 0 && i < u->end; i++) {
		seek_get(u->layer->seek, i, &span);
		r = span_decode(scratch, u->layer->seek, i, in, n, history, out, &err);
		made += span.out_len;
	}
	if (r < 0)
		die_of("check", &err);
	if (o->check)
		return made;
	r = inflate_begin(inf, &span, history, &err);
	seek_get(u->layer->seek, u->end - 1, &span);
	uint64_t want = span.skip + span.out_len;
	while (r >= 0 && made < want) {
		uint8_t *to = out;
		size_t most =
			want - made < SEEK_SPAN_OUT_MAX ? (size_t)(want - made) : SEEK_SPAN_OUT_MAX;
		size_t room = most;
		r = inflate_run(inf, &in, &n, &to, &room, &err);
		if (room == most)
			break;
		made += most - room;
	}
	if (r < 0 || made < want)
		die_of("inflate", &err);
	return made;
}

static void *inflate_thread(void *data)
{
	struct oracle *o = data;
	struct inflate inf;
	AUTO(span_scratch) struct span_scratch *scratch = NULL;
	uint8_t *out = need(malloc(SEEK_SPAN_OUT_MAX));
	uint64_t made = 0;
	if (span_scratch_create(SPAN_ENGINE_BEST, &scratch) < 0)
		die("decoder");
	if (inflate_init(&inf, true) < 0) {
		inflate_finish(&inf);
		if (inflate_init(&inf, false) < 0)
			die("decoder");
	}
	(void)pthread_mutex_lock(&o->lock);
	while (o->taken < o->n_units) {
		if (o->taken == o->queued) {
			(void)pthread_cond_wait(&o->more, &o->lock);
			continue;
		}
		const struct unit *u = o->queue[o->taken++];
		(void)pthread_mutex_unlock(&o->lock);
		made += inflate_unit(&inf, scratch, u, out, o);
		(void)pthread_mutex_lock(&o->lock);
	}
	o->out += made;
	(void)pthread_cond_broadcast(&o->more);
	(void)pthread_mutex_unlock(&o->lock);
	inflate_finish(&inf);
	free(out);
	return NULL;
}

/* Receiving. */

static void range_came(struct oracle *o, struct range *r, size_t n)
{
	r->got += n;
	bool some = false;
	(void)pthread_mutex_lock(&o->lock);
	for (; r->done < r->n; r->done++) {
		struct unit *u = &o->units[r->first + r->done];
		if (u->in_off + u->in_len > r->off + r->got)
			break;
		u->bytes = r->bytes + (u->in_off - r->off);
		o->queue[o->queued++] = u;
		some = true;
	}
	if (some)
		(void)pthread_cond_broadcast(&o->more);
	(void)pthread_mutex_unlock(&o->lock);
}

/* Takes bytes of a head; how many of them were of it. */
static size_t take_head(struct connection *c, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (c->head_len == HEAD_MAX - 1) {
			errno = EBADMSG;
			die("answer");
		}
		c->head[c->head_len++] = bytes[i];
		if (c->head_len < 4 || memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) != 0)
			continue;
		c->head[c->head_len] = '\0';
		if (strncmp(c->head, "HTTP/1.1 206 ", 13) != 0) {
			(void)fprintf(stderr, "oracle: the server says: %s", c->head);
			exit(1);
		}
		c->in_body = true;
		c->head_len = 0;
		return i + 1;
	}
	return n;
}

static void receive(struct oracle *o, struct connection *c)
{
	while (c->range < c->end) {
		struct range *r = &o->ranges[c->range];
		char bytes[HEAD_MAX];
		size_t left = (size_t)(r->len - r->got);
		ssize_t n = c->in_body ? recv(c->fd, r->bytes + r->got, left, MSG_DONTWAIT)
				       : recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			die("receive");
		if (!c->in_body) {
			size_t head = take_head(c, bytes, (size_t)n);
			if (recv(c->fd, bytes, head, MSG_DONTWAIT) != (ssize_t)head)
				die("receive");
			if (c->in_body)
				r->bytes = need(malloc(r->len));
			continue;
		}
		range_came(o, r, (size_t)n);
		if (r->got < r->len)
			continue;
		c->in_body = false;
		c->range++;
	}
}

static void send_requests(struct connection *c)
{
	while (c->sent < c->requests_len) {
		ssize_t n = send(c->fd, c->requests + c->sent, c->requests_len - c->sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("send");
		c->sent += (size_t)n;
	}
}

static void download(struct oracle *o, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	struct pollfd polls[CONNECTIONS_MAX];
	size_t open = 0;
	for (size_t i = 0; i < o->n_connections; i++) {
		struct connection *c = &o->connections[i];
		c->fd = -1;
		if (c->range == c->end)
			continue;
		c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof(at)) < 0)
			die("connect");
		send_requests(c);
		open++;
	}
	while (open > 0) {
		for (size_t i = 0; i < o->n_connections; i++) {
			const struct connection *c = &o->connections[i];
			short events = c->sent < c->requests_len ? POLLIN | POLLOUT : POLLIN;
			polls[i] = (struct pollfd){.fd = c->fd, .events = events};
		}
		if (poll(polls, (nfds_t)o->n_connections, STALL_MS_MAX) <= 0)
			die("nothing comes");
		for (size_t i = 0; i < o->n_connections; i++) {
			struct connection *c = &o->connections[i];
			if (polls[i].revents & POLLOUT)
				send_requests(c);
			if (polls[i].revents & ~POLLOUT)
				receive(o, c);
			if (c->fd < 0 || c->range < c->end)
				continue;
			(void)close(c->fd);
			c->fd = -1;
			open--;
		}
	}
}

static double cpu_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void run(struct oracle *o, uint16_t port)
{
	pthread_t threads[THREADS_MAX];
	double cpu = cpu_ms();
	int64_t start = now_ns();
	for (size_t i = 0; i < o->n_threads; i++)
		if (pthread_create(&threads[i], NULL, inflate_thread, o) != 0)
			die("thread");
	download(o, port);
	int64_t here = now_ns();
	for (size_t i = 0; i < o->n_threads; i++)
		(void)pthread_join(threads[i], NULL);
	(void)printf("{\"wall_ms\": %.3f, \"here_ms\": %.3f, \"cpu_ms\": %.3f, \"bytes\": %llu, "
		     "\"out\": %llu, \"units\": %zu, \"ranges\": %zu}\n",
		     (double)(now_ns() - start) / 1e6, (double)(here - start) / 1e6, cpu_ms() - cpu,
		     (unsigned long long)o->total, (unsigned long long)o->out, o->n_units,
		     o->n_ranges);
}

int main(int argc, char **argv)
{
	static struct oracle o = {.lock = PTHREAD_MUTEX_INITIALIZER,
				  .more = PTHREAD_COND_INITIALIZER,
				  .n_connections = CONNECTIONS_DEFAULT};
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
						{"connections", required_argument, NULL, 'n'},
						{"check", no_argument, NULL, 'c'},
						{0}};
	unsigned long port = 0;
	for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (opt == 'p')
			port = strtoul(optarg, NULL, 10);
		else if (opt == 'n')
			o.n_connections = strtoul(optarg, NULL, 10);
		else if (opt == 'c')
			o.check = true;
		else
			return 2;
	}
	if (port == 0 || port > UINT16_MAX || optind != argc || o.n_connections == 0 ||
	    o.n_connections > CONNECTIONS_MAX) {
		(void)fprintf(stderr, "oracle --port PORT [--connections N] [--check]\n");
		return 2;
	}
	unsigned int cpus = workers_cpu_count();
	o.n_threads = cpus < THREADS_MAX ? cpus : THREADS_MAX;
	read_plan(&o);
	cut(&o);
	write_requests(&o);
	run(&o, (uint16_t)port);
	return 0;
}
