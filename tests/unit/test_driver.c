/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/num.h"
#include "exec/driver_load.h"
#include "tests/unit/bundlekit.h"

/*
 * The interface, and the runtime driver with a runtime that does as it is told:
 * a script that runs the file "do-COMMAND" next to it.
 */
static const char FAKE[] =
	"#!/bin/sh\n"
	"dir=${0%/*}\n"
	"[ \"$1\" = --version ] && { echo asked >>$dir/asked; cat $dir/version; exit 0; }\n"
	"[ \"$1\" = features ] && { echo features >>$dir/told; exec cat $dir/features; }\n"
	"root=$2 log=$4\n"
	"shift 6\n"
	"cmd=$1\n"
	"shift\n"
	". $dir/do-$cmd\n";

struct fake {
	char dir[64];
	char path[128];
	char state[128];
	char cache[128];
	struct driver_conn *conn;
};

static void put(const struct fake *fake, const char *name, const char *text)
{
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/%s", fake->dir, name);
	kit_put(path, text, 0755);
}

static int fake_connect(struct fake *fake, const char *cache, struct driver_error *why)
{
	static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	struct driver_options options = {.address = fake->path, .state_root = fake->state,
					 .env = env, .cache_dir = cache};
	struct driver_call call = kit_call();
	return driver_connect(driver_oci(), &options, &call, &fake->conn, why);
}

static int setup(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	assert_non_null(fake);
	(void)snprintf(fake->dir, sizeof(fake->dir), "/tmp/sluice-fake.XXXXXX");
	assert_non_null(mkdtemp(fake->dir));
	(void)snprintf(fake->path, sizeof(fake->path), "%s/runtime", fake->dir);
	(void)snprintf(fake->state, sizeof(fake->state), "%s/state", fake->dir);
	(void)snprintf(fake->cache, sizeof(fake->cache), "%s/cache", fake->dir);
	put(fake, "runtime", FAKE);
	put(fake, "version", "runc version 1.1.5+ds1\ncommit: x\nspec: 1.0.2\n");
	struct driver_error why = {0};
	assert_ok(fake_connect(fake, NULL, &why), &why.err);
	*state = fake;
	return 0;
}

static int teardown(void **state)
{
	struct fake *fake = *state;
	struct err err = {0};
	driver_close(fake->conn);
	assert_ok(tree_remove(AT_FDCWD, fake->dir, &err), &err);
	free(fake);
	return 0;
}

/* The very words of crun 1.8.1 and runc 1.1.5. */
static const struct {
	const char *words;
	enum driver_code code;
	bool program;
} SAYINGS[] = {
	{"container `c` already exists", DRIVER_EXISTS, false},
	{"runc create failed: container with given ID already exists", DRIVER_EXISTS, false},
	{"error opening file `/run/crun/c/status`: No such file or directory", DRIVER_NOT_FOUND, false},
	{"cannot open directory '/run/crun/c': No such file or directory", DRIVER_NOT_FOUND, false},
	{"container does not exist", DRIVER_NOT_FOUND, false},
	{"cannot open `/run/crun/c/exec.fifo`: No such file or directory", DRIVER_INVALID, false},
	{"the container `c` is not in `created` or `stopped` state", DRIVER_INVALID, false},
	{"the container `c` is paused", DRIVER_INVALID, false},
	{"cannot start an already running container", DRIVER_INVALID, false},
	{"cannot delete container c that is not stopped: running", DRIVER_INVALID, false},
	{"container not running", DRIVER_INVALID, false},
	{"container not paused", DRIVER_INVALID, false},
	{"exec failed: cannot exec in a stopped container", DRIVER_INVALID, false},
	{"exec failed: cannot exec in a paused container (use --ignore-paused to override)",
	 DRIVER_INVALID, false},
	{"setns(pid=4738, CLONE_NEWUSER): No such process", DRIVER_INVALID, false},
	{"executable file `nope` not found in $PATH: No such file or directory", DRIVER_NOT_FOUND, true},
	{"exec failed: unable to start container process: exec: \\\"nope\\\": executable file not found in $PATH",
	 DRIVER_NOT_FOUND, true},
	{"exec failed: unable to start container process: exec: \\\"/nope\\\": stat /nope: no such file or directory",
	 DRIVER_NOT_FOUND, true},
	{"runc run failed: unable to start container process: exec: \\\"/etc\\\": permission denied",
	 DRIVER_DENIED, true},
	{"open executable: Permission denied", DRIVER_DENIED, true},
	{"open executable: Operation not permitted", DRIVER_DENIED, true},
	{"cgroups in hybrid mode not supported, drop all controllers from cgroupv2",
	 DRIVER_UNSUPPORTED, false},
	{"cannot use console socket if runc will not detach or allocate tty", DRIVER_UNSUPPORTED, false},
	{"realtime period not supported on cgroupv2", DRIVER_UNSUPPORTED, false},
	{"invalid configuration: cannot use unified on cgroup v1", DRIVER_INVALID, false},
	{"mount `proc` to `/proc`: Operation not permitted", DRIVER_DENIED, false},
	{"sethostname: permission denied", DRIVER_DENIED, false},
	{"the moon is in the wrong phase", DRIVER_ENGINE, false},
};

