/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Runs a program to its end: bytes in, bytes out, a deadline, cancellation. No
 * shell, no inherited descriptors but those that are named, no inherited
 * signal settings, a process group of its own. Safe from any thread.
 */

#include <stdbool.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/err.h"

enum { SPAWN_FDS_MAX = 4096 };

/* A place in the program's table of descriptors that spawn_run() fills by itself. */
enum { SPAWN_FD_AUTO = -1 };

struct spawn {
	const char *path;	 /* of the program; absolute */
	const char *const *argv; /* NULL-terminated, argv[0] included */
	const char *const *env;	 /* NULL-terminated; NULL: empty */
	const void *input;	 /* written to its standard input, which then ends */
	size_t input_len;
	deadline_t deadline;	 /* then the whole group is killed; 0: none */

	/*
	 * The rest may be left zero. fds[i] becomes the program's descriptor i; it is the
	 * caller's, and stays open here. SPAWN_FD_AUTO stands for what is done without this list:
	 * 0 gives input, 1 goes to output, 2 to errors; further ones are closed.
	 */
	const int *fds;
	size_t n_fds; /* at most SPAWN_FDS_MAX */
	/* Standard error is appended; what goes past its maximum is dropped. NULL: nowhere. */
	struct buf *errors;
	const struct cancel *cancel; /* as the deadline, with -ECANCELED */
	/*
	 * Over when the program has ended, with what it had written by then, though something that
	 * it left behind holds its output. Otherwise also the output has to end.
	 */
	bool until_exit;
	/*
	 * Called in the child between fork and exec, where only what is async-signal-safe is
	 * allowed. 0 or -errno, which is then spawn_run()'s result.
	 */
	int (*prepare)(void *data);
	void *data;
	/*
	 * A descriptor, the caller's, of what is run in place of path: execveat(2). Where the kernel
	 * refuses that, path is run. Not for scripts. NULL: path.
	 */
	const int *program;
};

/*
 * Runs the program and appends what it writes on standard output to output,
 * whose maximum is the cap; without spawn->errors, standard error goes
 * nowhere. Ends when the program has ended and its output has been read to
 * the end. *ret_status is that of waitpid(2). -ENOENT, -EACCES and the like
 * when it cannot be started; -ETIMEDOUT; -ECANCELED; -E2BIG past the cap. It is
 * no longer running, whatever the result.
 */
int spawn_run(const struct spawn *spawn, struct buf *output, int *ret_status, struct err *err);

/*
 * Finds an executable in a PATH (only its absolute directories count); the
 * caller frees *ret. -ENOENT, -ENOMEM; -EINVAL for a name with a slash.
 */
int spawn_find(const char *path_env, const char *name, char **ret);
