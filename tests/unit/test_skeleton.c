/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/skeleton.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/unit/rootkit.h"

static struct oci_config *config_make(const char *cwd)
{
	struct oci_config *config = oci_config_create();
	assert_non_null(config);
	struct oci_process *process = oci_config_need_process(config);
	assert_non_null(process);
	assert_int_equal(oci_process_set_cwd(process, cwd), 0);
	return config;
}

static void add_mount(struct oci_config *config, const char *source, const char *destination)
{
	struct oci_mount *mount = oci_config_add_mounts(config);
	assert_non_null(mount);
	assert_int_equal(oci_mount_set_destination(mount, destination), 0);
	assert_int_equal(oci_mount_set_source(mount, source), 0);
	assert_int_equal(oci_mount_set_type(mount, source ? "bind" : "tmpfs"), 0);
}

/* The type and mode of what stands there by itself, no symlink followed. */
static void check_mode(const struct rootkit *kit, const char *name, mode_t mode)
{
	char path[ROOTKIT_PATH_MAX];
	struct stat st;
	rootkit_path(kit, name, path);
	if (lstat(path, &st) < 0)
		fail_msg("there is no %s", name);
	if (st.st_mode != mode)
		fail_msg("%s is of mode %o, not %o", name, st.st_mode, mode);
}

static void check_absent(const struct rootkit *kit, const char *name)
{
	char path[ROOTKIT_PATH_MAX];
	struct stat st;
	rootkit_path(kit, name, path);
	if (lstat(path, &st) == 0)
		fail_msg("there is a %s", name);
}

static void test_empty(void **state)
{
	const struct rootkit *kit = *state;
	struct err err = {0};
	mode_t mask = umask(077);
	assert_ok(skeleton_make(kit->fd, NULL, &err), &err);
	assert_ok(skeleton_make(kit->fd, NULL, &err), &err);
	(void)umask(mask);
	check_mode(kit, "dev", S_IFDIR | 0755);
	check_mode(kit, "proc", S_IFDIR | 0755);
	check_mode(kit, "sys", S_IFDIR | 0755);
	check_mode(kit, "etc", S_IFDIR | 0755);
	check_mode(kit, "tmp", S_IFDIR | 01777);
}

static void test_kept(void **state)
{
	const struct rootkit *kit = *state;
	struct err err = {0};
	rootkit_text(kit, "etc/passwd", "root:x:0:0::/:\n");
	rootkit_dir(kit, "etc", 0711);
	rootkit_dir(kit, "tmp", 0700);
	assert_ok(skeleton_make(kit->fd, NULL, &err), &err);
	check_mode(kit, "etc", S_IFDIR | 0711);
	check_mode(kit, "etc/passwd", S_IFREG | 0644);
	check_mode(kit, "tmp", S_IFDIR | 0700);
}

static void test_replaced(void **state)
{
	const struct rootkit *kit = *state;
	char path[ROOTKIT_PATH_MAX];
	struct err err = {0};
	rootkit_link(kit, "dev", kit->host);
	rootkit_link(kit, "proc", "../host");
	rootkit_text(kit, "sys", "a file");
	rootkit_dir(kit, "usr/etc", 0755);
	rootkit_link(kit, "etc", "usr/etc");
	rootkit_path(kit, "tmp", path);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_ok(skeleton_make(kit->fd, NULL, &err), &err);
	check_mode(kit, "dev", S_IFDIR | 0755);
	check_mode(kit, "proc", S_IFDIR | 0755);
	check_mode(kit, "sys", S_IFDIR | 0755);
	check_mode(kit, "etc", S_IFDIR | 0755);
	check_mode(kit, "tmp", S_IFDIR | 01777);
	check_mode(kit, "usr/etc", S_IFDIR | 0755);
}

static void check_destination(const struct oci_config *config, size_t i, const char *want)
{
	assert_string_equal(config->mounts[i]->destination, want);
}

