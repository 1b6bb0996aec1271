/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Measures a link through itself: what its round trip, its rate and its slow
 * start are to those who use it.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	CHECK_TRIES = 3,       /* a busy machine delays; the best counts */
	CHECK_PERCENT = 15,    /* how far off it may be … */
	CHECK_SLACK_US = 1500, /* … and by how much more where time is measured */
};

/* What a link is to be. */
struct link_terms {
	int64_t rtt;
	uint64_t rate; /* 0: no limit */
	bool slow_start;
};

/* What it is. 0 where there is nothing to measure. */
struct link_measured {
	int64_t rtt;
	uint64_t rate;
	int64_t slow,
		slow_due; /* for what takes the window several round trips: it did, it should */
	uint32_t rounds;  /* so many */
};

/* A listening socket on a loopback port, 0: any. */
int check_listen(uint16_t port, struct sockaddr_in *ret);

/*
 * In a process of its own, which it ends: talks through the link at `at` to `echo`, where the link
 * forwards to, and writes a struct link_measured to `out`.
 */
_Noreturn void check_child(const struct sockaddr_in *at, int echo, const struct link_terms *terms,
			   int out);

/* Whether it is what it should be. */
bool check_holds(const struct link_terms *terms, const struct link_measured *m);