static void test_sayings(void **state)
{
	struct fake *fake = *state;
	for (size_t i = 0; i < ARRAY_LEN(SAYINGS); i++) {
		AUTO_FINISH(buf) struct buf script = buf_make(4096);
		assert_int_equal(buf_printf(&script,
			"cat >$log <<'END'\n{\"level\":\"warning\",\"msg\":\"container does not exist\"}\n"
			"{\"level\":\"error\",\"msg\":\"%s\",\"time\":\"now\"}\nEND\nexit 1\n",
			SAYINGS[i].words), 0);
		put(fake, "do-start", script.data);
		struct driver_error why = {0};
		struct driver_call call = kit_call();
		int r = driver_start(fake->conn, &call, "c", &why);
		if (why.code != SAYINGS[i].code || why.program != SAYINGS[i].program)
			fail_msg("\"%s\" is taken for %s", SAYINGS[i].words,
				 driver_code_name(why.code));
		assert_err(r, driver_code_errno(SAYINGS[i].code), &why.err,
			   "start container c: runc says: ");
		assert_non_null(strstr(why.raw, SAYINGS[i].words)); /* as it came, JSON and all */
	}
}

/* A runtime that fails without, or with odd, words. */
static void test_bad_failures(void **state)
{
	struct fake *fake = *state;
	static const struct {
		const char *script, *words, *raw;
	} cases[] = {
		{"exit 3", "ended with status 3 and no message", ""},
		{"kill -SEGV $$", "killed by signal 11", ""},
		{"echo plain words >&2; exit 1", "runc says: plain words", "plain words\n"},
		{"echo 'not JSON' >$log; exit 1", "runc says: not JSON", "not JSON\n"},
		{"printf '{\"level\":\"error\"}\\n' >$log; exit 1", "no message", "{\"level\":\"error\"}\n"},
		{"printf '\\001\\033[2J' >$log; exit 1", "runc says: ??[2J", "\001\033[2J"},
		{"echo '{\"level\":\"error\",\"msg\":\"a\"}' >$log; echo '{\"level\":\"fatal\",\"msg\":\"b\"}' >>$log; exit 1",
		 "runc says: a; b", "\"b\""},
		{"yes '{\"level\":\"error\",\"msg\":\"flood\"}' | head -n 100000 >$log; exit 1",
		 "runc says: flood; flood", "flood"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put(fake, "do-kill", cases[i].script);
		struct driver_error why = {0};
		struct driver_call call = kit_call();
		assert_err(driver_kill(fake->conn, &call, "c", SIGTERM, &why), -EIO, &why.err,
			   cases[i].words);
		assert_int_equal(why.code, DRIVER_ENGINE);
		assert_non_null(strstr(why.raw, cases[i].raw));
	}
}

static void test_garbage(void **state)
{
	struct fake *fake = *state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"", "not valid JSON"},
		{"}{", "not valid JSON"},
		{"[]", "not a JSON object"},
		{"{\"id\":\"c\"}", "\"status\" is missing"},
		{"{\"id\":7,\"status\":\"running\"}", "\"id\" is not a string"},
		{"{\"id\":\"c\",\"status\":\"running\",\"pid\":-1}", "\"pid\""},
		{"{\"id\":\"c\",\"status\":\"running\",\"pid\":99999999999}", "\"pid\" is out of range"},
	};
	struct driver_call call = kit_call();
	put(fake, "do-state", "cat $dir/answer");
	put(fake, "do-list", "cat $dir/answer");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put(fake, "answer", cases[i].text);
		struct driver_error why = {0};
		AUTO_FINISH(driver_container) struct driver_container container = {0};
		assert_err(driver_inspect(fake->conn, &call, "c", &container, &why), -EIO, &why.err,
			   cases[i].words);
		assert_int_equal(why.code, DRIVER_ENGINE);
		assert_string_equal(why.raw, cases[i].text);
		assert_null(container.id);
	}
	static const char *const lists[] = {"{}", "[1]", "[{\"id\":\"c\"}]", "nul", ""};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		put(fake, "answer", lists[i]);
		struct driver_error why = {0};
		struct driver_list list = {0};
		assert_err(driver_list(fake->conn, &call, &list, &why), -EIO, &why.err,
			   "makes no sense");
		assert_null(list.items);
	}
	put(fake, "answer", "null\n");
	struct driver_error why = {0};
	AUTO_FINISH(driver_list) struct driver_list none = {0};
	assert_ok(driver_list(fake->conn, &call, &none, &why), &why.err);
	assert_int_equal(none.n, 0);
	put(fake, "do-state", "head -c 20000000 /dev/zero");
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	assert_err(driver_inspect(fake->conn, &call, "c", &container, &why), -EIO, &why.err,
		   "more than the limit");
}

