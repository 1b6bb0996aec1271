/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/user.h"

#include "tests/unit/rootkit.h"

static const char passwd[] =
	"# a comment:x:7:7::/:\n"
	"+nis:x:8:8::/nis:/bin/sh\n"
	"-nis:x:8:8::/nis:/bin/sh\n"
	"\n"
	"short:x:9\n"
	"root:x:0:0:root:/root:/bin/bash\n"
	"app:x:1000:100:App,,,:/home/app:/bin/sh\r\n"
	"app:x:1:1::/second:/bin/sh\n"
	"twin:x:1000:5::/twin:/bin/sh\n"
	"1000:x:42:42::/number:/bin/sh\n"
	"bad:x:-1:0::/:/bin/sh\n"
	"huge:x:4294967296:0::/:/bin/sh\n"
	"nogid:x:5:zero::/:/bin/sh\n"
	"relative:x:6:6::home:/bin/sh\n"
	"few:x:11:12\n"
	"last:x:2147483647:2147483647::/last:/bin/sh";

static const char group[] =
	"root:x:0:\n"
	"+:::\n"
	"users:x:100:\n"
	"adm:x:4:syslog,app\r\n"
	"wheel:x:10:root, app ,x\n"
	"wheel:x:11:\n"
	"twice:x:4:app\n"
	"apple:x:55:apple,ap,appapp\n"
	"few:x:12\n"
	"broken:x:x:\n"
	"video:x:44:app";

static void put_files(const struct rootkit *kit)
{
	rootkit_text(kit, "etc/passwd", passwd);
	rootkit_text(kit, "etc/group", group);
}

static void test_find(void **state)
{
	const struct rootkit *kit = *state;
	static const struct {
		const char *spec;
		uint32_t uid, gid;
		const char *name, *home, *gids;
	} cases[] = {
		{NULL, 0, 0, "root", "/root", "0 10 "},
		{"", 0, 0, "root", "/root", "0 10 "},
		{":", 0, 0, "root", "/root", "0 10 "},
		{"root", 0, 0, "root", "/root", "0 10 "},
		{"0", 0, 0, "root", "/root", ""},
		{"app", 1000, 100, "app", "/home/app", "100 4 10 44 "},
		{"app:", 1000, 100, "app", "/home/app", "100 4 10 44 "},
		{"app:wheel", 1000, 10, "app", "/home/app", ""},
		{"app:77", 1000, 77, "app", "/home/app", ""},
		{":adm", 0, 4, "root", "/root", ""},
		{"1000", 1000, 100, "app", "/home/app", ""},
		{"0001000", 1000, 100, "app", "/home/app", ""},
		{"1000:44", 1000, 44, "app", "/home/app", ""},
		{"42", 42, 42, "1000", "/number", ""},
		{"31337", 31337, 0, NULL, "/", ""},
		{"31337:users", 31337, 100, NULL, "/", ""},
		{"relative", 6, 6, "relative", "/", "6 "},
		{"few:few", 11, 12, "few", "/", ""},
		{"last", 2147483647, 2147483647, "last", "/last", "2147483647 "},
		{"2147483647", 2147483647, 2147483647, "last", "/last", ""},
	};
	put_files(kit);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_FINISH(user) struct user user = {0};
		AUTO_FINISH(buf) struct buf gids = buf_make(256);
		struct err err = {0};
		assert_ok(user_find(kit->fd, cases[i].spec, &user, &err), &err);
		for (size_t k = 0; k < user.n_gids; k++)
			assert_int_equal(buf_printf(&gids, "%u ", user.gids[k]), 0);
		if (user.uid != cases[i].uid || user.gid != cases[i].gid ||
		    strcmp(user.home, cases[i].home) != 0 ||
		    strcmp(buf_str(&gids), cases[i].gids) != 0)
			fail_msg("case %zu: %u:%u (%s) in %s", i, user.uid, user.gid,
				 buf_str(&gids), user.home);
		assert_string_equal(user.name ? user.name : "-",
				    cases[i].name ? cases[i].name : "-");
	}
}

static void test_find_refuses(void **state)
{
	const struct rootkit *kit = *state;
	static const struct {
		const char *spec;
		int r;
		const char *words;
	} cases[] = {
		{"nobody", -ENOENT, "there is no user 'nobody' in the image's /etc/passwd"},
		{"nobody:0", -ENOENT, "there is no user 'nobody' in the image's /etc/passwd"},
		{"app:none", -ENOENT, "there is no group 'none' in the image's /etc/group"},
		{"app:adm:x", -ENOENT, "there is no group 'adm:x' in the image's /etc/group"},
		{"+nis", -ENOENT, "there is no user '+nis' in the image's /etc/passwd"},
		{"short", -ENOENT, "there is no user 'short' in the image's /etc/passwd"},
		{" 5", -ENOENT, "there is no user ' 5' in the image's /etc/passwd"},
		{"-1", -ENOENT, "there is no user '-1' in the image's /etc/passwd"},
		{"2147483648", -ERANGE, "the user 2147483648 is past the largest id, 2147483647"},
		{"99999999999999999999999", -ERANGE, "is past the largest id, 2147483647"},
		{"1:4294967295", -ERANGE,
		 "the group 4294967295 is past the largest id, 2147483647"},
		{"bad", -EINVAL,
		 "the entry of user 'bad' in the image's /etc/passwd: the uid '-1' is no id"},
		{"huge", -ERANGE, "the uid 4294967296 is past the largest id, 2147483647"},
		{"nogid", -EINVAL,
		 "the entry of user 'nogid' in the image's /etc/passwd: the gid 'zero' is no id"},
		{"app:broken", -EINVAL,
		 "the entry of group 'broken' in the image's /etc/group: the gid 'x' is no id"},
	};
	put_files(kit);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct user user = {.uid = 12345};
		struct err err = {0};
		assert_err(user_find(kit->fd, cases[i].spec, &user, &err), cases[i].r, &err,
			   cases[i].words);
		assert_int_equal(user.uid, 12345);
	}
}

