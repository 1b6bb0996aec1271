/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/link_http.h"

static void answer_ended(struct exchange *x, struct counters *c)
{
	if (x->depth > c->depth_done)
		c->depth_done = x->depth;
	x->depth = 0;
}

/* The head is complete: what follows it? */
static void answer_head(struct exchange *x)
{
	static const char length_name[] = "\r\ncontent-length:";
	struct http *h = &x->down;
	const char *length = strcasestr(h->head, length_name);
	int status = 0;
	h->body_left = 0;
	(void)sscanf(h->head, "HTTP/1.%*c %d", &status); // NOLINT(cert-err34-c): 0 will do
	if (x->head_only || status == 304 || status == 204)
		return;
	if (length)
		h->body_left = strtoull(length + strlen(length_name), NULL, 10);
	h->chunked = strcasestr(h->head, "\r\ntransfer-encoding: chunked") != NULL;
}

/* Adds a byte to the head; true when it is whole. A longer one is no HTTP that we count. */
static bool head_byte(struct http *h, uint8_t byte)
{
	if (h->head_len == HEAD_MAX - 1)
		h->head_len = 0;
	h->head[h->head_len++] = (char)byte;
	h->head[h->head_len] = '\0';
	return byte == '\n' && h->head_len >= 4 &&
	       memcmp(h->head + h->head_len - 4, "\r\n\r\n", 4) == 0;
}

void http_up(struct exchange *x, struct counters *c, const uint8_t *bytes, size_t n)
{
	struct http *h = &x->up;
	for (size_t i = 0; i < n; i++) {
		if (h->head_len == 0) {
			x->depth = c->depth_done + 1;
			c->requests++;
			if (x->depth > c->depth)
				c->depth = x->depth;
		}
		if (!head_byte(h, bytes[i]))
			continue;
		x->head_only = strncmp(h->head, "HEAD ", 5) == 0;
		if (strcasestr(h->head, "\r\nrange:"))
			c->ranges++;
		h->head_len = 0;
	}
}

void http_down_body(struct exchange *x, struct counters *c, uint64_t n)
{
	x->down.body_left -= n;
	if (x->down.body_left == 0)
		answer_ended(x, c);
}

void http_down(struct exchange *x, struct counters *c, const uint8_t *bytes, size_t n)
{
	static const char last_chunk[] = "0\r\n\r\n";
	struct http *h = &x->down;
	for (size_t i = 0; i < n;) {
		if (h->chunked) {
			size_t len = sizeof(last_chunk) - 1;
			if (n < len || memcmp(bytes + n - len, last_chunk, len) != 0)
				return;
			h->chunked = false;
			answer_ended(x, c);
			return;
		}
		if (h->body_left > 0) {
			uint64_t part = h->body_left < n - i ? h->body_left : n - i;
			http_down_body(x, c, part);
			i += part;
			continue;
		}
		if (!head_byte(h, bytes[i++]))
			continue;
		answer_head(x);
		h->head_len = 0;
		if (h->body_left == 0 && !h->chunked)
			answer_ended(x, c);
	}
}
