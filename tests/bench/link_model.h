/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a long link does to time, as plain arithmetic: one wire that all
 * connections share, and for each connection a window that opens as TCP's slow
 * start opens it. Times are nanoseconds of one clock; nothing here looks at it.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	SEGMENT_BYTES = 1448, /* of data, in a frame of 1500 with timestamps */
	WINDOW_SEGMENTS = 10, /* RFC 6928 */
	WINDOW_BYTES_MIN = WINDOW_SEGMENTS * SEGMENT_BYTES,
	WINDOW_BYTES_MAX = 64 << 20,
	WINDOW_FLIGHTS = 64, /* parts that a round trip is cut into */
	RTO_MIN_MS =
		200, /* Linux: a connection that idles for longer than a round trip and this … */
	SECOND_NS = 1000000000,
	MILLISECOND_NS = 1000000,
};

/* The wire: what is sent takes its time on it, one piece after the other. */
struct wire {
	uint64_t rate; /* bytes a second, 0: no limit */
	int64_t free;  /* when the last piece has passed */
	int64_t idle;  /* how long it was free between pieces, since `since` */
	int64_t since; /* 0: nothing has passed yet */
};

/* When n bytes that were there at `ready` have passed, if they are sent next. */
int64_t wire_passed(const struct wire *wire, int64_t ready, uint64_t n);
/* Sends them. */
void wire_send(struct wire *wire, int64_t ready, uint64_t n);

/* What was sent within a short time, and is not acknowledged yet. */
struct flight {
	int64_t at;
	uint64_t bytes;
	bool full; /* the window was used, or the sender had more: only then it grows */
};

struct window {
	int64_t rtt;
	uint64_t size, out; /* bytes that may be under way, and that are */
	int64_t last;	    /* when something was sent */
	struct flight flights[2 * WINDOW_FLIGHTS];
	uint32_t first, n;
};

void window_init(struct window *w, int64_t rtt, int64_t now);
/* Takes the acknowledgements up to now; how many bytes may be sent. */
uint64_t window_room(struct window *w, int64_t now);
/* When room was last, or will next be, made: the arrival of an acknowledgement. */
int64_t window_opens(const struct window *w);
/* n bytes are sent; more: the sender has further ones. */
void window_send(struct window *w, int64_t now, uint64_t n, bool more);
