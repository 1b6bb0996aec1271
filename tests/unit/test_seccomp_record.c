/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_record.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "exec/seccomp_compile.h"
#include "tests/unit/unit.h"

static char place[64]; /* of the socket, in a directory of its own */

struct serving {
	struct seccomp_recorder *recorder;
	int stop_fd, result;
	struct err err;
};

static void *serve(void *data)
{
	struct serving *serving = data;
	serving->result = seccomp_recorder_serve(serving->recorder, serving->stop_fd, &serving->err);
	return NULL;
}

static int connect_to(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", place);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* What a runtime does: some JSON, and the listener. */
static int send_listener(int socket, int listener)
{
	static char text[] = "{\"fds\":[\"seccompFd\"]}";
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &listener, sizeof(listener));
	return sendmsg(socket, &message, 0) < 0 ? -errno : 0;
}

/* In a child: loads the filter, hands the listener over, asks for two numbers. Exit status 0: well. */
static void be_recorded(const struct buf *code, int socket)
{
	struct sock_fprog prog = {.len = (unsigned short)(code->len / sizeof(struct sock_filter)),
				  .filter = (struct sock_filter *)(uintptr_t)code->data};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(1);
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  &prog);
	if (fd < 0 || send_listener(socket, (int)fd) < 0)
		_exit(2);
	(void)close((int)fd);
	_exit(getppid() > 0 && syscall(SYS_getpgid, 0) >= 0 ? 0 : 3);
}

static void compile(const struct seccomp_recorder *recorder, struct buf *code)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(SECCOMP_RECORD_BYTES_MAX);
	AUTO(seccomp_profile) struct seccomp_profile *profile = NULL;
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	struct seccomp_target target;
	assert_ok(seccomp_recorder_profile(recorder, &text, &err), &err);
	assert_ok(seccomp_profile_parse(text.data, text.len, "it", &profile, &err), &err);
	assert_string_equal(profile->listener_path, place);
	assert_ok(seccomp_target_of_host(&target, &err), &err);
	target.native_only = true;
	assert_ok(seccomp_resolve(profile, &target, &filter, &err), &err);
	assert_ok(seccomp_compile(filter, code, &err), &err);
}

static void test_child(void **state)
{
	(void)state;
	struct serving serving = {.stop_fd = eventfd(0, EFD_CLOEXEC)};
	AUTO_FINISH(buf) struct buf code = buf_make(1 << 20), out = buf_make(SECCOMP_RECORD_BYTES_MAX);
	struct err err = {0};
	pthread_t thread;
	int status = -1;
	assert_ok(seccomp_recorder_create(place, &serving.recorder, &err), &err);
	assert_err(seccomp_recorder_result(serving.recorder, &out, &err), -ENODATA, &err,
		   "nothing was recorded");
	compile(serving.recorder, &code);
	AUTO_CLOSE int fd = connect_to();
	pid_t pid = fork();
	if (pid == 0)
		be_recorded(&code, fd);
	assert_int_equal(pthread_create(&thread, NULL, serve, &serving), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(eventfd_write(serving.stop_fd, 1), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_ok(serving.result, &serving.err);
	assert_ok(seccomp_recorder_result(serving.recorder, &out, &err), &err);
	assert_non_null(strstr(buf_str(&out), "\"getppid\""));
	assert_non_null(strstr(buf_str(&out), "\"getpgid\""));
	assert_non_null(strstr(buf_str(&out), "\"exit_group\""));
	assert_null(strstr(buf_str(&out), "\"getpid\""));
	seccomp_recorder_destroy(serving.recorder);
	assert_int_equal(access(place, F_OK), -1);
	(void)close(serving.stop_fd);
}

/* What is no runtime ends the recording with a reason. */
static void test_no_listener(void **state)
{
	(void)state;
	AUTO(seccomp_recorder) struct seccomp_recorder *recorder = NULL;
	AUTO_CLOSE int stop = eventfd(0, EFD_CLOEXEC);
	struct err err = {0};
	assert_ok(seccomp_recorder_create(place, &recorder, &err), &err);
	int fd = connect_to();
	assert_int_equal(write(fd, "x", 1), 1);
	(void)close(fd);
	assert_err(seccomp_recorder_serve(recorder, stop, &err), -ECOMM, &err,
		   "the runtime sent no listener");
}

static void test_bad_places(void **state)
{
	(void)state;
	struct seccomp_recorder *recorder = NULL;
	struct err err = {0};
	char path[200];
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_err(seccomp_recorder_create(path, &recorder, &err), -ENAMETOOLONG, &err, "listen at x");
	assert_err(seccomp_recorder_create("/nowhere/socket", &recorder, &err), -ENOENT, &err,
		   "listen at /nowhere/socket");
	assert_null(recorder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_no_listener),
		cmocka_unit_test(test_bad_places),
	};
	char dir[] = "/tmp/sluice-record-XXXXXX";
	if (!mkdtemp(dir))
		return 1;
	(void)snprintf(place, sizeof(place), "%s/socket", dir);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return rmdir(dir) < 0 ? 1 : failed;
}
