/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The engine's thread. Transfers come in through a list and a wake-up, wait
 * for a slot of their host, run in the multi handle, and are given back with
 * `done`. Everything of libcurl but the creation of header lists happens on
 * this thread alone.
 */

#include "fetcher/http_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/num.h"

enum {
	ENGINE_POLL_MS = 60000,	  /* nothing is due that late; any wake-up cuts it short */
	ENGINE_EASY_POOL = 16,	  /* idle easy handles kept for reuse */
	ENGINE_CHUNKS_KEPT = 32,  /* chunks kept for reuse: 4 MiB, a whole queue */
	ENGINE_SOCKETS_MAX = 128, /* whose acknowledgements are hurried; others only wait */
	ENGINE_HOSTS_MAX = 256,	  /* past it those that nothing is asked of are forgotten */
};

/* One scheme, host and port. Redirects may lead to ever more of them: see engine_forget_hosts(). */
struct http_host {
	struct list link;	  /* engine->hosts */
	struct http_engine *engine;
	struct http_url where;
	struct list waiting, active; /* of struct transfer */
	unsigned int n_active;
	uint64_t paused_until; /* engine lock; clock_now_ns() units */
};

struct http_engine {
	struct net_stats *stats;
	char *proxy;
	unsigned int low_speed_sec;

	pthread_mutex_t lock;
	pthread_cond_t stopped; /* `stopping` has become true */
	bool started, stopping;
	struct list submitted, poked; /* of struct transfer */
	struct list hosts;	      /* of struct http_host; only the engine's thread removes */
	size_t n_hosts;
	pthread_t thread;
	const struct curl_api *curl; /* set before the thread starts, as is multi */
	CURLM *multi;

	pthread_mutex_t chunk_lock; /* the innermost; of what follows */
	struct chunk *chunks[ENGINE_CHUNKS_KEPT]; /* owned; fresh memory costs more than a copy */
	size_t n_chunks;

	/* Engine thread only. */
	CURLSH *share;
	CURL *idle[ENGINE_EASY_POOL];
	size_t n_idle;
	curl_socket_t sockets[ENGINE_SOCKETS_MAX]; /* of its connections */
	size_t n_sockets;
};

struct net_stats *http_engine_stats(const struct http_engine *engine)
{
	return engine->stats;
}

int http_engine_create(const struct http_config *config, struct http_engine **ret,
		       struct err *err)
{
	struct http_engine *e = calloc(1, sizeof(*e));
	if (!e)
		return err_set(err, -ENOMEM, "make an HTTP engine");
	e->stats = config->stats;
	e->low_speed_sec = config->low_speed_sec ? config->low_speed_sec : HTTP_LOW_SPEED_SEC;
	e->proxy = strdup(config->proxy ? config->proxy : "");
	if (!e->proxy) {
		free(e);
		return err_set(err, -ENOMEM, "make an HTTP engine");
	}
	(void)pthread_mutex_init(&e->lock, NULL);
	(void)pthread_cond_init(&e->stopped, NULL);
	(void)pthread_mutex_init(&e->chunk_lock, NULL);
	list_init(&e->submitted);
	list_init(&e->poked);
	list_init(&e->hosts);
	*ret = e;
	return 0;
}

/* With the engine lock held. */
static struct http_host *engine_host(struct http_engine *e, const struct http_url *where)
{
	struct http_host *host;
	list_for_each(host, &e->hosts, link)
		if (http_url_same_origin(&host->where, where))
			return host;

	host = calloc(1, sizeof(*host));
	if (!host)
		return NULL;
	host->engine = e;
	host->where = *where;
	host->where.host = strdup(where->host);
	if (!host->where.host) {
		free(host);
		return NULL;
	}
	list_init(&host->waiting);
	list_init(&host->active);
	list_append(&e->hosts, &host->link);
	e->n_hosts++;
	return host;
}

/* With the engine lock held, by whoever may remove. */
static void host_forget(struct http_engine *e, struct http_host *host)
{
	list_remove(&host->link);
	e->n_hosts--;
	http_url_finish(&host->where);
	free(host);
}

