/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is right by the grammar of profiles and still not what somebody meant: names
 * that libseccomp does not know, rules that never count, rules that contradict each
 * other. Safe from any thread.
 */

#include <stddef.h>

#include "base/err.h"
#include "exec/seccomp_resolve.h"

enum { SECCOMP_LINT_TEXT_MAX = 256 };

/* Takes one finding, a sentence that begins with its line. What is not 0 ends the search. */
typedef int (*seccomp_lint_fn)(void *to, const char *text);

/* Calls back with what is odd about a filter. What the callback returned, -ENOMEM. */
int seccomp_lint(const struct seccomp_filter *filter, seccomp_lint_fn found, void *to);
