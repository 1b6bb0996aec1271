/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options about how a mount starts that mount, run and 'profile record' have. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fs/mtable.h"
#include "tools/opt.h"

struct profile_flags {
	bool off;
	const char *file;
	uint64_t quiet_ms, cap_ms, cap_bytes;
	struct mount_start start; /* what else is fetched */
};

enum { PROFILE_FLAGS = 8 };

/* The PROFILE_FLAGS rows, which point into flags. */
void profile_flags_options(struct profile_flags *flags, struct opt *table);

/* -EINVAL for options that contradict each other. */
int profile_flags_check(const struct profile_flags *flags, struct err *err);
