/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static bool same_file(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static void test_one_or_none(void **state)
{
	(void)state;
	int pair[2], fd = 7;
	char text[8] = "";
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fdpass_receive(pair[1], text, sizeof(text), MSG_DONTWAIT, &fd), -EAGAIN);
	assert_int_equal(fd, 7);
	assert_int_equal(fdpass_send(pair[0], "abc", 3, file), 0);
	assert_int_equal(fdpass_send(pair[0], "de", 2, -1), 0);
	assert_int_equal(fdpass_receive(pair[1], text, sizeof(text), 0, &fd), 3);
	assert_memory_equal(text, "abc", 3);
	assert_true(fd >= 0 && fd != file && same_file(fd, file));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	(void)close(fd);
	assert_int_equal(fdpass_receive(pair[1], text, sizeof(text), 0, &fd), 2);
	assert_int_equal(fd, -1);
	(void)close(pair[0]);
	assert_int_equal(fdpass_receive(pair[1], text, sizeof(text), 0, &fd), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(fdpass_send(pair[1], "x", 1, -1), -EPIPE);
	(void)close(pair[1]);
	(void)close(file);
}

/* Whoever sends two means something else; neither may stay open here. */
static void test_two_are_closed(void **state)
{
	(void)state;
	int pair[2], fd = 7, pipes[2];
	char byte = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	const int two[] = {pipes[1], pipes[1]};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(two))];
	} control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			      .cmsg_len = CMSG_LEN(sizeof(two))}};
	memcpy(CMSG_DATA(&control.head), two, sizeof(two));
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
	assert_int_equal(fdpass_receive(pair[1], &byte, 1, 0, &fd), 1);
	assert_int_equal(fd, -1);
	/* With the last writer closed, the pipe has ended. */
	(void)close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	(void)close(pipes[0]);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_or_none),
		cmocka_unit_test(test_two_are_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
