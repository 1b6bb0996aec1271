/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tasks.h"

#include <pthread.h>

struct task_group {
	pthread_mutex_t lock;
	pthread_cond_t over;
	size_t left;
};

static void task_work(struct work *work)
{
	struct task *task = container_of(work, struct task, work);
	struct task_group *group = task->group;
	task->result = task->run(task, &task->err);
	(void)pthread_mutex_lock(&group->lock);
	group->left--;
	(void)pthread_cond_signal(&group->over);
	(void)pthread_mutex_unlock(&group->lock);
}

int tasks_run(struct workers *workers, struct task *const *tasks, size_t n, struct err *err)
{
	struct task_group group = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.over = PTHREAD_COND_INITIALIZER,
		.left = n,
	};
	for (size_t i = 0; i < n; i++) {
		tasks[i]->work.run = task_work;
		tasks[i]->group = &group;
		tasks[i]->err = (struct err){0};
		/* No thread to be had: then one after the other, here. */
		if (workers_submit(workers, &tasks[i]->work, WORK_URGENT) < 0)
			task_work(&tasks[i]->work);
	}
	(void)pthread_mutex_lock(&group.lock);
	while (group.left > 0)
		(void)pthread_cond_wait(&group.over, &group.lock);
	(void)pthread_mutex_unlock(&group.lock);

	for (size_t i = 0; i < n; i++)
		if (tasks[i]->result < 0) {
			(void)err_copy(err, &tasks[i]->err);
			return tasks[i]->result;
		}
	return 0;
}
