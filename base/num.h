/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Small helpers over numbers: minima, rounding, and parsing that checks everything. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Rounds up to a multiple of step (a power of two). The caller knows it does not overflow. */
static inline uint64_t u64_align(uint64_t v, uint64_t step)
{
	return (v + step - 1) & ~(step - 1);
}

/* True when [off, off + len) lies within [0, total) without overflow. */
static inline bool range_within(uint64_t off, uint64_t len, uint64_t total)
{
	return off <= total && len <= total - off;
}

/* Parses the whole of text as an unsigned decimal. -EINVAL, -ERANGE past max. */
int u64_parse(const char *text, uint64_t max, uint64_t *ret);

/* The same with a binary suffix: 512, 4k, 64KiB, 20G, 1.5g. -EINVAL, -ERANGE. */
int size_parse(const char *text, uint64_t *ret);

/* The same with a time suffix (ms, s, m, h; none means seconds), in milliseconds. */
int duration_parse(const char *text, uint64_t *ret_ms);

enum { SIZE_TEXT_MAX = 24 };
/* "512 B", "4.2 MiB", "20 GiB". Returns out. */
char *size_text(uint64_t bytes, char out[static SIZE_TEXT_MAX]);
