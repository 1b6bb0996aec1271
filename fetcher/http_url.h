/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * URLs and the few header values that decide what a client may do next.
 * RFC 3986 through libcurl's parser; RFC 9110 for Content-Range (14.4) and
 * Retry-After (10.2.3). Pure functions, any thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	HTTP_URL_MAX = 16384,	   /* presigned URLs reach a few KiB */
	HTTP_URL_SHOWN_MAX = 512,  /* of a URL in an error text */
};

struct http_url {
	char *host; /* owned; IPv6 keeps its brackets */
	uint16_t port;
	bool https;
};

/* Splits an absolute http or https URL. -EINVAL for anything else, -ENOMEM. */
int http_url_parse(const char *url, struct http_url *ret, struct err *err);
void http_url_finish(struct http_url *url);
DEFINE_FINISH(http_url, http_url_finish);

/* Scheme, host and port are the same. */
bool http_url_same_origin(const struct http_url *a, const struct http_url *b);

/*
 * Resolves a reference (absolute or relative) against a base. -EINVAL when the
 * result is no http or https URL or is too long. The caller frees *ret.
 */
int http_url_join(const char *base, const char *reference, char **ret, struct err *err);

/*
 * Appends `key=value` to the query, with ? or & as it needs; value is escaped.
 * The caller frees *ret. -ENOMEM, -EINVAL past HTTP_URL_MAX.
 */
int http_url_add_query(const char *url, const char *key, const char *value, char **ret);

/*
 * The URL fit for an error text or log: without user, query and fragment,
 * which may hold credentials. Returns out.
 */
char *http_url_shown(const char *url, char out[static HTTP_URL_SHOWN_MAX]);

/* Whether a host is a literal address of a private, link-local or loopback network. */
bool http_host_is_private(const char *host);

struct content_range {
	bool unsatisfied; /* of a 416, where a star stands for the range: first and last are 0 */
	uint64_t first, last;
	bool has_total;
	uint64_t total;
};

/* Parses `bytes 0-9/100`, with a star for the range or the total. -EINVAL for anything else. */
int content_range_parse(const char *value, struct content_range *ret);

/*
 * Parses Retry-After, seconds or a date, into milliseconds from now (0 for a
 * date that is past), cut at max_ms however absurd it is. -EINVAL.
 */
int retry_after_parse(const char *value, time_t now, uint64_t max_ms, uint64_t *ret_ms);
