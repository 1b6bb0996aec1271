/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tar archives block by block, so that tests can break every field of them. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

struct tar_block {
	uint8_t b[512];
};

static inline void tar_octal(struct tar_block *h, size_t at, size_t n, uint64_t v)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%0*llo", (int)n - 1, (unsigned long long)v);
	memcpy(h->b + at, text, n);
}

/* Sums a changed header again. */
static inline void tar_seal(struct tar_block *h)
{
	uint32_t sum = 0;
	memset(h->b + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += h->b[i];
	char text[16];
	(void)snprintf(text, sizeof(text), "%06o", sum);
	memcpy(h->b + 148, text, 7);
}

/* A ustar header: mode 0644, owner 0:0, time 0. */
static inline struct tar_block tar_head(const char *name, char type, uint64_t size)
{
	struct tar_block h = {0};
	memcpy(h.b, name, strnlen(name, 100));
	tar_octal(&h, 100, 8, 0644);
	tar_octal(&h, 108, 8, 0);
	tar_octal(&h, 116, 8, 0);
	tar_octal(&h, 124, 12, size);
	tar_octal(&h, 136, 12, 0);
	h.b[156] = (uint8_t)type;
	memcpy(h.b + 257, "ustar\00000", 8);
	tar_octal(&h, 329, 8, 0);
	tar_octal(&h, 337, 8, 0);
	tar_seal(&h);
	return h;
}

static inline void tar_put(struct buf *to, const struct tar_block *h)
{
	(void)buf_append(to, h, sizeof(*h));
}

/* Content, padded to a block. */
static inline void tar_data(struct buf *to, const void *data, size_t n)
{
	static const char zero[512];
	(void)buf_append(to, data, n);
	(void)buf_append(to, zero, (512 - n % 512) % 512);
}

/* A header with its content. */
static inline void tar_member(struct buf *to, const char *name, char type, const void *data,
			      size_t n)
{
	struct tar_block h = tar_head(name, type, n);
	tar_put(to, &h);
	tar_data(to, data, n);
}

static inline void tar_zeros(struct buf *to, size_t blocks)
{
	const struct tar_block zero = {0};
	for (size_t i = 0; i < blocks; i++)
		tar_put(to, &zero);
}
