/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * WWW-Authenticate headers, after RFC 9110 section 11 and the distribution
 * token specification: one header can hold several challenges, one response
 * several headers, one `scope` several scopes. Values own their strings; not
 * thread-safe.
 */

#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	CHALLENGES_MAX = 16,	     /* of one response */
	CHALLENGE_PARAMS_MAX = 32,   /* of one challenge, known or not */
	CHALLENGE_SCOPES_MAX = 64,   /* of one challenge */
	CHALLENGE_HEADER_MAX = 16 << 10, /* bytes of one header value */
};

enum challenge_scheme { CHALLENGE_OTHER, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
	enum challenge_scheme scheme;
	/* Owned, NULL when not given. */
	char *realm;
	char *service;
	char *error;   /* "insufficient_scope", "invalid_token" … */
	char **scopes; /* owned, NULL-terminated, "repository:demo/q:pull,push" each; NULL: none */
};

struct challenges {
	struct challenge items[CHALLENGES_MAX];
	size_t count;
};

/* Frees the strings and leaves the zero value, which is an empty list. Accepts NULL. */
void challenges_finish(struct challenges *list);
DEFINE_FINISH(challenges, challenges_finish);

/*
 * Adds the challenges of one header value (without the name) to list; call it
 * once a header. -EINVAL for a value outside the grammar, -E2BIG past a limit,
 * -ENOMEM; list is then as it was.
 */
int challenges_parse(const char *value, struct challenges *list, struct err *err);

/* The first challenge of the scheme, borrowed, or NULL. */
const struct challenge *challenges_find(const struct challenges *list,
					enum challenge_scheme scheme);
