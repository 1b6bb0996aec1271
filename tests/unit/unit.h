/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every unit test includes: cmocka with its prerequisites, and a few checks of ours. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

/* The call gave exactly this -errno, and its text holds these words. */
#define assert_err(result, code_want, err, words)                                      \
	do {                                                                           \
		assert_int_equal((result), (code_want));                               \
		if (!strstr(err_text(err), (words)))                                   \
			fail_msg("error text \"%s\" lacks \"%s\"", err_text(err), words); \
	} while (0)

/* The call succeeded; otherwise say what it said. */
#define assert_ok(result, err)                                                         \
	do {                                                                           \
		int got_ = (int)(result);                                              \
		if (got_ < 0)                                                          \
			fail_msg("failed with %d: %s", got_, err_text(err));           \
	} while (0)
