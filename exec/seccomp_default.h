/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The profile that a container gets when no other is asked for, made from
 * seccomp_default.txt when this was built.
 */

#include "exec/seccomp_profile.h"

/* Its text, as any other profile's: JSON, NUL-terminated. */
extern const char seccomp_default_text[];

/* The profile; the caller destroys it. -ENOMEM. */
int seccomp_default_profile(struct seccomp_profile **ret, struct err *err);
