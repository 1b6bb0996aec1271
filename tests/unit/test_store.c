/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "fetcher/store_unsynced.h"
#include "tests/unit/store_unit.h"

static void assert_default_path(const char *store, const char *data, const char *home,
				unsigned int uid, const char *want)
{
	struct err err = {0};
	char *path = NULL;
	assert_ok(store_default_path(store, data, home, uid, &path, &err), &err);
	assert_string_equal(path, want);
	free(path);
}

static unsigned int n_syncs;

/* In place of the C library's: counts, and does what that does. */
int fsync(int fd)
{
	n_syncs++;
	return (int)syscall(SYS_fsync, fd);
}

static void test_default_path(void **state)
{
	(void)state;
	struct err err = {0};
	char *path = NULL;
	assert_default_path("/s", "/d", "/h", 0, "/s");
	assert_default_path(NULL, "/d", "/h", 0, "/var/lib/sluice");
	assert_default_path("", "/d", "/h", 1000, "/d/sluice");
	assert_default_path(NULL, "d", "/h", 1000, "/h/.local/share/sluice");
	assert_err(store_default_path(NULL, NULL, NULL, 1000, &path, &err), -ENOENT, &err,
		   "set SLUICE_STORE");
	assert_null(path);
}

static void assert_open_fails(const char *path, int code, const char *words)
{
	struct err err = {0};
	struct store *store = NULL;
	const struct store_config config = {.path = path};
	assert_err(store_open(&config, &store, &err), code, &err, words);
	assert_null(store);
}

