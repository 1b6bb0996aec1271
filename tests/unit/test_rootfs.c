/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/rootfs.h"

#include "tests/unit/rootkit.h"

static void check_resolve(const struct rootkit *kit, const char *path, const char *want)
{
	AUTO_FREE char *real = NULL;
	struct err err = {0};
	assert_ok(rootfs_resolve(kit->fd, path, false, NULL, NULL, &real, &err), &err);
	if (strcmp(real, want) != 0)
		fail_msg("%s means %s instead of %s", path, real, want);
}

static void test_resolve(void **state)
{
	const struct rootkit *kit = *state;
	rootkit_dir(kit, "a/b", 0755);
	rootkit_dir(kit, "run", 0755);
	rootkit_dir(kit, "var", 0755);
	rootkit_link(kit, "var/run", "/run");
	rootkit_link(kit, "var/up", "../../../../a");
	rootkit_link(kit, "out", kit->host);
	rootkit_link(kit, "top", "/");
	rootkit_link(kit, "dangling", "a/none/deep");
	rootkit_text(kit, "a/file", "x");
	check_resolve(kit, "/", "/");
	check_resolve(kit, "", "/");
	check_resolve(kit, "a//b/.", "/a/b");
	check_resolve(kit, "/var/run/x/y", "/run/x/y");
	check_resolve(kit, "/var/up/b/../c", "/a/c");
	check_resolve(kit, "/../../a", "/a");
	check_resolve(kit, "/top/top/var/run", "/run");
	check_resolve(kit, "/dangling/x", "/a/none/deep/x");
	check_resolve(kit, "/none/../var/run", "/run");
	check_resolve(kit, "/a/file", "/a/file");
	char inside[ROOTKIT_PATH_MAX];
	(void)snprintf(inside, sizeof(inside), "%s/x", kit->host);
	check_resolve(kit, "/out/x", inside);
}

