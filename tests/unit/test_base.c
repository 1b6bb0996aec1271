/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/htab.h"
#include "base/json.h"
#include "base/num.h"
#include "base/workers.h"
#include "tests/unit/unit.h"

/* Words of a server must not move the cursor of whoever reads them. */
static void test_err_is_tame(void **state)
{
	(void)state;
	struct err err = {0};
	(void)err_say(&err, -EIO, "a\x1b[2Jb\nc\x7f" "d\xc2\x9b" "e\xc3\xa4\xc2");
	assert_string_equal(err_text(&err), "a?[2Jb?c?d??e\xc3\xa4\xc2");
	(void)err_set(&err, -ENOENT, "open '%s'", "x\r");
	assert_string_equal(err_text(&err), "open 'x?': No such file or directory");
	(void)err_prefix(&err, -ENOENT, "\t%s", "y");
	assert_string_equal(err_text(&err), "?y: open 'x?': No such file or directory");
}

static void test_err_keeps_the_reason(void **state)
{
	(void)state;
	struct err err = {0};
	char head[2 * ERR_TEXT_MAX];
	memset(head, 'x', sizeof(head) - 1);
	head[sizeof(head) - 1] = '\0';
	assert_int_equal(err_set(&err, -ENOSPC, "%s", head), -ENOSPC);
	assert_non_null(strstr(err_text(&err), "No space left on device"));

	err_set(&err, -ENOENT, "open blob");
	assert_int_equal(err_prefix(&err, -EIO, "mount %s", "python"), -EIO);
	assert_string_equal(err_text(&err), "mount python: open blob: No such file or directory");
	assert_int_equal(err_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void test_buf_bound(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf buf = buf_make(10);
	assert_string_equal(buf_str(&buf), "");
	assert_int_equal(buf_append(&buf, "12345678", 8), 0);
	assert_int_equal(buf_append(&buf, "9ab", 3), -E2BIG);
	assert_string_equal(buf_str(&buf), "12345678");
	assert_int_equal(buf_printf(&buf, "%d", 90), 0);
	assert_int_equal(buf_puts(&buf, "x"), -E2BIG);
	buf_shift(&buf, 8);
	assert_string_equal(buf_str(&buf), "90");
}

static void test_sizes(void **state)
{
	(void)state;
	uint64_t v = 7;
	assert_int_equal(size_parse("20G", &v), 0);
	assert_int_equal(v, GIB(20));
	assert_int_equal(size_parse("1.5k", &v), 0);
	assert_int_equal(v, 1536);
	assert_int_equal(duration_parse("250ms", &v), 0);
	assert_int_equal(v, 250);
	static const char *const bad[] = {"", "-1", "1..5", "5x", "k", "1.", "0x10", " 1"};
	v = 7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(size_parse(bad[i], &v), -EINVAL);
	assert_int_equal(size_parse("18446744073709551616", &v), -ERANGE);
	assert_int_equal(size_parse("99999999999t", &v), -ERANGE);
	assert_int_equal(u64_parse("70000", 65535, &v), -ERANGE);
	assert_int_equal(v, 7);
	assert_false(range_within(UINT64_MAX, 2, UINT64_MAX));
	assert_true(range_within(3, 2, 5));
}

struct item {
	struct hnode node;
	uint64_t key;
};

static bool item_match(const struct hnode *node, const void *key)
{
	return container_of(node, const struct item, node)->key == *(const uint64_t *)key;
}

static void test_htab(void **state)
{
	(void)state;
	enum { N = 5000 };
	static struct item items[N];
	struct htab tab = {0};
	for (uint64_t i = 0; i < N; i++) {
		items[i].key = i;
		assert_int_equal(htab_insert(&tab, &items[i].node, hash_u64(i)), 0);
	}
	for (uint64_t i = 0; i < N; i += 2)
		htab_remove(&tab, &items[i].node);
	for (uint64_t i = 0; i < N; i++) {
		struct hnode *node = htab_find(&tab, hash_u64(i), item_match, &i);
		assert_ptr_equal(node, i % 2 ? &items[i].node : NULL);
	}
	static bool seen[N];
	size_t walked = 0;
	for (struct hnode *node = NULL; (node = htab_next(&tab, node)); walked++) {
		uint64_t key = container_of(node, struct item, node)->key;
		assert_true(key % 2 == 1 && !seen[key]);
		seen[key] = true;
	}
	assert_int_equal(walked, N / 2);
	size_t left = 0;
	while (htab_pop(&tab))
		left++;
	assert_int_equal(left, N / 2);
	assert_null(htab_next(&tab, NULL));
	htab_finish(&tab);
	assert_null(htab_next(&tab, NULL));
}

static void test_commit(void **state)
{
	(void)state;
	char dir[] = "/tmp/sluice-test-XXXXXX";
	assert_non_null(mkdtemp(dir));
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = {0};
	AUTO_FINISH(buf) struct buf buf = buf_make(64);

	assert_ok(file_commit(fd, "a", "one", 3, COMMIT_REPLACE, &err), &err);
	assert_ok(file_commit(fd, "a", "two", 3, COMMIT_REPLACE, &err), &err);
	assert_ok(file_commit(fd, "a", "three", 5, COMMIT_KEEP, &err), &err);
	assert_ok(file_commit(fd, "c", "three", 5, COMMIT_LIVE, &err), &err);
	assert_ok(file_commit(fd, "c", "four", 4, COMMIT_LIVE, &err), &err);
	assert_ok(file_slurp(fd, "a", &buf, &err), &err);
	assert_string_equal(buf_str(&buf), "two");

	/* A path's temporary is made where the path leads, whatever directory this process is in. */
	char path[64];
	(void)snprintf(path, sizeof(path), "%s/d", dir);
	struct commit *commit = NULL;
	assert_ok(commit_create(AT_FDCWD, path, &commit, &err), &err);
	char link[64], place[128] = "";
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", commit_fd(commit));
	assert_true(readlink(link, place, sizeof(place) - 1) > 0);
	assert_int_equal(strncmp(place, dir, strlen(dir)), 0);
	assert_ok(commit_finish(commit, COMMIT_KEEP, &err), &err);
	commit_destroy(commit);
	assert_int_equal(unlinkat(fd, "d", 0), 0);
	assert_err(file_commit(AT_FDCWD, "/nonexistent/d", "", 0, COMMIT_KEEP, &err), -ENOENT, &err,
		   "the directory of /nonexistent/d");

	commit = NULL;
	assert_ok(commit_create(fd, "b", &commit, &err), &err);
	commit_destroy(commit);
	struct stat st;
	assert_int_equal(fstatat(fd, "b", &st, 0), -1);
	assert_err(file_slurp(fd, "b", &buf, &err), -ENOENT, &err, "open b");

	buf = (buf_finish(&buf), buf_make(2));
	assert_err(file_slurp(fd, "a", &buf, &err), -E2BIG, &err, "limit of 2 bytes");
	/* Nothing temporary stays behind: removing these empties the directory. */
	assert_int_equal(unlinkat(fd, "a", 0), 0);
	assert_int_equal(unlinkat(fd, "c", 0), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_json(void **state)
{
	(void)state;
	static const char text[] =
		"{\"s\":\"x\",\"n\":5,\"neg\":-5,\"b\":true,\"null\":null,\"nul\":\"a\\u0000b\"}";
	struct err err = {0};
	AUTO_JSON json_t *json = NULL;
	assert_ok(json_parse_object(text, strlen(text), "the test", &json, &err), &err);

	const char *s = "kept";
	uint64_t n = 0;
	assert_ok(json_get_str(json, "null", JSON_MAY, &s, &err), &err);
	assert_string_equal(s, "kept");
	assert_err(json_get_str(json, "null", JSON_NEED, &s, &err), -EINVAL, &err, "\"null\" is missing");
	assert_err(json_get_str(json, "n", JSON_MAY, &s, &err), -EINVAL, &err, "\"n\" is not a string");
	assert_err(json_get_str(json, "nul", JSON_MAY, &s, &err), -EINVAL, &err, "holds a NUL");
	assert_ok(json_get_u64(json, "n", JSON_NEED, &n, &err), &err);
	assert_int_equal(n, 5);
	assert_err(json_get_u64(json, "neg", JSON_NEED, &n, &err), -EINVAL, &err, "\"neg\" is negative");

	json_t *other = NULL;
	assert_err(json_parse_object("[]", 2, "it", &other, &err), -EINVAL, &err, "not a JSON object");
	assert_err(json_parse_object("{\"a\":1,\"a\":2}", 13, "it", &other, &err), -EINVAL, &err,
		   "duplicate");
	assert_null(other);
}

struct count_work {
	struct work work;
	atomic_int *count;
};

static void count_run(struct work *work)
{
	atomic_fetch_add(container_of(work, struct count_work, work)->count, 1);
}

static void test_workers(void **state)
{
	(void)state;
	enum { N = 1000 };
	static struct count_work items[N];
	static atomic_int count;
	struct err err = {0};
	struct workers *workers = NULL;
	assert_ok(workers_create(3, "test", &workers, &err), &err);
	for (int i = 0; i < N; i++) {
		items[i] = (struct count_work){.work.run = count_run, .count = &count};
		assert_int_equal(workers_submit(workers, &items[i].work, i % 2 ? WORK_LATER : WORK_URGENT), 0);
	}
	workers_destroy(workers);
	assert_int_equal(atomic_load(&count), N);
	assert_err(workers_create(0, "test", &workers, &err), -EINVAL, &err, "start 0 test threads");
}

static void test_deadlines(void **state)
{
	(void)state;
	assert_false(deadline_passed(0));
	assert_int_equal(deadline_left_ms(0, 77), 77);
	assert_true(deadline_passed(1));
	assert_int_equal(deadline_left_ms(1, 77), 0);
	assert_int_equal(deadline_earlier(0, 5), 5);
	assert_int_equal(deadline_earlier(9, 5), 5);
	assert_int_equal(deadline_in_ms(0), 0);
}

static void test_base64(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "AA==", "AP8=", "AP8Q", "AP8QgA=="};
	static const unsigned char bytes[] = {0x00, 0xff, 0x10, 0x80};
	for (size_t n = 0; n < ARRAY_LEN(texts); n++) {
		AUTO_FINISH(buf) struct buf out = buf_make(8);
		AUTO_FREE char *back = NULL;
		size_t n_back = 99;
		assert_int_equal(base64_encode(bytes, n, &out), 0);
		assert_string_equal(buf_str(&out), texts[n]);
		assert_int_equal(base64_decode(buf_str(&out), out.len, 8, &back, &n_back), 0);
		assert_int_equal(n_back, n);
		assert_memory_equal(back, bytes, n);
	}
	AUTO_FINISH(buf) struct buf tight = buf_make(7);
	assert_int_equal(base64_encode(bytes, 4, &tight), -E2BIG);
	assert_int_equal(tight.len, 0);
}

/* Deeper than descriptors, a stack or PATH_MAX would go; symlinks stay what they are. */
static void test_tree_remove(void **state)
{
	enum { LEVELS = 5000 };
	(void)state;
	struct err err = {0};
	char top[] = "/tmp/sluice-tree.XXXXXX", kept[] = "/tmp/sluice-kept.XXXXXX", name[64];
	assert_non_null(mkdtemp(top));
	assert_non_null(mkdtemp(kept));
	(void)snprintf(name, sizeof(name), "%s/file", kept);
	int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	(void)close(file);
	int at = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < LEVELS; i++) {
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		assert_int_equal(mkdirat(at, "empty", 0755), 0);
		assert_int_equal(symlinkat(kept, at, "link"), 0);
		assert_int_equal(mknodat(at, "pipe", S_IFIFO | 0600, 0), 0);
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		(void)close(at);
		at = next;
	}
	(void)close(at);
	assert_ok(tree_remove(AT_FDCWD, top, &err), &err);
	assert_int_equal(access(top, F_OK), -1);
	assert_int_equal(access(name, F_OK), 0);
	assert_ok(tree_remove(AT_FDCWD, name, &err), &err);
	assert_ok(tree_remove(AT_FDCWD, kept, &err), &err);
	assert_ok(tree_remove(AT_FDCWD, kept, &err), &err);
	assert_err(tree_remove(AT_FDCWD, "/proc/self", &err), -EPERM, &err, "remove /proc/self");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_err_is_tame),
		cmocka_unit_test(test_err_keeps_the_reason), cmocka_unit_test(test_buf_bound),
		cmocka_unit_test(test_sizes),		     cmocka_unit_test(test_htab),
		cmocka_unit_test(test_commit),		     cmocka_unit_test(test_tree_remove),
		     cmocka_unit_test(test_json),
		cmocka_unit_test(test_workers),		     cmocka_unit_test(test_deadlines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
