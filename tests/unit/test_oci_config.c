/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/oci.h"

#include "tests/unit/unit.h"

enum { OUT_MAX = 1 << 20 };

static struct oci_config *parsed(const char *text)
{
	struct err err = {0};
	struct oci_config *config = NULL;
	assert_ok(oci_config_parse(text, strlen(text), &config, &err), &err);
	return config;
}

static void assert_emits(const struct oci_config *config, const char *want)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(OUT_MAX);
	assert_ok(oci_config_emit(config, &out, &err), &err);
	assert_string_equal(buf_str(&out), want);
}

/* What is written of a document, which is what is written of that again. */
static void check(const char *text, const char *want)
{
	AUTO(oci_config) struct oci_config *config = parsed(text);
	assert_emits(config, want);
	AUTO(oci_config) struct oci_config *again = parsed(want);
	assert_emits(again, want);
	assert_true(oci_config_equal(config, again));
	AUTO(oci_config) struct oci_config *copy = oci_config_clone(config);
	assert_non_null(copy);
	assert_emits(copy, want);
	assert_true(oci_config_equal(config, copy));
}

static void test_round_trip(void **state)
{
	(void)state;
	static const char *const same[] = {
		"{}",
		"{\"annotations\":{\"a\":\"1\",\"b\":\"\"},\"ociVersion\":\"1.3.0\"}",
		"{\"process\":{\"args\":[\"sh\",\"-c\",\"\"],\"cwd\":\"/\",\"user\":{"
		"\"additionalGids\":[0,4294967295],\"gid\":0,\"uid\":4294967295}}}",
		"{\"linux\":{\"netDevices\":{\"eth0\":{},\"eth1\":{\"name\":\"x\"}},"
		"\"resources\":{\"cpu\":{\"quota\":-9223372036854775808}}}}",
		"{\"windows\":{\"credentialSpec\":{\"a\":{\"b\":[1,2.50,null]}},"
		"\"resources\":{\"cpu\":{\"shares\":65535}}}}",
		"{\"freebsd\":{\"jail\":{\"enforceStatfs\":255}}}",
	};
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		check(same[i], same[i]);
	check(" { \"root\" : { \"readonly\" : false , \"path\" : \"\\u00e9\\/\\n\\u001f\\\"\" },\n"
	      "\"hostname\":\"h\" }",
	      "{\"hostname\":\"h\",\"root\":{\"path\":\"é/\\n\\u001f\\\"\",\"readonly\":false}}");
}

static void test_presence(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config =
		parsed("{\"mounts\":[],\"annotations\":{},\"process\":{\"terminal\":false,"
		       "\"args\":[],\"oomScoreAdj\":0}}");
	assert_non_null(config->mounts);
	assert_int_equal(config->n_mounts, 0);
	assert_non_null(config->annotations);
	assert_null(config->hostname);
	assert_null(config->process->env);
	assert_non_null(config->process->args);
	assert_true(config->process->has_terminal && !config->process->terminal);
	assert_true(config->process->has_oom_score_adj);
	assert_false(config->process->has_no_new_privileges);
	check("{\"mounts\":[],\"process\":{\"args\":[],\"oomScoreAdj\":0}}",
	      "{\"mounts\":[],\"process\":{\"args\":[],\"oomScoreAdj\":0}}");
	AUTO(oci_config) struct oci_config *absent = parsed("{\"process\":{}}");
	AUTO(oci_config) struct oci_config *empty = parsed("{\"process\":{\"args\":[]}}");
	AUTO(oci_config) struct oci_config *zero = parsed("{\"process\":{\"terminal\":false}}");
	assert_false(oci_config_equal(absent, empty));
	assert_false(oci_config_equal(absent, zero));
	assert_false(oci_config_equal(absent, NULL));
	assert_true(oci_config_equal(NULL, NULL));
}

/* No number loses a digit, in members known and unknown. */
static void test_numbers(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config =
		parsed("{\"process\":{\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\","
		       "\"soft\":9223372036854775808,\"hard\":18446744073709551615}]}}");
	const struct oci_rlimit *limit = config->process->rlimits[0];
	assert_true(limit->soft == (uint64_t)INT64_MAX + 1);
	assert_true(limit->hard == UINT64_MAX);
	static const char same[] =
		"{\"x\":[18446744073709551615,18446744073709551616,-9223372036854775809,"
		"-9223372036854775808,1e400,0.10,1.0E+2,123456789012345678901234567890,"
		"\"18446744073709551615\",\"n1\"]}";
	check(same, same);
	check("{\"x\":{\"b\":-0,\"a\":[]}}", "{\"x\":{\"a\":[],\"b\":0}}");
}