/* With the engine lock held, on its thread, and nothing submitted: that would hold a host. */
static void engine_forget_hosts(struct http_engine *e)
{
	struct http_host *host, *tmp;
	uint64_t now = clock_now_ns();
	list_for_each_safe(host, tmp, &e->hosts, link)
		if (host->n_active == 0 && list_empty(&host->waiting) && host->paused_until <= now)
			host_forget(e, host);
}

/* Gives the transfer back; its memory may be gone when this returns. */
static void transfer_finish(struct http_engine *e, struct transfer *t, int result)
{
	list_remove(&t->link);
	if (t->detached) {
		transfer_destroy(t);
		return;
	}
	/* Both locks, so that engine_ask() cannot list it between the two steps. */
	(void)pthread_mutex_lock(&e->lock);
	list_remove(&t->poke);
	(void)pthread_mutex_lock(&t->lock);
	t->result = result;
	t->done = true;
	(void)pthread_cond_signal(&t->wake);
	(void)pthread_mutex_unlock(&t->lock);
	(void)pthread_mutex_unlock(&e->lock);
}

/* Ends a transfer that runs. */
static void transfer_detach(struct http_engine *e, struct transfer *t, int result)
{
	CURL *easy = steal_ptr(&t->easy);
	(void)e->curl->multi_remove_handle(e->multi, easy);
	t->host->n_active--;
	net_stats_add(e->stats, bytes, t->received);
	e->curl->easy_reset(easy);
	if (e->n_idle < ENGINE_EASY_POOL)
		e->idle[e->n_idle++] = easy;
	else
		e->curl->easy_cleanup(easy);
	transfer_finish(e, t, result);
}

static int curl_errno(const struct curl_api *curl, CURLcode code, CURL *easy)
{
	long os = 0;
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		(void)curl->easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
		if (os == ENETUNREACH || os == EHOSTUNREACH || os == ETIMEDOUT)
			return (int)-os;
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return -ECONNRESET;
	case CURLE_SSL_CONNECT_ERROR:
		/* Mostly no TLS server at all, which patience does not cure. */
		(void)curl->easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
		return os == ECONNRESET ? -ECONNRESET : -EPROTO;
	case CURLE_PEER_FAILED_VERIFICATION:
		return -EKEYREJECTED;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_URL_MALFORMAT:
		return -EINVAL;
	default:
		return -EPROTO;
	}
}

struct chunk *engine_chunk(struct http_engine *e)
{
	struct chunk *chunk = NULL;
	(void)pthread_mutex_lock(&e->chunk_lock);
	if (e->n_chunks > 0)
		chunk = e->chunks[--e->n_chunks];
	(void)pthread_mutex_unlock(&e->chunk_lock);
	if (!chunk)
		chunk = malloc(sizeof(*chunk));
	if (chunk)
		chunk->len = 0;
	return chunk;
}

void engine_put_chunk(struct http_engine *e, struct chunk *chunk)
{
	(void)pthread_mutex_lock(&e->chunk_lock);
	if (e->n_chunks < ENGINE_CHUNKS_KEPT)
		e->chunks[e->n_chunks++] = steal_ptr(&chunk);
	(void)pthread_mutex_unlock(&e->chunk_lock);
	free(chunk);
}

static struct chunk *transfer_tail(struct transfer *t)
{
	if (list_empty(&t->chunks))
		return NULL;
	struct chunk *tail = container_of(t->chunks.prev, struct chunk, link);
	return tail->len < sizeof(tail->data) ? tail : NULL;
}

/* CURLOPT_WRITEFUNCTION. */
static size_t on_body(char *data, size_t size, size_t n, void *user)
{
	struct transfer *t = user;
	n *= size;
	if (t->detached) {
		/* Nobody wants it: a little keeps the connection, more is not waited for. */
		t->received += n;
		return t->received <= HTTP_ERROR_BODY_MAX ? n : 0;
	}

	(void)pthread_mutex_lock(&t->lock);
	if (t->queued > 0 && t->queued + n > t->queue_max) {
		t->paused = true;
		(void)pthread_mutex_unlock(&t->lock);
		return CURL_WRITEFUNC_PAUSE;
	}
	size_t done = 0;
	while (done < n) {
		struct chunk *chunk = transfer_tail(t);
		if (!chunk) {
			chunk = engine_chunk(t->host->engine);
			if (!chunk)
				break;
			list_append(&t->chunks, &chunk->link);
		}
		size_t part = (size_t)u64_min(n - done, sizeof(chunk->data) - chunk->len);
		memcpy(chunk->data + chunk->len, data + done, part);
		chunk->len += part;
		done += part;
	}
	t->queued += done;
	t->received += done;
	(void)pthread_cond_signal(&t->wake);
	(void)pthread_mutex_unlock(&t->lock);
	return done;
}

