/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's log: one line a piece of output, as the kubelet's CRI has it:
 *
 *	2026-01-02T03:04:05.123456789Z stdout F a line
 *	2026-01-02T03:04:05.123456789Z stderr P the beginning of a line
 *
 * F: the line ended with a newline; P: the next piece of the same stream goes
 * on. When a file would grow past its limit it becomes NAME.1, NAME.1 becomes
 * NAME.2 and so on, and the last is dropped; a follower reads on through that.
 */

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "exec/driver.h"

enum {
	LOGS_PIECE_MAX = 16 * 1024, /* bytes of output in one line */
	LOGS_FILES_MAX = 16,
};

/* A log that is being written; belongs to one thread. */
struct logs;

/*
 * Opens NAME in a directory (duplicated) for appending: at most max_bytes a file, n_files in all
 * (1: what is full is begun anew).
 */
int logs_create(int dirfd, const char *name, uint64_t max_bytes, unsigned int n_files,
		struct logs **ret, struct err *err);

/* Appends output with the time of now. A write that fails (disk full) loses that piece only. */
int logs_write(struct logs *logs, enum driver_stream stream, const void *bytes, size_t n,
	       struct err *err);

void logs_destroy(struct logs *logs);
DEFINE_CLEANUP(logs, logs_destroy);

/*
 * Reads a log, the oldest file first, as driver_logs() does: tail, since_ns, line, data and
 * follow are its; each call of line() is one piece, the newline included where there was one.
 * With follow it goes on until over_fd (-1: never) is readable and everything is read, the
 * deadline, or the cancellation. Lines that are not a log's are left out.
 */
int logs_read(int dirfd, const char *name, const struct driver_logs *want, int over_fd,
	      const struct driver_call *call, struct err *err);
