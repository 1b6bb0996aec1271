/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * When a request is worth sending again, and after what pause: exponential
 * with jitter, never past the deadline. A pause that the server asks for
 * (Retry-After) holds for its whole host and is kept by the engine
 * (http_engine_pause()).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "fetcher/http.h"

enum {
	RETRY_ATTEMPTS_MAX = 10,     /* tries of one request: about half a minute of pauses */
	RETRY_CONNECT_MAX = 3,	     /* tries where nobody answers at all, unless the plan waits */
	RETRY_FIRST_MS = 100,
	RETRY_LONGEST_MS = 8000,
};

struct retry {
	deadline_t deadline;
	unsigned int max;      /* tries, 1 … RETRY_ATTEMPTS_MAX */
	unsigned int failures; /* so far */
	bool waits;	       /* a host where nobody answers may come back, too */
};

/* A plan of at most max tries (0: RETRY_ATTEMPTS_MAX) until the deadline. */
struct retry retry_plan(unsigned int max, deadline_t deadline);

/* 408, 429 and every 5xx but 501 and 505, which no patience cures. */
bool retry_status(int status);

/* What a lost connection, a timeout or a host that is down look like. */
bool retry_errno(int r);

/* The pause before try number `failures` + 1, jitter included, in milliseconds. */
uint64_t retry_pause_ms(unsigned int failures);

/*
 * Called after a failure: the result `r` of http_perform(), or with r 0 the
 * status of resp. True when the caller shall try again, after the pause was
 * waited for; false when it is final: not of the passing kind, tries used up,
 * no time left, or the engine shuts down. Obeys and spreads Retry-After.
 */
bool retry_wait(struct retry *retry, struct http_engine *engine, int r,
		const struct http_response *resp);
