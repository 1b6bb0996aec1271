/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/handover.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "fetcher/registry.h"
#include "tests/unit/unit.h"

#define BASE  "https://registry.example/v2"
#define SCOPE "repository:a/b:pull"
#define URL   "https://store.example/presigned?sig=1"

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* What one process has. */
struct side {
	struct http_engine *engine;
	struct tokens *tokens;
	struct hosts *hosts;
	struct origin *origin;
};

struct kit {
	struct side from, to;
	struct descriptor layer;
};

static void side_open(struct side *side)
{
	static const char *const none[] = {NULL};
	struct err err = {0};
	struct http_config http = {0};
	assert_ok(http_engine_create(&http, &side->engine, &err), &err);
	struct tokens_config tokens = {.engine = side->engine};
	assert_ok(tokens_create(&tokens, &side->tokens, &err), &err);
	struct hosts_config hosts = {.hosts_dirs = none, .certs_dirs = none};
	assert_ok(hosts_create(&hosts, &side->hosts, &err), &err);
	AUTO_FINISH(ref) struct ref ref = {0};
	assert_ok(ref_parse("registry.example/a/b", &ref, &err), &err);
	AUTO_CLOSE int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct registry_config config = {.engine = side->engine, .hosts = side->hosts,
					 .tokens = side->tokens, .spool_dirfd = tmp};
	assert_ok(registry_open(&config, &ref, &side->origin, &err), &err);
}

static void side_close(struct side *side)
{
	origin_destroy(side->origin);
	hosts_destroy(side->hosts);
	tokens_destroy(side->tokens);
	http_engine_destroy(side->engine);
}

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	assert_non_null(kit);
	side_open(&kit->from);
	side_open(&kit->to);
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	side_close(&kit->from);
	side_close(&kit->to);
	free(kit);
	return 0;
}

static int memory(const void *data, size_t n, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, data, n), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Records as handover_write() makes them, "|" for the NUL behind each text. */
static int records(struct side *side, const char *text, struct err *err)
{
	AUTO_FREE char *copy = strdup(text);
	size_t n = strlen(text);
	assert_non_null(copy);
	for (size_t i = 0; i < n; i++)
		if (copy[i] == '|')
			copy[i] = '\0';
	AUTO_CLOSE int fd = memory(copy, n, SEALS);
	return handover_read(fd, side->tokens, side->origin, err);
}

static int token_of(struct side *side, const char *scopes, char **ret, struct err *err)
{
	const struct http_tls tls = {0};
	const struct token_ask ask = {.url_base = BASE, .registry_host = "registry.example",
				      .repository = "a/b", .scopes = scopes, .tls = &tls};
	return tokens_get(side->tokens, &ask, NULL, NULL, ret, err);
}

static void assert_token(struct side *side, const char *scopes, const char *want)
{
	struct err err = {0};
	AUTO_SECRET char *got = NULL;
	assert_ok(token_of(side, scopes, &got, &err), &err);
	if (want)
		assert_string_equal(got, want);
	else
		assert_null(got);
}

#define TOKEN(scope, header, until) \
	"T|" BASE " " scope "|" header "|" until "|2|https://auth.example/t|svc|" scope "|"
#define BLOB                                                                              \
	"B|sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef|77|t/x|0|" \
	URL "|"

static void read_all(int fd, struct buf *ret)
{
	uint64_t size = 0;
	assert_int_equal(file_size(fd, &size), 0);
	assert_int_equal(buf_reserve(ret, (size_t)size), 0);
	assert_int_equal(file_pread(fd, ret->data, (size_t)size, 0), (ssize_t)size);
	ret->len = (size_t)size;
}

/* What one side was told arrives at the other as it was, and by no other way than the memory. */
static void test_round_trip(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_CLOSE int first = -1;
	AUTO_CLOSE int second = -1;
	AUTO_FINISH(buf) struct buf one = buf_make(1 << 20);
	AUTO_FINISH(buf) struct buf two = buf_make(1 << 20);
	assert_ok(records(&kit->from, TOKEN(SCOPE, "Bearer one", "0") BLOB, &err), &err);
	assert_ok(handover_write(kit->from.tokens, kit->from.origin, &first, &err), &err);
	assert_int_equal(fcntl(first, F_GET_SEALS), SEALS);
	assert_token(&kit->to, SCOPE, NULL);
	assert_ok(handover_read(first, kit->to.tokens, kit->to.origin, &err), &err);
	assert_token(&kit->to, SCOPE, "Bearer one");
	assert_token(&kit->to, "repository:a/b:pull,push", NULL);
	assert_ok(handover_write(kit->to.tokens, kit->to.origin, &second, &err), &err);
	read_all(first, &one);
	read_all(second, &two);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	assert_non_null(memmem(one.data, one.len, URL, sizeof(URL)));
}

static void test_own_token_stays(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	assert_ok(records(&kit->to, TOKEN(SCOPE, "Bearer mine", "0"), &err), &err);
	assert_ok(records(&kit->to, TOKEN(SCOPE, "Bearer theirs", "0"), &err), &err);
	assert_token(&kit->to, SCOPE, "Bearer mine");
}

/* A token that has ended is not handed on. */
static void test_ended_token(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_CLOSE int fd = -1;
	uint64_t size = 0;
	assert_ok(records(&kit->from, TOKEN(SCOPE, "Bearer old", "1"), &err), &err);
	assert_ok(handover_write(kit->from.tokens, kit->from.origin, &fd, &err), &err);
	assert_int_equal(file_size(fd, &size), 0);
	assert_int_equal(size, 0);
	assert_ok(handover_read(fd, kit->to.tokens, kit->to.origin, &err), &err);
}

static void test_bad_records(void **state)
{
	struct kit *kit = *state;
	static const char *const bad[] = {
		"T",
		"T|" BASE " " SCOPE "|Bearer x|0|2|realm|svc|",
		TOKEN(SCOPE, "Bearer x", "soon"),
		"T|" BASE " " SCOPE "|Bearer x|0|3|realm|svc|" SCOPE "|",
		"X|1|2|",
		"|",
		"S|1|5|",
		"S|0|never|",
		"B|sha256:0|77|t/x|0|" URL "|",
		"B|sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef|many|t/x|0|"
		URL "|",
		"B|sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef|77|t/x|1|"
		URL "|",
		BLOB "B|sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef|78|"
		     "t/x|0|" URL "|",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};
		assert_err(records(&kit->to, bad[i], &err), -EBADMSG, &err,
			   "read what was handed over");
	}
	assert_token(&kit->to, SCOPE, NULL);
}

/* Memory that somebody could still change, or a file, is not believed. */
static void test_unsealed(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_CLOSE int open_memory = memory("", 0, F_SEAL_SHRINK);
	AUTO_CLOSE int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_err(handover_read(open_memory, kit->to.tokens, kit->to.origin, &err), -EBADMSG, &err,
		   "what was handed over is no sealed memory of ours");
	assert_err(handover_read(file, kit->to.tokens, kit->to.origin, &err), -EBADMSG, &err,
		   "what was handed over is no sealed memory of ours");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_token_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_token, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsealed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
