/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Steps over the header of a gzip member (RFC 1952, 2.3) that arrives in
 * pieces of any size. Nothing in it matters to us but where it ends. A zeroed
 * struct stands before a header. One thread.
 */

#include <stddef.h>
#include <stdint.h>

enum { GZIP_TRAILER_BYTES = 8 }; /* CRC-32 and length, after the deflate stream */

struct gzip_header {
	unsigned int field;	/* which part comes next */
	unsigned int pos;	/* bytes of that part seen */
	unsigned int extra_len;
	uint8_t flags;
};

/*
 * Takes what belongs to the header from bytes and says how much that was.
 * 1: the header is complete; 0: more is needed; -EBADMSG: this is no gzip
 * header, or one of an unknown method or with reserved flags.
 */
int gzip_header_push(struct gzip_header *h, const uint8_t *bytes, size_t n, size_t *ret_used);
