/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file.h"
#include "tests/unit/unit.h"

struct rig {
	char root[32];
	char path[48];
	int fd;
};

/* In a mount namespace of the test's own, so that nothing can stay behind. */
static int setup_group(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	return 0;
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	if (!rig)
		return -1;
	(void)snprintf(rig->root, sizeof(rig->root), "/tmp/netns.XXXXXX");
	assert_non_null(mkdtemp(rig->root));
	(void)snprintf(rig->path, sizeof(rig->path), "%s/net", rig->root);
	rig->fd = open(rig->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->fd >= 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	(void)umount2(rig->path, MNT_DETACH);
	(void)close(rig->fd);
	assert_int_equal(tree_remove(AT_FDCWD, rig->root, NULL), 0);
	free(rig);
	return 0;
}

/* Whether the loopback of a namespace is up, seen from inside. */
static bool has_loopback(int ns)
{
	struct ifreq request = {.ifr_name = "lo"};
	AUTO_CLOSE int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(own >= 0);
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -1 : ioctl(fd, SIOCGIFFLAGS, &request);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	assert_int_equal(r, 0);
	return (request.ifr_flags & IFF_UP) != 0;
}

static void test_life(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	struct stat own, made;
	if (geteuid() != 0)
		skip();
	assert_false(netns_is_bound(rig->path));
	assert_ok(netns_create(rig->fd, "net", &err), &err);
	assert_true(netns_is_bound(rig->path));
	assert_int_equal(stat("/proc/self/ns/net", &own), 0);
	assert_int_equal(stat(rig->path, &made), 0);
	assert_int_not_equal(own.st_ino, made.st_ino);
	AUTO_CLOSE int ns = open(rig->path, O_RDONLY | O_CLOEXEC);
	assert_true(ns >= 0);
	assert_true(has_loopback(ns));
	assert_err(netns_create(rig->fd, "net", &err), -EEXIST, &err, "make a network namespace");
	assert_true(netns_is_bound(rig->path));

	assert_ok(netns_remove(rig->fd, "net", &err), &err);
	assert_int_equal(access(rig->path, F_OK), -1);
	assert_ok(netns_remove(rig->fd, "net", &err), &err);
}

/* After a reboot the file is there, and nothing is mounted on it. */
static void test_left_over(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	assert_ok(file_commit(rig->fd, "net", "", 0, COMMIT_REPLACE, &err), &err);
	assert_false(netns_is_bound(rig->path));
	int r = netns_remove(rig->fd, "net", &err);
	if (geteuid() == 0) {
		assert_ok(r, &err);
		assert_int_equal(access(rig->path, F_OK), -1);
	}
}

static void test_no_directory(void **state)
{
	struct err err = {0};
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_err(netns_create(-1, "net", &err), -EBADF, &err, "make a network namespace");
	assert_err(netns_remove(-1, "net", &err), -EBADF, &err, "remove a network namespace");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_life),
		TEST(test_left_over),
		TEST(test_no_directory),
	};
	return cmocka_run_group_tests(tests, setup_group, NULL);
}
