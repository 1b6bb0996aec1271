/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http_url.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "fetcher/http.h"
#include "fetcher/retry.h"
#include "fetcher/token.h"
#include "tests/unit/unit.h"

static void test_join(void **state)
{
	(void)state;
	static const struct {
		const char *base, *reference, *want;
	} cases[] = {
		{"https://h/v2/a", "/v2/b?x=1", "https://h/v2/b?x=1"},
		{"https://h/v2/a/b", "c", "https://h/v2/a/c"},
		{"https://h/v2/a?n=1", "?n=2", "https://h/v2/a?n=2"},
		{"http://h:5000/v2/", "https://other:8443/x", "https://other:8443/x"},
		{"https://h:444/v2/", "//other/x", "https://other/x"},
		{"https://h/a/b", "../c", "https://h/c"},
		{"https://h/a", "/with space", "https://h/with%20space"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		AUTO_FREE char *got = NULL;
		assert_ok(http_url_join(cases[i].base, cases[i].reference, &got, &err), &err);
		assert_string_equal(got, cases[i].want);
	}
}

static void test_join_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {"ftp://h/x", "file:///etc/passwd", "http://", "gopher://h/"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		char *got = NULL;
		assert_err(http_url_join("https://h/", bad[i], &got, &err), -EINVAL, &err,
			   "is not an http or https URL");
		assert_null(got);
	}
}

