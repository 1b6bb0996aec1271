/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "exec/driver_engine_priv.h"

enum {
	POLL_MS_MAX = 60000,
	FULL_MS = 10, /* between two tries while the socket's queue is full */
};

int engine_cut(const char *what, const struct driver_call *call, int r, struct driver_error *error)
{
	if (r == -ECANCELED || (r == -EINTR && cancel_fired(call->cancel)))
		return driver_fail(error, DRIVER_CANCELLED, NULL, "%s: cancelled", what);
	if (r == -ETIMEDOUT)
		return driver_fail(error, DRIVER_TIMEOUT, NULL,
				   "%s: the engine did not finish before the deadline", what);
	return driver_fail(error, DRIVER_ENGINE, NULL, "%s: %s", what, strerrordesc_np(-r));
}

/* What can be seen of a call between two steps of it: 0, -ECANCELED, -ETIMEDOUT. */
static int call_over(const struct driver_call *call)
{
	if (cancel_fired(call->cancel))
		return -ECANCELED;
	return deadline_passed(call->deadline) ? -ETIMEDOUT : 0;
}

/*
 * A short name for a socket's path of any length, through the directory's
 * descriptor, which the caller closes after use.
 */
static int door_open(const char *path, struct sockaddr_un *ret, int *ret_dirfd)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *dir = strndup(path, (size_t)(slash - path) + 1);
	if (!dir)
		return -ENOMEM;
	AUTO_CLOSE int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -errno;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd,
			 slash + 1);
	if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	*ret_dirfd = steal_fd(&dirfd);
	return 0;
}

/* On a UNIX socket connect(2) is done at once, or says that the queue is full. */
static int dial(const char *path, const struct driver_call *call, int *ret_fd)
{
	struct sockaddr_un address;
	AUTO_CLOSE int dirfd = -1;
	int r = door_open(path, &address, &dirfd);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EAGAIN)
			return -errno;
		r = call_over(call);
		if (r < 0)
			return r;
		clock_sleep_ms(FULL_MS, call->deadline);
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Why there is no connection. */
static int unreachable(const char *path, const struct driver_call *call, const char *what, int r,
		       struct driver_error *error)
{
	if (r == -ECANCELED || r == -ETIMEDOUT)
		return engine_cut(what, call, r, error);
	if (r == -ENOENT || r == -ENOTDIR || r == -ECONNREFUSED)
		return driver_fail(error, r == -ECONNREFUSED ? DRIVER_ENGINE : DRIVER_NOT_FOUND, NULL,
				   "%s: no engine listens on %s: %s", what, path, strerrordesc_np(-r));
	return driver_fail_set(error, r, "%s: connect to %s", what, path);
}

int engine_dial(const char *path, const struct driver_call *call, const char *what, int *ret_fd,
		struct driver_error *error)
{
	int r = dial(path, call, ret_fd);
	return r < 0 ? unreachable(path, call, what, r, error) : 0;
}

/* One request on its way. */
struct transfer {
	const struct engine *engine;
	const struct driver_call *call;
	const struct engine_request *request;
	struct engine_reply *reply;
	struct driver_error *error;
	CURL *easy;
	struct sockaddr_un address;
	size_t header; /* bytes of header fields so far */
	long status;   /* 0 until the body begins */
	int r;	       /* why the body is not read any further: piece()'s result, … */
	bool over;     /* … and that it is not */
	char words[CURL_ERROR_SIZE];
};

static size_t on_header(char *bytes, size_t size, size_t n, void *data)
{
	struct transfer *t = data;
	(void)bytes;
	t->header += size * n;
	return t->header > DRIVER_ENGINE_HEADER_MAX ? 0 : size * n;
}

static bool is_success(long status)
{
	return status >= 200 && status < 300;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
	struct transfer *t = data;
	n *= size;
	if (t->status == 0)
		(void)t->engine->curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
	bool success = is_success(t->status);
	if (success && t->request->piece) {
		t->r = t->request->piece(t->request->data, bytes, n, t->error);
		t->over = t->r != 0;
	} else if (!success && n > ENGINE_ERROR_MAX - t->reply->body.len) {
		(void)buf_append(&t->reply->body, bytes, ENGINE_ERROR_MAX - t->reply->body.len);
		t->over = true; /* it has said enough */
	} else {
		t->r = buf_append(&t->reply->body, bytes, n);
		t->over = t->r < 0;
	}
	return t->over ? n + 1 : n;
}

