/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that turns from HTTP into the stream of a program's stdio
 * (Docker Engine API, "Attach to a container", "Hijacking"). libcurl knows no
 * such upgrade, so the one request is written here.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/num.h"
#include "exec/driver_engine_hijack.h"

enum {
	CHUNK_BYTES = 32 << 10,
	WRITE_BYTES = 4096, /* PIPE_BUF: a pipe that can be written to takes as many at once */
};

/* Until all is sent. */
static int send_all(int fd, const char *bytes, size_t n, const struct driver_call *call)
{
	while (n > 0) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		int r = sent < 0 ? driver_poll(fd, POLLOUT, call) : 0;
		if (r < 0)
			return r;
		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		}
	}
	return 0;
}

/* Some more bytes. 0 at the end of the stream. */
static ssize_t receive(int fd, struct buf *into, const struct driver_call *call)
{
	char chunk[4096];
	for (;;) {
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
		if (n >= 0) {
			int r = n > 0 ? buf_append(into, chunk, (size_t)n) : 0;
			return r < 0 ? r : n;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		int r = driver_poll(fd, POLLIN, call);
		if (r < 0)
			return r;
	}
}

/* Reads the answer's head. *ret_end: where what follows begins. */
static int read_head(int fd, const struct driver_call *call, struct buf *answer, size_t *ret_end,
		     long *ret_status)
{
	const char *end;
	while (!(end = strstr(buf_str(answer), "\r\n\r\n"))) {
		ssize_t n = receive(fd, answer, call);
		if (n <= 0)
			return n < 0 ? (int)n : -EPROTO;
	}
	/* "HTTP/1.1 101 UPGRADED" */
	const char *text = buf_str(answer);
	if (strncmp(text, "HTTP/1.", 7) != 0 || strspn(text + 7, "01") != 1 || text[8] != ' ' ||
	    strspn(text + 9, "0123456789") != 3)
		return -EPROTO;
	*ret_status = strtol(text + 9, NULL, 10);
	*ret_end = (size_t)(end - text) + 4;
	return 0;
}

/* The engine closes the connection behind an error, as it was asked to. */
static int refused(const struct engine *engine, const struct driver_call *call, const char *what,
		   int fd, long status, struct buf *answer, struct driver_error *error)
{
	ssize_t n;
	while ((n = receive(fd, answer, call)) > 0)
		;
	if (n == -ETIMEDOUT || n == -ECANCELED)
		return engine_cut(what, call, (int)n, error);
	return engine_refused(engine, what, status, answer, error);
}

int engine_hijack(const struct engine *engine, const struct driver_call *call, const char *what,
		  const char *path, const char *body, struct engine_hijacked *ret,
		  struct driver_error *error)
{
	AUTO_CLOSE int fd = -1;
	int r = engine_dial(engine->socket, call, what, &fd, error);
	if (r < 0)
		return r;
	AUTO_FINISH(buf) struct buf request = buf_make(DRIVER_ENGINE_HEADER_MAX);
	AUTO_FINISH(buf) struct buf answer = buf_make(DRIVER_ENGINE_HEADER_MAX);
	r = buf_printf(&request,
		       "POST %s%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
		       "Upgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
		       "\r\n%s",
		       engine->api, path, strlen(body), body);
	if (r == 0)
		r = send_all(fd, request.data, request.len, call);
	long status = 0;
	size_t end = 0;
	if (r == 0)
		r = read_head(fd, call, &answer, &end, &status);
	if (r == -EPROTO || r == -E2BIG)
		return driver_fail(error, DRIVER_ENGINE, buf_str(&answer),
				   "%s: the engine's answer on %s is broken: it has no HTTP header",
				   what, engine->socket);
	if (r < 0)
		return engine_cut(what, call, r, error);
	buf_shift(&answer, end);
	if (status != 101 && status != 200)
		return refused(engine, call, what, fd, status, &answer, error);
	ret->fd = steal_fd(&fd);
	ret->early = answer;
	answer = buf_make(0);
	return 0;
}

void engine_hijacked_finish(struct engine_hijacked *hijacked)
{
	if (!hijacked)
		return;
	if (hijacked->fd >= 0)
		(void)close(hijacked->fd);
	buf_finish(&hijacked->early);
	hijacked->fd = -1;
}

/* The pump's state. */
struct pump {
	const struct engine_pump *with;
	const struct driver_call *call;
	int sock;
	int in;		/* -1 once it has ended */
	bool gone[3];	/* nobody reads it any more */
	char bytes[CHUNK_BYTES]; /* from in, for the engine */
	size_t off, len;
	struct winsize size;
	struct engine_frames frames;
};

/* Waits for whoever reads it; what nobody reads is dropped. */
static int put(struct pump *p, int which, const char *bytes, size_t n)
{
	int fd = p->with->stdio[which];
	while (n > 0 && fd >= 0 && !p->gone[which]) {
		int r = driver_poll(fd, POLLOUT, p->call);
		if (r < 0)
			return r;
		ssize_t done = write(fd, bytes, (size_t)u64_min(n, WRITE_BYTES));
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			p->gone[which] = true;
		if (done > 0) {
			bytes += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

static int on_frame(void *data, enum driver_stream stream, bool first, const char *bytes, size_t n,
		    struct driver_error *error)
{
	struct pump *p = data;
	(void)first;
	int r = put(p, stream == DRIVER_STDERR ? STDERR_FILENO : STDOUT_FILENO, bytes, n);
	return r < 0 ? engine_cut(p->with->what, p->call, r, error) : 0;
}

static int output(struct pump *p, const char *bytes, size_t n, struct driver_error *error)
{
	if (!p->with->tty)
		return engine_frames_piece(&p->frames, bytes, n, error);
	return on_frame(p, DRIVER_STDOUT, false, bytes, n, error);
}

/* A terminal's input ends by a character in it; Docker takes more for the end of its output too. */
static void end_input(const struct pump *p)
{
	if (!p->with->tty)
		(void)shutdown(p->sock, SHUT_WR);
}

/* From in to the engine, as much as goes. */
static void input(struct pump *p, short events, short sock_events)
{
	if (p->len == 0 && (events & (POLLIN | POLLHUP | POLLERR))) {
		ssize_t n = read(p->in, p->bytes, sizeof(p->bytes));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			p->in = -1;
			end_input(p);
			return;
		}
		p->off = 0;
		p->len = (size_t)n;
	} else if (!(sock_events & POLLOUT)) {
		return;
	}
	ssize_t n = send(p->sock, p->bytes + p->off, p->len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		p->in = -1; /* the program does not read any more; its output may still come */
		p->len = 0;
	}
	if (n > 0) {
		p->off += (size_t)n;
		p->len -= (size_t)n;
	}
}

/* A program's terminal gets the size of the caller's. */
static void follow_size(struct pump *p)
{
	struct winsize now;
	if (p->with->size_fd < 0 || ioctl(p->with->size_fd, TIOCGWINSZ, &now) < 0)
		return;
	if (now.ws_row == p->size.ws_row && now.ws_col == p->size.ws_col)
		return;
	p->size = now;
	p->with->resize(p->with->data, now.ws_row, now.ws_col);
}

/* One turn. 1 at the end of the output. */
static int turn(struct pump *p, struct driver_error *error)
{
	struct pollfd fds[] = {
		{.fd = p->sock, .events = (short)(POLLIN | (p->len > 0 ? POLLOUT : 0))},
		{.fd = p->len == 0 ? p->in : -1, .events = POLLIN},
		{.fd = cancel_fd(p->call->cancel), .events = POLLIN},
	};
	uint64_t ms = deadline_left_ms(p->call->deadline, INT32_MAX);
	if (p->with->size_fd >= 0)
		ms = u64_min(ms, DRIVER_ENGINE_LOOK_MS);
	if (poll(fds, ARRAY_LEN(fds), (int)ms) < 0 && errno != EINTR)
		return -errno;
	if (cancel_fired(p->call->cancel))
		return engine_cut(p->with->what, p->call, -ECANCELED, error);
	if (deadline_passed(p->call->deadline))
		return engine_cut(p->with->what, p->call, -ETIMEDOUT, error);
	follow_size(p);
	if (p->in >= 0 || p->len > 0)
		input(p, fds[1].revents, fds[0].revents);
	if (!(fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
		return 0;
	char chunk[CHUNK_BYTES];
	ssize_t n = recv(p->sock, chunk, sizeof(chunk), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return engine_cut(p->with->what, p->call, -errno, error);
	return n == 0 ? 1 : output(p, chunk, (size_t)n, error);
}

static int pump_run(struct pump *p, const struct engine_hijacked *hijacked,
		    struct driver_error *error)
{
	int r = 0;
	if (hijacked->early.len > 0)
		r = output(p, hijacked->early.data, hijacked->early.len, error);
	while (r == 0)
		r = turn(p, error);
	if (r == 1)
		r = engine_frames_end(&p->frames, error);
	return r;
}

/* Writing to a pipe that nobody reads raises SIGPIPE in this thread: it must not reach the caller. */
int engine_pump(const struct engine_hijacked *hijacked, const struct driver_call *call,
		const struct engine_pump *with, struct driver_error *error)
{
	struct pump *p = calloc(1, sizeof(*p));
	if (!p)
		return driver_fail_set(error, -ENOMEM, "%s", with->what);
	p->with = with;
	p->call = call;
	p->sock = hijacked->fd;
	p->in = with->stdio[STDIN_FILENO];
	p->frames = (struct engine_frames){.what = with->what, .bytes = on_frame, .data = p,
					   .failure = buf_make(DRIVER_RAW_MAX)};
	if (p->in < 0)
		end_input(p);
	sigset_t pipe_set, before, pending;
	(void)sigemptyset(&pipe_set);
	(void)sigaddset(&pipe_set, SIGPIPE);
	(void)sigpending(&pending);
	(void)pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
	int r = pump_run(p, hijacked, error);
	if (!sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe_set, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
			;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	buf_finish(&p->frames.failure);
	free(p);
	return r;
}
