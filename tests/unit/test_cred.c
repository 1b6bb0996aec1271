/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/cred.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/spawn.h"
#include "tests/unit/unit.h"

struct fixture {
	char dir[32];
	char file[64];
	struct creds *creds;
};

static void write_file(const char *dir, const char *name, const char *text, mode_t mode)
{
	struct err err = {0};
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(file_commit(fd, name, text, strlen(text), COMMIT_REPLACE, &err), &err);
	assert_int_equal(fchmodat(fd, name, mode, 0), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	(void)strcpy(f->dir, "/tmp/sluice-cred-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->file, sizeof(f->file), "%s/config.json", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	creds_destroy(f->creds);
	assert_ok(tree_remove(AT_FDCWD, f->dir, &err), &err);
	free(f);
	return 0;
}

static void use(struct fixture *f, const char *json)
{
	struct err err = {0};
	const char *const files[] = {"/nonexistent/auth.json", f->file, NULL};
	const char *const env[] = {"MARK=1", NULL};
	struct creds_config config = {.default_files = files, .path_env = f->dir, .env = env};
	write_file(f->dir, "config.json", json, 0600);
	creds_destroy(f->creds);
	f->creds = NULL;
	assert_ok(creds_create(&config, &f->creds, &err), &err);
}

static void expect(struct fixture *f, const char *host, const char *repo, const char *user,
		   const char *password)
{
	struct err err = {0};
	AUTO_FINISH(cred) struct cred cred = {0};
	assert_ok(creds_get(f->creds, host, repo, false, &cred, &err), &err);
	if (!user) {
		assert_true(cred_is_anonymous(&cred));
		return;
	}
	assert_non_null(cred.username);
	assert_string_equal(cred.username, user);
	assert_string_equal(cred.password, password);
}

/* base64: YTpiOmM= a:b:c, aDp4 h:x, cDp5 p:y, ZDp6 d:z */
static void test_longest_path(void **state)
{
	struct fixture *f = *state;
	use(f, "{\"auths\":{\"r.io\":{\"auth\":\"aDp4\"},\"r.io/a\":{\"auth\":\"cDp5\"},"
	       "\"r.io/a/b\":{\"auth\":\"YTpiOmM=\"},\"https://index.docker.io/v1/\":"
	       "{\"auth\":\"ZDp6\"},\"https://old.io/v2/\":{\"auth\":\"aDp4\"}}}");
	expect(f, "r.io", "a/b/c", "a", "b:c");
	expect(f, "r.io", "a/b", "a", "b:c");
	expect(f, "r.io", "a/bb", "p", "y");
	expect(f, "r.io", "ab", "h", "x");
	expect(f, "r.io", NULL, "h", "x");
	expect(f, "docker.io", "library/x", "d", "z");
	expect(f, "old.io", "x", "h", "x");
	expect(f, "other.io", "a", NULL, NULL);
}

static void test_tokens(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	AUTO_FINISH(cred) struct cred cred = {0};
	use(f, "{\"auths\":{\"i.io\":{\"auth\":\"aDp4\",\"identitytoken\":\"IT\"},"
	       "\"g.io\":{\"registrytoken\":\"RT\"},\"u.io\":{\"username\":\"u\",\"password\":\"p\"}}}");
	assert_ok(creds_get(f->creds, "i.io", "x", false, &cred, &err), &err);
	assert_string_equal(cred.identity_token, "IT");
	assert_string_equal(cred.username, "h");
	cred_finish(&cred);
	assert_ok(creds_get(f->creds, "g.io", "x", false, &cred, &err), &err);
	assert_string_equal(cred.registry_token, "RT");
	expect(f, "u.io", "x", "u", "p");
}

static void test_helper(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	AUTO_FINISH(cred) struct cred cred = {0};
	char log[64];
	/* Notes what it was given, and refuses to know gone.io. */
	(void)snprintf(log, sizeof(log), "%s/calls", f->dir);
	AUTO_FREE char *script = NULL;
	assert_true(asprintf(&script,
			     "#!/bin/sh\nread -r h\n"
			     "echo \"$1 $h $MARK\" >> %s\ncase $h in gone.io)\n"
			     "echo credentials not found in native keychain; exit 1;; bad.io)\n"
			     "echo my-secret; exit 3;; junk.io) echo my-secret;; tok.io)\n"
			     "echo '{\"Username\":\"<token>\",\"Secret\":\"T\"}';; *)\n"
			     "echo '{\"ServerURL\":\"x\",\"Username\":\"hu\",\"Secret\":\"hp\"}';; esac\n",
			     log) > 0);
	write_file(f->dir, "docker-credential-own", script, 0755);
	use(f, "{\"credsStore\":\"missing\",\"auths\":{\"a.io\":{\"auth\":\"aDp4\"}},\"credHelpers\":"
	       "{\"a.io\":\"own\",\"gone.io\":\"own\",\"bad.io\":\"own\",\"junk.io\":\"own\","
	       "\"tok.io\":\"own\",\"docker.io\":\"own\",\"evil.io\":\"../x\"}}");
	expect(f, "a.io", "x", "hu", "hp");
	expect(f, "a.io", "x", "hu", "hp");
	expect(f, "docker.io", "x", "hu", "hp");
	expect(f, "gone.io", "x", NULL, NULL);
	assert_ok(creds_get(f->creds, "a.io", "x", true, &cred, &err), &err);
	cred_finish(&cred);
	assert_ok(creds_get(f->creds, "tok.io", "x", false, &cred, &err), &err);
	assert_string_equal(cred.identity_token, "T");
	assert_null(cred.username);

	assert_err(creds_get(f->creds, "bad.io", "x", false, &cred, &err), -EACCES, &err, "exit status 3");
	assert_null(strstr(err_text(&err), "my-secret"));
	assert_err(creds_get(f->creds, "junk.io", "x", false, &cred, &err), -EINVAL, &err,
		   "its answer is not a JSON object");
	assert_null(strstr(err_text(&err), "my-secret"));
	assert_err(creds_get(f->creds, "evil.io", "x", false, &cred, &err), -EINVAL, &err,
		   "'../x' is not the name");
	assert_err(creds_get(f->creds, "none.io", "x", false, &cred, &err), -ENOKEY, &err,
		   "docker-credential-missing in PATH");

	AUTO_FINISH(buf) struct buf calls = buf_make(4096);
	assert_ok(file_slurp(AT_FDCWD, log, &calls, &err), &err);
	assert_string_equal(buf_str(&calls), "get a.io 1\nget https://index.docker.io/v1/ 1\n"
					     "get gone.io 1\nget a.io 1\nget tok.io 1\n"
					     "get bad.io 1\nget junk.io 1\n");
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	struct cred cred = {0};
	static const struct {
		const char *json, *words;
	} bad[] = {
		{"{", "not valid JSON"},
		{"{\"auths\":[]}", "\"auths\" is not an object"},
		{"{\"auths\":{\"a.io\":5}}", "not an object"},
		{"{\"auths\":{\"a.io\":{\"auth\":\"!\"}}}", "\"auth\" is not base64"},
		{"{\"auths\":{\"a.io\":{\"auth\":\"YWJj\"}}}", "\"auth\" is not user:password"},
		{"{\"credHelpers\":{\"a.io\":5}}", "not a string"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		use(f, bad[i].json);
		assert_err(creds_get(f->creds, "a.io", "x", false, &cred, &err), -EINVAL, &err,
			   bad[i].words);
		assert_non_null(strstr(err_text(&err), f->file));
	}
	struct creds *creds = NULL;
	struct creds_config config = {.auth_file = "/nonexistent/auth.json"};
	assert_ok(creds_create(&config, &creds, &err), &err);
	assert_err(creds_get(creds, "a.io", "x", false, &cred, &err), -ENOKEY, &err, "/nonexistent");
	creds_destroy(creds);
}

static void test_given(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	use(f, "{\"auths\":{\"m.io\":{\"auth\":\"aDp4\"},\"a.io\":{\"auth\":\"aDp4\"}}}");
	creds_destroy(f->creds);
	struct creds_config config = {
		.auth_file = f->file, .username = "u", .password = "p", .host = "a.io"};
	assert_ok(creds_create(&config, &f->creds, &err), &err);
	expect(f, "a.io", "x", "u", "p");
	expect(f, "m.io", "x", "h", "x");
}

static void test_default_files(void **state)
{
	(void)state;
	char **files = NULL;
	struct creds_places places = {.xdg_runtime_dir = "/run/user/7", .home = "/home/u"};
	assert_int_equal(creds_default_files(&places, &files), 0);
	assert_string_equal(files[0], "/run/user/7/containers/auth.json");
	assert_string_equal(files[1], "/home/u/.config/containers/auth.json");
	assert_string_equal(files[2], "/home/u/.docker/config.json");
	assert_null(files[3]);
	creds_free_files(files);
	places = (struct creds_places){.docker_config = "/d", .xdg_config_home = "/c", .home = "/h"};
	assert_int_equal(creds_default_files(&places, &files), 0);
	assert_string_equal(files[0], "/c/containers/auth.json");
	assert_string_equal(files[1], "/d/config.json");
	assert_null(files[2]);
	creds_free_files(files);
}

static int run_sh(const char *script, const char *input, size_t n, deadline_t deadline,
		  struct buf *out, int *status, struct err *err)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct spawn spawn = {.path = "/bin/sh", .argv = argv, .input = input, .input_len = n,
			      .deadline = deadline};
	return spawn_run(&spawn, out, status, err);
}

static void test_spawn(void **state)
{
	(void)state;
	struct err err = {0};
	int status = 0;
	AUTO_FINISH(buf) struct buf out = buf_make(1 << 20);
	/* Leaked on purpose: the child must not see it. */
	AUTO_CLOSE int leak = open("/dev/null", O_RDONLY); /* NOLINT: no O_CLOEXEC is the point */
	assert_true(leak > 2);
	assert_ok(run_sh("cat; exit 7", "in", 2, 0, &out, &status,
			 &err), &err);
	assert_string_equal(buf_str(&out), "in");
	assert_int_equal(WEXITSTATUS(status), 7);

	buf_clear(&out);
	AUTO_FREE char *script = NULL;
	assert_true(asprintf(&script, "test -e /proc/$$/fd/%d && echo leaked; exit 0", leak) > 0);
	assert_ok(run_sh(script, NULL, 0, 0, &out, &status, &err), &err);
	assert_string_equal(buf_str(&out), "");

	/* Input that nobody reads is no error, and more than a socket holds is fed in pieces. */
	AUTO_FREE char *big = calloc(1, 1 << 19);
	assert_ok(run_sh("exit 0", big, 1 << 19, 0, &out, &status, &err), &err);
	assert_ok(run_sh("wc -c", big, 1 << 19, 0, &out, &status, &err), &err);
	assert_string_equal(buf_str(&out), "524288\n");

	uint64_t start = clock_now_ns();
	assert_err(run_sh("sleep 60 & sleep 60", NULL, 0, deadline_in_ms(200), &out, &status, &err),
		   -ETIMEDOUT, &err, "did not end in time");
	assert_true(clock_now_ns() - start < 10 * NS_PER_SEC);
	AUTO_FINISH(buf) struct buf small = buf_make(100);
	assert_err(run_sh("while :; do echo xxxxxxxxxxxxxxx; done", NULL, 0, 0, &small, &status, &err),
		   -E2BIG, &err, "limit of 100 bytes");
	const char *const argv[] = {"x", NULL};
	struct spawn none = {.path = "/nonexistent/x", .argv = argv};
	assert_err(spawn_run(&none, &out, &status, &err), -ENOENT, &err, "run /nonexistent/x");

	AUTO_FREE char *path = NULL;
	assert_int_equal(spawn_find("::bin:/nonexistent:/bin", "sh", &path), 0);
	assert_string_equal(path, "/bin/sh");
	assert_int_equal(spawn_find("/bin", "../bin/sh", &path), -EINVAL);
	assert_int_equal(spawn_find(NULL, "sh", &path), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_longest_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tokens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_helper, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given, setup, teardown),
		cmocka_unit_test(test_default_files),
		cmocka_unit_test(test_spawn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
