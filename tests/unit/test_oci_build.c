/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/oci.h"

#include "tests/unit/unit.h"

enum { OUT_MAX = 1 << 20, MANY = 1000 };

static void assert_emits(const struct oci_config *config, const char *want)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(OUT_MAX);
	assert_ok(oci_config_emit(config, &out, &err), &err);
	assert_string_equal(buf_str(&out), want);
}

static struct oci_config *parsed_bytes(const char *text, size_t n)
{
	struct err err = {0};
	struct oci_config *config = NULL;
	assert_ok(oci_config_parse(text, n, &config, &err), &err);
	return config;
}

static struct oci_config *parsed(const char *text)
{
	return parsed_bytes(text, strlen(text));
}

static void test_nothing_by_itself(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	assert_emits(config, "{}");
	assert_non_null(oci_config_need_process(config));
	assert_non_null(oci_config_need_linux(config));
	assert_ptr_equal(oci_config_need_process(config), config->process);
	assert_emits(config, "{\"linux\":{},\"process\":{}}");
	oci_config_clear_linux(config);
	oci_config_clear_linux(config);
	assert_null(config->linux);
	assert_emits(config, "{\"process\":{}}");
}

static void test_scalars(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	struct oci_process *process = oci_config_need_process(config);
	assert_int_equal(oci_config_set_hostname(config, "a"), 0);
	assert_int_equal(oci_config_set_hostname(config, "b"), 0);
	oci_process_set_terminal(process, false);
	oci_process_set_oom_score_adj(process, -1000);
	assert_emits(config, "{\"hostname\":\"b\",\"process\":{\"oomScoreAdj\":-1000,\"terminal\":false}}");
	assert_int_equal(oci_config_set_hostname(config, NULL), 0);
	oci_process_clear_terminal(process);
	oci_process_clear_oom_score_adj(process);
	assert_false(process->has_terminal);
	assert_int_equal(process->oom_score_adj, 0);
	assert_emits(config, "{\"process\":{}}");
}

static void test_lists(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	struct oci_process *process = oci_config_need_process(config);
	struct oci_process_user *user = oci_process_need_user(process);
	assert_int_equal(oci_process_need_env(process), 0);
	assert_int_equal(oci_process_add_args(process, "a"), 0);
	assert_int_equal(oci_process_add_args(process, "b"), 0);
	assert_int_equal(oci_process_add_args(process, "c"), 0);
	oci_process_remove_args(process, 1);
	assert_int_equal(oci_process_user_add_additional_gids(user, 1), 0);
	assert_int_equal(oci_process_user_add_additional_gids(user, UINT32_MAX), 0);
	oci_process_user_remove_additional_gids(user, 0);
	struct oci_mount *first = oci_config_add_mounts(config);
	for (size_t i = 0; i < MANY; i++)
		assert_non_null(oci_config_add_mounts(config));
	assert_ptr_equal(config->mounts[0], first);
	while (config->n_mounts > 1)
		oci_config_remove_mounts(config, 1);
	assert_int_equal(oci_mount_set_destination(first, "/m"), 0);
	static const char want[] =
		"{\"mounts\":[{\"destination\":\"/m\"}],\"process\":{\"args\":[\"a\",\"c\"],"
		"\"env\":[],\"user\":{\"additionalGids\":[4294967295]}}}";
	assert_emits(config, want);
	oci_config_remove_mounts(config, 0);
	assert_non_null(config->mounts);
	assert_int_equal(oci_config_need_mounts(config), 0);
	oci_config_clear_mounts(config);
	assert_null(config->mounts);
}

