/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Counters that many threads, and through a mapped file many processes, add to
 * and read at any time. Each is on its own: nothing is ordered by them.
 */

#include <stdatomic.h>
#include <stdint.h>

static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	(void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}
