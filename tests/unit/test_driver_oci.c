/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/num.h"
#include "exec/cgroup.h"
#include "exec/driver_oci_priv.h"
#include "exec/hybrid.h"
#include "tests/unit/bundlekit.h"

/* crun and runc themselves, on a bundle of busybox. */
struct real {
	const char *runtime;
	struct kit kit;
	struct driver_conn *conn;
	int out[2]; /* a pipe: what the container writes */
};

static struct real RUNTIMES[] = {{.runtime = "crun"}, {.runtime = "runc"}};

static struct real *real_of(void **state)
{
	struct real *real = *state;
	const char *lacks = kit_lacks(real->runtime);
	if (lacks) {
		print_message("# SKIP %s: %s\n", real->runtime, lacks);
		skip();
	}
	return real;
}

static int setup(void **state)
{
	struct real *real = *state;
	if (kit_lacks(real->runtime))
		return 0;
	kit_make(&real->kit);
	assert_int_equal(pipe2(real->out, O_CLOEXEC), 0);
	struct driver_options options = {.address = real->runtime, .path_env = KIT_PATH,
					 .state_root = real->kit.state,
					 .cache_dir = real->kit.cache};
	struct driver_error why = {0};
	struct driver_call call = kit_call();
	assert_ok(driver_connect(driver_oci(), &options, &call, &real->conn, &why), &why.err);
	return 0;
}

static int teardown(void **state)
{
	struct real *real = *state;
	if (kit_lacks(real->runtime))
		return 0;
	struct driver_error why = {0};
	struct driver_call call = kit_call();
	assert_ok(driver_delete(real->conn, &call, real->kit.id, true, &why), &why.err);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	driver_close(real->conn);
	real->conn = NULL;
	(void)close(real->out[0]);
	(void)close(real->out[1]);
	kit_remove(&real->kit);
	return 0;
}

static pid_t make(struct real *real, const char *line, bool start)
{
	kit_config(&real->kit, line, false);
	struct driver_create create = {.id = real->kit.id, .bundle = real->kit.bundle,
				       .stdio = {-1, real->out[1], -1}, .start = start};
	AUTO_FINISH(driver_created) struct driver_created made = {0};
	struct driver_error why = {0};
	struct driver_call call = kit_call();
	assert_ok(driver_create(real->conn, &call, &create, &made, &why), &why.err);
	assert_string_equal(made.id, real->kit.id);
	assert_true(made.pid > 0);
	return made.pid;
}

static enum driver_status status_of(struct real *real)
{
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	struct driver_error why = {0};
	struct driver_call call = kit_call();
	assert_ok(driver_inspect(real->conn, &call, real->kit.id, &container, &why), &why.err);
	assert_string_equal(container.id, real->kit.id);
	assert_string_equal(container.bundle, real->kit.bundle);
	assert_non_null(container.raw);
	return container.status;
}

/* What the container writes next. */
static void expect(struct real *real, const char *text)
{
	char got[64] = {0};
	assert_int_equal(file_read(real->out[0], got, strlen(text)), (ssize_t)strlen(text));
	assert_string_equal(got, text);
}

static void read_mounts(struct buf *text)
{
	AUTO_CLOSE int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(file_slurp_fd(fd, text), 0);
}

