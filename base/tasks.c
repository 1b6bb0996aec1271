/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tasks.h"

void tasks_init(struct tasks *tasks)
{
	*tasks = (struct tasks){0};
	(void)pthread_mutex_init(&tasks->lock, NULL);
	(void)pthread_cond_init(&tasks->over, NULL);
}

void tasks_finish(struct tasks *tasks)
{
	if (!tasks)
		return;
	(void)pthread_cond_destroy(&tasks->over);
	(void)pthread_mutex_destroy(&tasks->lock);
}

static void task_work(struct work *work)
{
	struct task *task = container_of(work, struct task, work);
	struct tasks *group = task->group;
	task->result = task->run(task, &task->err);
	(void)pthread_mutex_lock(&group->lock);
	group->left--;
	(void)pthread_cond_signal(&group->over);
	(void)pthread_mutex_unlock(&group->lock);
}

void tasks_begin(struct tasks *tasks, struct workers *workers, struct task *task)
{
	task->work.run = task_work;
	task->group = tasks;
	task->err = (struct err){0};
	(void)pthread_mutex_lock(&tasks->lock);
	tasks->left++;
	(void)pthread_mutex_unlock(&tasks->lock);
	/* No thread to be had: then one after the other, here. */
	if (workers_submit(workers, &task->work, WORK_URGENT) < 0)
		task_work(&task->work);
}

void tasks_wait(struct tasks *tasks)
{
	(void)pthread_mutex_lock(&tasks->lock);
	while (tasks->left > 0)
		(void)pthread_cond_wait(&tasks->over, &tasks->lock);
	(void)pthread_mutex_unlock(&tasks->lock);
}

int tasks_run(struct workers *workers, struct task *const *tasks, size_t n, struct err *err)
{
	AUTO_FINISH(tasks) struct tasks group;
	tasks_init(&group);
	for (size_t i = 0; i < n; i++)
		tasks_begin(&group, workers, tasks[i]);
	tasks_wait(&group);
	for (size_t i = 0; i < n; i++)
		if (tasks[i]->result < 0) {
			(void)err_copy(err, &tasks[i]->err);
			return tasks[i]->result;
		}
	return 0;
}
