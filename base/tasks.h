/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Runs several things at once on a worker pool and waits for all of them. */

#include <pthread.h>

#include "base/err.h"
#include "base/workers.h"

/* Embedded in what the task works on. */
struct task {
	int (*run)(struct task *task, struct err *err);
	int result;	/* of run, once it is over */
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

/* Tasks that are begun one by one, also by those of them that run. */
struct tasks {
	pthread_mutex_t lock;
	pthread_cond_t over;
	size_t left;
};

void tasks_init(struct tasks *tasks);
/* Nothing may be under way. Accepts a zeroed one. */
void tasks_finish(struct tasks *tasks);
DEFINE_FINISH(tasks, tasks_finish);

/* Begins a task, which is in place until tasks_wait() is back. Any thread. */
void tasks_begin(struct tasks *tasks, struct workers *workers, struct task *task);

/* Returns when all are over; each has its result. Not to be called from the pool's own threads. */
void tasks_wait(struct tasks *tasks);