static void test_mounts(void **state)
{
	const struct rootkit *kit = *state;
	AUTO(oci_config) struct oci_config *config = config_make("/");
	char file[ROOTKIT_PATH_MAX];
	struct err err = {0};
	(void)snprintf(file, sizeof(file), "%s/file", kit->dir);
	AUTO_CLOSE int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	rootkit_dir(kit, "run", 0755);
	rootkit_dir(kit, "var", 0755);
	rootkit_link(kit, "var/run", "/run");
	rootkit_link(kit, "escape", kit->host);
	assert_ok(skeleton_make(kit->fd, NULL, &err), &err);
	rootkit_link(kit, "etc/resolv.conf", "/proc/net/pnp");
	add_mount(config, NULL, "/dev");
	add_mount(config, NULL, "/dev/shm");
	add_mount(config, file, "/var/run/sock");
	add_mount(config, kit->host, "/data//deep/./x");
	add_mount(config, kit->host, "/data/deep/x/inner/more");
	add_mount(config, file, "/etc/resolv.conf");
	add_mount(config, kit->host, "/escape/evil");
	assert_ok(skeleton_mounts(kit->fd, config, NULL, &err), &err);
	check_destination(config, 0, "/dev");
	check_destination(config, 1, "/dev/shm");
	check_destination(config, 2, "/run/sock");
	check_destination(config, 3, "/data/deep/x");
	check_destination(config, 4, "/data/deep/x/inner/more");
	check_destination(config, 5, "/etc/resolv.conf");
	check_absent(kit, "dev/shm");
	check_mode(kit, "run/sock", S_IFREG | 0644);
	check_mode(kit, "data/deep/x", S_IFDIR | 0755);
	check_absent(kit, "data/deep/x/inner");
	check_mode(kit, "etc/resolv.conf", S_IFREG | 0644);
	assert_memory_equal(config->mounts[6]->destination, kit->host, strlen(kit->host));
	assert_int_equal(access(kit->host, F_OK), 0);
	assert_int_equal(unlink(file), 0);
}

static void check_refused(const struct rootkit *kit, const char *source, const char *destination,
			  int r, const char *words)
{
	AUTO(oci_config) struct oci_config *config = config_make("/");
	struct err err = {0};
	add_mount(config, source, destination);
	assert_err(skeleton_mounts(kit->fd, config, NULL, &err), r, &err, words);
	assert_string_equal(config->mounts[0]->destination, destination);
}

static void test_mounts_refused(void **state)
{
	const struct rootkit *kit = *state;
	rootkit_dir(kit, "dir", 0755);
	rootkit_text(kit, "file", "");
	rootkit_link(kit, "kernel", "/proc/sys");
	rootkit_link(kit, "root", "..");
	rootkit_link(kit, "loop", "loop");
	check_refused(kit, NULL, "relative", -EINVAL,
		      "the mount on 'relative' is not on an absolute path");
	check_refused(kit, NULL, "/", -EINVAL, "nothing can be mounted on /, which is the root");
	check_refused(kit, NULL, "/root/..", -EINVAL, "/root/.., which is the root");
	check_refused(kit, NULL, "/kernel/kernel", -EINVAL,
		      "the image leads the mount on /kernel/kernel into /proc by a symlink");
	check_refused(kit, "/dev/null", "/dir", -EISDIR,
		      "/dir is a directory in the image, and a file cannot be mounted on it");
	check_refused(kit, kit->host, "/file", -ENOTDIR,
		      "/file is a file in the image, or below one, and a directory cannot be");
	check_refused(kit, kit->host, "/file/x", -ENOTDIR, "resolve /file/x: Not a directory");
	check_refused(kit, "/nonexistent/x", "/y", -ENOENT, "mount /nonexistent/x on /y");
	check_refused(kit, NULL, "/loop/x", -ELOOP, "resolve /loop/x");
	check_absent(kit, "y");
}