static void *fire(void *cancel)
{
	cancel_fire(cancel);
	return NULL;
}

/* What hangs is killed, with all that it started, and its half of a container is taken away. */
static void test_deadline_and_cancel(void **state)
{
	struct fake *fake = *state;
	put(fake, "do-start", "sleep 1000 & sleep 1000");
	put(fake, "do-run", "for id; do :; done; mkdir $root/$id; sleep 1000");
	put(fake, "do-state", "echo '{\"level\":\"error\",\"msg\":\"container does not exist\"}' >$log; exit 1");
	put(fake, "do-delete", "for id; do :; done; rmdir $root/$id; echo $* >$dir/deleted");
	struct driver_call call = {.deadline = deadline_in_ms(100)};
	struct driver_error why = {0};
	assert_err(driver_start(fake->conn, &call, "c", &why), -ETIMEDOUT, &why.err,
		   "start container c");
	assert_int_equal(why.code, DRIVER_TIMEOUT);
	/* No time at all: the runtime is not even run. */
	assert_err(driver_start(fake->conn, &call, "c", &why), -ETIMEDOUT, &why.err,
		   "before it began");

	AUTO(cancel) struct cancel *cancel = NULL;
	assert_ok(cancel_create(&cancel, &why.err), &why.err);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, fire, cancel), 0);
	call = (struct driver_call){.cancel = cancel};
	assert_err(driver_start(fake->conn, &call, "c", &why), -ECANCELED, &why.err, "cancelled");
	assert_int_equal(why.code, DRIVER_CANCELLED);
	assert_int_equal(pthread_join(thread, NULL), 0);

	struct driver_create create = {.id = "c", .bundle = "/", .start = true, .stdio = {-1, -1, -1}};
	AUTO_FINISH(driver_created) struct driver_created made = {0};
	call = (struct driver_call){.deadline = deadline_in_ms(1000)};
	assert_err(driver_create(fake->conn, &call, &create, &made, &why), -ETIMEDOUT, &why.err,
		   "create container c");
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/deleted", fake->dir);
	assert_int_equal(access(path, F_OK), 0);
	(void)snprintf(path, sizeof(path), "%s/runc/c", fake->state);
	assert_int_equal(access(path, F_OK), -1);

	/* One that was there before is not touched, whatever is asked. */
	assert_int_equal(mkdir(path, 0700), 0);
	call = kit_call();
	assert_err(driver_create(fake->conn, &call, &create, &made, &why), -EEXIST, &why.err,
		   "already");
	assert_int_equal(access(path, F_OK), 0);
}

static void test_requests(void **state)
{
	struct fake *fake = *state;
	struct driver_error why = {0};
	static const char *const ids[] = {"", ".", "../x", "a/b", "-f", "a b", "\xc3\xa4"};
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		assert_err(driver_start(fake->conn, NULL, ids[i], &why), -EINVAL, &why.err,
			   "not a container's id");
	assert_err(driver_kill(fake->conn, NULL, "c", 0, &why), -EINVAL, &why.err, "no signal 0");
	assert_err(driver_pull(fake->conn, NULL, &(struct driver_pull){.image = "x"}, &why),
		   -EOPNOTSUPP, &why.err, "the driver oci cannot do that");
	struct driver_image image = {.image = "x"};
	struct driver_created made = {0};
	assert_err(driver_create(fake->conn, NULL, &(struct driver_create){.id = "c", .image = &image},
				 &made, &why), -EOPNOTSUPP, &why.err, "bundles and not images");
	assert_err(driver_create(fake->conn, NULL, &(struct driver_create){.id = "c"}, &made, &why),
		   -EINVAL, &why.err, "bundle or an image");
	/* Without anyone to tell it is the same. */
	assert_int_equal(driver_kill(fake->conn, NULL, "c", 0, NULL), -EINVAL);
}

