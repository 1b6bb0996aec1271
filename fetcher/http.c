/* SPDX-License-Identifier: Apache-2.0 */

/* The calling side of the HTTP engine: redirects, delivery of bodies, deadlines. */

#include "fetcher/http.h"

#include <string.h>

#include "base/num.h"
#include "fetcher/http_internal.h"

void http_response_finish(struct http_response *resp)
{
	if (!resp)
		return;
	free(resp->url);
	buf_finish(&resp->headers);
	buf_finish(&resp->error);
	*resp = (struct http_response){0};
}

const char *http_header_next(const struct http_response *resp, const char *name, size_t *pos)
{
	while (*pos < resp->headers.len) {
		const char *key = resp->headers.data + *pos;
		const char *value = key + strlen(key) + 1;
		*pos = (size_t)(value - resp->headers.data) + strlen(value) + 1;
		if (strcasecmp(key, name) == 0)
			return value;
	}
	return NULL;
}

const char *http_header(const struct http_response *resp, const char *name)
{
	size_t pos = 0;
	return http_header_next(resp, name, &pos);
}

bool http_content_length(const struct http_response *resp, uint64_t *ret)
{
	const char *value = http_header(resp, "content-length");
	return value && u64_parse(value, INT64_MAX, ret) == 0;
}

static char *dup_or_null(const char *text, bool *failed)
{
	char *copy = text ? strdup(text) : NULL;
	*failed |= text && !copy;
	return copy;
}

int transfer_create(const char *url, const struct http_tls *tls, struct transfer **ret,
		    struct err *err)
{
	AUTO(transfer) struct transfer *t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "start an HTTP transfer");
	t->curl = curl_api(err);
	if (!t->curl) {
		free(steal_ptr(&t));
		return -ELIBACC;
	}
	list_init(&t->link);
	list_init(&t->poke);
	list_init(&t->chunks);
	t->queue_max = HTTP_QUEUE_BYTES;
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->wake, NULL);
	t->headers_in = buf_make(HTTP_HEADERS_MAX);
	int r = http_url_parse(url, &t->where, err);
	if (r < 0)
		return r;
	bool failed = false;
	t->url = dup_or_null(url, &failed);
	t->method = dup_or_null("GET", &failed);
	t->ca_pem = dup_or_null(tls->ca_pem, &failed);
	t->client_cert = dup_or_null(tls->client_cert, &failed);
	t->client_key = dup_or_null(tls->client_key, &failed);
	t->skip_verify = tls->skip_verify;
	if (failed || transfer_add_header(t, "Accept-Encoding: identity") < 0)
		return err_set(err, -ENOMEM, "start an HTTP transfer");
	*ret = steal_ptr(&t);
	return 0;
}

void transfer_destroy(struct transfer *t)
{
	if (!t)
		return;
	while (!list_empty(&t->chunks)) {
		struct chunk *chunk = list_first(&t->chunks, struct chunk, link);
		list_remove(&chunk->link);
		free(chunk);
	}
	if (t->headers)
		t->curl->slist_free_all(t->headers);
	http_url_finish(&t->where);
	free(t->url);
	free(t->method);
	free(t->ca_pem);
	free(t->client_cert);
	free(t->client_key);
	buf_finish(&t->headers_in);
	(void)pthread_cond_destroy(&t->wake);
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
}

int transfer_add_header(struct transfer *t, const char *line)
{
	struct curl_slist *list = t->curl->slist_append(t->headers, line);
	if (!list)
		return -ENOMEM;
	t->headers = list;
	return 0;
}

void http_engine_warm(struct http_engine *engine, const char *url, const struct http_tls *tls)
{
	struct transfer *t = NULL;
	if (transfer_create(url, tls, &t, NULL) < 0)
		return;
	t->detached = true;
	if (engine_submit(engine, t, NULL) < 0)
		transfer_destroy(t);
}

/* What is done with the body that is arriving. */
enum body_mode {
	BODY_DELIVER, /* to the sink */
	BODY_KEEP,    /* of an error: a little of it into resp->error, the rest dropped */
	BODY_DROP,    /* of a redirect */
};

