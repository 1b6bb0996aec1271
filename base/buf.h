/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A growable byte buffer that cannot grow without bound: every buffer is given
 * its maximum when it is made, and an append past it is -E2BIG. The bytes are
 * always followed by a NUL that does not count, so text can be used in place.
 * Not thread-safe.
 */

#include <stdarg.h>
#include <stddef.h>

#include "base/cleanup.h"

struct buf {
	char *data;  /* owned; NULL while nothing was ever appended */
	size_t len;  /* bytes in use, without the NUL */
	size_t room; /* bytes allocated */
	size_t max;  /* len never exceeds this */
};

/* A buffer of at most max bytes; allocates nothing yet. */
static inline struct buf buf_make(size_t max)
{
	return (struct buf){.max = max};
}

/* Frees the bytes and empties the buffer, which may then be used again. Accepts NULL. */
void buf_finish(struct buf *buf);
DEFINE_FINISH(buf, buf_finish);

/* Makes room for extra more bytes. -E2BIG past the maximum, -ENOMEM. */
int buf_reserve(struct buf *buf, size_t extra);

/* Appends n bytes. -E2BIG, -ENOMEM; the buffer is then as it was. */
int buf_append(struct buf *buf, const void *data, size_t n);

/* Appends a string without its NUL. As buf_append. */
int buf_puts(struct buf *buf, const char *text);

/* Appends formatted text. As buf_append. */
int buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* The bytes as a string, "" while empty. Borrowed until the next change. */
const char *buf_str(const struct buf *buf);

/* Drops the first n bytes (n <= len) by moving the rest to the front. */
void buf_shift(struct buf *buf, size_t n);

/* Forgets the content, keeps the allocation. */
static inline void buf_clear(struct buf *buf)
{
	buf->len = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

/* Forgets all after the first n bytes (n <= len), keeps the allocation. */
static inline void buf_cut(struct buf *buf, size_t n)
{
	buf->len = n;
	if (buf->data)
		buf->data[n] = '\0';
}

/* Hands the allocation to the caller, who frees it; NULL while nothing was ever appended. */
char *buf_steal(struct buf *buf);
