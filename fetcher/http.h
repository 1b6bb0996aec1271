/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * HTTP for everything that crosses the network: one libcurl multi loop on a
 * thread of its own, which starts with the first request; HTTP/2 where the
 * server offers it, connections and TLS sessions reused. A call blocks the
 * thread that makes it, and body bytes are handed over on that thread, with
 * back pressure. Any number of threads may call at once. No request is sent
 * twice here (but by libcurl, when a kept connection turns out to be closed
 * before a single byte came back): see fetcher/retry.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "fetcher/net_stats.h"
#include "fetcher/origin.h"

enum {
	HTTP_HOST_TRANSFERS_MAX = 48,	/* under way to one host; further ones queue */
	HTTP_CONNECTIONS_MAX = 64,	/* kept open for reuse, all hosts together */
	HTTP_QUEUE_BYTES = 4 << 20,	/* of one body between engine and caller */
	HTTP_CHUNK_BYTES = 128 << 10,	/* that queue's grain, and libcurl's buffer */
	HTTP_REDIRECTS_MAX = 10,
	HTTP_HEADERS_MAX = 64 << 10,	/* of one response */
	HTTP_ERROR_BODY_MAX = 16 << 10, /* kept of a body that is not wanted */
	HTTP_ERROR_BODY_MS = 1000,	/* and how long it is waited for */
	HTTP_PAUSE_MAX_MS = 60000,	/* the longest Retry-After that is obeyed */
	HTTP_WARM_MS = 15000,		/* the longest life of a request that only warms */
	HTTP_DIAL_MS = 10000,		/* default for a connection with its TLS */
	HTTP_LOW_SPEED_BYTES = 1024,	/* a second; less than that for … */
	HTTP_LOW_SPEED_SEC = 15,	/* … so long by default is a stall */
};

struct http_engine;

struct http_config {
	struct net_stats *stats; /* borrowed, outlives the engine; NULL: not counted */
	const char *proxy;	 /* borrowed during create; NULL: no proxy, whatever the environment says */
	unsigned int low_speed_sec; /* 0: HTTP_LOW_SPEED_SEC */
};

/* Costs next to nothing until the first request. -ENOMEM. */
int http_engine_create(const struct http_config *config, struct http_engine **ret,
		       struct err *err);

/* Ends every call and sleep, present and future, with -ECANCELED. Any thread. */
void http_engine_stop(struct http_engine *engine);

/* Stops, joins the thread, frees. Nobody may be inside a call. Accepts NULL. */
void http_engine_destroy(struct http_engine *engine);
DEFINE_CLEANUP(http_engine, http_engine_destroy);

/* The counters of the config, or NULL. */
struct net_stats *http_engine_stats(const struct http_engine *engine);

/* How to trust, and be trusted by, a server. Strings are borrowed; NULL: none. */
struct http_tls {
	const char *ca_pem; /* authorities besides the system's */
	const char *client_cert;
	const char *client_key;
	bool skip_verify;
};

/*
 * A response without its body. Strings are borrowed from it and live until
 * http_response_finish().
 */
struct http_response {
	int status;	      /* 0: none was received */
	char *url;	      /* owned: where the answer came from, redirects followed */
	bool redirected;      /* url is not the one asked for */
	struct buf headers;   /* name NUL value NUL …; see http_header() */
	struct buf error;     /* the first HTTP_ERROR_BODY_MAX bytes of a body that is no 2xx's */
};

void http_response_finish(struct http_response *resp);
DEFINE_FINISH(http_response, http_response_finish);

/* The first header of that name (any case), or NULL. */
const char *http_header(const struct http_response *resp, const char *name);

/* The next one of that name; *pos starts at 0. NULL at the end. */
const char *http_header_next(const struct http_response *resp, const char *name, size_t *pos);

/* Content-Length as a number. False when it is missing or no number. */
bool http_content_length(const struct http_response *resp, uint64_t *ret);

/* Everything here is borrowed during the call. Zero means: none, or the default. */
struct http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers; /* NULL-terminated "Name: value", sent to every host */
	/*
	 * Sent to the scheme, host and port of url only, and never again once a
	 * redirect has left it: Authorization, and what the user configured.
	 */
	const char *authorization; /* the header's value */
	char *const *private_headers;
	const void *body; /* NULL: none */
	size_t body_len;
	bool secret_body; /* a redirect that would send it to another host is an error */
	bool has_range;
	uint64_t range_off, range_len; /* len > 0 */
	struct http_tls tls; /* client_cert and skip_verify hold for hosts of url's name only */
	bool allow_downgrade; /* from https to http by a redirect */
	/*
	 * On a connection of its own. On a kept one that turns out to be closed libcurl would
	 * send a body again, of which the server may have kept a part.
	 */
	bool fresh;
	bool keep_redirect;   /* answer with a 3xx instead of following it */
	deadline_t deadline;
	/* When not 0, deadline is ignored: the longest time without a byte. */
	uint64_t idle_ms;
	uint64_t dial_timeout_ms;
	/*
	 * Sees status and headers of a 2xx before its body; a negative result
	 * ends the transfer, which returns it (the callback says why in err).
	 */
	int (*head)(void *data, const struct http_response *resp, struct err *err);
	void *head_data;
	const struct byte_sink *sink; /* of a 2xx's body; NULL: dropped */
	uint64_t max_body;	      /* -EFBIG past it; 0: no limit */
};

/*
 * Sends one request, follows redirects (301, 302, 307, 308 alike for GET and
 * HEAD; 307 and 308 only for other methods; 303 with GET), and delivers a 2xx
 * body. 0 with any status: an answer is no error, and one that is no 2xx
 * counts even when its body breaks. Errors leave in *ret what was known by
 * then: the caller finishes it either way. -ECONNRESET (broken or short),
 * -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT (deadline, or stalled), -EKEYREJECTED
 * (the server's certificate), -ELOOP (redirects; err names the chain), -EPERM
 * (a redirect to plain http, or of a secret body), -ECANCELED, -EFBIG, -EPROTO, -EINVAL, or what
 * sink and head returned.
 */
int http_perform(struct http_engine *engine, const struct http_request *request,
		 struct http_response *ret, struct err *err);

/*
 * Opens a connection ahead of its use, by a GET whose answer is dropped. tls is
 * borrowed during the call. Does not wait and reports nothing.
 */
void http_engine_warm(struct http_engine *engine, const char *url, const struct http_tls *tls);

/* Lets no new transfer to the host of url begin for ms (cut at HTTP_PAUSE_MAX_MS). */
void http_engine_pause(struct http_engine *engine, const char *url, uint64_t ms);

/* Sleeps; -ECANCELED as soon as the engine is stopped. */
int http_engine_sleep(struct http_engine *engine, uint64_t ms);
