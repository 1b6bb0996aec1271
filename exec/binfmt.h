/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether the kernel was told of a program that runs files of a foreign kind
 * (Documentation/admin-guide/binfmt-misc.rst). Safe from any thread.
 */

#include <stdbool.h>
#include <stddef.h>

enum { BINFMT_HEAD_MAX = 256 }; /* bytes of a file that the kernel looks at */

/*
 * Whether an enabled entry of the directory (-1: that of the host's
 * binfmt_misc) matches the first n bytes of a file by its magic. What cannot
 * be read matches nothing.
 */
bool binfmt_matches(int dirfd, const void *head, size_t n);