static void test_versions(void **state)
{
	struct fake *fake = *state;
	static const struct {
		const char *version, *words;
		int r;
	} cases[] = {
		{"runc version 1.0.3\n", "the oldest that works is 1.1.0", -EOPNOTSUPP},
		{"crun version 1.3\n", "the oldest that works is 1.4.0", -EOPNOTSUPP},
		{"crun version 1.14.1\n", NULL, 0},
		{"runc version 1.1.0-rc.1\n", NULL, 0},
		{"youki version 0.3.0\n", NULL, 0},
		{"hello\n", "not that of a container runtime", -EOPNOTSUPP},
		{" version 1\n", "not that of a container runtime", -EOPNOTSUPP},
		{"runc version new\n", "not that of a container runtime", -EOPNOTSUPP},
		{"", "not that of a container runtime", -EOPNOTSUPP},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put(fake, "version", cases[i].version);
		struct driver_error why = {0};
		driver_close(fake->conn);
		fake->conn = NULL;
		int r = fake_connect(fake, NULL, &why);
		if (cases[i].r == 0)
			assert_ok(r, &why.err);
		else
			assert_err(r, cases[i].r, &why.err, cases[i].words);
	}
	struct driver_error why = {0};
	struct driver_conn *conn = NULL;
	struct driver_options options = {.address = "/nonexistent/crun", .state_root = fake->state};
	assert_err(driver_connect(driver_oci(), &options, NULL, &conn, &why), -ENOENT, &why.err,
		   "/nonexistent/crun");
	options.address = "crun";
	options.path_env = fake->dir;
	assert_err(driver_connect(driver_oci(), &options, NULL, &conn, &why), -ENOENT, &why.err,
		   "not in PATH");
	options.address = NULL;
	assert_err(driver_connect(driver_oci(), &options, NULL, &conn, &why), -ENOENT, &why.err,
		   "neither crun nor runc");
	options.address = "./crun";
	assert_err(driver_connect(driver_oci(), &options, NULL, &conn, &why), -EINVAL, &why.err,
		   "not absolute");
}

static void reconnect(struct fake *fake)
{
	driver_close(fake->conn);
	fake->conn = NULL;
	struct driver_error why = {0};
	assert_ok(fake_connect(fake, fake->cache, &why), &why.err);
}

/* Asked once; asked again when the program is another. */
static void test_cache(void **state)
{
	struct fake *fake = *state;
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/asked", fake->dir);
	assert_int_equal(unlink(path), 0);
	static const char *const asked[] = {"asked\n", "asked\n", "asked\nasked\n"};
	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		if (i == 2)
			assert_int_equal(chmod(fake->path, 0700), 0); /* changes its ctime */
		struct driver_error why = {0};
		reconnect(fake);
		assert_string_equal(driver_info(fake->conn)->version, "1.1.5+ds1");
		AUTO_FINISH(buf) struct buf text = buf_make(64);
		assert_ok(file_slurp(AT_FDCWD, path, &text, &why.err), &why.err);
		assert_string_equal(buf_str(&text), asked[i]);
	}
}

/* What a runtime tells of itself beats what is known of its name; one that is silent is asked once. */
static void test_features(void **state)
{
	struct fake *fake = *state;
	static const struct {
		const char *document; /* NULL: it knows no such command */
		bool notify, told;
	} cases[] = {
		{NULL, true, false},
		{"no document", true, false},
		{"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.1.0\"}", true, true},
		{"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.1.0\",\"linux\":{\"seccomp\":"
		 "{\"enabled\":true,\"actions\":[\"SCMP_ACT_ERRNO\",\"SCMP_ACT_NOTIFY\"]}}}", true, true},
		{"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.1.0\",\"linux\":{\"seccomp\":"
		 "{\"enabled\":true,\"actions\":[\"SCMP_ACT_ERRNO\"]}}}", false, true},
		{"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.1.0\",\"linux\":{\"seccomp\":"
		 "{\"enabled\":false,\"actions\":[\"SCMP_ACT_NOTIFY\"]}}}", false, true},
	};
	char path[160];
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (cases[i].document)
			put(fake, "features", cases[i].document);
		/* Changes its ctime: it is another program. */
		assert_int_equal(chmod(fake->path, i % 2 ? 0700 : 0755), 0);
		(void)snprintf(path, sizeof(path), "%s/told", fake->dir);
		(void)unlink(path);
		reconnect(fake);
		reconnect(fake);
		const struct driver_info *info = driver_info(fake->conn);
		if (((info->features & DRIVER_SECCOMP_NOTIFY) != 0) != cases[i].notify ||
		    (info->told != NULL) != cases[i].told)
			fail_msg("case %zu: features %x, told %s", i, info->features,
				 info->told ? info->told : "nothing");
		AUTO_FINISH(buf) struct buf text = buf_make(64);
		assert_ok(file_slurp(AT_FDCWD, path, &text, NULL), NULL);
		assert_string_equal(buf_str(&text), "features\n");
	}
}

