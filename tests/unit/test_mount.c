/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/mount.h"
#include "fs/mtable.h"
#include "tests/unit/unit.h"

enum { LET_GO_AFTER_US = 20000, LOCK_WAIT_MS = 60000 };

static void test_options(void **state)
{
	(void)state;
	struct err err = {0};
	struct mount_options options;
	mount_options_init(&options);
	assert_int_equal(options.flags, MS_RDONLY | MS_NODEV | MS_NOSUID);
	assert_ok(mount_options_parse(&options, "", &err), &err);
	assert_ok(mount_options_parse(&options, "ro,noexec,,noatime", &err), &err);
	assert_int_equal(options.flags, MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_NOATIME);
	assert_false(options.only_fuse);
	assert_ok(mount_options_parse(&options, "exec,allow_other", &err), &err);
	assert_true(options.only_fuse);
	assert_int_equal(options.flags & MS_NOEXEC, 0);
	assert_true(options.allow_other);
	if (geteuid() == 0) {
		assert_ok(mount_options_parse(&options, "suid", &err), &err);
		assert_int_equal(options.flags & MS_NOSUID, 0);
	} else {
		assert_err(mount_options_parse(&options, "suid", &err), -EPERM, &err, "needs root");
	}
}

static void test_unknown_options_are_named(void **state)
{
	(void)state;
	static const char *const bad[] = {"rw", "dev", "fd=3", "allow_othe", "allow_others",
					  "noatime,rw", "ro,context=x"};
	static const char *const words[] = {"'rw'", "'dev'", "'fd=3'", "'allow_othe'",
					    "'allow_others'", "'rw'", "'context=x'"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};
		struct mount_options options;
		mount_options_init(&options);
		unsigned long before = options.flags;
		assert_err(mount_options_parse(&options, bad[i], &err), -EINVAL, &err, words[i]);
		assert_int_equal(options.flags, before);
	}
}

static void test_bad_mount_points(void **state)
{
	(void)state;
	char dir[] = "/tmp/sluice-mount-XXXXXX";
	assert_non_null(mkdtemp(dir));
	char path[64];
	struct err err = {0};
	(void)snprintf(path, sizeof(path), "%s/none", dir);
	assert_err(mount_check(path, &err), -ENOENT, &err, "does not exist");
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_err(mount_check(path, &err), -ENOTDIR, &err, "is not a directory");
	assert_err(mount_check(dir, &err), -ENOTEMPTY, &err, "is not empty");
	assert_int_equal(unlink(path), 0);
	if (access("/dev/fuse", F_OK) == 0)
		assert_ok(mount_check(dir, &err), &err);
	else
		assert_err(mount_check(dir, &err), -ENODEV, &err, "/dev/fuse is missing");
	assert_err(mount_undo(dir, false, &err), geteuid() == 0 ? -EINVAL : -EPERM, &err, dir);
	assert_int_equal(rmdir(dir), 0);
}

static void *let_go(void *data)
{
	(void)usleep(LET_GO_AFTER_US);
	(void)close(*(int *)data);
	return NULL;
}

/* A killed holder's lock outlives the news of its death a little; a living one keeps its own. */
static void test_lock_waits_for_a_predecessor(void **state)
{
	(void)state;
	struct err err = {0};
	char dir[] = "/tmp/sluice-mtable-XXXXXX";
	assert_non_null(mkdtemp(dir));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	int held = -1, lock = -1;
	assert_ok(mtable_lock(fd, 0, &held, &err), &err);
	assert_int_equal(mtable_lock(fd, 0, &lock, &err), -EBUSY);
	assert_string_equal(err.text, "the mount has a holder already");
	assert_int_equal(mtable_lock(fd, 1, &lock, NULL), -EBUSY);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, let_go, &held), 0);
	assert_ok(mtable_lock(fd, LOCK_WAIT_MS, &lock, &err), &err);
	(void)pthread_join(thread, NULL);
	(void)close(lock);
	assert_int_equal(unlinkat(fd, "lock", 0), 0);
	(void)close(fd);
	assert_int_equal(rmdir(dir), 0);
}

static struct mtable_entry entry_of_a_test(void)
{
	struct mtable_entry entry = {
		.dir = strdup("/mnt"),
		.image = strdup("x"),
		.store = strdup("/store"),
		.start = {.fill = true, .no_prefetch = true, .prefetch_rate = UINT64_C(1) << 41},
		.record = {.off = true, .touched = strdup("/tmp/touched"), .quiet_ms = 7,
			   .cap_ms = 8, .cap_bytes = UINT64_C(1) << 40},
	};
	assert_int_equal(digest_of(DIGEST_SHA256, "i", 1, &entry.manifest), 0);
	return entry;
}

/* What a mount does for a profile is told to its servers. */
static void test_entries_say_what_is_recorded(void **state)
{
	(void)state;
	struct err err = {0};
	char dir[] = "/tmp/sluice-mtable-XXXXXX";
	assert_non_null(mkdtemp(dir));
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = entry_of_a_test();
	AUTO_FINISH(mtable_entry) struct mtable_entry got = {0};
	AUTO_FINISH(mtable_entry) struct mtable_entry plain = {0};
	AUTO_CLOSE int fd = -1;
	assert_ok(mtable_add(dir, &entry, &fd, &err), &err);
	assert_ok(mtable_load(fd, &got, &err), &err);
	assert_true(got.record.off);
	assert_string_equal(got.record.touched, "/tmp/touched");
	assert_int_equal(got.record.quiet_ms, 7);
	assert_int_equal(got.record.cap_ms, 8);
	assert_int_equal(got.record.cap_bytes, UINT64_C(1) << 40);
	assert_true(got.start.fill && got.start.no_prefetch);
	assert_int_equal(got.start.prefetch_rate, UINT64_C(1) << 41);
	free(entry.record.touched);
	entry.record = (struct mtable_record){0};
	entry.start = (struct mount_start){0};
	assert_ok(mtable_save(fd, &entry, &err), &err);
	assert_ok(mtable_load(fd, &plain, &err), &err);
	assert_false(plain.record.off);
	assert_null(plain.record.touched);
	assert_int_equal(plain.record.cap_bytes, 0);
	assert_false(plain.start.fill || plain.start.no_prefetch);
	assert_int_equal(plain.start.prefetch_rate, 0);
	assert_ok(mtable_remove(dir, entry.id, &err), &err);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_unknown_options_are_named),
		cmocka_unit_test(test_bad_mount_points),
		cmocka_unit_test(test_lock_waits_for_a_predecessor),
		cmocka_unit_test(test_entries_say_what_is_recorded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
