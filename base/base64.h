/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Standard base64 with padding (RFC 4648 section 4), decoded strictly. Pure. */

#include <stddef.h>

#include "base/buf.h"

/*
 * Decodes n characters of text; the caller frees *ret, which a NUL follows.
 * -EINVAL for anything outside the alphabet, blanks among it, or a length
 * that is no multiple of four; -E2BIG for more than max bytes; -ENOMEM.
 */
int base64_decode(const char *text, size_t n, size_t max, char **ret, size_t *ret_n);

/* Appends n bytes as text. -E2BIG past the buffer's maximum, -ENOMEM. */
int base64_encode(const void *data, size_t n, struct buf *out);