static int header_append(struct transfer *t, const char *line, size_t n)
{
	while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
		n--;
	const char *colon = memchr(line, ':', n);
	if (!colon || memchr(line, '\0', n))
		return 0;
	const char *value = colon + 1;
	while (value < line + n && (*value == ' ' || *value == '\t'))
		value++;
	size_t before = t->headers_in.len;
	int r = buf_append(&t->headers_in, line, (size_t)(colon - line));
	if (r == 0)
		r = buf_append(&t->headers_in, "", 1);
	if (r == 0)
		r = buf_append(&t->headers_in, value, (size_t)(line + n - value));
	if (r == 0)
		r = buf_append(&t->headers_in, "", 1);
	if (r < 0)
		t->headers_in.len = before;
	return r;
}

/*
 * Has the kernel acknowledge at once what comes from now on. One that has just
 * sent a request hopes to put the acknowledgement into the next and waits 40 ms
 * for that, while a server with Nagle's algorithm (nginx with tcp_nopush) keeps
 * the last bytes of its answer back until it comes. Sending ends this, so each
 * answer asks anew; of its socket libcurl does not tell, so on all.
 */
static void engine_ack_at_once(const struct http_engine *e)
{
	int on = 1;
	for (size_t i = 0; i < e->n_sockets; i++)
		(void)setsockopt(e->sockets[i], IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

/* CURLOPT_OPENSOCKETFUNCTION. */
static curl_socket_t on_open(void *user, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct http_engine *e = user;
	(void)purpose;
	int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
	if (fd >= 0 && e->n_sockets < ARRAY_LEN(e->sockets))
		e->sockets[e->n_sockets++] = fd;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION. */
static int on_close(void *user, curl_socket_t fd)
{
	struct http_engine *e = user;
	for (size_t i = 0; i < e->n_sockets; i++) {
		if (e->sockets[i] != fd)
			continue;
		e->sockets[i] = e->sockets[--e->n_sockets];
		break;
	}
	return close(fd);
}

/* CURLOPT_HEADERFUNCTION: one line a call; interim answers (1xx) start over. */
static size_t on_header(char *line, size_t size, size_t n, void *user)
{
	struct transfer *t = user;
	n *= size;
	(void)pthread_mutex_lock(&t->lock);
	size_t taken = n;
	bool begins = !t->head_done;
	if (t->head_done) {
		/* Trailers decide nothing. */
	} else if (n > 5 && strncmp(line, "HTTP/", 5) == 0) {
		buf_clear(&t->headers_in);
	} else if (line[0] != '\r' && line[0] != '\n') {
		if (header_append(t, line, n) < 0)
			taken = 0;
	} else {
		long status = 0;
		(void)t->curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		if (status >= 200) {
			t->status = (int)status;
			t->head_done = true;
			(void)pthread_cond_signal(&t->wake);
		}
	}
	begins = begins && t->head_done;
	(void)pthread_mutex_unlock(&t->lock);
	if (begins)
		engine_ack_at_once(t->host->engine);
	return taken;
}

static void easy_tls(CURL *easy, const struct transfer *t)
{
	if (t->ca_pem) {
		struct curl_blob blob = {
			.data = t->ca_pem, .len = strlen(t->ca_pem), .flags = CURL_BLOB_COPY};
		(void)t->curl->easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
	}
	if (t->client_cert) {
		(void)t->curl->easy_setopt(easy, CURLOPT_SSLCERT, t->client_cert);
		(void)t->curl->easy_setopt(easy, CURLOPT_SSLKEY,
				       t->client_key ? t->client_key : t->client_cert);
	}
	if (t->skip_verify) {
		(void)t->curl->easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)t->curl->easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	(void)t->curl->easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static void easy_method(CURL *easy, const struct transfer *t)
{
	if (strcmp(t->method, "HEAD") == 0) {
		(void)t->curl->easy_setopt(easy, CURLOPT_NOBODY, 1L);
		return;
	}
	if (t->body) {
		(void)t->curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
		(void)t->curl->easy_setopt(easy, CURLOPT_POSTFIELDS, t->body);
	}
	if (t->body || strcmp(t->method, "GET") != 0)
		(void)t->curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, t->method);
}

/* Options that fail here do so for want of memory only, and the request then fails by itself. */
static int easy_setup(struct http_engine *e, CURL *easy, struct transfer *t)
{
	const struct curl_api *curl = e->curl;
	uint64_t dial = t->dial_timeout_ms ? t->dial_timeout_ms : HTTP_DIAL_MS;
	if (curl->easy_setopt(easy, CURLOPT_URL, t->url) != CURLE_OK ||
	    curl->easy_setopt(easy, CURLOPT_USERAGENT, "sluice/" SLUICE_VERSION) != CURLE_OK ||
	    curl->easy_setopt(easy, CURLOPT_PROXY, e->proxy) != CURLE_OK ||
	    curl->easy_setopt(easy, CURLOPT_SHARE, e->share) != CURLE_OK)
		return -ENOMEM;
	(void)curl->easy_setopt(easy, CURLOPT_PRIVATE, t);
	(void)curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Without it a name look-up that hangs would hold up the loop when its caller gives up. */
	(void)curl->easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	/* In the clear there is nothing to multiplex, and waiting to see costs a round trip. */
	bool h2 = t->where.https;
	(void)curl->easy_setopt(easy, CURLOPT_HTTP_VERSION,
			       h2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
	(void)curl->easy_setopt(easy, CURLOPT_PIPEWAIT, h2 && !t->fresh ? 1L : 0L);
	(void)curl->easy_setopt(easy, CURLOPT_FRESH_CONNECT, t->fresh ? 1L : 0L);
	(void)curl->easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)HTTP_CHUNK_BYTES);
	(void)curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)u64_min(dial, INT32_MAX));
	(void)curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, t->detached ? (long)HTTP_WARM_MS : 0L);
	(void)curl->easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)HTTP_LOW_SPEED_BYTES);
	(void)curl->easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)e->low_speed_sec);
	(void)curl->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	(void)curl->easy_setopt(easy, CURLOPT_OPENSOCKETDATA, e);
	(void)curl->easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	(void)curl->easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, e);
	(void)curl->easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	(void)curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl->easy_setopt(easy, CURLOPT_HEADERDATA, t);
	(void)curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl->easy_setopt(easy, CURLOPT_WRITEDATA, t);
	(void)curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
	easy_tls(easy, t);
	easy_method(easy, t);
	return 0;
}

