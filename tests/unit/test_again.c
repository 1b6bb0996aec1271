/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/again.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "tests/unit/unit.h"

enum { STATUS_SEEN = 7, CLOSE_FROM = 10, HEAP_PIECES = 4096, HEAP_PIECE = 1024 };

/* The words as the kernel shows them, and the environment where it was. */
static bool sees_itself(void)
{
	static const char want[] = "one\0the second word\0\0last";
	char got[256], other[4096];
	AUTO_CLOSE int line = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int env = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
	return file_read(line, got, sizeof(got)) == (ssize_t)sizeof(want) &&
	       memcmp(got, want, sizeof(want)) == 0 && environ[0] &&
	       file_read(env, other, sizeof(other)) > 0 &&
	       strncmp(other, environ[0], strlen(environ[0])) == 0;
}

/* The heap still grows from where it ended. */
static bool heap_works(void)
{
	void *pieces[HEAP_PIECES];
	bool fine = true;
	for (size_t i = 0; i < HEAP_PIECES; i++) {
		pieces[i] = malloc(HEAP_PIECE);
		if (pieces[i])
			memset(pieces[i], (int)i, HEAP_PIECE);
		fine = fine && pieces[i];
	}
	for (size_t i = 0; i < HEAP_PIECES; i++)
		free(pieces[i]);
	return fine;
}

static int main_seen(char *const *argv)
{
	bool words = strcmp(argv[1], "the second word") == 0 && !argv[4];
	bool closed = fcntl(CLOSE_FROM, F_GETFD) < 0 && fcntl(CLOSE_FROM - 1, F_GETFD) >= 0;
	return words && closed && sees_itself() && heap_works() ? STATUS_SEEN : EXIT_FAILURE;
}

static void test_child_goes_on(void **state)
{
	(void)state;
	char one[] = "one", two[] = "the second word", none[] = "", last[] = "last";
	char *const argv[] = {one, two, none, last, NULL};
	if (!again_possible())
		skip();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (dup2(STDERR_FILENO, CLOSE_FROM) == CLOSE_FROM &&
		    dup2(STDERR_FILENO, CLOSE_FROM - 1) == CLOSE_FROM - 1)
			(void)again_go(main_seen, argv, CLOSE_FROM);
		_exit(EXIT_FAILURE);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), STATUS_SEEN);
}

static void *ask(void *data)
{
	*(bool *)data = again_possible();
	return NULL;
}

/* A lock of another thread's would stay taken in the child. */
static void test_not_with_threads(void **state)
{
	(void)state;
	pthread_t thread;
	bool possible = true;
	assert_int_equal(pthread_create(&thread, NULL, ask, &possible), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(possible);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_child_goes_on),
		cmocka_unit_test(test_not_with_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