static void test_life(void **state)
{
	struct real *real = real_of(state);
	struct driver_call call = kit_call();
	struct driver_error why = {0};
	const char *id = real->kit.id;
	AUTO_FINISH(buf) struct buf before = buf_make(8 << 20);
	AUTO_FINISH(buf) struct buf after = buf_make(8 << 20);
	if (cgroup_mode_get() == CGROUP_HYBRID && strcmp(real->runtime, "crun") == 0)
		assert_true(driver_info(real->conn)->features & DRIVER_HYBRID_ESCAPE);
	/* Line by line those of others come and go; what crun is hidden from has to stay. */
	read_mounts(&before);
	assert_string_equal(driver_info(real->conn)->name, real->runtime);
	pid_t pid = make(real, "echo up; trap 'exit 7' TERM; while :; do sleep 1; done", false);
	assert_int_equal(status_of(real), DRIVER_CREATED);
	assert_ok(driver_start(real->conn, &call, id, &why), &why.err);
	expect(real, "up\n");
	assert_int_equal(status_of(real), DRIVER_RUNNING);

	assert_ok(driver_pause(real->conn, &call, id, &why), &why.err);
	assert_int_equal(status_of(real), DRIVER_PAUSED);
	assert_ok(driver_resume(real->conn, &call, id, &why), &why.err);
	assert_int_equal(status_of(real), DRIVER_RUNNING);

	AUTO_FINISH(driver_list) struct driver_list list = {0};
	assert_ok(driver_list(real->conn, &call, &list, &why), &why.err);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.items[0].id, id);
	assert_int_equal(list.items[0].pid, pid);

	struct driver_stats stats;
	assert_ok(driver_stats(real->conn, &call, id, &stats, &why), &why.err);
	assert_true(stats.pids >= 1 && stats.pids < 10);
	assert_int_equal(stats.pids_limit, 64);
	assert_true(stats.cpu_ns > 0 && stats.cpu_ns < 60 * NS_PER_SEC);

	assert_err(driver_delete(real->conn, &call, id, false, &why), -EINVAL, &why.err, id);
	assert_int_equal(why.code, DRIVER_INVALID);
	assert_true(why.raw[0] != '\0');
	assert_ok(driver_kill(real->conn, &call, id, SIGTERM, &why), &why.err);
	struct driver_exit over = {.exit_code = -1};
	assert_ok(driver_wait(real->conn, &call, id, &over, &why), &why.err);
	assert_int_equal(over.exit_code, 7);
	assert_int_equal(status_of(real), DRIVER_STOPPED);
	read_mounts(&after);
	assert_int_equal(strstr(buf_str(&before), " /sys/fs/cgroup/unified ") != NULL,
			 strstr(buf_str(&after), " /sys/fs/cgroup/unified ") != NULL);
	assert_null(strstr(buf_str(&after), real->kit.dir));
	assert_ok(driver_delete(real->conn, &call, id, false, &why), &why.err);
	assert_err(driver_delete(real->conn, &call, id, false, &why), -ENOENT, &why.err, id);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_refusals(void **state)
{
	struct real *real = real_of(state);
	struct driver_call call = kit_call();
	struct driver_error why = {0};
	const char *id = real->kit.id;
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	assert_err(driver_inspect(real->conn, &call, id, &container, &why), -ENOENT, &why.err, id);
	assert_err(driver_start(real->conn, &call, id, &why), -ENOENT, &why.err, id);
	assert_err(driver_kill(real->conn, &call, id, SIGTERM, &why), -ENOENT, &why.err, id);
	assert_int_equal(why.code, DRIVER_NOT_FOUND);
	assert_false(why.program);
	assert_ok(driver_delete(real->conn, &call, id, true, &why), &why.err);

	(void)make(real, "sleep 100", true);
	struct driver_create again = {.id = id, .bundle = real->kit.bundle, .stdio = {-1, -1, -1}};
	AUTO_FINISH(driver_created) struct driver_created made = {0};
	assert_err(driver_create(real->conn, &call, &again, &made, &why), -EEXIST, &why.err,
		   "already");
	assert_err(driver_start(real->conn, &call, id, &why), -EINVAL, &why.err, id);
	assert_err(driver_resume(real->conn, &call, id, &why),
		   strcmp(real->runtime, "runc") == 0 ? -EINVAL : 0, &why.err, "");
	/* Still the same one, whole. */
	assert_int_equal(status_of(real), DRIVER_RUNNING);
}

/* Commands that cannot be run: podman's 127 and 126, and nothing left of the container. */
static void test_no_program(void **state)
{
	struct real *real = real_of(state);
	struct driver_call call = kit_call();
	struct driver_error why = {0};
	static const struct {
		const char *program;
		int r;
	} cases[] = {{"/bin/nope", -ENOENT}, {"nope", -ENOENT}, {"/plain", -EACCES}};
	char plain[256];
	(void)snprintf(plain, sizeof(plain), "%s/rootfs/plain", real->kit.bundle);
	kit_put(plain, "not a program", 0644);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[256], config[8192] = "", *at;
		kit_config(&real->kit, "true", false);
		(void)snprintf(path, sizeof(path), "%s/config.json", real->kit.bundle);
		AUTO_FINISH(buf) struct buf text = buf_make(8192);
		assert_ok(file_slurp(AT_FDCWD, path, &text, &why.err), &why.err);
		at = strstr(text.data, "/bin/sh");
		assert_non_null(at);
		(void)snprintf(config, sizeof(config), "%.*s%s%s", (int)(at - text.data), text.data,
			       cases[i].program, at + strlen("/bin/sh"));
		kit_put(path, config, 0600);
		struct driver_create create = {.id = real->kit.id, .bundle = real->kit.bundle,
					       .stdio = {-1, -1, -1}, .start = true};
		AUTO_FINISH(driver_created) struct driver_created made = {0};
		assert_err(driver_create(real->conn, &call, &create, &made, &why), cases[i].r,
			   &why.err, real->runtime);
		assert_true(why.program);
		AUTO_FINISH(driver_container) struct driver_container none = {0};
		assert_int_equal(driver_inspect(real->conn, &call, real->kit.id, &none, &why),
				 -ENOENT);
	}
}

