/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "exec/cgroup_ahead.h"
#include "tests/unit/unit.h"

enum { GROUPS_MAX = 64 << 10 };

static void groups(struct buf *ret)
{
	struct err err = {0};
	buf_clear(ret);
	assert_ok(file_slurp(AT_FDCWD, "/proc/self/cgroup", ret, &err), &err);
}

/* The child moves, with nothing of its parent's open, and nobody is anywhere else afterwards. */
static void test_begin_move(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf before = buf_make(GROUPS_MAX);
	AUTO_FINISH(buf) struct buf after = buf_make(GROUPS_MAX);
	pid_t pid = 0;
	int pipe_fds[2], status = -1;
	char byte;
	groups(&before);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	int r = cgroup_begin_move(&pid);
	if (r < 0) {
		print_message("# SKIP: no control group can be written here: %s\n", strerrordesc_np(-r));
		assert_true(r == -ENOENT || r == -EACCES || r == -EROFS || r == -EPERM);
		skip();
	}
	assert_true(pid > 0);
	(void)close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* the end, as soon as the child has begun */
	(void)close(pipe_fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	groups(&after);
	assert_string_equal(buf_str(&before), buf_str(&after));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_begin_move)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
