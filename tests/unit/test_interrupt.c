/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/interrupt.h"
#include "tests/unit/unit.h"

static void catcher(int sig)
{
	(void)sig;
}

/*
 * A stopped process, which no signal but SIGKILL and SIGCONT reaches: what is
 * sent to it stays pending. It catches SIGUSR1, ignores SIGUSR2, blocks SIGHUP.
 */
static int setup(void **state)
{
	static pid_t pid;
	pid = fork();
	if (pid == 0) {
		sigset_t blocked;
		(void)signal(SIGUSR1, catcher);
		(void)signal(SIGUSR2, SIG_IGN);
		(void)sigemptyset(&blocked);
		(void)sigaddset(&blocked, SIGHUP);
		(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
		(void)raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	*state = &pid;
	return 0;
}

static int teardown(void **state)
{
	pid_t *pid = *state;
	assert_int_equal(kill(*pid, SIGKILL), 0);
	assert_int_equal(waitpid(*pid, NULL, 0), *pid);
	return 0;
}

static void test_harmless(void **state)
{
	pid_t *pid = *state;
	assert_false(interrupt_is_deadly(*pid));
	static const int signals[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD, SIGURG, SIGWINCH, SIGTSTP};
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		assert_int_equal(kill(*pid, signals[i]), 0);
		assert_false(interrupt_is_deadly(*pid));
	}
}

static void test_sigterm(void **state)
{
	pid_t *pid = *state;
	assert_int_equal(kill(*pid, SIGUSR1), 0);
	assert_int_equal(kill(*pid, SIGTERM), 0);
	assert_true(interrupt_is_deadly(*pid));
}

static void test_core(void **state)
{
	pid_t *pid = *state;
	assert_int_equal(kill(*pid, SIGQUIT), 0);
	assert_true(interrupt_is_deadly(*pid));
}

static void test_realtime(void **state)
{
	pid_t *pid = *state;
	assert_int_equal(kill(*pid, SIGRTMAX), 0);
	assert_true(interrupt_is_deadly(*pid));
}

static void test_unseen(void **state)
{
	(void)state;
	assert_true(interrupt_is_deadly(0));
	assert_true(interrupt_is_deadly(-1));
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(interrupt_is_deadly(pid));
	assert_false(interrupt_is_deadly(getpid()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_harmless, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sigterm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_core, setup, teardown),
		cmocka_unit_test_setup_teardown(test_realtime, setup, teardown),
		cmocka_unit_test(test_unseen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
