/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Compiled filters on disk. libseccomp takes milliseconds for what a read takes
 * microseconds. A file's name is the SHA-256 of all that the program depends on: the
 * profile's bytes, the capabilities, the architectures, libseccomp's version, and the
 * kernel's where a rule asks for it. In the file are a header, which says on which
 * kernel the program was loaded for a trial, and the program, under one SHA-256; a
 * file that is not whole is made again. Safe from any thread, and between processes.
 */

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "exec/seccomp_resolve.h"

/* With so many files in it, a cache loses the older half. */
enum { SECCOMP_CACHE_FILES_MAX = 256 };

/*
 * Appends the compiled filter of a profile that is not disabled to out. With dirfd −1
 * nothing is kept. A program for the host's own architecture has been loaded into this
 * kernel once, in a child process that ended with it. *ret_hit, unless NULL: it came
 * from the cache. The errors of seccomp_compile() and seccomp_try_load(); a cache that
 * cannot be written is none.
 */
int seccomp_cache_get(int dirfd, const struct seccomp_profile *profile,
		      const struct seccomp_target *target, struct buf *out, bool *ret_hit,
		      struct err *err);