static bool set_options(struct transfer *t, struct curl_slist *headers, const char *url)
{
	const struct curl_api *curl = t->engine->curl;
	const struct engine_request *request = t->request;
	CURLcode bad = CURLE_OK;
#define SET(option, value)                                                \
	if (bad == CURLE_OK)                                              \
		bad = curl->easy_setopt(t->easy, CURLOPT_##option, (value))
	SET(URL, url);
	SET(UNIX_SOCKET_PATH, t->address.sun_path);
	SET(PROXY, "");
	SET(NOSIGNAL, 1L);
	SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(HTTPHEADER, headers);
	SET(HEADERFUNCTION, on_header);
	SET(HEADERDATA, t);
	SET(WRITEFUNCTION, on_body);
	SET(WRITEDATA, t);
	SET(ERRORBUFFER, t->words);
	if (request->body || strcmp(request->method, "POST") == 0) {
		SET(POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		SET(POSTFIELDS, request->body ? request->body : "");
	}
	SET(CUSTOMREQUEST, request->method);
#undef SET
	return bad == CURLE_OK;
}

/* Goes on until the transfer is over, the deadline passes, or the call is taken back. */
static int drive(struct transfer *t, CURLM *multi, CURLcode *ret)
{
	const struct curl_api *curl = t->engine->curl;
	struct curl_waitfd extra = {.fd = cancel_fd(t->call->cancel), .events = CURL_WAIT_POLLIN};
	for (;;) {
		int running = 0, left = 0;
		if (curl->multi_perform(multi, &running) != CURLM_OK)
			return -EIO;
		const CURLMsg *message = curl->multi_info_read(multi, &left);
		if (message && message->msg == CURLMSG_DONE) {
			*ret = message->data.result;
			return 0;
		}
		int r = call_over(t->call);
		if (r < 0)
			return r;
		int ms = (int)deadline_left_ms(t->call->deadline, POLL_MS_MAX);
		if (curl->multi_poll(multi, &extra, extra.fd >= 0 ? 1 : 0, ms, NULL) != CURLM_OK)
			return -EIO;
	}
}

/* What a transfer that is over came to. */
static int settle(struct transfer *t, CURLcode code)
{
	const char *what = t->request->what;
	if (t->status == 0)
		(void)t->engine->curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
	t->reply->status = t->status;
	if (t->header > DRIVER_ENGINE_HEADER_MAX)
		return driver_fail(t->error, DRIVER_ENGINE, NULL,
				   "%s: the header of the engine's answer has more than %d bytes",
				   what, DRIVER_ENGINE_HEADER_MAX);
	if (t->over && t->r == -E2BIG && !t->request->piece)
		return driver_fail(t->error, DRIVER_ENGINE, NULL,
				   "%s: the engine's answer has more than %d bytes", what,
				   DRIVER_ENGINE_BODY_MAX);
	if (t->over && t->r < 0 && !t->request->piece)
		return driver_fail_set(t->error, t->r, "%s", what);
	if (t->over && is_success(t->status)) {
		t->reply->stopped = t->r > 0;
		return t->r < 0 ? t->r : 0;
	}
	if (code == CURLE_COULDNT_CONNECT) {
		long is = 0;
		(void)t->engine->curl->easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &is);
		return unreachable(t->engine->socket, t->call, what, is > 0 ? -(int)is : -EIO,
				   t->error);
	}
	if (code != CURLE_OK && !t->over)
		return driver_fail(t->error, DRIVER_ENGINE, buf_str(&t->reply->body),
				   "%s: the engine's answer on %s is broken: %s", what,
				   t->engine->socket,
				   t->words[0] ? t->words : t->engine->curl->easy_strerror(code));
	if (!is_success(t->status))
		return engine_refused(t->engine, what, t->status, &t->reply->body, t->error);
	return 0;
}

/* connect(2) said EAGAIN, which libcurl takes for the beginning of a connection. */
static bool queue_was_full(const struct transfer *t, CURLcode code)
{
	long is = 0;
	(void)t->engine->curl->easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &is);
	return code == CURLE_SEND_ERROR && is == ENOTCONN;
}

static int run_once(struct transfer *t, CURLM *multi, CURLcode *ret)
{
	const struct curl_api *curl = t->engine->curl;
	if (curl->multi_add_handle(multi, t->easy) != CURLM_OK)
		return -ENOMEM;
	int r = drive(t, multi, ret);
	(void)curl->multi_remove_handle(multi, t->easy);
	return r;
}

static int run(struct transfer *t, struct curl_slist *headers, const char *url)
{
	const struct curl_api *curl = t->engine->curl;
	CURLM *multi = curl->multi_init();
	t->easy = curl->easy_init();
	CURLcode code = CURLE_OK;
	int r = multi && t->easy && set_options(t, headers, url) ? 0 : -ENOMEM;
	while (r == 0) {
		r = run_once(t, multi, &code);
		if (r < 0 || !queue_was_full(t, code))
			break;
		clock_sleep_ms(FULL_MS, t->call->deadline);
		r = call_over(t->call);
	}
	r = r < 0 ? engine_cut(t->request->what, t->call, r, t->error) : settle(t, code);
	curl->easy_cleanup(t->easy);
	(void)curl->multi_cleanup(multi);
	return r;
}

/* libcurl's lists are NULL when they could not grow; the old one is then still there. */
static struct curl_slist *headers_make(const struct engine *engine,
				       const struct engine_request *request)
{
	const char *const fields[] = {"Host: localhost", "Expect:", "Accept: */*",
				      request->body ? "Content-Type: application/json"
						    : "Content-Type:",
				      request->header};
	struct curl_slist *list = NULL;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (!fields[i])
			continue;
		struct curl_slist *longer = engine->curl->slist_append(list, fields[i]);
		if (!longer) {
			engine->curl->slist_free_all(list);
			return NULL;
		}
		list = longer;
	}
	return list;
}

int engine_http(const struct engine *engine, const struct driver_call *call,
		const struct engine_request *request, struct engine_reply *reply,
		struct driver_error *error)
{
	AUTO_FINISH(engine_reply) struct engine_reply nobodys = engine_reply_make();
	AUTO_FREE char *url = NULL;
	struct transfer t = {.engine = engine, .call = call, .request = request,
			     .reply = reply ? reply : &nobodys, .error = error};
	AUTO_CLOSE int dirfd = -1;
	if (asprintf(&url, "http://localhost%s%s", request->unversioned ? "" : engine->api,
		     request->path) < 0) {
		url = NULL;
		return driver_fail_set(error, -ENOMEM, "%s", request->what);
	}
	struct curl_slist *headers = headers_make(engine, request);
	if (!headers)
		return driver_fail_set(error, -ENOMEM, "%s", request->what);
	int r = door_open(engine->socket, &t.address, &dirfd);
	r = r < 0 ? unreachable(engine->socket, call, request->what, r, error)
		  : run(&t, headers, url);
	engine->curl->slist_free_all(headers);
	return r;
}