/* In whatever order keys come, they are found, and written in that of their bytes. */
static void test_maps(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	assert_null(oci_config_get_annotations(config, "m"));
	assert_false(oci_config_drop_annotations(config, "m"));
	static const char *const keys[] = {"m", "a", "z", "", "é", "B", "m"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_int_equal(oci_config_put_annotations(config, keys[i], i ? keys[i - 1] : ""), 0);
	assert_emits(config, "{\"annotations\":{\"\":\"z\",\"B\":\"é\",\"a\":\"m\",\"m\":\"B\",\"z\":\"a\","
			     "\"é\":\"\"}}");
	assert_string_equal(oci_config_get_annotations(config, "m"), "B");
	assert_true(oci_config_drop_annotations(config, "a"));
	assert_false(oci_config_drop_annotations(config, "a"));
	assert_int_equal(config->n_annotations, 5);
	struct oci_linux *linux = oci_config_need_linux(config);
	struct oci_linux_net_device *eth = oci_linux_put_net_devices(linux, "eth0");
	assert_non_null(eth);
	assert_ptr_equal(oci_linux_put_net_devices(linux, "eth0"), eth);
	assert_ptr_equal(oci_linux_get_net_devices(linux, "eth0"), eth);
	assert_true(oci_linux_drop_net_devices(linux, "eth0"));
	assert_non_null(linux->net_devices);
	oci_config_clear_annotations(config);
	assert_emits(config, "{\"linux\":{\"netDevices\":{}}}");
}

/* Objects and maps are merged, lists and the rest replaced; what is absent stays. */
static void test_merge(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = parsed(
		"{\"annotations\":{\"a\":\"1\",\"b\":\"2\"},\"hostname\":\"old\",\"mounts\":[{},{}],"
		"\"process\":{\"args\":[\"x\",\"y\"],\"cwd\":\"/\",\"terminal\":true},"
		"\"u\":{\"p\":{\"q\":1},\"r\":[1,2]}}");
	AUTO(oci_config) struct oci_config *over = parsed(
		"{\"annotations\":{\"b\":\"3\",\"c\":\"4\"},\"mounts\":[],"
		"\"process\":{\"args\":[\"z\"],\"terminal\":false},"
		"\"u\":{\"p\":{\"s\":2},\"r\":[3]}}");
	AUTO(oci_config) struct oci_config *before = oci_config_clone(over);
	assert_int_equal(oci_config_merge(config, over), 0);
	static const char want[] =
		"{\"annotations\":{\"a\":\"1\",\"b\":\"3\",\"c\":\"4\"},\"hostname\":\"old\","
		"\"mounts\":[],\"process\":{\"args\":[\"z\"],\"cwd\":\"/\",\"terminal\":false},"
		"\"u\":{\"p\":{\"q\":1,\"s\":2},\"r\":[3]}}";
	assert_emits(config, want);
	assert_true(oci_config_equal(over, before));
	/* Nothing is shared. */
	json_object_clear(json_object_get(over->residual, "u"));
	assert_int_equal(oci_process_set_cwd(oci_config_need_process(over), "/other"), 0);
	assert_emits(config, want);
	assert_int_equal(oci_config_merge(config, config), 0);
	assert_emits(config, want);
}

/* Each pair differs in one place. */
static void test_equal(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{"{\"hostname\":\"a\"}", "{\"hostname\":\"b\"}"},
		{"{\"hostname\":\"a\"}", "{\"domainname\":\"a\"}"},
		{"{\"annotations\":{\"a\":\"1\"}}", "{\"annotations\":{\"a\":\"2\"}}"},
		{"{\"annotations\":{\"a\":\"1\"}}", "{\"annotations\":{\"b\":\"1\"}}"},
		{"{\"annotations\":{\"a\":\"1\"}}", "{\"annotations\":{}}"},
		{"{\"process\":{\"args\":[\"a\",\"b\"]}}", "{\"process\":{\"args\":[\"b\",\"a\"]}}"},
		{"{\"process\":{\"terminal\":true}}", "{\"process\":{\"terminal\":false}}"},
		{"{\"linux\":{\"resources\":{\"cpu\":{\"shares\":18446744073709551615}}}}",
		 "{\"linux\":{\"resources\":{\"cpu\":{\"shares\":18446744073709551614}}}}"},
		{"{\"windows\":{\"credentialSpec\":{}}}", "{\"windows\":{\"credentialSpec\":{\"a\":1}}}"},
		{"{\"x\":18446744073709551616}", "{\"x\":18446744073709551617}"},
		{"{\"x\":1}", "{}"},
		{"{\"root\":{\"x\":1}}", "{\"root\":{\"y\":1}}"},
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		AUTO(oci_config) struct oci_config *a = parsed(pairs[i][0]);
		AUTO(oci_config) struct oci_config *b = parsed(pairs[i][1]);
		assert_true(oci_config_equal(a, a));
		assert_false(oci_config_equal(a, b));
		assert_false(oci_config_equal(b, a));
	}
	AUTO(oci_config) struct oci_config *a =
		parsed("{\"annotations\":{\"a\":\"1\",\"b\":\"2\"},\"x\":{\"p\":1,\"q\":2}}");
	AUTO(oci_config) struct oci_config *b =
		parsed("{\"x\":{\"q\":2,\"p\":1},\"annotations\":{\"b\":\"2\",\"a\":\"1\"}}");
	assert_true(oci_config_equal(a, b));
}

