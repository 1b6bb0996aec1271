/* SPDX-License-Identifier: Apache-2.0 */
#include "base/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

enum { WORKERS_STACK = 256 * 1024 }; /* zstd and inflate keep their state on the heap */

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue[WORK_PRIORITIES]; /* of struct work */
	pthread_t threads[WORKERS_THREADS_MAX];
	unsigned int n_threads;
	unsigned int max_threads;
	unsigned int idle;	/* threads that wait for work */
	unsigned int queued;	/* items in both queues */
	bool stopping;
	char name[16];
};

static struct work *workers_take(struct workers *w)
{
	for (int p = 0; p < WORK_PRIORITIES; p++) {
		if (list_empty(&w->queue[p]))
			continue;
		struct work *work = list_first(&w->queue[p], struct work, link);
		list_remove(&work->link);
		w->queued--;
		return work;
	}
	return NULL;
}

static void *workers_main(void *data)
{
	struct workers *w = data;
	(void)pthread_setname_np(pthread_self(), w->name);

	(void)pthread_mutex_lock(&w->lock);
	for (;;) {
		struct work *work = workers_take(w);
		if (work) {
			(void)pthread_mutex_unlock(&w->lock);
			work->run(work);
			(void)pthread_mutex_lock(&w->lock);
			continue;
		}
		if (w->stopping)
			break;
		w->idle++;
		(void)pthread_cond_wait(&w->wake, &w->lock);
		w->idle--;
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

int workers_create(unsigned int n_threads, const char *name, struct workers **ret,
		   struct err *err)
{
	if (n_threads == 0 || n_threads > WORKERS_THREADS_MAX)
		return err_set(err, -EINVAL, "start %u %s threads", n_threads, name);
	struct workers *w = calloc(1, sizeof(*w));
	if (!w)
		return err_set(err, -ENOMEM, "start %s threads", name);
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->wake, NULL);
	for (int p = 0; p < WORK_PRIORITIES; p++)
		list_init(&w->queue[p]);
	w->max_threads = n_threads;
	(void)snprintf(w->name, sizeof(w->name), "%s", name);
	*ret = w;
	return 0;
}

void workers_destroy(struct workers *w)
{
	if (!w)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->stopping = true;
	(void)pthread_cond_broadcast(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	for (unsigned int i = 0; i < w->n_threads; i++)
		(void)pthread_join(w->threads[i], NULL);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

/* Signals belong to the thread that asked for them, never to a worker. */
static int workers_start_thread(struct workers *w)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attr, WORKERS_STACK);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->threads[w->n_threads], &attr, workers_main, w);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		w->n_threads++;
	return -r;
}

int workers_submit(struct workers *w, struct work *work, enum work_priority priority)
{
	int r = 0;
	(void)pthread_mutex_lock(&w->lock);
	if (w->queued >= w->idle && w->n_threads < w->max_threads) {
		r = workers_start_thread(w);
		/* Fewer threads than wished still do the work. */
		if (r < 0 && w->n_threads > 0)
			r = 0;
	}
	if (r == 0) {
		list_append(&w->queue[priority], &work->link);
		w->queued++;
		(void)pthread_cond_signal(&w->wake);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return r < 0 ? -EAGAIN : 0;
}

bool workers_cancel(struct workers *w, struct work *work)
{
	bool found = false;
	(void)pthread_mutex_lock(&w->lock);
	for (int p = 0; p < WORK_PRIORITIES && !found; p++) {
		struct work *item;
		list_for_each(item, &w->queue[p], link) {
			if (item != work)
				continue;
			list_remove(&work->link);
			w->queued--;
			found = true;
			break;
		}
	}
	(void)pthread_mutex_unlock(&w->lock);
	return found;
}

unsigned int workers_cpu_count(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	int n = CPU_COUNT(&set);
	return n > 0 ? (unsigned int)n : 1;
}
