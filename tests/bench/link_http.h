/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Counts HTTP/1.1 as it passes: requests (without bodies), those for a range,
 * and how deep they depend on each other. One that begins after the answer to
 * another has arrived, on whatever connection, is a step deeper than it: it may
 * have needed it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAD_MAX = 16 << 10 }; /* of a message */

/* Of all connections. */
struct counters {
	uint64_t connections, requests, ranges, depth, bytes_up, bytes_down;
	uint64_t depth_done; /* the deepest request whose answer has arrived */
};

/* Of one direction of a connection: in a head, or in so many bytes of a body. */
struct http {
	char head[HEAD_MAX];
	size_t head_len;
	uint64_t body_left;
	bool chunked; /* until the last chunk */
};

/* Of one connection. */
struct exchange {
	struct http up, down;
	uint64_t depth; /* of the request under way, 0: none */
	bool head_only; /* its answer has no body */
};

/* Bytes of a client, as they are sent. */
void http_up(struct exchange *x, struct counters *c, const uint8_t *bytes, size_t n);
/* Bytes of a server, as they arrive. */
void http_down(struct exchange *x, struct counters *c, const uint8_t *bytes, size_t n);
/* The same for bytes that are known to be of a body: at most down.body_left, not chunked. */
void http_down_body(struct exchange *x, struct counters *c, uint64_t n);