/* One hop of a call. */
struct hop {
	struct http_engine *engine;
	const struct http_request *req;
	struct transfer *t;
	struct http_response *resp;
	struct err *err;
	enum body_mode mode;
	uint64_t body_bytes;
	deadline_t deadline; /* of now: moves with idle_ms, and comes near for error bodies */
	bool ended;	     /* by us; result says why */
	int result;
};

static void hop_end(struct hop *hop, int result)
{
	if (hop->ended)
		return;
	hop->ended = true;
	hop->result = result;
	engine_cancel(hop->engine, hop->t);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Status and headers are there: decides about the body. */
static void hop_head(struct hop *hop)
{
	struct http_response *resp = hop->resp;
	struct transfer *t = hop->t;
	resp->status = t->status;
	buf_finish(&resp->headers);
	resp->headers = t->headers_in;
	t->headers_in = (struct buf){0};

	if (resp->status >= 200 && resp->status <= 299) {
		hop->mode = BODY_DELIVER;
		int r = 0;
		if (hop->req->head)
			r = hop->req->head(hop->req->head_data, resp, hop->err);
		if (r < 0)
			hop_end(hop, r);
		return;
	}
	hop->mode = is_redirect(resp->status) ? BODY_DROP : BODY_KEEP;
	hop->deadline = deadline_earlier(hop->deadline, deadline_in_ms(HTTP_ERROR_BODY_MS));
	/* docker-registry 2.8 promises a body with its 416 that never comes. */
	if (resp->status == 416)
		hop_end(hop, 0);
}

static void hop_body(struct hop *hop, const char *data, size_t n)
{
	const struct http_request *req = hop->req;
	hop->body_bytes += n;
	if (hop->ended)
		return;
	if (hop->mode != BODY_DELIVER) {
		size_t room = HTTP_ERROR_BODY_MAX - hop->resp->error.len;
		if (hop->mode == BODY_KEEP)
			(void)buf_append(&hop->resp->error, data, (size_t)u64_min(n, room));
		if (hop->body_bytes > HTTP_ERROR_BODY_MAX)
			hop_end(hop, 0);
		return;
	}
	if (req->max_body > 0 && hop->body_bytes > req->max_body) {
		char shown[HTTP_URL_SHOWN_MAX];
		hop_end(hop, err_say(hop->err, -EFBIG, "%s sent more than the %llu bytes allowed",
				     http_url_shown(hop->t->url, shown),
				     (unsigned long long)req->max_body));
		return;
	}
	int r = req->sink ? req->sink->write(req->sink->data, data, n) : 0;
	if (r < 0) {
		if (hop->err && hop->err->code == 0)
			(void)err_set(hop->err, r, "take the bytes of a transfer");
		hop_end(hop, r);
	}
}

/* Waits for the engine, at most until the deadline. With the transfer's lock held. */
static void hop_wait(struct hop *hop)
{
	struct transfer *t = hop->t;
	if (hop->ended || hop->deadline == 0) {
		/* After engine_cancel() the end is near in any case. */
		(void)pthread_cond_wait(&t->wake, &t->lock);
		return;
	}
	struct timespec until = deadline_timespec(hop->deadline);
	int r = pthread_cond_clockwait(&t->wake, &t->lock, CLOCK_MONOTONIC, &until);
	if (r != ETIMEDOUT || t->done)
		return;
	bool answered = hop->resp->status != 0 && hop->mode != BODY_DELIVER;
	(void)pthread_mutex_unlock(&t->lock);
	hop_end(hop, answered ? 0 : -ETIMEDOUT);
	(void)pthread_mutex_lock(&t->lock);
}

/* Takes one chunk off the queue. With the transfer's lock held; gives it up in between. */
static void hop_take(struct hop *hop)
{
	struct transfer *t = hop->t;
	struct chunk *chunk = list_first(&t->chunks, struct chunk, link);
	list_remove(&chunk->link);
	t->queued -= chunk->len;
	bool resume = t->paused && t->queued <= t->queue_max / 2 && !t->done;
	if (resume)
		t->paused = false;
	(void)pthread_mutex_unlock(&t->lock);
	if (resume)
		engine_resume(hop->engine, t);
	hop_body(hop, chunk->data, chunk->len);
	engine_put_chunk(hop->engine, chunk);
	if (hop->req->idle_ms && hop->mode == BODY_DELIVER)
		hop->deadline = deadline_in_ms(hop->req->idle_ms);
	(void)pthread_mutex_lock(&t->lock);
}

/* Runs the transfer to its end. Returns the libcurl side's result, or ours when we ended it. */
static int hop_run(struct hop *hop)
{
	struct transfer *t = hop->t;
	bool headed = false;
	(void)pthread_mutex_lock(&t->lock);
	for (;;) {
		if (t->head_done && !headed) {
			headed = true;
			(void)pthread_mutex_unlock(&t->lock);
			hop_head(hop);
			(void)pthread_mutex_lock(&t->lock);
		} else if (!list_empty(&t->chunks)) {
			hop_take(hop);
		} else if (t->done) {
			break;
		} else {
			hop_wait(hop);
		}
	}
	int r = t->result;
	(void)pthread_mutex_unlock(&t->lock);
	/* An error answer counts even when its body breaks. */
	if (!hop->ended && headed && hop->mode != BODY_DELIVER)
		return 0;
	return hop->ended ? hop->result : r;
}

/* Headers of every hop, and those of the first host only. */
static int hop_headers(struct transfer *t, const struct http_request *req, bool at_home)
{
	bool typed = false;
	int r = 0;
	for (const char *const *h = req->headers; h && *h && r == 0; h++) {
		typed |= strncasecmp(*h, "Content-Type:", 13) == 0;
		r = transfer_add_header(t, *h);
	}
	if (r == 0 && req->has_range) {
		char range[80];
		(void)snprintf(range, sizeof(range), "Range: bytes=%llu-%llu",
			       (unsigned long long)req->range_off,
			       (unsigned long long)(req->range_off + req->range_len - 1));
		r = transfer_add_header(t, range);
	}
	/* libcurl would else wait for a 100, and call every body a form. */
	if (r == 0 && req->body)
		r = transfer_add_header(t, "Expect:");
	if (r == 0 && req->body && !typed)
		r = transfer_add_header(t, "Content-Type:");
	for (char *const *h = req->private_headers; at_home && h && *h && r == 0; h++)
		r = transfer_add_header(t, *h);
	if (r == 0 && at_home && req->authorization) {
		AUTO_FINISH(buf) struct buf line = buf_make(HTTP_HEADERS_MAX);
		r = buf_printf(&line, "Authorization: %s", req->authorization);
		if (r == 0)
			r = transfer_add_header(t, line.data);
		if (line.data)
			explicit_bzero(line.data, line.len);
	}
	return r;
}

static const char *hop_method(const struct http_request *req, bool as_get)
{
	return req->method && !as_get ? req->method : "GET";
}

/* The state of a call over its redirects. */
struct call {
	const struct http_request *req;
	struct http_url home; /* of the request's URL */
	char *url;	      /* owned: of the next hop */
	bool at_home;	      /* no redirect has left scheme, host and port */
	bool as_get;	      /* after a 303 */
	struct buf chain;     /* the hosts passed, for the error */
};

static void call_finish(struct call *call)
{
	http_url_finish(&call->home);
	free(call->url);
	buf_finish(&call->chain);
}
DEFINE_FINISH(call, call_finish);

static int call_hop(struct http_engine *engine, struct call *call, struct http_response *resp,
		    struct err *err)
{
	const struct http_request *req = call->req;
	AUTO_FINISH(http_url) struct http_url where = {0};
	int r = http_url_parse(call->url, &where, err);
	if (r < 0)
		return r;
	struct http_tls tls = {.ca_pem = req->tls.ca_pem};
	if (strcmp(where.host, call->home.host) == 0)
		tls = req->tls;
	AUTO(transfer) struct transfer *t = NULL;
	r = transfer_create(call->url, &tls, &t, err);
	if (r < 0)
		return r;
	free(t->method);
	t->method = strdup(hop_method(req, call->as_get));
	t->body = call->as_get ? NULL : req->body;
	t->body_len = req->body_len;
	t->dial_timeout_ms = req->dial_timeout_ms;
	t->fresh = req->fresh;
	if (req->sink && req->sink->queue > 0)
		t->queue_max = req->sink->queue;
	if (!t->method || hop_headers(t, req, call->at_home) < 0)
		return err_set(err, -ENOMEM, "start an HTTP transfer");

	struct err why = {0};
	struct hop hop = {
		.engine = engine, .req = req, .t = t, .resp = resp, .err = &why,
		.deadline = req->idle_ms ? deadline_in_ms(req->idle_ms) : req->deadline,
	};
	if (deadline_passed(hop.deadline))
		r = -ETIMEDOUT;
	else
		r = engine_submit(engine, t, &why);
	if (r == 0)
		r = hop_run(&hop);
	if (r >= 0)
		return 0;
	char shown[HTTP_URL_SHOWN_MAX];
	if (why.code == 0 && t->error[0])
		return err_say(err, r, "%s %s: %.300s", t->method, http_url_shown(call->url, shown),
			       t->error);
	if (why.code == 0)
		return err_set(err, r, "%s %s", t->method, http_url_shown(call->url, shown));
	return err_copy(err, &why);
}

/* Moves on to where a redirect points. */
static int call_follow(struct call *call, const struct http_response *resp, struct err *err)
{
	char shown[HTTP_URL_SHOWN_MAX];
	const char *location = http_header(resp, "location");
	if (!location)
		return err_say(err, -EPROTO, "%s answered %d without a Location",
			       http_url_shown(call->url, shown), resp->status);
	char *next = NULL;
	int r = http_url_join(call->url, location, &next, err);
	if (r < 0)
		return err_prefix(err, r, "redirect from %s", http_url_shown(call->url, shown));

	AUTO_FREE char *old = call->url;
	call->url = next;
	AUTO_FINISH(http_url) struct http_url from = {0};
	AUTO_FINISH(http_url) struct http_url to = {0};
	r = http_url_parse(old, &from, err);
	if (r == 0)
		r = http_url_parse(next, &to, err);
	if (r < 0)
		return r;
	if (from.https && !to.https && !call->req->allow_downgrade) {
		char target[HTTP_URL_SHOWN_MAX];
		return err_say(err, -EPERM, "%s redirects to %s, which is not encrypted",
			       http_url_shown(old, shown), http_url_shown(next, target));
	}
	call->at_home = call->at_home && http_url_same_origin(&call->home, &to);
	call->as_get = call->as_get || resp->status == 303;
	if (call->req->secret_body && !call->as_get && !call->at_home) {
		char target[HTTP_URL_SHOWN_MAX];
		return err_say(err, -EPERM, "%s redirects credentials to %s: refused",
			       http_url_shown(old, shown), http_url_shown(next, target));
	}
	return 0;
}

static bool call_follows(const struct call *call, int status)
{
	if (call->req->keep_redirect || !is_redirect(status))
		return false;
	const char *method = hop_method(call->req, call->as_get);
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || status == 307 ||
	       status == 308 || status == 303;
}

static int call_run(struct http_engine *engine, struct call *call, struct http_response *resp,
		    struct err *err)
{
	char shown[HTTP_URL_SHOWN_MAX];
	for (unsigned int hops = 0; hops <= HTTP_REDIRECTS_MAX; hops++) {
		(void)buf_printf(&call->chain, "%s%s", hops > 0 ? " -> " : "",
				 http_url_shown(call->url, shown));
		http_response_finish(resp);
		resp->error = buf_make(HTTP_ERROR_BODY_MAX);
		resp->redirected = hops > 0;
		resp->url = strdup(call->url);
		if (!resp->url)
			return err_set(err, -ENOMEM, "keep a URL");
		int r = call_hop(engine, call, resp, err);
		if (r < 0 || !call_follows(call, resp->status))
			return r;
		r = call_follow(call, resp, err);
		if (r < 0)
			return r;
	}
	return err_say(err, -ELOOP, "more than %d redirects: %s", HTTP_REDIRECTS_MAX,
		       buf_str(&call->chain));
}

int http_perform(struct http_engine *engine, const struct http_request *request,
		 struct http_response *ret, struct err *err)
{
	AUTO_FINISH(call) struct call call = {
		.req = request, .at_home = true, .chain = buf_make(ERR_TEXT_MAX - 128)};
	int r = http_url_parse(request->url, &call.home, err);
	if (r < 0)
		return r;
	call.url = strdup(request->url);
	if (!call.url)
		return err_set(err, -ENOMEM, "start an HTTP request");
	return call_run(engine, &call, ret, err);
}
