/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/toml.h"

#include <errno.h>

#include "base/json.h"
#include "base/num.h"
#include "tests/unit/unit.h"

static void expect(const char *toml, const char *json)
{
	struct err err = {0};
	AUTO_JSON json_t *got = NULL;
	AUTO_JSON json_t *want = NULL;
	assert_ok(toml_parse(toml, strlen(toml), "it", &got, &err), &err);
	assert_ok(json_parse_object(json, strlen(json), "want", &want, &err), &err);
	if (!json_equal(got, want)) {
		AUTO_FREE char *text = json_dumps(got, JSON_COMPACT);
		fail_msg("%s gave %s, not %s", toml, text, json);
	}
}

static void test_values(void **state)
{
	(void)state;
	expect("", "{}");
	expect("\xef\xbb\xbf# only a comment", "{}");
	expect("a = 1\r\nb='x' # c\n\"q k\" = \"\\u00e9\\t\\\"\"\n", "{\"a\":1,\"b\":\"x\",\"q k\":\"\\u00e9\\t\\\"\"}");
	expect("a=-0\nb=+7\nc=1_000\nd=0xff_0\ne=0o17\nf=0b11", "{\"a\":0,\"b\":7,\"c\":1000,\"d\":4080,\"e\":15,\"f\":3}");
	expect("a=1.5\nb=-2e3\nc=true\nd=false", "{\"a\":1.5,\"b\":-2000.0,\"c\":true,\"d\":false}");
	expect("a=1979-05-27\nb=1979-05-27 07:32:00Z\nc=07:32:00", "{\"a\":\"1979-05-27\",\"b\":\"1979-05-27 07:32:00Z\",\"c\":\"07:32:00\"}");
	expect("a=\"\"\"\nx\\\n   y\"\"\"\"\nb='''\n'\\n''''", "{\"a\":\"xy\\\"\",\"b\":\"'\\\\n'\"}");
	expect("a=[ 1, # c\n [\"x\"],\n {k.l=2, m=[]},\n]", "{\"a\":[1,[\"x\"],{\"k\":{\"l\":2},\"m\":[]}]}");
	expect("1234 = {}\n\"\"=1", "{\"1234\":{},\"\":1}");
}

static void test_tables(void **state)
{
	(void)state;
	expect("s=1\n[host.\"https://x:5\"]\nc=[\"pull\"]\n[host.\"https://x:5\".header]\nh=2\n[host.'b']",
	       "{\"s\":1,\"host\":{\"https://x:5\":{\"c\":[\"pull\"],\"header\":{\"h\":2}},\"b\":{}}}");
	expect("[a.b]\n[a]\nx=1", "{\"a\":{\"b\":{},\"x\":1}}");
	expect("[[p]]\na=1\n[p.q]\nb=2\n[[p]]\n[[p.r]]\n", "{\"p\":[{\"a\":1,\"q\":{\"b\":2}},{\"r\":[{}]}]}");
	expect("a.b.c=1\na.b.d=2\n[ e . f ]\n", "{\"a\":{\"b\":{\"c\":1,\"d\":2}},\"e\":{\"f\":{}}}");

	struct err err = {0};
	AUTO_JSON json_t *root = NULL;
	static const char text[] = "[h.z]\n[h.a]\n[h.m]";
	assert_ok(toml_parse(text, strlen(text), "it", &root, &err), &err);
	void *iter = json_object_iter(json_object_get(root, "h"));
	assert_string_equal(json_object_iter_key(iter), "z"); /* the order of the file */
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"a", "line 1: '=' is expected after key 'a'"},
		{"\n\na = ", "line 3: a value is expected"},
		{"= 1", "line 1: a key is expected"},
		{"a = 1 b = 2", "line 1: the line should end here"},
		{"a = \"x", "line 1: a string does not end"},
		{"a = \"x\ny\"", "a string does not end"},
		{"a = \"x\x01\"", "control character"},
		{"a = \"\xff\"", "not UTF-8"},
		{"\"\xff\" = 1", "a key is not UTF-8"},
		{"a = \"\\q\"", "unknown escape"},
		{"a = \"\\u12\"", "takes 4 hex digits"},
		{"a = \"\\ud800\"", "names no character"},
		{"a = \"\\u0000\"", "names no character"},
		{"a = 01", "'01' is not a value"},
		{"a = 1__0", "'1__0' is not a value"},
		{"a = 99999999999999999999", "is not a value"},
		{"a = 1.", "'1.' is not a value"},
		{"a = inf", "'inf' is not a value"},
		{"a = 1e999", "cannot be represented"},
		{"a = yes", "'yes' is not a value"},
		{"a = 1\na = 2", "line 2: 'a' is defined already"},
		{"[a]\n[a]", "line 2: 'a' is defined already"},
		{"a = 1\n[a.b]", "line 2: 'a' is defined already"},
		{"a = {}\n[a.b]", "line 2: 'a' is defined already"},
		{"a = {}\na.b = 1", "line 2: 'a' is defined already"},
		{"a = []\n[[a]]", "line 2: 'a' is defined already"},
		{"a.b = 1\n[a]", "line 2: 'a' is defined already"},
		{"[a.b]\n[c]\n[a]\nb.x = 1", "line 4: 'b' is defined already"},
		{"[a", "']' is expected"},
		{"[[a]", "']]' is expected"},
		{"[]", "a key is expected"},
		{"a = [1 2]", "',' or ']' is expected"},
		{"a = {x=1 y=2}", "',' or '}' is expected"},
		{"a = {x=1,}", "a key is expected"},
		{"a = 1 \x01", "the line should end here"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		json_t *root = NULL;
		assert_err(toml_parse(bad[i].text, strlen(bad[i].text), "hosts.toml", &root, &err),
			   -EINVAL, &err, bad[i].words);
		assert_null(root);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct err err = {0};
	json_t *root = NULL;
	static char text[TOML_BYTES_MAX + 2];
	memset(text, '[', 100);
	memcpy(text, "a=", 2);
	assert_err(toml_parse(text, 100, "it", &root, &err), -E2BIG, &err, "nested more than 32 deep");
	for (int i = 0; i < 100; i += 2)
		memcpy(text + i, "a.", 2);
	assert_err(toml_parse(text, 100, "it", &root, &err), -E2BIG, &err, "more than 32 parts");
	memset(text, '\n', sizeof(text));
	assert_err(toml_parse(text, sizeof(text), "it", &root, &err), -E2BIG, &err, "1048576 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
