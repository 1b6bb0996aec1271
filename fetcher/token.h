/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Authorization for registries, after the distribution project's token
 * specification (auth/token, auth/oauth) and RFC 7617 (Basic). Tokens are kept
 * per (endpoint, scopes), fetched by one thread however many wait, and renewed
 * before they end. Every secret stays in memory and out of error texts.
 * All functions are safe from any thread.
 */

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"
#include "fetcher/cred.h"
#include "fetcher/http.h"

enum {
	TOKEN_BODY_MAX = 1 << 20,    /* of a token server's answer */
	TOKEN_LIFE_MIN_SEC = 60,     /* where the server says less, or nothing */
	TOKEN_LIFE_MAX_SEC = 86400,
	TOKEN_TRIES = 4,	     /* of one request to a token server */
	TOKEN_ENTRIES_MAX = 4096,    /* pairs of endpoint and scopes */
};

struct tokens;

struct tokens_config {
	struct http_engine *engine; /* borrowed */
	struct creds *creds;	    /* borrowed; NULL: always anonymous */
	bool allow_private_realm;   /* token servers on private addresses: for tests */
};

/* -ENOMEM. */
int tokens_create(const struct tokens_config *config, struct tokens **ret, struct err *err);
void tokens_destroy(struct tokens *tokens);
DEFINE_CLEANUP(tokens, tokens_destroy);

/* What is asked for. All borrowed. */
struct token_ask {
	const char *url_base;	   /* of the endpoint */
	const char *registry_host; /* whose credentials: "docker.io", "localhost:5000" */
	const char *repository;
	const char *scopes; /* "repository:demo/q:pull", several with a space between */
	const struct http_tls *tls; /* of the endpoint, for a realm on the same host */
	deadline_t deadline;
};

/*
 * The value of the Authorization header, which the caller frees, or NULL where
 * nothing is known to be needed. With `refused`, a 401 or 403 of the endpoint
 * to a request that carried `used` (NULL: nothing): a new value, by its
 * challenges or, without any, by those of before and credentials asked for
 * anew. -EACCES (no credentials, or wrong ones), -EPERM (a token server that
 * must not be asked), -EPROTO and -EFBIG (an answer that is no token),
 * -ETIMEDOUT, -ECANCELED, network errors.
 */
int tokens_get(struct tokens *tokens, const struct token_ask *ask,
	       const struct http_response *refused, const char *used, char **ret,
	       struct err *err);

/*
 * For fetcher/handover.h: adds a record for each token that will do for a while yet; takes one
 * over, unless an own one is there. -ENOENT: a record of somebody else's kind; -EBADMSG, -ENOMEM.
 */
struct handover;
int tokens_hand_over(struct tokens *tokens, struct handover *to);
int tokens_take_over(struct tokens *tokens, char kind, struct handover *from);

/* For tests: reads a token server's answer. The caller frees *ret_token. -EPROTO. */
int token_parse(const void *data, size_t n, char **ret_token, uint64_t *ret_life_sec,
		struct err *err);
