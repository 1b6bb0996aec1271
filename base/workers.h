/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A pool of threads that run work items. Items are embedded in the caller's
 * structures and queued at one of two priorities; urgent ones go first, each
 * queue in order. Threads start when there is work and none is idle, and stay.
 */

#include "base/cleanup.h"
#include "base/err.h"
#include "base/list.h"

enum { WORKERS_THREADS_MAX = 64 };

enum work_priority { WORK_URGENT, WORK_LATER, WORK_PRIORITIES };

struct work {
	struct list link;		  /* the pool's while queued */
	void (*run)(struct work *work);	  /* may free the work */
};

struct workers;

/* A pool of at most n_threads (1 … WORKERS_THREADS_MAX); name is seen in ps, 15 bytes. */
int workers_create(unsigned int n_threads, const char *name, struct workers **ret,
		   struct err *err);

/* Waits until every queued item has run, then ends the threads. Accepts NULL. */
void workers_destroy(struct workers *workers);
DEFINE_CLEANUP(workers, workers_destroy);

/*
 * Queues an item; it is not touched again after run() has begun. Any thread,
 * also from within run(). 0, or -EAGAIN when not a single thread could be started.
 */
int workers_submit(struct workers *workers, struct work *work, enum work_priority priority);

/* Takes a queued item back: true when it will not run, false when it has begun already. */
bool workers_cancel(struct workers *workers, struct work *work);

/* The processors this process may run on; at least 1. */
unsigned int workers_cpu_count(void);
