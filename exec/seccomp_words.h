/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The words of seccomp profiles, for those who read one. Pure; safe from any thread. */

#include <stdbool.h>
#include <stdint.h>

#include "exec/seccomp_profile.h"

/* The largest error that the kernel hands to a caller (seccomp(2)). */
enum { SECCOMP_ERRNO_MAX = 4095 };

/* "SCMP_CMP_EQ". -EINVAL. */
int seccomp_op_parse(const char *name, enum seccomp_op *ret);

/* "SCMP_ACT_ERRNO", without data. -EINVAL. */
int seccomp_action_parse(const char *name, uint32_t *ret);

/* "EPERM", or a decimal number of 16 bits. -EINVAL. */
int seccomp_errno_parse(const char *text, uint64_t *ret);

/* "SECCOMP_FILTER_FLAG_LOG" and the others of the runtime-spec. */
bool seccomp_flag_known(const char *name);

/* "4.8" at *text, which then points behind it. -EINVAL. */
int seccomp_kernel_take(const char **text, struct seccomp_kernel *ret);
