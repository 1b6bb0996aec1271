/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Monotonic time and deadlines. A deadline is a point in time (nanoseconds of
 * CLOCK_MONOTONIC), so it can be handed down a chain of calls without each
 * link starting the clock anew. Zero means "no deadline".
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)

typedef uint64_t deadline_t;

/* Nanoseconds since some fixed point; never goes back. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* The point ms milliseconds from now; 0 ms means no deadline. */
static inline deadline_t deadline_in_ms(uint64_t ms)
{
	return ms == 0 ? 0 : clock_now_ns() + ms * NS_PER_MS;
}

static inline bool deadline_passed(deadline_t deadline)
{
	return deadline != 0 && clock_now_ns() >= deadline;
}

/* Milliseconds left, rounded up, 0 once passed, limit when there is no deadline or more left. */
static inline uint64_t deadline_left_ms(deadline_t deadline, uint64_t limit)
{
	if (deadline == 0)
		return limit;
	uint64_t now = clock_now_ns();
	if (now >= deadline)
		return 0;
	uint64_t left = (deadline - now + NS_PER_MS - 1) / NS_PER_MS;
	return left < limit ? left : limit;
}

/* The earlier of two deadlines, where 0 means never. */
static inline deadline_t deadline_earlier(deadline_t a, deadline_t b)
{
	if (a == 0 || b == 0)
		return a == 0 ? b : a;
	return a < b ? a : b;
}

/* As a timespec for pthread_cond_clockwait(CLOCK_MONOTONIC). The deadline is not 0. */
static inline struct timespec deadline_timespec(deadline_t deadline)
{
	return (struct timespec){
		.tv_sec = (time_t)(deadline / NS_PER_SEC),
		.tv_nsec = (long)(deadline % NS_PER_SEC),
	};
}

/* Sleeps for at most ms, but never past the deadline. */
void clock_sleep_ms(uint64_t ms, deadline_t deadline);