static void transfer_start(struct http_engine *e, struct transfer *t)
{
	CURL *easy = e->n_idle > 0 ? e->idle[--e->n_idle] : e->curl->easy_init();
	list_remove(&t->link);
	if (!easy) {
		transfer_finish(e, t, -ENOMEM);
		return;
	}
	int r = easy_setup(e, easy, t);
	if (r == 0 && e->curl->multi_add_handle(e->multi, easy) != CURLM_OK)
		r = -ENOMEM;
	if (r < 0) {
		e->curl->easy_cleanup(easy);
		transfer_finish(e, t, r);
		return;
	}
	t->easy = easy;
	t->host->n_active++;
	list_append(&t->host->active, &t->link);
	net_stats_add(e->stats, requests, 1);
}

/* Starts what may start. Returns the milliseconds until a paused host may go on. */
static uint64_t engine_start_waiting(struct http_engine *e)
{
	uint64_t wait_ms = ENGINE_POLL_MS;
	uint64_t now = clock_now_ns();
	/* Others only ever append hosts, so the lock need not be held over the walk. */
	(void)pthread_mutex_lock(&e->lock);
	struct list *end = &e->hosts;
	struct list *at = e->hosts.next;
	while (at != end) {
		struct http_host *host = container_of(at, struct http_host, link);
		uint64_t until = host->paused_until;
		(void)pthread_mutex_unlock(&e->lock);
		if (until > now && !list_empty(&host->waiting))
			wait_ms = u64_min(wait_ms, (until - now) / NS_PER_MS + 1);
		while (until <= now && !list_empty(&host->waiting) &&
		       host->n_active < HTTP_HOST_TRANSFERS_MAX)
			transfer_start(e, list_first(&host->waiting, struct transfer, link));
		(void)pthread_mutex_lock(&e->lock);
		at = at->next;
	}
	(void)pthread_mutex_unlock(&e->lock);
	return wait_ms;
}

