/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Linux capabilities by name (capabilities(7)): "CAP_SYS_ADMIN", in capitals, as the
 * runtime-spec and seccomp profiles write them. A set is a mask with bit N for the
 * capability of number N. Pure; safe from any thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef uint64_t cap_set_t;

/* How many there are; the numbers are 0 to CAP_COUNT - 1. */
enum { CAP_COUNT = 41 };

#define CAP_SET_ALL ((UINT64_C(1) << CAP_COUNT) - 1)

/* The set of one capability. */
static inline cap_set_t cap_bit(unsigned int cap)
{
	return UINT64_C(1) << cap;
}

/* The name of a number, NULL past the last one. Static. */
const char *cap_name(unsigned int cap);

/* The number of a name in exactly the form of cap_name(). -EINVAL. */
int cap_parse(const char *name, unsigned int *ret);

/* The same for what people write: in any case, and without the prefix, too ("net_raw"). -EINVAL. */
int cap_parse_loose(const char *name, unsigned int *ret, struct err *err);

/* The set of n names in exactly the form of cap_name(). -EINVAL with the name. */
int cap_set_parse(const char *const *names, size_t n, cap_set_t *ret, struct err *err);