/* What a program put there and no document can hold; the buffer keeps what it had. */
static void test_cannot_be_written(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(OUT_MAX);
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	assert_int_equal(buf_puts(&out, "kept"), 0);
	struct oci_process *process = oci_config_need_process(config);
	assert_int_equal(oci_process_add_args(process, "\xff"), 0);
	assert_err(oci_config_emit(config, &out, &err), -EINVAL, &err,
		   "config: /process/args/0: a string that is not UTF-8");
	oci_process_clear_args(process);
	config->residual = json_pack("{s:s}", "hostname", "x");
	assert_err(oci_config_emit(config, &out, &err), -EINVAL, &err,
		   "/hostname: a known member among the unknown ones");
	json_object_clear(config->residual);
	json_object_set_new(config->residual, "x", json_stringn("a\0b", 3));
	assert_err(oci_config_emit(config, &out, &err), -EINVAL, &err, "/x: a NUL within a string");
	json_object_set_new(config->residual, "x", json_real(0.5));
	assert_string_equal(buf_str(&out), "kept");
	assert_ok(oci_config_emit(config, &out, &err), &err);
	assert_string_equal(buf_str(&out), "kept{\"process\":{},\"x\":0.5}");
	struct buf small = buf_make(8);
	assert_err(oci_config_emit(config, &small, &err), -E2BIG, &err, "write config");
	assert_string_equal(buf_str(&small), "");
	buf_finish(&small);
}

/* A document of objects within each other; the innermost is `{}`. */
static char *nested(size_t depth)
{
	struct buf text = buf_make(OUT_MAX);
	for (size_t i = 0; i < depth; i++)
		assert_int_equal(buf_puts(&text, i % 2 ? "[" : "{\"x\":"), 0);
	assert_int_equal(buf_puts(&text, "{}"), 0);
	for (size_t i = depth; i > 0; i--)
		assert_int_equal(buf_puts(&text, i % 2 ? "}" : "]"), 0);
	return buf_steal(&text);
}

static void test_limits(void **state)
{
	(void)state;
	struct err err = {0};
	struct oci_config *none = NULL;
	AUTO_FREE char *fits = nested(OCI_DEPTH_MAX), *deep = nested(OCI_DEPTH_MAX + 1);
	AUTO(oci_config) struct oci_config *config = parsed(fits);
	assert_emits(config, fits);
	assert_err(oci_config_parse(deep, strlen(deep), &none, &err), -EINVAL, &err,
		   "/x/0/x/0/x/0");
	assert_non_null(strstr(err_text(&err), "too many objects and lists within each other"));
	AUTO_FREE char *deeper = nested((size_t)JSON_PARSER_MAX_DEPTH + 1);
	assert_err(oci_config_parse(deeper, strlen(deeper), &none, &err), -EINVAL, &err,
		   "config is not valid JSON: line 1");
	AUTO_FREE char *large = malloc(OCI_JSON_MAX + 1);
	assert_non_null(large);
	memset(large, ' ', OCI_JSON_MAX + 1);
	memcpy(large, "{}", 2);
	assert_err(oci_config_parse(large, OCI_JSON_MAX + 1, &none, &err), -E2BIG, &err,
		   "config has 8388609 bytes, at most 8388608 are read");
	AUTO(oci_config) struct oci_config *full = parsed_bytes(large, OCI_JSON_MAX);
	assert_emits(full, "{}");
}

/* The densest document of marked numbers that is read at all. */
static void test_limit_of_marks(void **state)
{
	(void)state;
	AUTO_FREE char *text = malloc(OCI_JSON_MAX);
	assert_non_null(text);
	for (size_t i = 0; i < OCI_JSON_MAX; i += 4)
		memcpy(text + i, "1e1,", 4);
	memcpy(text, "{\"x\":[1,", 8);
	memcpy(text + OCI_JSON_MAX - 4, "1 ]}", 4);
	AUTO(oci_config) struct oci_config *config = parsed_bytes(text, OCI_JSON_MAX);
	assert_int_equal(json_array_size(json_object_get(config->residual, "x")),
			 OCI_JSON_MAX / 4 - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_by_itself),
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_cannot_be_written),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_limit_of_marks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
