/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past U+10FFFF. Pure. */

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the character that the n bytes at p begin with; 0 when that is none, or n is 0. */
size_t utf8_len(const void *p, size_t n);

/* Whether all of it is UTF-8. */
bool utf8_valid(const char *text, size_t n);