enum { THREADS = 8, ROUNDS = 6 };

struct thread {
	pthread_t id;
	struct fake *fake;
	unsigned int number;
	const char *wrong; /* NULL: all went well */
};

static const char *round_of(const struct thread *thread, const char *id)
{
	struct driver_call call = kit_call();
	struct driver_error why = {0};
	AUTO_FINISH(driver_container) struct driver_container container = {0};
	if (driver_inspect(thread->fake->conn, &call, id, &container, &why) < 0 ||
	    strcmp(container.id, id) != 0)
		return "inspect";
	if (driver_start(thread->fake->conn, &call, id, &why) != -ENOENT || !strstr(why.raw, id))
		return "start";
	AUTO_FINISH(driver_list) struct driver_list list = {0};
	if (driver_list(thread->fake->conn, &call, &list, &why) < 0 || list.n != 0)
		return "list";
	call.deadline = deadline_in_ms(20);
	int r = driver_pause(thread->fake->conn, &call, id, &why);
	return r == -ETIMEDOUT && why.code == DRIVER_TIMEOUT ? NULL : "pause";
}

static void *hammer(void *data)
{
	struct thread *thread = data;
	char id[16];
	(void)snprintf(id, sizeof(id), "c%u", thread->number);
	for (int i = 0; i < ROUNDS && !thread->wrong; i++)
		thread->wrong = round_of(thread, id);
	return NULL;
}

static void test_threads(void **state)
{
	struct fake *fake = *state;
	put(fake, "do-state", "echo '{\"id\":\"'$1'\",\"status\":\"stopped\"}'");
	put(fake, "do-start", "echo '{\"level\":\"error\",\"msg\":\"'$1' does not exist\"}' >$log; exit 1");
	put(fake, "do-list", "echo null");
	put(fake, "do-pause", "exec sleep 1000");
	struct thread threads[THREADS];
	for (unsigned int i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){.fake = fake, .number = i};
		assert_int_equal(pthread_create(&threads[i].id, NULL, hammer, &threads[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i].id, NULL), 0);
		if (threads[i].wrong)
			fail_msg("thread %u: %s went wrong", i, threads[i].wrong);
	}
}

static void test_load(void **state)
{
	(void)state;
	struct driver_error why = {0};
	AUTO(driver_module) struct driver_module *module = NULL;
	assert_err(driver_load("tiny.so", &module, &why), -EINVAL, &why.err, "not absolute");
	assert_err(driver_load("/nonexistent.so", &module, &why), -ENOENT, &why.err,
		   "/nonexistent.so");
	assert_err(driver_load("/bin/sh", &module, &why), -EINVAL, &why.err, "not a shared object");
	assert_err(driver_load("/dev/null", &module, &why), -EINVAL, &why.err, "not a regular file");
	assert_err(driver_load(TINY_OTHER, &module, &why), -EOPNOTSUPP, &why.err,
		   "made for version 2");
	assert_null(module);
	assert_ok(driver_load(TINY, &module, &why), &why.err);
	AUTO(driver_conn) struct driver_conn *conn = NULL;
	struct driver_options options = {.address = "somewhere"};
	const struct driver *driver = driver_module_driver(module);
	assert_ok(driver_connect(driver, &options, NULL, &conn, &why), &why.err);
	assert_string_equal(driver_info(conn)->address, "somewhere");
	assert_ok(driver_start(conn, NULL, "one", &why), &why.err);
	assert_err(driver_start(conn, NULL, "two", &why), -ENOENT, &why.err, "tiny knows no two");
	assert_err(driver_pause(conn, NULL, "one", &why), -EOPNOTSUPP, &why.err, "tiny cannot");
	driver_close(steal_ptr(&conn));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sayings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadline_and_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test(test_load),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