static void engine_poke(struct http_engine *e, struct transfer *t, bool cancel)
{
	if (cancel && t->easy)
		transfer_detach(e, t, -ECANCELED);
	else if (cancel)
		transfer_finish(e, t, -ECANCELED);
	else if (t->easy)
		(void)e->curl->easy_pause(t->easy, CURLPAUSE_CONT);
}

/* Takes what callers asked for. True when the engine shall end. */
static bool engine_take(struct http_engine *e)
{
	(void)pthread_mutex_lock(&e->lock);
	while (!list_empty(&e->submitted)) {
		struct transfer *t = list_first(&e->submitted, struct transfer, link);
		list_remove(&t->link);
		list_append(&t->host->waiting, &t->link);
	}
	if (e->n_hosts > ENGINE_HOSTS_MAX)
		engine_forget_hosts(e);
	while (!list_empty(&e->poked)) {
		struct transfer *t = list_first(&e->poked, struct transfer, poke);
		list_remove(&t->poke);
		bool cancel = t->cancel_asked;
		t->resume_asked = false;
		(void)pthread_mutex_unlock(&e->lock);
		engine_poke(e, t, cancel);
		(void)pthread_mutex_lock(&e->lock);
	}
	bool stop = e->stopping;
	(void)pthread_mutex_unlock(&e->lock);
	return stop;
}

static void engine_cancel_all(struct http_engine *e)
{
	struct http_host *host;
	/* Nothing is added to any of these lists once `stopping` is set. */
	while (!list_empty(&e->submitted))
		transfer_finish(e, list_first(&e->submitted, struct transfer, link), -ECANCELED);
	list_for_each(host, &e->hosts, link) {
		while (!list_empty(&host->active))
			transfer_detach(e, list_first(&host->active, struct transfer, link),
					-ECANCELED);
		while (!list_empty(&host->waiting))
			transfer_finish(e, list_first(&host->waiting, struct transfer, link),
					-ECANCELED);
	}
}

static bool engine_reap(struct http_engine *e)
{
	bool any = false;
	CURLMsg *msg;
	int left;
	while ((msg = e->curl->multi_info_read(e->multi, &left))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		char *private = NULL;
		CURL *easy = msg->easy_handle;
		int r = curl_errno(e->curl, msg->data.result, easy);
		(void)e->curl->easy_getinfo(easy, CURLINFO_PRIVATE, &private);
		struct transfer *t = (struct transfer *)(void *)private;
		if (r < 0 && t->error[0] == '\0')
			(void)snprintf(t->error, sizeof(t->error), "%s",
				       e->curl->easy_strerror(msg->data.result));
		transfer_detach(e, t, r);
		any = true;
	}
	return any;
}

static void *engine_main(void *data)
{
	struct http_engine *e = data;
	(void)pthread_setname_np(pthread_self(), "sluice-http");
	while (!engine_take(e)) {
		int running;
		uint64_t wait_ms;
		do {
			wait_ms = engine_start_waiting(e);
			(void)e->curl->multi_perform(e->multi, &running);
		} while (engine_reap(e));
		(void)e->curl->multi_poll(e->multi, NULL, 0, (int)wait_ms, NULL);
	}
	engine_cancel_all(e);
	while (e->n_idle > 0)
		e->curl->easy_cleanup(e->idle[--e->n_idle]);
	return NULL;
}

