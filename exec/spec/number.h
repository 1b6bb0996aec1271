/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Numbers that jansson cannot hold. Its integers are int64_t and its reals are
 * doubles, whereas the specification has unsigned 64-bit members, and a member
 * that nobody knows may have any number at all. So before jansson reads a
 * document, each number other than an integer within int64_t is rewritten as a
 * string: a NUL, 'n', and the number as it stood there. The mark cannot be
 * mistaken: a string of the document's own that begins with a NUL is rewritten
 * too, to begin with two. (It is refused afterwards, since no string may hold a
 * NUL; but by then its JSON pointer is known.)
 */

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/buf.h"

/*
 * Rewrites JSON text to out, which stays empty when there is nothing to rewrite.
 * What is not JSON before is not JSON after, if not at the same column. -ENOMEM,
 * -E2BIG.
 */
int oci_number_mark(const char *bytes, size_t n, struct buf *out);

/* The number in a marked string; NULL when the value is anything else. Borrowed. */
const char *oci_number_text(const json_t *value);
