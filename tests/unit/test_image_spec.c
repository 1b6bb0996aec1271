/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/image_spec.h"

#include "base/buf.h"
#include "base/num.h"
#include "tests/unit/unit.h"

static int parse(const char *text, struct image_spec *ret, struct err *err)
{
	return image_spec_parse(text, strlen(text), ret, err);
}

static void test_whole(void **state)
{
	(void)state;
	AUTO_FINISH(image_spec) struct image_spec spec = {0};
	struct err err = {0};
	assert_ok(parse("{\"architecture\":\"arm\",\"os\":\"linux\",\"variant\":\"v7\","
			"\"os.version\":\"10.0\",\"os.features\":[\"a\",\"b\"],\"author\":\"me\","
			"\"created\":\"2020-01-01T00:00:00Z\",\"container_config\":{\"User\":7},"
			"\"history\":[],\"config\":{\"User\":\"app:7\",\"WorkingDir\":\"/srv\","
			"\"StopSignal\":\"SIGINT\",\"Entrypoint\":[\"/e\",\"\"],\"Cmd\":[\"c\"],"
			"\"Env\":[\"A=1\",\"A=2\"],\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":null},"
			"\"Volumes\":{\"/v\":{}},\"Labels\":{\"z\":\"1\",\"a\":\"\"}}}",
			&spec, &err),
		  &err);
	assert_string_equal(spec.architecture, "arm");
	assert_string_equal(spec.os, "linux");
	assert_string_equal(spec.variant, "v7");
	assert_string_equal(spec.os_version, "10.0");
	assert_string_equal(spec.os_features[1], "b");
	assert_string_equal(spec.author, "me");
	assert_string_equal(spec.created, "2020-01-01T00:00:00Z");
	assert_string_equal(spec.user, "app:7");
	assert_string_equal(spec.working_dir, "/srv");
	assert_string_equal(spec.stop_signal, "SIGINT");
	assert_string_equal(spec.entrypoint[1], "");
	assert_null(spec.entrypoint[2]);
	assert_string_equal(spec.cmd[0], "c");
	assert_string_equal(spec.env[1], "A=2");
	assert_string_equal(spec.exposed_ports[1], "53/udp");
	assert_string_equal(spec.volumes[0], "/v");
	assert_int_equal(spec.n_labels, 2);
	assert_string_equal(spec.labels[0].key, "z");
	assert_string_equal(spec.labels[1].value, "");
}

/* Docker writes null for what it has not, and old tools leave all of it out. */
static void test_absent(void **state)
{
	(void)state;
	static const char *const cases[] = {
		"{}",
		"{\"config\":null,\"os\":\"\"}",
		("{\"config\":{\"User\":\"\",\"Cmd\":null,\"Env\":null,\"Volumes\":null,"
		 "\"Labels\":null,\"Entrypoint\":null}}"),
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_FINISH(image_spec) struct image_spec spec = {0};
		struct err err = {0};
		assert_ok(parse(cases[i], &spec, &err), &err);
		assert_null(spec.os);
		assert_null(spec.user);
		assert_null(spec.cmd);
		assert_null(spec.volumes);
		assert_int_equal(spec.n_labels, 0);
	}
}

static void test_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"[]", "bad image configuration: the document is not a JSON object"},
		{"{\"os\":1}", "bad image configuration: \"os\" is not a string"},
		{"{\"config\":[]}", "\"config\" is not an object"},
		{"{\"config\":{\"Cmd\":\"sh\"}}", "\"Cmd\" is not an array"},
		{"{\"config\":{\"Cmd\":[1]}}", "member 0 of \"Cmd\" is not a string"},
		{"{\"config\":{\"Env\":[\"A\",\"B\\u0000=\"]}}",
		 "member 1 of \"Env\" holds a NUL"},
		{"{\"config\":{\"Volumes\":[\"/v\"]}}", "\"Volumes\" is not an object"},
		{"{\"config\":{\"ExposedPorts\":{\"80\":1}}}",
		 "\"80\" in \"ExposedPorts\" is not an object"},
		{"{\"config\":{\"Labels\":{\"k\":1}}}", "the label \"k\" is not a string"},
		{"{\"config\":{\"Labels\":{\"k\":\"\\u0000\"}}}", "the label \"k\" holds a NUL"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct image_spec spec = {0};
		struct err err = {0};
		assert_err(parse(cases[i].text, &spec, &err), -EINVAL, &err, cases[i].words);
		assert_null(spec.os);
	}
}

static void test_limits(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf text = buf_make(IMAGE_SPEC_MAX + 1);
	struct image_spec spec = {0};
	struct err err = {0};
	assert_int_equal(buf_puts(&text, "{\"config\":{\"Env\":[\"\""), 0);
	for (int i = 0; i < IMAGE_SPEC_LIST_MAX; i++)
		assert_int_equal(buf_puts(&text, ",\"\""), 0);
	assert_int_equal(buf_puts(&text, "]}}"), 0);
	assert_err(image_spec_parse(text.data, text.len, &spec, &err), -E2BIG, &err,
		   "\"Env\" has 16385 members; the limit is 16384");
	assert_int_equal(buf_reserve(&text, IMAGE_SPEC_MAX + 1 - text.len), 0);
	assert_err(image_spec_parse(text.data, IMAGE_SPEC_MAX + 1, &spec, &err), -E2BIG, &err,
		   "bad image configuration: it is larger than 8388608 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