static void test_open(void **state)
{
	const struct place *place = *state;
	struct err err = {0};
	struct stat st;
	store_close(place_open(place, 0));
	assert_int_equal(stat(place->store, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* Twice at once is fine, and the mode is kept private. */
	assert_int_equal(chmod(place->store, 0755), 0);
	struct store *a = place_open(place, 0);
	struct store *b = place_open(place, 0);
	assert_string_equal(store_path(a), place->store);
	assert_int_equal(stat(place->store, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	store_close(a);
	store_close(b);

	int dir = open(place->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(file_commit(dir, "version", "2\n", 2, COMMIT_REPLACE, &err), &err);
	assert_open_fails(place->store, -EPROTONOSUPPORT, "layout version 2, and this program knows 1");
	assert_ok(file_commit(dir, "version", "x\n", 2, COMMIT_REPLACE, &err), &err);
	assert_open_fails(place->store, -EINVAL, "unreadable version file");
	(void)close(dir);
}

/*
 * Making a store waits for the disk; opening it again does not, and does again what is missing:
 * that is on the disk before what is in it counts.
 */
static void test_open_waits_once(void **state)
{
	char path[128];
	struct place *place = *state;
	struct err err = {0};
	n_syncs = 0;
	store_close(place_open(place, 0));
	assert_true(n_syncs >= 2);
	n_syncs = 0;
	store_close(place_open(place, 0));
	assert_int_equal(n_syncs, 0);
	(void)snprintf(path, sizeof(path), "%s/locks", place->store);
	assert_int_equal(rmdir(path), 0);
	struct store *store = place_open(place, 0);
	assert_int_equal(n_syncs, 0);
	assert_int_equal(access(path, F_OK), 0);
	for (int i = 0; i < 2; i++) {
		assert_ok(store_settle(store, &err), &err);
		assert_int_equal(n_syncs, 2);
	}
	store_close(store);
}

static void test_open_refusals(void **state)
{
	const struct place *place = *state;
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/file", place->dir);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_open_fails(path, -ENOTDIR, path);
	assert_open_fails("/proc/sluice", -ENOENT, "make directory /proc/sluice");
}

static void test_foreign_directory(void **state)
{
	const struct place *place = *state;
	struct stat st;
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/file", place->dir);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(chmod(place->dir, 0755), 0);
	assert_open_fails(place->dir, -ENOTEMPTY, "neither empty nor a store");
	assert_int_equal(stat(place->dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
}

static void test_foreign_owner(void **state)
{
	const struct place *place = *state;
	if (geteuid() != 0) {
		print_message("skipped: only root can give a directory away\n");
		skip();
	}
	store_close(place_open(place, 0));
	assert_int_equal(chown(place->store, 12345, 12345), 0);
	assert_open_fails(place->store, -EACCES, "belongs to user 12345, not to user 0");
}

static void test_blobs(void **state)
{
	const struct place *place = *state;
	struct err err = {0};
	struct store *store = place_open(place, 0);
	for (enum digest_algo algo = DIGEST_SHA256; algo <= DIGEST_SHA512; algo++) {
		struct digest digest;
		struct buf got = buf_make(64);
		char hex[DIGEST_STR_MAX];
		char path[512];
		assert_int_equal(digest_of(algo, "hello", 5, &digest), 0);
		assert_ok(buf_puts(&got, "before "), &err);
		assert_err(store_blob_get(store, &digest, &got, &err), -ENOENT, &err,
			   "get a blob from the store");
		assert_ok(store_blob_put(store, &digest, "hello", 5, &err), &err);
		assert_ok(store_blob_put(store, &digest, "hello", 5, &err), &err);
		assert_ok(store_blob_get(store, &digest, &got, &err), &err);
		assert_string_equal(buf_str(&got), "before hello");

		/* A damaged one is never handed out, and goes. */
		(void)snprintf(path, sizeof(path), "%s/blobs/%s/%s", store_path(store),
			       digest_algo_name(algo), digest_hex(&digest, hex));
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_int_equal(file_pwrite(fd, "j", 1, 0), 0);
		(void)close(fd);
		assert_err(store_blob_get(store, &digest, &got, &err), -ENOENT, &err,
			   "a blob in the store is corrupt");
		assert_string_equal(buf_str(&got), "before hello");
		assert_int_equal(access(path, F_OK), -1);
		/* One too long for the buffer is not damaged. */
		struct buf small = buf_make(4);
		assert_ok(store_blob_put(store, &digest, "hello", 5, &err), &err);
		assert_err(store_blob_get(store, &digest, &small, &err), -E2BIG, &err, "4 bytes");
		assert_int_equal(access(path, F_OK), 0);
		buf_finish(&small);
		buf_finish(&got);
	}
	store_close(store);
}

static void test_tags(void **state)
{
	const struct place *place = *state;
	struct err err = {0};
	struct store *store = place_open(place, 0);
	char longest[600];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const char *const refs[] = {"docker.io/library/python:3.12", "oci:../x y%2F", "..", longest};
	for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
		struct digest want, got;
		assert_int_equal(digest_of(DIGEST_SHA512, &i, sizeof(i), &want), 0);
		assert_err(store_tag_get(store, refs[i], &got, &err), -ENOENT, &err, "look up what");
		assert_ok(store_tag_put(store, refs[i], &want, &err), &err);
		assert_ok(store_tag_get(store, refs[i], &got, &err), &err);
		assert_true(digest_equal(&want, &got));
	}
	store_damage(store, "tags", "", "docker.io%2Flibrary%2Fpython:3.12", 3, "X", 1);
	struct digest got;
	assert_err(store_tag_get(store, refs[0], &got, &err), -ENOENT, &err, "was damaged");
	store_close(store);
}

static void test_lock(void **state)
{
	const struct place *place = *state;
	struct err err = {0};
	struct store *a = place_open(place, 0);
	struct store *b = place_open(place, 0);
	struct digest digest;
	int fd = -1, other = -1;
	assert_int_equal(digest_of(DIGEST_SHA256, "x", 1, &digest), 0);
	assert_ok(store_lock(a, &digest, 0, &fd, &err), &err);
	uint64_t begin = clock_now_ns();
	assert_err(store_lock(b, &digest, deadline_in_ms(50), &other, &err), -ETIMEDOUT, &err,
		   "another process has been at work on sha256-");
	assert_true(clock_now_ns() - begin >= 50 * NS_PER_MS);
	assert_int_equal(other, -1);
	(void)close(fd);
	assert_ok(store_lock(b, &digest, deadline_in_ms(50), &other, &err), &err);
	(void)close(other);

	/* The kernel lets go when the process dies. */
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		struct store *c = place_open(place, 0);
		if (store_lock(c, &digest, 0, &fd, NULL) == 0)
			(void)!write(ready[1], "x", 1);
		(void)pause();
		_exit(1);
	}
	char c;
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(store_lock(a, &digest, deadline_in_ms(20), &fd, &err), -ETIMEDOUT);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_ok(store_lock(a, &digest, deadline_in_ms(2000), &fd, &err), &err);
	(void)close(fd);
	(void)close(ready[0]);
	(void)close(ready[1]);
	store_close(a);
	store_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_path),
		cmocka_unit_test_setup_teardown(test_open, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_open_waits_once, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_open_refusals, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_foreign_directory, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_foreign_owner, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_blobs, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_tags, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_lock, place_setup, place_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
