/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How a token is fetched, apart from how it is kept (token.c). */

#include "fetcher/challenge.h"
#include "fetcher/token.h"

/* What an endpoint demands, kept to renew a token without another 401. */
struct demand {
	enum challenge_scheme scheme; /* CHALLENGE_OTHER: nothing known */
	char *realm;		      /* owned */
	char *service;		      /* owned; NULL: none */
	char *scopes;		      /* owned, space between */
};

void demand_finish(struct demand *demand);
DEFINE_FINISH(demand, demand_finish);
int demand_copy(const struct demand *from, struct demand *ret);

/*
 * Reads the challenges of a response, Bearer before Basic. Without any that is
 * known: 0, with CHALLENGE_OTHER. The scopes are those of ask and what else
 * the challenge names. -EPROTO, -ENOMEM.
 */
int demand_read(const struct token_ask *ask, const struct http_response *resp,
		struct demand *ret, struct err *err);

/*
 * The header value that meets the demand, and its life (0: unlimited). renew:
 * the credentials were turned down, ask the helper again.
 */
int token_fetch(const struct tokens_config *config, const struct token_ask *ask,
		const struct demand *demand, bool renew, char **ret, uint64_t *ret_life_sec,
		struct err *err);
