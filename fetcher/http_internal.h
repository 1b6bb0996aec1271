/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the two halves of the HTTP engine share: http_engine.c (the loop) and http.c (callers). */

#include <pthread.h>

#include "base/curl_api.h"
#include "base/list.h"
#include "fetcher/http.h"
#include "fetcher/http_url.h"

/* Body bytes on their way from the engine's thread to the caller's. */
struct chunk {
	struct list link;
	size_t len;
	char data[HTTP_CHUNK_BYTES];
};

/*
 * One request to one host. Made by the caller, lent to the engine from
 * engine_submit() until done; a warm-up is owned by the engine.
 */
struct transfer {
	struct list link; /* engine: submitted, a host's waiting or active list */
	struct list poke; /* engine: those with cancel or resume asked for */
	const struct curl_api *curl;
	struct http_host *host;
	struct http_url where;
	char *url;		    /* owned */
	char *method;		    /* owned */
	struct curl_slist *headers; /* owned */
	const void *body;	    /* borrowed */
	size_t body_len;
	char *ca_pem, *client_cert, *client_key; /* owned */
	bool skip_verify;
	bool fresh;
	uint64_t dial_timeout_ms;
	bool detached; /* a warm-up: the engine frees it, nobody waits */
	CURL *easy;    /* engine thread only, while active */

	/* Engine lock. */
	bool cancel_asked;
	bool resume_asked;

	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t wake;
	struct list chunks; /* of struct chunk */
	size_t queued;	    /* bytes in chunks … */
	size_t queue_max;   /* … and how many there may be */
	uint64_t received;  /* bytes ever queued, or dropped when detached */
	bool paused;	    /* the write callback waits for room */
	bool head_done;	    /* status and headers are complete and no longer change */
	bool done;	    /* the engine does not touch this any more */
	int result;	    /* valid when done: 0 or -errno */
	int status;
	struct buf headers_in; /* as struct http_response */
	char error[CURL_ERROR_SIZE]; /* valid when done */
};

int transfer_create(const char *url, const struct http_tls *tls, struct transfer **ret,
		    struct err *err);
void transfer_destroy(struct transfer *t);
DEFINE_CLEANUP(transfer, transfer_destroy);

/* Appends a request header. -ENOMEM. */
int transfer_add_header(struct transfer *t, const char *line);

/* A chunk to fill, of those kept or a new one; NULL without memory. Any thread. */
struct chunk *engine_chunk(struct http_engine *engine);

/* Keeps the chunk for others, or frees it. Any thread. */
void engine_put_chunk(struct http_engine *engine, struct chunk *chunk);

/* Hands a transfer to the loop, starting it when need be. -ECANCELED, -EAGAIN, -ENOMEM. */
int engine_submit(struct http_engine *engine, struct transfer *t, struct err *err);

/* Asks the loop to end a transfer; it will be done very soon. */
void engine_cancel(struct http_engine *engine, struct transfer *t);

/* Asks the loop to take up a paused transfer. */
void engine_resume(struct http_engine *engine, struct transfer *t);
