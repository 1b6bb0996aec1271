/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/challenge.h"

#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "tests/unit/unit.h"

static void test_bearer(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(challenges) struct challenges list = {0};
	assert_ok(challenges_parse("bEaReR realm=\"https://a.example/t?x=1,2\" , SERVICE = \"the "
				   "\\\"one\\\"\",scope=\"repository:demo/q:pull,push "
				   " repository:demo/a:pull\",error=\"invalid_token\"",
				   &list, &err), &err);
	assert_int_equal(list.count, 1);
	const struct challenge *c = challenges_find(&list, CHALLENGE_BEARER);
	assert_non_null(c);
	assert_string_equal(c->realm, "https://a.example/t?x=1,2");
	assert_string_equal(c->service, "the \"one\"");
	assert_string_equal(c->error, "invalid_token");
	assert_string_equal(c->scopes[0], "repository:demo/q:pull,push");
	assert_string_equal(c->scopes[1], "repository:demo/a:pull");
	assert_null(c->scopes[2]);
	assert_null(challenges_find(&list, CHALLENGE_BASIC));
}

static void test_several(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(challenges) struct challenges list = {0};
	assert_ok(challenges_parse(", Negotiate, NTLM TlRM/TVNT+UAA==, Basic realm=\"x\", charset=UTF-8,,"
				   "Bearer realm=https://t/x,service=s", &list, &err), &err);
	assert_ok(challenges_parse("Digest realm=\"d\"", &list, &err), &err);
	assert_ok(challenges_parse("", &list, &err), &err);
	assert_int_equal(list.count, 5);
	assert_int_equal(list.items[0].scheme, CHALLENGE_OTHER);
	assert_int_equal(list.items[1].scheme, CHALLENGE_OTHER);
	assert_int_equal(list.items[2].scheme, CHALLENGE_BASIC);
	assert_string_equal(list.items[2].realm, "x");
	assert_string_equal(list.items[3].realm, "https://t/x");
	assert_string_equal(list.items[3].service, "s");
	assert_string_equal(list.items[4].realm, "d");
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"=", "a scheme is expected"},
		{"Bearer=x", "a scheme is expected"},
		{"\"Bearer\"", "a scheme is expected"},
		{"Bearer \"x\"", "a parameter is expected"},
		{"Bearer realm=\"x", "does not end"},
		{"Bearer realm=\"x\\", "does not end"},
		{"Bearer realm=\"x\ny\"", "control character"},
		{"Bearer realm=\"x\" service=\"y\"", "a comma is missing after parameter 'realm'"},
		{"Bearer realm=\"x\",service=", "a parameter has no value"},
		{"Bearer realm=\"x\",Realm=\"y\"", "parameter 'Realm' stands twice"},
		{"Basic realm=x, /", "a scheme is expected"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct challenges list = {0};
		assert_err(challenges_parse(bad[i].text, &list, &err), -EINVAL, &err, bad[i].words);
		assert_non_null(strstr(err_text(&err), "malformed authentication challenge"));
		assert_int_equal(list.count, 0);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(challenges) struct challenges list = {0};
	static char text[CHALLENGE_HEADER_MAX + 2];
	size_t n = 0;
	for (int i = 0; i < CHALLENGES_MAX; i++)
		assert_ok(challenges_parse("Basic realm=x", &list, &err), &err);
	assert_err(challenges_parse("Basic realm=x", &list, &err), -E2BIG, &err, "more than 16 challenges");
	challenges_finish(&list);

	memset(text, 'x', sizeof(text) - 1);
	assert_err(challenges_parse(text, &list, &err), -E2BIG, &err, "longer than 16384 bytes");
	n = (size_t)sprintf(text, "Bearer scope=\"");
	for (int i = 0; i <= CHALLENGE_SCOPES_MAX; i++)
		n += (size_t)sprintf(text + n, "s%d ", i);
	(void)sprintf(text + n, "\"");
	assert_err(challenges_parse(text, &list, &err), -E2BIG, &err, "more than 64 scopes");
	n = (size_t)sprintf(text, "Bearer a=b");
	for (int i = 0; i < CHALLENGE_PARAMS_MAX; i++)
		n += (size_t)sprintf(text + n, ",p%d=x", i);
	assert_err(challenges_parse(text, &list, &err), -E2BIG, &err, "more than 32 parameters");
	assert_int_equal(list.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bearer),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