static void test_query(void **state)
{
	(void)state;
	static const struct {
		const char *url, *want;
	} cases[] = {
		{"http://h/x", "http://h/x?digest=sha256%3Aab"},
		{"http://h/x?", "http://h/x?digest=sha256%3Aab"},
		{"http://h/x?a=b", "http://h/x?a=b&digest=sha256%3Aab"},
		{"http://h/x?a=b&", "http://h/x?a=b&digest=sha256%3Aab"},
		{"http://h/x?a=b#frag", "http://h/x?a=b&digest=sha256%3Aab"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_FREE char *got = NULL;
		assert_int_equal(http_url_add_query(cases[i].url, "digest", "sha256:ab", &got), 0);
		assert_string_equal(got, cases[i].want);
	}
}

static void test_shown_holds_no_secret(void **state)
{
	(void)state;
	char out[HTTP_URL_SHOWN_MAX];
	assert_string_equal(http_url_shown("https://u:p@h:1/x?sig=s#f", out), "https://h:1/x");
	assert_string_equal(http_url_shown("https://h/a@b?x", out), "https://h/a@b");
	assert_string_equal(http_url_shown("https://h?u@x", out), "https://h");
	assert_string_equal(http_url_shown("nonsense\n", out), "nonsense?");
}

static void test_same_origin(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(http_url) struct http_url a = {0};
	AUTO_FINISH(http_url) struct http_url b = {0};
	AUTO_FINISH(http_url) struct http_url c = {0};
	assert_ok(http_url_parse("https://Host/x", &a, &err), &err);
	assert_ok(http_url_parse("https://host:443/y", &b, &err), &err);
	assert_ok(http_url_parse("http://host:443/y", &c, &err), &err);
	assert_true(http_url_same_origin(&a, &b));
	assert_false(http_url_same_origin(&a, &c));
}

static void test_private_hosts(void **state)
{
	(void)state;
	static const char *const private[] = {
		"10.1.2.3", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.0.1", "100.64.0.1",
		"0.0.0.0", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "localhost"};
	static const char *const public[] = {"8.8.8.8", "172.32.0.1", "[2001:db8::1]", "auth.docker.io"};
	for (size_t i = 0; i < ARRAY_LEN(private); i++)
		assert_true(http_host_is_private(private[i]));
	for (size_t i = 0; i < ARRAY_LEN(public); i++)
		assert_false(http_host_is_private(public[i]));
}

static void test_content_range(void **state)
{
	(void)state;
	struct content_range range = {0};
	assert_int_equal(content_range_parse("bytes 0-9/100", &range), 0);
	assert_true(range.first == 0 && range.last == 9 && range.has_total && range.total == 100);
	assert_int_equal(content_range_parse("bytes 5-5/*", &range), 0);
	assert_true(range.first == 5 && range.last == 5 && !range.has_total);
	assert_int_equal(content_range_parse("bytes */100", &range), 0);
	assert_true(range.unsatisfied && range.total == 100);

	static const char *const bad[] = {
		"", "bytes", "bytes 0-9", "bytes 9-0/100", "bytes 0-100/100", "bytes -9/100",
		"bytes 0-/100", "bytes */*", "bytes 0-9/100x", "chars 0-9/100",
		"bytes 0-99999999999999999999/*", "bytes 0-9/99999999999999999999", "bytes +1-9/10"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(content_range_parse(bad[i], &range), -EINVAL);
}

static void test_retry_after(void **state)
{
	(void)state;
	uint64_t ms = 0;
	const time_t now = 784111777; /* Sun, 06 Nov 1994 08:49:37 GMT */
	assert_int_equal(retry_after_parse("5", now, 60000, &ms), 0);
	assert_int_equal(ms, 5000);
	assert_int_equal(retry_after_parse("99999999999999999999999", now, 60000, &ms), 0);
	assert_int_equal(ms, 60000);
	assert_int_equal(retry_after_parse("Sun, 06 Nov 1994 08:49:40 GMT", now, 60000, &ms), 0);
	assert_int_equal(ms, 3000);
	assert_int_equal(retry_after_parse("Sun, 06 Nov 1994 08:49:00 GMT", now, 60000, &ms), 0);
	assert_int_equal(ms, 0);
	assert_int_equal(retry_after_parse("", now, 60000, &ms), -EINVAL);
	assert_int_equal(retry_after_parse("soon", now, 60000, &ms), -EINVAL);
	assert_int_equal(retry_after_parse("-5", now, 60000, &ms), -EINVAL);
}

static void test_token(void **state)
{
	(void)state;
	static const struct {
		const char *json, *token;
		uint64_t life;
	} good[] = {
		{"{\"token\":\"a.b\"}", "a.b", 60},
		{"{\"access_token\":\"c\",\"expires_in\":300}", "c", 300},
		{"{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":5}", "a", 60},
		{"{\"token\":\"a\",\"expires_in\":99999999999}", "a", 86400},
	};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct err err = {0};
		AUTO_FREE char *token = NULL;
		uint64_t life = 0;
		assert_ok(token_parse(good[i].json, strlen(good[i].json), &token, &life, &err), &err);
		assert_string_equal(token, good[i].token);
		assert_int_equal(life, good[i].life);
	}
	static const struct {
		const char *json, *words;
	} bad[] = {
		{"<html>", "it sent no token"},
		{"[]", "it sent no token"},
		{"{}", "without a usable token"},
		{"{\"token\":\"\"}", "without a usable token"},
		{"{\"token\":\"a\\r\\nX: y\"}", "without a usable token"},
		{"{\"token\":7}", "it sent no token"},
		{"{\"token\":\"a\",\"expires_in\":-1}", "it sent no token"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		char *token = NULL;
		uint64_t life = 0;
		assert_err(token_parse(bad[i].json, strlen(bad[i].json), &token, &life, &err),
			   -EPROTO, &err, bad[i].words);
		assert_null(token);
	}
}

static void test_retry_kinds(void **state)
{
	(void)state;
	static const int again[] = {408, 429, 500, 502, 503, 504};
	static const int final[] = {200, 400, 401, 403, 404, 416, 501, 505, 600};
	for (size_t i = 0; i < ARRAY_LEN(again); i++)
		assert_true(retry_status(again[i]));
	for (size_t i = 0; i < ARRAY_LEN(final); i++)
		assert_false(retry_status(final[i]));
	assert_true(retry_errno(-ECONNRESET));
	assert_false(retry_errno(-EKEYREJECTED));
	for (unsigned int n = 1; n < 100; n++) {
		uint64_t ms = retry_pause_ms(n);
		assert_true(ms >= RETRY_FIRST_MS / 2 && ms <= RETRY_LONGEST_MS);
	}
}

static void test_stopped_engine(void **state)
{
	(void)state;
	struct err err = {0};
	struct http_engine *engine = NULL;
	const struct http_config config = {0};
	assert_ok(http_engine_create(&config, &engine, &err), &err);
	http_engine_stop(engine);
	assert_int_equal(http_engine_sleep(engine, 60000), -ECANCELED);
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct http_request req = {.url = "http://127.0.0.1:1/"};
	assert_int_equal(http_perform(engine, &req, &resp, &err), -ECANCELED);
	http_engine_destroy(engine);
}

/* More hosts than are remembered, twice: what was forgotten is asked as if it were new. */
static void test_many_hosts(void **state)
{
	(void)state;
	enum { HOSTS = 300 };
	struct err err = {0};
	struct http_engine *engine = NULL;
	const struct http_config config = {0};
	assert_ok(http_engine_create(&config, &engine, &err), &err);
	for (int i = 0; i < 2 * HOSTS; i++) {
		char url[64];
		AUTO_FINISH(http_response) struct http_response resp = {0};
		(void)snprintf(url, sizeof(url), "http://127.1.%d.%d:1/", i % HOSTS / 256,
			       i % HOSTS % 256);
		http_engine_pause(engine, url, i % 3 == 0);
		const struct http_request req = {.url = url, .deadline = deadline_in_ms(10000)};
		assert_int_equal(http_perform(engine, &req, &resp, &err), -ECONNREFUSED);
	}
	http_engine_destroy(engine);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	struct err err = {0};
	struct http_engine *engine = NULL;
	const struct http_config config = {0};
	assert_ok(http_engine_create(&config, &engine, &err), &err);
	AUTO_FINISH(http_response) struct http_response resp = {0};
	const struct http_request req = {.url = "http://127.0.0.1:1/x?secret=1"};
	assert_err(http_perform(engine, &req, &resp, &err), -ECONNREFUSED, &err,
		   "GET http://127.0.0.1:1/x:");
	assert_null(strstr(err_text(&err), "secret"));
	assert_int_equal(resp.status, 0);
	http_engine_destroy(engine);
}

enum {
	HURRY_ANSWERS = 60,
	HURRY_MS = HURRY_ANSWERS * 40 / 3, /* 40 ms each is what an acknowledgement may take */
};

/* One connection, whose answers come in two pieces; Nagle's algorithm is left on. */
static void *answer_in_pieces(void *data)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc";
	const int *listener = data;
	AUTO_CLOSE int fd = accept(*listener, NULL, NULL);
	char request[4096];
	for (int i = 0; fd >= 0 && i < HURRY_ANSWERS; i++) {
		if (recv(fd, request, sizeof(request), 0) <= 0 ||
		    send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL) < 0 ||
		    send(fd, "def", 3, MSG_NOSIGNAL) < 0)
			break;
	}
	return NULL;
}

