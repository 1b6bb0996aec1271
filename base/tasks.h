/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Runs several things at once on a worker pool and waits for all of them. */

#include "base/err.h"
#include "base/workers.h"

/* Embedded in what the task works on. */
struct task {
	int (*run)(struct task *task, struct err *err);
	int result;	/* of run, once tasks_run() is back */
	struct err err; /* what it said */

	/* The runner's own. */
	struct work work;
	void *group;
};

/*
 * Runs every task, at most as many at once as the pool has threads, and
 * returns when all are over: 0, or the first failure in the order given, with
 * its text. Not to be called from the pool's own threads.
 */
int tasks_run(struct workers *workers, struct task *const *tasks, size_t n, struct err *err);