static void test_unknown(void **state)
{
	(void)state;
	static const char same[] =
		"{\"a\":null,\"linux\":{\"devices\":[{\"path\":\"/dev/x\",\"z\":{\"\":[[],{}]}}]},"
		"\"zz\":true}";
	check(same, same);
	AUTO(oci_config) struct oci_config *config = parsed(same);
	assert_non_null(json_object_get(config->residual, "a"));
	assert_null(json_object_get(config->residual, "linux"));
}

static void refuse(const char *text, const char *words)
{
	struct err err = {0};
	struct oci_config *config = NULL;
	assert_err(oci_config_parse(text, strlen(text), &config, &err), -EINVAL, &err, words);
	assert_null(config);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"", "config is not valid JSON: line 1, column 0"},
		{"[]", "config is not a JSON object"},
		{"{\"a\":1,}", "line 1, column 8: string or '}' expected near '}'"},
		{"{\"a\":1,\n\"a\":2}", "line 2, column 3: duplicate object key"},
		{"{\"a\":18446744073709551615,,}", "line 1, column 27: "},
		{"{\"a\":18446744073709551615 1}", "line 1, column 27: "},
		{"{\"a\":1e400,\n,}", "line 2, column 1: string or '}' expected"},
		{"{18446744073709551615:1}", "line 1, column 21: "},
		{"{\"a\":01}", "line 1, column 6: "},
		{"{\"a\":1.}", "line 1, column 7: "},
		{"{\"a\":1.5e}", "line 1, column 9: "},
		{"{\"\\u0000\":1}", "NUL byte in object key"},
		{"{\"hostname\":1}", "config: /hostname: expected a string, found a number"},
		{"{\"hostname\":18446744073709551615}", "/hostname: expected a string, found a number"},
		{"{\"hostname\":null}", "/hostname: expected a string, found null"},
		{"{\"hostname\":\"a\\u0000b\"}", "/hostname: a NUL within a string"},
		{"{\"hostname\":\"\\u0000n1\"}", "/hostname: a NUL within a string"},
		{"{\"x\":[1,\"\\u0000n1\"]}", "/x/1: a NUL within a string"},
		{"{\"annotations\":{\"a~/b\":[]}}", "/annotations/a~0~1b: expected a string, found a list"},
		{"{\"mounts\":{}}", "/mounts: expected a list, found an object"},
		{"{\"mounts\":[{},[]]}", "/mounts/1: expected an object, found a list"},
		{"{\"process\":{\"terminal\":\"yes\"}}",
		 "/process/terminal: expected true or false, found a string"},
		{"{\"process\":{\"user\":{\"uid\":1.0}}}",
		 "/process/user/uid: expected an integer, found a fraction"},
		{"{\"process\":{\"user\":{\"uid\":-1}}}",
		 "/process/user/uid: -1 is not within the range of uint32"},
		{"{\"process\":{\"user\":{\"additionalGids\":[1,4294967296]}}}",
		 "/process/user/additionalGids/1: 4294967296 is not within the range of uint32"},
		{"{\"process\":{\"ioPriority\":{\"priority\":2147483648}}}",
		 "/process/ioPriority/priority: 2147483648 is not within the range of int32"},
		{"{\"process\":{\"ioPriority\":{\"priority\":-2147483649}}}",
		 "-2147483649 is not within the range of int32"},
		{"{\"freebsd\":{\"jail\":{\"enforceStatfs\":256}}}",
		 "/freebsd/jail/enforceStatfs: 256 is not within the range of uint8"},
		{"{\"linux\":{\"resources\":{\"pids\":{\"limit\":9223372036854775808}}}}",
		 "/linux/resources/pids/limit: 9223372036854775808 is not within the range of int64"},
		{"{\"linux\":{\"resources\":{\"cpu\":{\"shares\":18446744073709551616}}}}",
		 "/linux/resources/cpu/shares: 18446744073709551616 is not within the range of uint64"},
		{"{\"linux\":{\"netDevices\":{\"e\":1}}}",
		 "/linux/netDevices/e: expected an object, found a number"},
		{"{\"windows\":{\"credentialSpec\":[]}}",
		 "/windows/credentialSpec: expected an object, found a list"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse(cases[i].text, cases[i].words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_presence),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