/* With the engine lock held. */
static int engine_start(struct http_engine *e, const struct curl_api *curl)
{
	e->curl = curl;
	if (e->curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	e->multi = e->curl->multi_init();
	e->share = e->curl->share_init();
	int r = e->multi && e->share ? 0 : -ENOMEM;
	if (r == 0) {
		/* No lock functions: every handle of this share lives on the one thread. */
		(void)e->curl->share_setopt(e->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
		(void)e->curl->multi_setopt(e->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
		(void)e->curl->multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_CONNECTIONS_MAX);
		sigset_t all, old;
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &old);
		r = -pthread_create(&e->thread, NULL, engine_main, e);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (r == 0) {
		e->started = true;
		return 0;
	}
	(void)e->curl->multi_cleanup(e->multi);
	(void)e->curl->share_cleanup(e->share);
	e->multi = NULL;
	e->share = NULL;
	e->curl->global_cleanup();
	return r;
}

int engine_submit(struct http_engine *e, struct transfer *t, struct err *err)
{
	int r = 0;
	(void)pthread_mutex_lock(&e->lock);
	if (e->stopping)
		r = -ECANCELED;
	else if (!e->started)
		r = engine_start(e, t->curl);
	if (r == 0) {
		t->host = engine_host(e, &t->where);
		r = t->host ? 0 : -ENOMEM;
	}
	if (r == 0) {
		list_append(&e->submitted, &t->link);
		(void)e->curl->multi_wakeup(e->multi);
	}
	(void)pthread_mutex_unlock(&e->lock);
	return r < 0 ? err_set(err, r, "start an HTTP transfer") : 0;
}

static void engine_ask(struct http_engine *e, struct transfer *t, bool cancel)
{
	(void)pthread_mutex_lock(&e->lock);
	if (cancel)
		t->cancel_asked = true;
	else
		t->resume_asked = true;
	/* A finished one is nobody's but the caller's, and must not be listed again. */
	(void)pthread_mutex_lock(&t->lock);
	bool done = t->done;
	(void)pthread_mutex_unlock(&t->lock);
	if (!done) {
		list_remove(&t->poke);
		list_append(&e->poked, &t->poke);
		(void)e->curl->multi_wakeup(e->multi);
	}
	(void)pthread_mutex_unlock(&e->lock);
}

void engine_cancel(struct http_engine *e, struct transfer *t)
{
	engine_ask(e, t, true);
}

void engine_resume(struct http_engine *e, struct transfer *t)
{
	engine_ask(e, t, false);
}

void http_engine_pause(struct http_engine *e, const char *url, uint64_t ms)
{
	AUTO_FINISH(http_url) struct http_url where = {0};
	if (http_url_parse(url, &where, NULL) < 0)
		return;
	(void)pthread_mutex_lock(&e->lock);
	struct http_host *host = e->stopping ? NULL : engine_host(e, &where);
	uint64_t until = clock_now_ns() + u64_min(ms, HTTP_PAUSE_MAX_MS) * NS_PER_MS;
	if (host)
		host->paused_until = u64_max(host->paused_until, until);
	(void)pthread_mutex_unlock(&e->lock);
}

int http_engine_sleep(struct http_engine *e, uint64_t ms)
{
	struct timespec until = deadline_timespec(clock_now_ns() + ms * NS_PER_MS);
	int r = 0;
	(void)pthread_mutex_lock(&e->lock);
	while (!e->stopping && r == 0)
		r = pthread_cond_clockwait(&e->stopped, &e->lock, CLOCK_MONOTONIC, &until);
	bool stopping = e->stopping;
	(void)pthread_mutex_unlock(&e->lock);
	return stopping ? -ECANCELED : 0;
}

void http_engine_stop(struct http_engine *e)
{
	(void)pthread_mutex_lock(&e->lock);
	e->stopping = true;
	(void)pthread_cond_broadcast(&e->stopped);
	if (e->started)
		(void)e->curl->multi_wakeup(e->multi);
	(void)pthread_mutex_unlock(&e->lock);
}

void http_engine_destroy(struct http_engine *e)
{
	if (!e)
		return;
	http_engine_stop(e);
	if (e->started) {
		(void)pthread_join(e->thread, NULL);
		(void)e->curl->multi_cleanup(e->multi);
		(void)e->curl->share_cleanup(e->share);
		e->curl->global_cleanup();
	}
	while (!list_empty(&e->hosts))
		host_forget(e, list_first(&e->hosts, struct http_host, link));
	while (e->n_chunks > 0)
		free(e->chunks[--e->n_chunks]);
	(void)pthread_mutex_destroy(&e->chunk_lock);
	(void)pthread_cond_destroy(&e->stopped);
	(void)pthread_mutex_destroy(&e->lock);
	free(e->proxy);
	free(e);
}