static int exec_line(struct real *real, const struct driver_call *call, const char *line,
		     bool detach, struct driver_executed *ret, struct driver_error *why)
{
	AUTO_FINISH(buf) struct buf process = buf_make(4096);
	assert_int_equal(buf_printf(&process,
				    "{\"terminal\":false,\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},"
				    "\"args\":[%s],\"env\":[\"PATH=/bin\",\"X=ok\"]}",
				    line), 0);
	struct driver_exec exec = {.id = real->kit.id, .process = process.data,
				   .process_len = process.len,
				   .stdio = {-1, real->out[1], -1}, .detach = detach};
	return driver_exec(real->conn, call, &exec, ret, why);
}

static void test_exec(void **state)
{
	struct real *real = real_of(state);
	struct driver_call call = kit_call();
	struct driver_error why = {0};
	struct driver_executed done = {0};
	(void)make(real, "sleep 100", true);
	assert_ok(exec_line(real, &call, "\"/bin/sh\",\"-c\",\"echo $X; exit 3\"", false, &done,
			    &why), &why.err);
	assert_int_equal(done.exit_code, 3);
	expect(real, "ok\n");
	assert_ok(exec_line(real, &call, "\"/bin/sh\",\"-c\",\"kill -9 $$\"", false, &done, &why),
		  &why.err);
	assert_int_equal(done.exit_code, 128 + SIGKILL);
	assert_ok(exec_line(real, &call, "\"/bin/echo\",\"free\"", true, &done, &why), &why.err);
	assert_true(done.pid > 0);
	expect(real, "free\n");
	assert_int_equal(exec_line(real, &call, "\"/bin/nope\"", false, &done, &why), -ENOENT);
	assert_true(why.program);
	assert_int_equal(exec_line(real, &call, "\"/bin\"", false, &done, &why), -EACCES);
	assert_true(why.program);

	/* Taken back: the program in the container dies too, and its end of the pipe closes. */
	struct driver_call soon = {.deadline = deadline_in_ms(500)};
	assert_int_equal(exec_line(real, &soon, "\"/bin/sh\",\"-c\",\"echo in; exec sleep 99\"",
				   false, &done, &why), -ETIMEDOUT);
	assert_int_equal(why.code, DRIVER_TIMEOUT);
	expect(real, "in\n");
	struct driver_stats stats;
	for (int i = 0; i < 1000; i++) {
		/* They are ours to wait for; until then the container's init cannot end. */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		assert_ok(driver_stats(real->conn, &call, real->kit.id, &stats, &why), &why.err);
		if (stats.pids == 1)
			break;
		clock_sleep_ms(10, 0);
	}
	assert_int_equal(stats.pids, 1);
}

struct seen {
	pthread_mutex_t lock;
	pthread_cond_t more;
	enum driver_event_kind kinds[16];
	size_t n;
};

static int note(void *data, const struct driver_event *event)
{
	struct seen *seen = data;
	(void)pthread_mutex_lock(&seen->lock);
	if (seen->n < 16)
		seen->kinds[seen->n++] = event->kind;
	(void)pthread_cond_broadcast(&seen->more);
	(void)pthread_mutex_unlock(&seen->lock);
	return 0;
}

struct watcher {
	struct real *real;
	struct seen seen;
	int result;
	struct driver_error why;
};

static void *watch(void *data)
{
	struct watcher *watcher = data;
	struct driver_call call = kit_call();
	struct driver_events events = {.id = watcher->real->kit.id, .event = note,
				       .data = &watcher->seen};
	watcher->result = driver_events(watcher->real->conn, &call, &events, &watcher->why);
	return NULL;
}