/* The second piece of each answer is sent when the first one has been acknowledged. */
static void test_acknowledges_at_once(void **state)
{
	(void)state;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(at);
	AUTO_CLOSE int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(listen(listener, 1), 0);
	pthread_t server;
	assert_int_equal(pthread_create(&server, NULL, answer_in_pieces, &listener), 0);

	char url[64];
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(at.sin_port));
	const struct http_request req = {.url = url};
	const struct http_config config = {0};
	struct err err = {0};
	struct http_engine *engine = NULL;
	assert_ok(http_engine_create(&config, &engine, &err), &err);
	uint64_t begun = clock_now_ns();
	for (int i = 0; i < HURRY_ANSWERS; i++) {
		AUTO_FINISH(http_response) struct http_response resp = {0};
		assert_ok(http_perform(engine, &req, &resp, &err), &err);
		assert_int_equal(resp.status, 200);
	}
	uint64_t ms = (clock_now_ns() - begun) / NS_PER_MS;
	http_engine_destroy(engine);
	assert_int_equal(pthread_join(server, NULL), 0);
	assert_in_range(ms, 0, HURRY_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_join_refuses),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_shown_holds_no_secret),
		cmocka_unit_test(test_same_origin),
		cmocka_unit_test(test_private_hosts),
		cmocka_unit_test(test_content_range),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_retry_kinds),
		cmocka_unit_test(test_stopped_engine),
		cmocka_unit_test(test_many_hosts),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_acknowledges_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
