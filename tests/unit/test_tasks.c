/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tasks.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/num.h"
#include "tests/unit/unit.h"

enum { TASKS = 50, POOL = 4 };

struct step {
	struct task task;
	int result;
	_Atomic int *now, *most, *runs;
	pthread_barrier_t *meet;
};

static int step_run(struct task *task, struct err *err)
{
	struct step *step = container_of(task, struct step, task);
	int now = atomic_fetch_add(step->now, 1) + 1;
	int most = atomic_load(step->most);
	while (now > most && !atomic_compare_exchange_weak(step->most, &most, now))
		;
	if (step->meet)
		(void)pthread_barrier_wait(step->meet);
	atomic_fetch_add(step->runs, 1);
	atomic_fetch_sub(step->now, 1);
	return step->result < 0 ? err_say(err, step->result, "step %d", -step->result) : 0;
}

struct kit {
	struct workers *workers;
	struct step steps[TASKS];
	struct task *tasks[TASKS];
	_Atomic int now, most, runs;
};

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	struct err err = {0};
	assert_non_null(kit);
	assert_ok(workers_create(POOL, "test", &kit->workers, &err), &err);
	for (size_t i = 0; i < TASKS; i++) {
		kit->steps[i] = (struct step){.task.run = step_run, .now = &kit->now,
					      .most = &kit->most, .runs = &kit->runs};
		kit->tasks[i] = &kit->steps[i].task;
	}
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	workers_destroy(kit->workers);
	free(kit);
	return 0;
}

static void test_all_run(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	assert_ok(tasks_run(kit->workers, kit->tasks, TASKS, &err), &err);
	assert_int_equal(kit->runs, TASKS);
	assert_in_range(kit->most, 1, POOL);
	/* They can be run again. */
	assert_ok(tasks_run(kit->workers, kit->tasks, TASKS, &err), &err);
	assert_int_equal(kit->runs, 2 * TASKS);
	assert_ok(tasks_run(kit->workers, kit->tasks, 0, &err), &err);
	assert_int_equal(kit->runs, 2 * TASKS);
}

/* As many as there are threads meet: they do run at once. */
static void test_at_once(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	pthread_barrier_t meet;
	assert_int_equal(pthread_barrier_init(&meet, NULL, POOL), 0);
	for (size_t i = 0; i < POOL; i++)
		kit->steps[i].meet = &meet;
	assert_ok(tasks_run(kit->workers, kit->tasks, POOL, &err), &err);
	assert_int_equal(kit->most, POOL);
	(void)pthread_barrier_destroy(&meet);
}

/* The first failure in the order given is told, and all have run. */
static void test_failures(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	kit->steps[40].result = -EIO;
	kit->steps[7].result = -ENOENT;
	kit->steps[30].result = -EACCES;
	assert_err(tasks_run(kit->workers, kit->tasks, TASKS, &err), -ENOENT, &err, "step 2");
	assert_int_equal(kit->runs, TASKS);
	assert_int_equal(kit->steps[40].task.result, -EIO);
	assert_string_equal(kit->steps[40].task.err.text, "step 5");
	assert_int_equal(kit->steps[0].task.result, 0);
	assert_int_equal(tasks_run(kit->workers, kit->tasks, TASKS, NULL), -ENOENT);
}

struct chain {
	struct task task;
	struct chain *next; /* begun by this one */
	struct tasks *tasks;
	struct workers *workers;
	_Atomic int *runs;
};

static int chain_run(struct task *task, struct err *err)
{
	struct chain *chain = container_of(task, struct chain, task);
	if (chain->next)
		tasks_begin(chain->tasks, chain->workers, &chain->next->task);
	atomic_fetch_add(chain->runs, 1);
	return chain->next ? 0 : err_say(err, -EPIPE, "the last");
}

/* The wait is for those, too, that running ones have begun; then they can be begun anew. */
static void test_begun_by_tasks(void **state)
{
	struct kit *kit = *state;
	AUTO_FINISH(tasks) struct tasks tasks;
	struct chain links[TASKS];
	tasks_init(&tasks);
	tasks_wait(&tasks);
	for (size_t i = 0; i < TASKS; i++)
		links[i] = (struct chain){.task.run = chain_run, .tasks = &tasks,
					  .workers = kit->workers, .runs = &kit->runs,
					  .next = i + 1 < TASKS ? &links[i + 1] : NULL};
	for (int round = 1; round <= 2; round++) {
		tasks_begin(&tasks, kit->workers, &links[0].task);
		tasks_wait(&tasks);
		assert_int_equal(kit->runs, round * TASKS);
		assert_int_equal(links[0].task.result, 0);
		assert_int_equal(links[TASKS - 1].task.result, -EPIPE);
		assert_string_equal(links[TASKS - 1].task.err.text, "the last");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_begun_by_tasks, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