static void test_devices(void **state)
{
	const struct rootkit *kit = *state;
	static const char *const written[] = {"/dev/fuse", "/link/fuse", "/new/dir/fuse", "/top"};
	static const char *const want[] = {"/dev/fuse", "/opt/fuse", "/new/dir/fuse", "/top"};
	AUTO(oci_config) struct oci_config *config = config_make("/");
	struct oci_linux *l = oci_config_need_linux(config);
	struct err err = {0};
	assert_non_null(l);
	rootkit_dir(kit, "opt", 0755);
	rootkit_link(kit, "link", "../opt");
	add_mount(config, NULL, "/dev");
	for (size_t i = 0; i < ARRAY_LEN(written); i++) {
		struct oci_linux_device *device = oci_linux_add_devices(l);
		assert_non_null(device);
		assert_int_equal(oci_linux_device_set_path(device, written[i]), 0);
	}
	assert_ok(skeleton_mounts(kit->fd, config, NULL, &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(l->devices[i]->path, want[i]);
	check_mode(kit, "new/dir", S_IFDIR | 0755);
	check_absent(kit, "new/dir/fuse");
	check_absent(kit, "dev/fuse");
	assert_int_equal(oci_linux_device_set_path(l->devices[0], "fuse"), 0);
	assert_err(skeleton_mounts(kit->fd, config, NULL, &err), -EINVAL, &err,
		   "the device 'fuse' is not at an absolute path");
}

static void test_cwd(void **state)
{
	const struct rootkit *kit = *state;
	const struct rootfs_owner owner = {.uid = geteuid(), .gid = getegid(), .mode = 0750};
	AUTO(oci_config) struct oci_config *config = config_make("/srv/app/x");
	struct err err = {0};
	rootkit_dir(kit, "opt", 0755);
	rootkit_link(kit, "srv", "/opt");
	rootkit_link(kit, "escape", kit->host);
	add_mount(config, NULL, "/vol");
	assert_ok(skeleton_cwd(kit->fd, config, &owner, &err), &err);
	assert_string_equal(config->process->cwd, "/srv/app/x");
	check_mode(kit, "opt/app/x", S_IFDIR | 0750);
	assert_int_equal(oci_process_set_cwd(config->process, "/vol/inner"), 0);
	assert_ok(skeleton_cwd(kit->fd, config, NULL, &err), &err);
	check_absent(kit, "vol");
	assert_int_equal(oci_process_set_cwd(config->process, "/escape/evil"), 0);
	assert_ok(skeleton_cwd(kit->fd, config, NULL, &err), &err);
	assert_int_equal(oci_process_set_cwd(config->process, "/"), 0);
	assert_ok(skeleton_cwd(kit->fd, config, NULL, &err), &err);
}

static void test_cwd_refused(void **state)
{
	const struct rootkit *kit = *state;
	static const struct {
		const char *cwd;
		int r;
		const char *words;
	} cases[] = {
		{"srv", -EINVAL, "the working directory 'srv' is not absolute"},
		{"", -EINVAL, "the working directory '' is not absolute"},
		{"/proc/self/fd/7", -EINVAL,
		 "the working directory /proc/self/fd/7 leads into /proc"},
		{"/leak", -EINVAL, "the working directory /leak leads into /proc"},
		{"/x/../../proc", -EINVAL, "leads into /proc"},
		{"/file", -ENOTDIR, "the working directory /file is a file in the image"},
		{"/file/x", -ENOTDIR, "the working directory /file/x is below a file of the image"},
		{"/loop", -ELOOP, "the working directory: resolve /loop"},
	};
	rootkit_text(kit, "file", "");
	rootkit_link(kit, "leak", "../proc/self/fd/7/../../..");
	rootkit_link(kit, "loop", "loop");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(oci_config) struct oci_config *config = config_make(cases[i].cwd);
		struct err err = {0};
		assert_err(skeleton_cwd(kit->fd, config, NULL, &err), cases[i].r, &err,
			   cases[i].words);
	}
}

/* In a process with mounts of its own: the kernel's overlay on a hostile image. */
static int on_overlay(const struct rootkit *kit)
{
	char options[4 * ROOTKIT_PATH_MAX], merged[ROOTKIT_PATH_MAX];
	struct err err = {0};
	struct stat st;
	(void)snprintf(merged, sizeof(merged), "%s/merged", kit->dir);
	(void)snprintf(options, sizeof(options), "lowerdir=%s/root,upperdir=%s/up/upper,workdir=%s/up/work",
		       kit->dir, kit->dir, kit->dir);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	char up[ROOTKIT_PATH_MAX], path[2 * ROOTKIT_PATH_MAX];
	(void)snprintf(up, sizeof(up), "%s/up", kit->dir);
	if (mount("tmpfs", up, "tmpfs", 0, NULL) < 0)
		return 77;
	(void)snprintf(path, sizeof(path), "%s/upper", up);
	(void)mkdir(path, 0755);
	(void)snprintf(path, sizeof(path), "%s/work", up);
	(void)mkdir(path, 0755);
	if (mount("overlay", merged, "overlay", 0, options) < 0)
		return 77;
	AUTO_CLOSE int root = open(merged, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO(oci_config) struct oci_config *config = config_make("/escape/work");
	add_mount(config, kit->host, "/escape/vol");
	if (skeleton_make(root, NULL, &err) < 0 || skeleton_mounts(root, config, NULL, &err) < 0 ||
	    skeleton_cwd(root, config, NULL, &err) < 0)
		return 1;
	if (fstatat(root, "dev", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
	    fstatat(root, "etc/passwd", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 2;
	return 0;
}

static void test_overlay(void **state)
{
	const struct rootkit *kit = *state;
	char path[ROOTKIT_PATH_MAX];
	int status = 0;
	rootkit_link(kit, "dev", kit->host);
	rootkit_link(kit, "escape", kit->host);
	rootkit_text(kit, "etc/passwd", "root:x:0:0::/:\n");
	(void)snprintf(path, sizeof(path), "%s/merged", kit->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/up", kit->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(on_overlay(kit));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	check_mode(kit, "dev", S_IFLNK | 0777); /* the image itself is as it was */
	check_absent(kit, "proc");
}

#define WITH_ROOT(name) cmocka_unit_test_setup_teardown(name, rootkit_make, rootkit_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_empty),	   WITH_ROOT(test_kept),	WITH_ROOT(test_replaced),
		WITH_ROOT(test_mounts),	   WITH_ROOT(test_mounts_refused), WITH_ROOT(test_cwd),
		WITH_ROOT(test_devices),
		WITH_ROOT(test_cwd_refused), WITH_ROOT(test_overlay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
