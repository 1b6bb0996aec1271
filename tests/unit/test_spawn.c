/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "base/spawn.h"
#include "tests/unit/unit.h"

/* Runs a line of shell; what it wrote is in out. */
static int shell(const char *line, struct spawn spawn, struct buf *out, int *status,
		 struct err *err)
{
	const char *const argv[] = {"sh", "-c", line, NULL};
	spawn.path = "/bin/sh";
	spawn.argv = argv;
	if (spawn.deadline == 0)
		spawn.deadline = deadline_in_ms(30000);
	return spawn_run(&spawn, out, status, err);
}

static void test_errors_apart(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf out = buf_make(64);
	AUTO_FINISH(buf) struct buf errors = buf_make(8);
	struct err err = {0};
	int status = -1;
	assert_ok(shell("echo out; echo errors and much more >&2; exit 3",
			(struct spawn){.errors = &errors}, &out, &status, &err), &err);
	assert_string_equal(buf_str(&out), "out\n");
	assert_string_equal(buf_str(&errors), "errors a"); /* the rest is dropped, not an error */
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

static void test_descriptors(void **state)
{
	(void)state;
	int a[2], b[2];
	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b, O_CLOEXEC), 0);
	/* In an order that would overwrite one with the other: a[1] and b[1] are small numbers. */
	int fds[7] = {-1, -1, -1, b[1], a[1], -1, a[1]};
	AUTO_FINISH(buf) struct buf out = buf_make(256);
	struct err err = {0};
	int status = -1;
	assert_ok(shell("printf three >&3; printf four >&4; printf six >&6; ls /proc/self/fd",
			(struct spawn){.fds = fds, .n_fds = 7}, &out, &status, &err), &err);
	char got[16] = {0};
	assert_int_equal(read(b[0], got, sizeof(got) - 1), 5);
	assert_string_equal(got, "three");
	memset(got, 0, sizeof(got));
	assert_int_equal(read(a[0], got, sizeof(got) - 1), 7);
	assert_string_equal(got, "foursix");
	/* 5 was not named: ls got that number for the directory it reads. */
	assert_string_equal(buf_str(&out), "0\n1\n2\n3\n4\n5\n6\n");
	for (int i = 0; i < 2; i++) {
		(void)close(a[i]);
		(void)close(b[i]);
	}
}

static void *fire(void *data)
{
	struct cancel *cancel = data;
	cancel_fire(cancel);
	return NULL;
}

static void test_cancel(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(cancel) struct cancel *cancel = NULL;
	assert_ok(cancel_create(&cancel, &err), &err);
	assert_false(cancel_fired(cancel));
	assert_false(cancel_fired(NULL));
	assert_int_equal(cancel_fd(NULL), -1);
	AUTO_FINISH(buf) struct buf out = buf_make(64);
	int status = -1;
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, fire, cancel), 0);
	assert_err(shell("sleep 1000", (struct spawn){.cancel = cancel}, &out, &status, &err),
		   -ECANCELED, &err, "run /bin/sh: ");
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(cancel_fired(cancel));
	assert_err(shell("exit 0", (struct spawn){.cancel = cancel}, &out, &status, &err),
		   -ECANCELED, &err, "no time left");
	assert_int_equal(status, -1);
}

static void test_deadline_kills_the_group(void **state)
{
	(void)state;
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	const int given[4] = {-1, -1, -1, fds[1]};
	AUTO_FINISH(buf) struct buf out = buf_make(64);
	struct err err = {0};
	int status;
	assert_err(shell("sleep 1000 & wait",
			 (struct spawn){.fds = given, .n_fds = 4, .deadline = deadline_in_ms(50)},
			 &out, &status, &err), -ETIMEDOUT, &err, "did not end in time");
	(void)close(fds[1]);
	/* Ends only when the sleep in the background is dead too. */
	char byte;
	assert_int_equal(read(fds[0], &byte, 1), 0);
	(void)close(fds[0]);
}

static void test_until_exit(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf out = buf_make(64);
	AUTO_FINISH(buf) struct buf errors = buf_make(64);
	struct err err = {0};
	int status = -1;
	/* What stays behind holds both pipes, out of the group. */
	assert_ok(shell("setsid sleep 1000 & echo $!; echo late >&2",
			(struct spawn){.until_exit = true, .errors = &errors}, &out, &status, &err),
		  &err);
	assert_string_equal(buf_str(&errors), "late\n");
	uint64_t pid;
	out.data[out.len - 1] = '\0';
	assert_int_equal(u64_parse(out.data, INT32_MAX, &pid), 0);
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
}

static int prepare(void *data)
{
	const int *r = data;
	return *r < 0 ? *r : setsid() < 0 && errno != EPERM ? -errno : 0;
}

static void test_prepare(void **state)
{
	(void)state;
	int r = 0;
	AUTO_FINISH(buf) struct buf out = buf_make(64);
	struct err err = {0};
	int status = -1;
	assert_ok(shell("echo ran", (struct spawn){.prepare = prepare, .data = &r}, &out, &status,
			&err), &err);
	assert_string_equal(buf_str(&out), "ran\n");
	r = -EXDEV;
	assert_err(shell("echo ran", (struct spawn){.prepare = prepare, .data = &r}, &out, &status,
			 &err), -EXDEV, &err, "run /bin/sh");
	assert_string_equal(buf_str(&out), "ran\n");
}

/* What is run is the descriptor's program, under whatever name; path is for kernels that refuse it. */
static void test_program(void **state)
{
	(void)state;
	const char *const argv[] = {"echo", "by descriptor", NULL};
	AUTO_FINISH(buf) struct buf out = buf_make(64);
	struct err err = {0};
	int status = -1;
	int program = open("/bin/echo", O_RDONLY | O_CLOEXEC);
	assert_true(program >= 0);
	/* In the place of one that the program gets: it must not run over it. */
	int fds[64];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = SPAWN_FD_AUTO;
	assert_true((size_t)program < ARRAY_LEN(fds));
	struct spawn spawn = {.path = "/nonexistent", .argv = argv, .program = &program, .fds = fds,
			      .n_fds = ARRAY_LEN(fds), .deadline = deadline_in_ms(30000)};
	assert_ok(spawn_run(&spawn, &out, &status, &err), &err);
	assert_string_equal(buf_str(&out), "by descriptor\n");
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	(void)close(program);

	program = open("/etc/passwd", O_RDONLY | O_CLOEXEC); /* EACCES */
	buf_clear(&out);
	spawn.path = "/bin/echo";
	assert_ok(spawn_run(&spawn, &out, &status, &err), &err);
	assert_string_equal(buf_str(&out), "by descriptor\n");
	(void)close(program);
	program = -1;
	buf_clear(&out);
	assert_ok(spawn_run(&spawn, &out, &status, &err), &err);
	assert_string_equal(buf_str(&out), "by descriptor\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_apart),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_deadline_kills_the_group),
		cmocka_unit_test(test_until_exit),
		cmocka_unit_test(test_prepare),
		cmocka_unit_test(test_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