static void test_no_files(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FINISH(user) struct user none = {0};
	AUTO_FINISH(user) struct user user = {0};
	struct err err = {0};
	assert_ok(user_find(kit->fd, "", &user, &err), &err);
	assert_int_equal(user.uid, 0);
	assert_int_equal(user.n_gids, 0);
	assert_null(user.name);
	assert_string_equal(user.home, "/");
	assert_err(user_find(kit->fd, "bob", &none, &err), -ENOENT, &err,
		   "there is no user 'bob': the image has no /etc/passwd");
	assert_err(user_find(kit->fd, "1:staff", &none, &err), -ENOENT, &err,
		   "there is no group 'staff': the image has no /etc/group");
}

/* Nix and others link their files absolutely; that means the image's own. */
static void test_links(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FINISH(user) struct user user = {0};
	struct err err = {0};
	rootkit_text(kit, "store/passwd", "app:x:7:8::/app:\n");
	rootkit_dir(kit, "etc", 0755);
	rootkit_link(kit, "etc/passwd", "/store/passwd");
	rootkit_link(kit, "etc/group", "/etc/../../../proc/self/environ");
	assert_ok(user_find(kit->fd, "app", &user, &err), &err);
	assert_int_equal(user.uid, 7);
	assert_int_equal(user.n_gids, 1);
}

static void test_hostile_files(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FINISH(user) struct user user = {0};
	char path[ROOTKIT_PATH_MAX];
	struct err err = {0};
	rootkit_dir(kit, "etc", 0755);
	rootkit_path(kit, "etc/passwd", path);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_err(user_find(kit->fd, "app", &user, &err), -EINVAL, &err,
		   "look up the user in the image: /etc/passwd is not a regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_err(user_find(kit->fd, "0", &user, &err), -EISDIR, &err,
		   "look up the user in the image: /etc/passwd is a directory");
	assert_int_equal(rmdir(path), 0);
	rootkit_link(kit, "etc/passwd", "passwd");
	assert_err(user_find(kit->fd, "app", &user, &err), -ELOOP, &err, "/etc/passwd");
	assert_int_equal(unlink(path), 0);
	rootkit_text(kit, "etc/passwd", "app:x:7:8::/app:\n");
	assert_int_equal(truncate(path, USER_FILE_MAX + 1), 0);
	assert_err(user_find(kit->fd, "app", &user, &err), -E2BIG, &err,
		   "/etc/passwd is larger than the limit of 10485760 bytes");
	assert_int_equal(truncate(path, USER_FILE_MAX), 0);
	assert_ok(user_find(kit->fd, "app", &user, &err), &err);
}

/* A line of a megabyte, NULs, and an entry behind them. */
static void test_long_lines(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FINISH(buf) struct buf text = buf_make(MIB(2));
	AUTO_FINISH(user) struct user user = {0};
	struct err err = {0};
	assert_int_equal(buf_puts(&text, "long:x:3:3:"), 0);
	assert_int_equal(buf_reserve(&text, MIB(1)), 0);
	memset(text.data + text.len, 'g', MIB(1));
	text.len += MIB(1);
	assert_int_equal(buf_puts(&text, ":/long:\n"), 0);
	assert_int_equal(buf_append(&text, "app\0:x:0:0::/:\n", 15), 0);
	assert_int_equal(buf_puts(&text, "app:x:9:9::/app:\n"), 0);
	rootkit_file(kit, "etc/passwd", 0644, text.data, text.len);
	assert_ok(user_find(kit->fd, "app", &user, &err), &err);
	assert_int_equal(user.uid, 9);
	user_finish(&user);
	assert_ok(user_find(kit->fd, "long", &user, &err), &err);
	assert_string_equal(user.home, "/long");
}

static void test_add_group(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FINISH(user) struct user user = {0};
	struct err err = {0};
	put_files(kit);
	assert_ok(user_find(kit->fd, "1000", &user, &err), &err);
	assert_ok(user_add_group(kit->fd, &user, "video", &err), &err);
	assert_ok(user_add_group(kit->fd, &user, "44", &err), &err);
	assert_ok(user_add_group(kit->fd, &user, "7", &err), &err);
	assert_int_equal(user.n_gids, 2);
	assert_int_equal(user.gids[0], 44);
	assert_int_equal(user.gids[1], 7);
	assert_err(user_add_group(kit->fd, &user, "", &err), -ENOENT, &err, "no group ''");
	assert_err(user_add_group(kit->fd, &user, "none", &err), -ENOENT, &err,
		   "there is no group 'none' in the image's /etc/group");
	assert_int_equal(user.n_gids, 2);
}

#define WITH_ROOT(name) cmocka_unit_test_setup_teardown(name, rootkit_make, rootkit_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_find),  WITH_ROOT(test_find_refuses), WITH_ROOT(test_no_files),
		WITH_ROOT(test_links), WITH_ROOT(test_hostile_files), WITH_ROOT(test_long_lines),
		WITH_ROOT(test_add_group),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
