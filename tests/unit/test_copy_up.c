/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "exec/copy_up.h"
#include "tests/unit/unit.h"

/* What somebody who has the target too puts in the place of the pipe that was just made. */
static const char *usurper;

/* In the library's stead. */
int mknodat(int dirfd, const char *name, mode_t mode, dev_t dev)
{
	int r = (int)syscall(SYS_mknodat, dirfd, name, mode, (unsigned int)dev);
	if (r == 0 && usurper) {
		assert_int_equal(unlinkat(dirfd, name, 0), 0);
		assert_int_equal(symlinkat(usurper, dirfd, name), 0);
	}
	return r;
}

struct rig {
	char dir[64];
	int from, to;
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	assert_non_null(rig);
	(void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/sluice-copy.XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	struct err err = {0};
	assert_ok(dir_make_at(AT_FDCWD, rig->dir, 0755, &rig->from, &err), &err);
	int parent = rig->from;
	assert_ok(dir_make_at(parent, "from", 0755, &rig->from, &err), &err);
	assert_ok(dir_make_at(parent, "to", 0700, &rig->to, &err), &err);
	(void)close(parent);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	(void)close(rig->from);
	(void)close(rig->to);
	assert_ok(tree_remove(AT_FDCWD, rig->dir, &err), &err);
	free(rig);
	return 0;
}

static void put(int dir, const char *name, const char *text, mode_t mode)
{
	AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static struct stat look(int dir, const char *name)
{
	struct stat st;
	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void same(const struct rig *rig, const char *name)
{
	struct stat a = look(rig->from, name), b = look(rig->to, name);
	assert_int_equal(a.st_mode, b.st_mode);
	assert_int_equal(a.st_uid, b.st_uid);
	assert_int_equal(a.st_gid, b.st_gid);
	assert_int_equal(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
	assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
	if (!S_ISDIR(a.st_mode))
		assert_int_equal(a.st_size, b.st_size);
}

static void test_everything(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	const struct timespec times[] = {{.tv_sec = 5}, {.tv_sec = 1000000000, .tv_nsec = 7}};
	char big[3000001];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	put(rig->from, "big", big, 0640);
	put(rig->from, "tool", "#!", 04755);
	put(rig->from, "secret", "", 0);
	assert_int_equal(mkdirat(rig->from, "d", 0750), 0);
	assert_int_equal(mkdirat(rig->from, "d/e", 01777), 0);
	assert_int_equal(fchmodat(rig->from, "d/e", 01777, 0), 0);
	put(rig->from, "d/e/f", "deep", 0600);
	assert_int_equal(symlinkat("/etc/passwd", rig->from, "d/link"), 0);
	assert_int_equal(symlinkat("nowhere", rig->from, "dangling"), 0);
	assert_int_equal(mknodat(rig->from, "pipe", S_IFIFO | 0622, 0), 0);
	assert_int_equal(fchmodat(rig->from, "pipe", 0622, 0), 0);
	bool root = geteuid() == 0;
	if (root) {
		assert_int_equal(mknodat(rig->from, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
		assert_int_equal(fchownat(rig->from, "d", 12, 34, 0), 0);
		assert_int_equal(fchownat(rig->from, "dangling", 56, 78, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(fchownat(rig->from, "tool", 9, 9, 0), 0);
		assert_int_equal(fchmodat(rig->from, "tool", 04755, 0), 0);
		assert_int_equal(fchown(rig->from, 99, 98), 0);
	}
	static const char *const names[] = {"big",    "tool",	  "secret", "d",    "d/e",
					    "d/e/f", "d/link", "dangling", "pipe"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(utimensat(rig->from, names[i], times, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fchmod(rig->from, 02711), 0);
	assert_ok(copy_up(rig->from, rig->to, NULL, &err), &err);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		same(rig, names[i]);
	same(rig, ".");
	assert_int_equal(faccessat(rig->to, "null", F_OK, 0), -1);
	AUTO_FINISH(buf) struct buf text = buf_make(sizeof(big));
	assert_ok(file_slurp(rig->to, "big", &text, &err), &err);
	assert_int_equal(text.len, sizeof(big) - 1);
	assert_memory_equal(text.data, big, text.len);
	char target[64] = {0};
	assert_int_equal(readlinkat(rig->to, "d/link", target, sizeof(target) - 1), 11);
	assert_string_equal(target, "/etc/passwd");
}

static void test_xattrs(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	put(rig->from, "f", "", 0644);
	AUTO_CLOSE int fd = openat(rig->from, "f", O_RDONLY | O_CLOEXEC);
	if (fsetxattr(fd, "user.colour", "blue", 4, 0) < 0) {
		print_message("# SKIP no user attributes in /tmp\n");
		skip();
	}
	assert_ok(copy_up(rig->from, rig->to, NULL, &err), &err);
	AUTO_CLOSE int copy = openat(rig->to, "f", O_RDONLY | O_CLOEXEC);
	char value[8] = {0};
	assert_int_equal(fgetxattr(copy, "user.colour", value, sizeof(value)), 4);
	assert_string_equal(value, "blue");
}

static bool at_once(void)
{
	return true;
}

static void test_refusals(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	put(rig->from, "f", "", 0644);
	assert_err(copy_up(rig->from, rig->to, at_once, &err), -EINTR, &err, "copy ");
	put(rig->to, "f", "mine", 0644);
	assert_err(copy_up(rig->from, rig->to, NULL, &err), -EEXIST, &err, "copy the file f");

	assert_int_equal(unlinkat(rig->from, "f", 0), 0);
	int at = dup(rig->from);
	for (int i = 0; i <= COPY_UP_DEPTH_MAX; i++) {
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		(void)close(at);
		at = next;
	}
	(void)close(at);
	assert_err(copy_up(rig->from, rig->to, NULL, &err), -ELOOP, &err, "deeper than 256");
}

static void test_usurped_pipe(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	char victim[96];
	(void)snprintf(victim, sizeof(victim), "%s/victim", rig->dir);
	put(AT_FDCWD, victim, "secret", 0600);
	assert_int_equal(mknodat(rig->from, "pipe", S_IFIFO | 0600, 0), 0);
	assert_int_equal(fchmodat(rig->from, "pipe", 0666, 0), 0);
	usurper = victim;
	int r = copy_up(rig->from, rig->to, NULL, &err);
	usurper = NULL;
	assert_int_equal(r, -ESTALE);
	assert_int_equal(look(AT_FDCWD, victim).st_mode & 07777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xattrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usurped_pipe, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