static void await(struct seen *seen, size_t n, enum driver_event_kind kind)
{
	struct timespec until = deadline_timespec(deadline_in_ms(KIT_CALL_MS));
	(void)pthread_mutex_lock(&seen->lock);
	while (seen->n < n)
		assert_int_equal(pthread_cond_clockwait(&seen->more, &seen->lock, CLOCK_MONOTONIC,
							&until), 0);
	assert_int_equal(seen->kinds[n - 1], kind);
	(void)pthread_mutex_unlock(&seen->lock);
}

static void test_events(void **state)
{
	struct real *real = real_of(state);
	struct driver_call call = kit_call();
	struct driver_error why = {0};
	(void)make(real, "sleep 100", false);
	struct watcher watcher = {.real = real, .seen = {.lock = PTHREAD_MUTEX_INITIALIZER,
							 .more = PTHREAD_COND_INITIALIZER}};
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
	/* It must be watching before the container changes. */
	clock_sleep_ms(400, 0);
	assert_ok(driver_start(real->conn, &call, real->kit.id, &why), &why.err);
	await(&watcher.seen, 1, DRIVER_EVENT_START);
	assert_ok(driver_pause(real->conn, &call, real->kit.id, &why), &why.err);
	await(&watcher.seen, 2, DRIVER_EVENT_PAUSE);
	assert_ok(driver_resume(real->conn, &call, real->kit.id, &why), &why.err);
	await(&watcher.seen, 3, DRIVER_EVENT_RESUME);
	assert_ok(driver_kill(real->conn, &call, real->kit.id, SIGKILL, &why), &why.err);
	await(&watcher.seen, 4, DRIVER_EVENT_EXIT);
	assert_ok(driver_delete(real->conn, &call, real->kit.id, true, &why), &why.err);
	await(&watcher.seen, 5, DRIVER_EVENT_DELETE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_ok(watcher.result, &watcher.why.err);
}

static int seal_of(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
	int sealed = -2;
	assert_int_equal(oci_seal(path, &sealed), 0);
	return sealed;
}

/* The copy that crun would make of itself: all of it, and never to be changed. */
static void test_seal(void **state)
{
	(void)state;
	int sealed = -2;
	char path[] = "/tmp/test_sealXXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	(void)close(fd);
	/* What a kernel runs with more than its bytes is run by its path, and so is a script. */
	assert_int_equal(seal_of(path, "#!/bin/sh\n", 0755), -1);
	assert_int_equal(seal_of(path, "\177ELF and so on", 04755), -1);
	assert_int_equal(seal_of(path, "", 0755), -1);
	(void)unlink(path);
	assert_int_equal(oci_seal(path, &sealed), -ENOENT);
	assert_int_equal(sealed, -1);
	assert_int_equal(oci_seal("/proc/self/exe", &sealed), 0);
	if (sealed < 0) {
		print_message("# SKIP the copy: a security module goes by paths here\n");
		return;
	}
	struct stat st, copy;
	assert_int_equal(stat("/proc/self/exe", &st), 0);
	assert_int_equal(fstat(sealed, &copy), 0);
	assert_int_equal(copy.st_size, st.st_size);
	assert_int_equal(fcntl(sealed, F_GET_SEALS),
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	assert_true(fcntl(sealed, F_GETFD) & FD_CLOEXEC);
	char a[4096], b[4096];
	int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	for (uint64_t off = 0; off < (uint64_t)st.st_size; off += sizeof(a)) {
		ssize_t n = file_pread(program, a, sizeof(a), off);
		assert_int_equal(file_pread(sealed, b, sizeof(b), off), n);
		assert_memory_equal(a, b, (size_t)n);
	}
	(void)close(program);
	(void)close(sealed);
}

#define REAL(test, n) \
	{#test, test, setup, teardown, &RUNTIMES[n]}

/* Replaces the first of `from` in the bundle's config.json, or adds the file's first member. */
static void change_config(struct real *real, const char *from, const char *to)
{
	char path[256];
	(void)snprintf(path, sizeof(path), "%s/config.json", real->kit.bundle);
	AUTO_FINISH(buf) struct buf text = buf_make(65536);
	AUTO_FINISH(buf) struct buf changed = buf_make(65536);
	struct err err = {0};
	assert_ok(file_slurp(AT_FDCWD, path, &text, &err), &err);
	const char *at = strstr(buf_str(&text), from);
	assert_non_null(at);
	assert_int_equal(buf_printf(&changed, "%.*s%s%s", (int)(at - text.data), text.data, to,
				    at + strlen(from)), 0);
	kit_put(path, changed.data, 0600);
}

static bool group_exists(const char *name)
{
	static const char *const hierarchies[] = {"", "/pids", "/cpu", "/unified"};
	for (size_t i = 0; i < ARRAY_LEN(hierarchies); i++) {
		char path[PATH_MAX];
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", hierarchies[i], name);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

/* What a runtime made before it failed goes with it. kit_remove() looks as well. */
static void test_groups_of_a_failure(void **state)
{
	struct real *real = real_of(state);
	kit_config(&real->kit, "true", false);
	change_config(real, "\"pids\":{\"limit\":64}", "\"cpu\":{\"quota\":1}");
	struct driver_create create = {.id = real->kit.id, .bundle = real->kit.bundle,
				       .stdio = {-1, -1, -1}, .start = true};
	AUTO_FINISH(driver_created) struct driver_created made = {0};
	struct driver_error why = {0};
	struct driver_call call = kit_call();
	assert_true(driver_create(real->conn, &call, &create, &made, &why) < 0);
	assert_non_null(strstr(err_text(&why.err), "cpu"));
	assert_false(group_exists(real->kit.id));
}

static void make_group(const char *name)
{
	static const char *const hierarchies[] = {"/pids", "/cpu"};
	char path[PATH_MAX];
	for (size_t i = 0; i < ARRAY_LEN(hierarchies); i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s",
			       cgroup_mode_get() == CGROUP_V2 ? "" : hierarchies[i], name);
		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	}
}

/* Only what is the container's alone, and nothing that a process is in. */
static void test_groups_removed(void **state)
{
	struct real *real = real_of(state);
	struct err err = {0};
	char name[128], path[192];
	if (cgroup_mode_get() == CGROUP_NONE)
		skip();
	(void)snprintf(name, sizeof(name), "%s-a", real->kit.id);
	(void)snprintf(path, sizeof(path), "/%s", name);
	make_group(name);
	(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/below");
	make_group(path + 1);
	path[strlen(path) - strlen("/below")] = '\0';

	kit_config(&real->kit, "true", false);
	assert_ok(cgroup_remove_bundle(real->kit.bundle, real->kit.id, &err), &err);
	assert_true(group_exists(name));
	AUTO_FREE char *was = NULL;
	assert_true(asprintf(&was, "\"cgroupsPath\":\"/%s\"", real->kit.id) > 0);
	AUTO_FREE char *is = NULL;
	assert_true(asprintf(&is, "\"cgroupsPath\":\"%s\"", path) > 0);
	change_config(real, was, is);
	assert_ok(cgroup_remove_bundle(real->kit.bundle, "another", &err), &err);
	assert_true(group_exists(name));
	assert_ok(cgroup_remove_bundle(real->kit.bundle, real->kit.id, &err), &err);
	assert_false(group_exists(name));
	assert_ok(cgroup_remove(path, &err), &err);

	static const char *const bad[] = {"", "/", "//", "a", "/a/..", "/../a", "/.."};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_err(cgroup_remove(bad[i], &err), -EINVAL, &err, "is not the path of a cgroup");
}

static void test_group_in_use(void **state)
{
	struct real *real = real_of(state);
	struct err err = {0};
	char path[192];
	(void)make(real, "while :; do sleep 1; done", true);
	(void)snprintf(path, sizeof(path), "/%s", real->kit.id);
	assert_err(cgroup_remove(path, &err), -EBUSY, &err, real->kit.id);
	assert_int_equal(status_of(real), DRIVER_RUNNING);
}

int main(void)
{
	/* The containers' inits become ours, as they become a monitor's. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seal),
		REAL(test_life, 0),	  REAL(test_life, 1),
		REAL(test_refusals, 0),	  REAL(test_refusals, 1),
		REAL(test_no_program, 0), REAL(test_no_program, 1),
		REAL(test_exec, 0),	  REAL(test_exec, 1),
		REAL(test_events, 0),	  REAL(test_events, 1),
		REAL(test_groups_of_a_failure, 0), REAL(test_groups_of_a_failure, 1),
		REAL(test_groups_removed, 0), REAL(test_group_in_use, 0),
		REAL(test_group_in_use, 1),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
