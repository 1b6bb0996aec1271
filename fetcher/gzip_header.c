/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/gzip_header.h"

#include <errno.h>
#include <stdbool.h>

enum field { FIXED, EXTRA_LEN, EXTRA, NAME, COMMENT, CRC16, DONE };

enum {
	FHCRC = 1 << 1,
	FEXTRA = 1 << 2,
	FNAME = 1 << 3,
	FCOMMENT = 1 << 4,
	FRESERVED = 0xe0,
	FIXED_BYTES = 10,
	METHOD_DEFLATE = 8,
};

static bool wanted(const struct gzip_header *h, unsigned int field)
{
	switch (field) {
	case EXTRA_LEN:
		return h->flags & FEXTRA;
	case EXTRA:
		return h->extra_len > 0;
	case NAME:
		return h->flags & FNAME;
	case COMMENT:
		return h->flags & FCOMMENT;
	case CRC16:
		return h->flags & FHCRC;
	default:
		return true;
	}
}

static void next_field(struct gzip_header *h)
{
	do
		h->field++;
	while (!wanted(h, h->field));
	h->pos = 0;
}

static int fixed_byte(struct gzip_header *h, uint8_t byte)
{
	static const uint8_t start[] = {0x1f, 0x8b, METHOD_DEFLATE};
	if (h->pos < sizeof(start) && byte != start[h->pos])
		return -EBADMSG;
	if (h->pos == sizeof(start)) {
		if (byte & FRESERVED)
			return -EBADMSG;
		h->flags = byte;
	}
	return ++h->pos == FIXED_BYTES;
}

/* 1 when the byte was the last of its field. */
static int field_byte(struct gzip_header *h, uint8_t byte)
{
	switch (h->field) {
	case FIXED:
		return fixed_byte(h, byte);
	case EXTRA_LEN:
		h->extra_len |= (unsigned int)byte << (8 * h->pos);
		return ++h->pos == 2;
	case EXTRA:
		return ++h->pos == h->extra_len;
	case CRC16:
		return ++h->pos == 2;
	default: /* NAME and COMMENT end with a NUL */
		return byte == 0;
	}
}

int gzip_header_push(struct gzip_header *h, const uint8_t *bytes, size_t n, size_t *ret_used)
{
	size_t used = 0;
	while (h->field != DONE && used < n) {
		int r = field_byte(h, bytes[used]);
		if (r < 0)
			return r;
		used++;
		if (r > 0)
			next_field(h);
	}
	*ret_used = used;
	return h->field == DONE;
}
