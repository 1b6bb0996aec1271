/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * From a resolved filter to BPF, through libseccomp, and the trial that comes before
 * a filter is trusted. Safe from any thread.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "exec/seccomp_resolve.h"

/*
 * Appends the program to out, in the byte order of the native architecture. Names that
 * libseccomp does not know on any architecture are left out, as runtimes do; of a call
 * from another architecture than those of the filter, the thread is killed. The filter
 * is not disabled. -EOPNOTSUPP for an architecture that libseccomp does not know, or
 * for one whose byte order is not the native one's; -EINVAL, -ENOMEM; -E2BIG past
 * SECCOMP_BPF_BYTES_MAX.
 */
int seccomp_compile(const struct seccomp_filter *filter, struct buf *out, struct err *err);

/* Whether libseccomp knows a system call of this name on any architecture. */
bool seccomp_name_is_known(const char *name);

/* "2.5.4": of the libseccomp that compiles. */
enum { SECCOMP_VERSION_TEXT_MAX = 40 };
char *seccomp_library_version(char out[static SECCOMP_VERSION_TEXT_MAX]);

/*
 * Loads the program in a child process that ends with it; nothing else changes. A
 * result of 0 means that this kernel takes it. The errors of seccomp(2) with a text,
 * and those of fork(2). Only for programs of the host's own architecture.
 */
int seccomp_try_load(const void *code, size_t n, struct err *err);
