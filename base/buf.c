/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdint.h>
#include <string.h>

enum { BUF_FIRST_ROOM = 64 };

void buf_finish(struct buf *buf)
{
	if (!buf)
		return;
	free(buf->data);
	*buf = (struct buf){.max = buf->max};
}

int buf_reserve(struct buf *buf, size_t extra)
{
	if (extra > buf->max || buf->len > buf->max - extra)
		return -E2BIG;
	size_t need = buf->len + extra;
	if (need >= SIZE_MAX / 2)
		return -E2BIG;
	if (need < buf->room)
		return 0;

	size_t room = buf->room ? buf->room : BUF_FIRST_ROOM;
	while (room <= need)
		room *= 2;
	if (room > buf->max)
		room = buf->max + 1; /* the NUL */
	char *data = realloc(buf->data, room);
	if (!data)
		return -ENOMEM;
	data[buf->len] = '\0';
	buf->data = data;
	buf->room = room;
	return 0;
}

int buf_append(struct buf *buf, const void *data, size_t n)
{
	int r = buf_reserve(buf, n);
	if (r < 0)
		return r;
	if (n > 0)
		memcpy(buf->data + buf->len, data, n);
	buf->len += n;
	buf->data[buf->len] = '\0';
	return 0;
}

int buf_puts(struct buf *buf, const char *text)
{
	return buf_append(buf, text, strlen(text));
}

int buf_vprintf(struct buf *buf, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int need = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (need < 0)
		return -EINVAL;
	int r = buf_reserve(buf, (size_t)need);
	if (r < 0)
		return r;
	(void)vsnprintf(buf->data + buf->len, (size_t)need + 1, fmt, ap);
	buf->len += (size_t)need;
	return 0;
}

int buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = buf_vprintf(buf, fmt, ap);
	va_end(ap);
	return r;
}

const char *buf_str(const struct buf *buf)
{
	return buf->data ? buf->data : "";
}

void buf_shift(struct buf *buf, size_t n)
{
	if (n == 0)
		return;
	memmove(buf->data, buf->data + n, buf->len - n);
	buf->len -= n;
	buf->data[buf->len] = '\0';
}

char *buf_steal(struct buf *buf)
{
	char *data = buf->data;
	*buf = (struct buf){.max = buf->max};
	return data;
}