static bool below_a(const char *path, void *arg)
{
	const char *prefix = arg;
	size_t n = strlen(prefix);
	return strncmp(path, prefix, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static void test_resolve_stop(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FREE char *real = NULL;
	AUTO_FREE char *kept = NULL;
	char prefix[] = "/a";
	struct err err = {0};
	rootkit_dir(kit, "a", 0755);
	rootkit_dir(kit, "b", 0755);
	rootkit_link(kit, "a/link", "/b");
	assert_ok(rootfs_resolve(kit->fd, "/a/link/x/../y", false, below_a, prefix, &real, &err),
		  &err);
	assert_string_equal(real, "/a/link/y");
	assert_ok(rootfs_resolve(kit->fd, "/b/../a/link", true, NULL, NULL, &kept, &err), &err);
	assert_string_equal(kept, "/a/link");
}

static void test_resolve_refuses(void **state)
{
	const struct rootkit *kit = *state;
	char name[300];
	char *real = NULL;
	struct err err = {0};
	rootkit_link(kit, "x", "y");
	rootkit_link(kit, "y", "x");
	rootkit_text(kit, "file", "");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_err(rootfs_resolve(kit->fd, "/x", false, NULL, NULL, &real, &err), -ELOOP, &err,
		   "resolve /x: Too many levels of symbolic links");
	assert_err(rootfs_resolve(kit->fd, "/file/a", false, NULL, NULL, &real, &err), -ENOTDIR,
		   &err, "resolve /file/a: Not a directory");
	assert_err(rootfs_resolve(kit->fd, name, false, NULL, NULL, &real, &err), -ENAMETOOLONG,
		   &err, "File name too long");
	assert_null(real);
}

static void test_slurp(void **state)
{
	const struct rootkit *kit = *state;
	AUTO_FINISH(buf) struct buf buf = buf_make(8);
	char path[ROOTKIT_PATH_MAX];
	struct err err = {0};
	rootkit_text(kit, "etc/eight", "12345678");
	rootkit_text(kit, "etc/nine", "123456789");
	rootkit_link(kit, "abs", "/etc/eight");
	rootkit_path(kit, "fifo", path);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_ok(rootfs_slurp(kit->fd, "/abs", &buf, &err), &err);
	assert_string_equal(buf_str(&buf), "12345678");
	buf_clear(&buf);
	assert_err(rootfs_slurp(kit->fd, "/etc/nine", &buf, &err), -E2BIG, &err,
		   "/etc/nine is larger than the limit of 8 bytes");
	buf_clear(&buf);
	assert_err(rootfs_slurp(kit->fd, "/etc", &buf, &err), -EISDIR, &err,
		   "/etc is a directory");
	assert_err(rootfs_slurp(kit->fd, "/fifo", &buf, &err), -EINVAL, &err,
		   "/fifo is not a regular file");
	assert_err(rootfs_slurp(kit->fd, "/none", &buf, &err), -ENOENT, &err, "open /none");
	assert_int_equal(buf.len, 0);
}

/* What lies outside cannot be read, by whatever kind of link. */
static void test_outside(void **state)
{
	const struct rootkit *kit = *state;
	char secret[ROOTKIT_PATH_MAX], magic[64];
	struct stat st;
	(void)snprintf(secret, sizeof(secret), "%s/secret", kit->dir);
	AUTO_CLOSE int fd = open(secret, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	(void)snprintf(magic, sizeof(magic), "/proc/self/fd/%d", fd);
	rootkit_link(kit, "absolute", secret);
	rootkit_link(kit, "relative", "../secret");
	rootkit_link(kit, "magic", magic);
	assert_int_equal(rootfs_stat(kit->fd, "/absolute", &st), -ENOENT);
	assert_int_equal(rootfs_stat(kit->fd, "/relative", &st), -ENOENT);
	assert_int_equal(rootfs_stat(kit->fd, "/magic", &st), -ENOENT);
	assert_int_equal(rootfs_stat(kit->fd, "../secret", &st), -ENOENT);
	AUTO_CLOSE int real_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(rootfs_stat(real_root, magic, &st), -ELOOP);
}

static void test_mkdirs(void **state)
{
	const struct rootkit *kit = *state;
	const struct rootfs_owner owner = {.uid = geteuid(), .gid = getegid(), .mode = 01770};
	AUTO_CLOSE int fd = -1;
	struct err err = {0};
	struct stat st;
	rootkit_dir(kit, "srv", 0711);
	rootkit_link(kit, "app", "/srv/app");
	mode_t mask = umask(077);
	assert_ok(rootfs_mkdirs(kit->fd, "/app/x/y", &owner, &fd, &err), &err);
	(void)umask(mask);
	assert_int_equal(rootfs_stat(kit->fd, "/srv", &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0711);
	assert_int_equal(rootfs_stat(kit->fd, "/srv/app/x", &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 01770);
	assert_int_equal(rootfs_stat(kit->fd, "/srv/app/x/y", &st), 0);
	ino_t ino = st.st_ino;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_ino, ino);
	assert_ok(rootfs_mkdirs(kit->fd, "/", &owner, NULL, &err), &err);
	rootkit_text(kit, "file", "");
	assert_err(rootfs_mkdirs(kit->fd, "/file", NULL, NULL, &err), -ENOTDIR, &err,
		   "make the directory /file: Not a directory");
}

/* A link to the host is a path inside, made there. */
static void test_mkdirs_inside(void **state)
{
	const struct rootkit *kit = *state;
	char path[ROOTKIT_PATH_MAX];
	struct err err = {0};
	struct stat st;
	rootkit_link(kit, "out", kit->host);
	rootkit_link(kit, "up", "../host");
	assert_ok(rootfs_mkdirs(kit->fd, "/out/evil", NULL, NULL, &err), &err);
	assert_ok(rootfs_mkdirs(kit->fd, "/up/evil", NULL, NULL, &err), &err);
	assert_ok(rootfs_create(kit->fd, "/out/file", NULL, &err), &err);
	(void)snprintf(path, sizeof(path), "%s/evil", kit->host);
	assert_int_equal(rootfs_stat(kit->fd, path, &st), 0);
	assert_int_equal(rootfs_stat(kit->fd, "/host/evil", &st), 0);
	(void)snprintf(path, sizeof(path), "%s/file", kit->host);
	assert_int_equal(rootfs_stat(kit->fd, path, &st), 0);
}

static void test_create(void **state)
{
	const struct rootkit *kit = *state;
	const struct rootfs_owner owner = {.uid = geteuid(), .gid = getegid(), .mode = 0640};
	struct err err = {0};
	struct stat st;
	rootkit_text(kit, "kept", "kept");
	rootkit_dir(kit, "dir", 0755);
	assert_ok(rootfs_create(kit->fd, "/new/file", &owner, &err), &err);
	assert_int_equal(rootfs_stat(kit->fd, "/new/file", &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_ok(rootfs_create(kit->fd, "/top", NULL, &err), &err);
	assert_int_equal(rootfs_stat(kit->fd, "/new", &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_ok(rootfs_create(kit->fd, "/kept", &owner, &err), &err);
	assert_int_equal(rootfs_stat(kit->fd, "/kept", &st), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_err(rootfs_create(kit->fd, "/dir", NULL, &err), -EISDIR, &err,
		   "make the file /dir: Is a directory");
	assert_err(rootfs_create(kit->fd, "/", NULL, &err), -EISDIR, &err, "make the file /");
	assert_err(rootfs_create(kit->fd, "/kept/x", NULL, &err), -ENOTDIR, &err, "/kept/x");
}

#define WITH_ROOT(name) cmocka_unit_test_setup_teardown(name, rootkit_make, rootkit_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_resolve),	WITH_ROOT(test_resolve_stop),
		WITH_ROOT(test_resolve_refuses), WITH_ROOT(test_slurp),
		WITH_ROOT(test_outside),	WITH_ROOT(test_mkdirs),
		WITH_ROOT(test_mkdirs_inside),	WITH_ROOT(test_create),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
