/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Runs a program to its end: bytes in, bytes out, and a deadline. No shell,
 * no inherited descriptors but the three standard ones, no inherited signal
 * settings, a process group of its own. Safe from any thread.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct spawn {
	const char *path;	 /* of the program; absolute */
	const char *const *argv; /* NULL-terminated, argv[0] included */
	const char *const *env;	 /* NULL-terminated; NULL: empty */
	const void *input;	 /* written to its standard input, which then ends */
	size_t input_len;
	deadline_t deadline;	 /* then the whole group is killed; 0: none */
};

/*
 * Runs the program and appends what it writes on standard output to output,
 * whose maximum is the cap; standard error goes nowhere. Ends when the
 * program has ended and its output has been read to the end. *ret_status is
 * that of waitpid(2). -ENOENT, -EACCES and the like when it cannot be started;
 * -ETIMEDOUT; -E2BIG past the cap. It is no longer running, whatever the result.
 */
int spawn_run(const struct spawn *spawn, struct buf *output, int *ret_status, struct err *err);

/*
 * Finds an executable in a PATH (only its absolute directories count); the
 * caller frees *ret. -ENOENT, -ENOMEM; -EINVAL for a name with a slash.
 */
int spawn_find(const char *path_env, const char *name, char **ret);
