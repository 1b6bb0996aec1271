/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cdi_spec.h"

#include "base/num.h"
#include "exec/yaml_json.h"
#include "tests/unit/unit.h"

/* A file of one device with these edits. */
#define WITH(version, edits) \
	"{\"cdiVersion\":\"" version "\",\"kind\":\"v.example/c\",\"devices\":[{\"name\":\"d\"," \
	"\"containerEdits\":{" edits "}}]}"
#define EDITS(edits) WITH("1.1.0", edits)

static int parse(const char *text, enum cdi_form form, struct cdi_spec **ret, struct err *err)
{
	return cdi_spec_parse(text, strlen(text), form, "/f", ret, err);
}

static void test_whole(void **state)
{
	(void)state;
	static const char text[] =
		"{\"cdiVersion\":\"v1.1.0\",\"kind\":\"vendor.example/c.l-a_s\","
		"\"annotations\":{\"a\":\"b\"},\"containerEdits\":{\"env\":[\"A=\"]},"
		"\"devices\":[{\"name\":\"0\",\"annotations\":null,\"containerEdits\":{"
		"\"env\":[\"A=1\"],"
		"\"deviceNodes\":[{\"path\":\"/dev/x\",\"hostPath\":\"/dev/null\",\"type\":\"c\","
		"\"major\":1,\"minor\":3,\"fileMode\":438,\"permissions\":\"rw\",\"uid\":1,"
		"\"gid\":4294967295},{\"path\":\"/dev/y\",\"permissions\":\"none\"}],"
		"\"netDevices\":[{\"hostInterfaceName\":\"eth1\",\"name\":\"net0\"}],"
		"\"hooks\":[{\"hookName\":\"createContainer\",\"path\":\"/h\",\"args\":[\"h\",\"\"],"
		"\"env\":[\"B=2\"],\"timeout\":1}],"
		"\"mounts\":[{\"hostPath\":\"tmpfs\",\"containerPath\":\"/m\",\"type\":\"tmpfs\","
		"\"options\":[\"ro\"]}],"
		"\"intelRdt\":{\"closID\":\"a\",\"l3CacheSchema\":\"L3:0=f\",\"memBwSchema\":"
		"\"MB:0=10\",\"schemata\":[\"L2:0=1\"],\"enableMonitoring\":true},"
		"\"additionalGids\":[0,5],\"additionalGIDs\":[6]}},{\"name\":\"GPU-a:b.c_d\"}]}";
	AUTO(cdi_spec) struct cdi_spec *spec = NULL;
	struct err err = {0};
	size_t i = 9;
	assert_ok(parse(text, CDI_JSON, &spec, &err), &err);
	assert_string_equal(cdi_spec_kind(spec), "vendor.example/c.l-a_s");
	assert_int_equal(cdi_spec_count(spec), 2);
	assert_string_equal(cdi_spec_device(spec, 1), "GPU-a:b.c_d");
	assert_true(cdi_spec_find(spec, "GPU-a:b.c_d", &i));
	assert_int_equal(i, 1);
	assert_false(cdi_spec_find(spec, "GPU-a", &i));
	assert_int_equal(json_array_size(json_object_get(cdi_spec_edits(spec), "env")), 1);
	assert_int_equal(json_object_size(cdi_spec_device_edits(spec, 0)), 8);
	assert_null(cdi_spec_device_edits(spec, 1));
}

struct wrong {
	const char *text, *words;
};

static const struct wrong wrong_files[] = {
	{"[]", "/f is not a JSON object"},
	{"{", "/f is not valid JSON: line 1, column 1"},
	{"{\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}]}", "/f: /cdiVersion: is missing"},
	{"{\"cdiVersion\":\"1.2.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}]}",
	 "/f: /cdiVersion: is not a version of CDI from 0.3.0 to 1.1.0"},
	{"{\"cdiVersion\":\"0.2.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}]}",
	 "/cdiVersion: is not a version"},
	{"{\"cdiVersion\":1,\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}]}",
	 "/cdiVersion: is a number, and has to be a text, in quotes"},
	{"{\"cdiVersion\":\"1.1.0\",\"devices\":[{\"name\":\"d\"}]}", "/kind: is missing"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"vendor\",\"devices\":[{\"name\":\"d\"}]}",
	 "/kind: is not of the form vendor/class"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c/d\",\"devices\":[{\"name\":\"d\"}]}",
	 "/kind: is not of the form"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/1\",\"devices\":[{\"name\":\"d\"}]}",
	 "/kind: is not of the form"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v.-/c\",\"devices\":[{\"name\":\"d\"}]}",
	 "/kind: is not of the form"},
	{"{\"cdiVersion\":\"0.5.0\",\"kind\":\"v/c.d\",\"devices\":[{\"name\":\"d\"}]}",
	 "/kind: needs cdiVersion 0.6.0, and the file has 0.5.0"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\"}", "/devices: is missing"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[]}", "/devices: is empty"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":{}}",
	 "/devices: is not a list"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[1]}",
	 "/devices/0: is not an object"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{}]}",
	 "/devices/0/name: is missing"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"a b\"}]}",
	 "/devices/0/name: is not a device's name"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"a\\u0000\"}]}",
	 "/devices/0/name: holds a NUL"},
	{"{\"cdiVersion\":\"0.4.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"0\"}]}",
	 "/devices/0/name: needs cdiVersion 0.5.0, and the file has 0.4.0"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"},"
	 "{\"name\":\"d\"}]}",
	 "/devices/1/name: stands there a second time"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}],\"x\":1}",
	 "/x: is nothing that CDI knows"},
	{"{\"cdiVersion\":\"0.5.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}],"
	 "\"annotations\":{}}",
	 "/annotations: needs cdiVersion 0.6.0"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}],"
	 "\"annotations\":{\"a\":[]}}",
	 "/annotations/a: is not a text"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}],"
	 "\"annotations\":[]}",
	 "/annotations: is not an object"},
	{"{\"cdiVersion\":\"1.1.0\",\"kind\":\"v/c\",\"devices\":[{\"name\":\"d\"}],"
	 "\"containerEdits\":[]}",
	 "/containerEdits: is not an object"},
};

static const struct wrong wrong_edits[] = {
	{EDITS("\"env\":[\"=1\"]"),
	 "/f: /devices/0/containerEdits/env/0: is not of the form NAME=VALUE"},
	{EDITS("\"mount\":[]"), "/devices/0/containerEdits/mount: is nothing that CDI knows"},
	{EDITS("\"deviceNodes\":[{}]"), "/deviceNodes/0/path: is missing"},
	{EDITS("\"deviceNodes\":[{\"path\":\"x\"}]"), "/path: is not an absolute path"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"hostPath\":\"\"}]"),
	 "/hostPath: is not an absolute path"},
	{WITH("0.4.0", "\"deviceNodes\":[{\"path\":\"/x\",\"hostPath\":\"/y\"}]"),
	 "/hostPath: needs cdiVersion 0.5.0"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"type\":\"a\"}]"),
	 "/type: is none of b, c, u and p"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"type\":\"cc\"}]"),
	 "/type: is none of b, c, u and p"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"major\":-1}]"),
	 "/major: -1 is not from 0 to 4095"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"minor\":1048576}]"),
	 "/minor: 1048576 is not from 0 to 1048575"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"fileMode\":\"0666\"}]"),
	 "/fileMode: is not a whole number"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"permissions\":\"rx\"}]"),
	 "/permissions: is neither \"none\" nor of the letters r, w and m"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"uid\":4294967296}]"),
	 "/uid: 4294967296 is not from 0 to 4294967295"},
	{EDITS("\"deviceNodes\":[{\"path\":\"/x\",\"gid\":1.5}]"),
	 "/gid: is not a whole number"},
	{EDITS("\"mounts\":[{\"hostPath\":\"/x\"}]"), "/mounts/0/containerPath: is missing"},
	{EDITS("\"mounts\":[{\"hostPath\":\"\",\"containerPath\":\"/x\"}]"),
	 "/mounts/0/hostPath: is empty"},
	{EDITS("\"mounts\":[{\"hostPath\":\"/x\",\"containerPath\":\"x\"}]"),
	 "/mounts/0/containerPath: is not an absolute path"},
	{EDITS("\"mounts\":[{\"hostPath\":\"/x\",\"containerPath\":\"/x\","
	       "\"options\":\"ro\"}]"),
	 "/mounts/0/options: is not a list"},
	{WITH("0.3.0", "\"mounts\":[{\"hostPath\":\"/x\",\"containerPath\":\"/x\","
		       "\"type\":\"bind\"}]"),
	 "/mounts/0/type: needs cdiVersion 0.4.0"},
	{EDITS("\"hooks\":[{\"path\":\"/h\"}]"), "/hooks/0/hookName: is missing"},
	{EDITS("\"hooks\":[{\"hookName\":\"stop\",\"path\":\"/h\"}]"),
	 "/hooks/0/hookName: is none of the hooks of the runtime-spec"},
	{EDITS("\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"h\"}]"),
	 "/hooks/0/path: is not an absolute path"},
	{EDITS("\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"/h\",\"timeout\":0}]"),
	 "/hooks/0/timeout: 0 is not from 1 to 2147483647"},
	{EDITS("\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"/h\",\"env\":[\"A\"]}]"),
	 "/hooks/0/env/0: is not of the form NAME=VALUE"},
	{EDITS("\"intelRdt\":{\"closID\":\"..\"}"),
	 "/intelRdt/closID: is not the name of a class of service"},
	{WITH("0.6.0", "\"intelRdt\":{}"), "/intelRdt: needs cdiVersion 0.7.0"},
	{WITH("1.0.0", "\"intelRdt\":{\"schemata\":[]}"),
	 "/intelRdt/schemata: needs cdiVersion 1.1.0"},
	{EDITS("\"intelRdt\":{\"enableCMT\":true}"),
	 "/intelRdt/enableCMT: is nothing that CDI knows"},
	{EDITS("\"intelRdt\":{\"enableMonitoring\":1}"),
	 "/intelRdt/enableMonitoring: is not true or false"},
	{WITH("0.6.0", "\"additionalGids\":[1]"), "/additionalGids: needs cdiVersion 0.7.0"},
	{EDITS("\"additionalGids\":[-1]"), "/additionalGids/0: -1 is not from 0"},
	{WITH("1.0.0", "\"netDevices\":[]"), "/netDevices: needs cdiVersion 1.1.0"},
	{EDITS("\"netDevices\":[{\"hostInterfaceName\":\"a/b\",\"name\":\"a\"}]"),
	 "/netDevices/0/hostInterfaceName: is not the name of a network interface"},
	{EDITS("\"netDevices\":[{\"hostInterfaceName\":\"a\",\"name\":\"x\"},"
	       "{\"hostInterfaceName\":\"b\",\"name\":\"x\"}]"),
	 "/netDevices/1/name: stands there a second time"},
};

static void check_wrong(const struct wrong *cases, size_t n, enum cdi_form form)
{
	for (size_t i = 0; i < n; i++) {
		AUTO(cdi_spec) struct cdi_spec *spec = NULL;
		struct err err = {0};
		assert_err(parse(cases[i].text, form, &spec, &err), -EINVAL, &err, cases[i].words);
		assert_null(spec);
	}
}

static void test_wrong(void **state)
{
	(void)state;
	check_wrong(wrong_files, ARRAY_LEN(wrong_files), CDI_JSON);
	check_wrong(wrong_edits, ARRAY_LEN(wrong_edits), CDI_JSON);
}

/* ---- YAML ---- */

static bool has_yaml(void)
{
	AUTO_JSON json_t *root = NULL;
	return yaml_json_parse("a", 1, "f", &root, NULL) != -ENOTSUP;
}

static void test_yaml(void **state)
{
	(void)state;
	static const char text[] = "---\n"
				   "cdiVersion: 0.5.0 # plain\n"
				   "kind: \"nvidia.com/gpu\"\n"
				   "devices:\n"
				   "- name: \"0\"\n"
				   "  containerEdits:\n"
				   "    deviceNodes:\n"
				   "    - {path: /dev/x, major: 0xc3, fileMode: 0644, uid: 0o17}\n"
				   "    env:\n"
				   "- name: all\n"
				   "containerEdits:\n"
				   "  env: [A=yes, 'B=''']\n"
				   "  hooks:\n"
				   "  - hookName: createContainer\n"
				   "    path: /usr/bin/ctk\n"
				   "    args:\n"
				   "    - ctk\n"
				   "    - |\n"
				   "      two\n"
				   "      lines\n";
	AUTO(cdi_spec) struct cdi_spec *spec = NULL;
	struct err err = {0};
	if (!has_yaml())
		skip();
	assert_ok(parse(text, CDI_YAML, &spec, &err), &err);
	assert_string_equal(cdi_spec_kind(spec), "nvidia.com/gpu");
	assert_int_equal(cdi_spec_count(spec), 2);
	const json_t *node = json_array_get(
		json_object_get(cdi_spec_device_edits(spec, 0), "deviceNodes"), 0);
	assert_int_equal(json_integer_value(json_object_get(node, "major")), 0xc3);
	assert_int_equal(json_integer_value(json_object_get(node, "fileMode")), 0644);
	assert_int_equal(json_integer_value(json_object_get(node, "uid")), 15);
	const json_t *env = json_object_get(cdi_spec_edits(spec), "env");
	assert_string_equal(json_string_value(json_array_get(env, 0)), "A=yes");
	assert_string_equal(json_string_value(json_array_get(env, 1)), "B='");
	const json_t *hook =
		json_array_get(json_object_get(cdi_spec_edits(spec), "hooks"), 0);
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(hook, "args"), 1)),
		"two\nlines\n");
}

/* What plain scalars become, as JSON. */
static void test_yaml_scalars(void **state)
{
	(void)state;
	static const char text[] = "[~, null, '', \"null\", true, False, yes, on, 0, -7, +7, 010, 08,"
				   " 0x1F, 0o17, 0x, 1.5, -.5e3, 1., 1.1.0, ., -, e5, 12a]";
	static const char want[] =
		"[null,null,\"\",\"null\",true,false,\"yes\",\"on\",0,-7,7,8,8,31,15,\"0x\",1.5,"
		"-500.0,1.0,\"1.1.0\",\".\",\"-\",\"e5\",\"12a\"]";
	AUTO_JSON json_t *root = NULL;
	struct err err = {0};
	if (!has_yaml())
		skip();
	assert_ok(yaml_json_parse(text, strlen(text), "/f", &root, &err), &err);
	AUTO_FREE char *got = json_dumps(root, JSON_COMPACT);
	assert_string_equal(got, want);
}

static void test_yaml_wrong(void **state)
{
	(void)state;
	static const struct wrong cases[] = {
		{"", "/f: line 1, column 1: there is no document"},
		{"a: [", "/f is not valid YAML: line 2, column 1: "},
		{"a: 1\nb: *x\n", "/f: line 2, column 4: aliases are not read here"},
		{"a: &x 1\nb: *x\n", "/f: line 2, column 4: aliases are not read here"},
		{"a: !!str 1\n", "/f: line 1, column 4: tags are not read here"},
		{"!x {}\n", "tags are not read here"},
		{"a: 1\na: 2\n", "/f: line 2, column 1: the key stands here a second time"},
		{"[a]: 1\n", "/f: line 1, column 1: a key is no text"},
		{"a: 1\n---\nb: 2\n", "there is a second document"},
		{"a: 99999999999999999999\n", "line 1, column 4: the number is too large"},
		{"a: 1e999\n", "line 1, column 4: the number is too large"},
		{"a: \"\\0\"\n", "line 1, column 4: the text holds a NUL"},
		{"\"a\\0\": 1\n", "line 1, column 1: a key holds a NUL"},
		{"a: \xff\n", "/f is not valid YAML: byte 3: "},
		{"- 1\n", "/f: /: is not an object"},
		{"kind: v/c\ncdiVersion: 1.1\ndevices: [{name: a}]\n",
		 "/f: /cdiVersion: is a number, and has to be a text, in quotes"},
		{"kind: v/c\ncdiVersion: 1.1.0\ndevices: [{name: 0}]\n",
		 "/f: /devices/0/name: is a number, and has to be a text, in quotes"},
	};
	if (!has_yaml())
		skip();
	check_wrong(cases, ARRAY_LEN(cases), CDI_YAML);
}

static void test_yaml_deep(void **state)
{
	(void)state;
	char deep[2 * JSON_DEPTH_MAX];
	AUTO_JSON json_t *root = NULL;
	struct err err = {0};
	if (!has_yaml())
		skip();
	memset(deep, '[', sizeof(deep));
	assert_err(yaml_json_parse(deep, sizeof(deep), "/f", &root, &err), -EINVAL, &err,
		   "/f: line 1, column 129: it goes too deep");
}

static void test_names(void **state)
{
	(void)state;
	char vendor[300];
	assert_true(cdi_kind_valid("v/c", 3));
	assert_true(cdi_kind_valid("a_b.c-d/e9", 10));
	assert_false(cdi_kind_valid("v/", 2));
	assert_false(cdi_kind_valid("/c", 2));
	assert_false(cdi_kind_valid("9/c", 3));
	assert_false(cdi_kind_valid("v/c=d", 5));
	memset(vendor, 'v', sizeof(vendor));
	memcpy(vendor + 253, "/c", 2);
	assert_true(cdi_kind_valid(vendor, 255));
	memcpy(vendor + 253, "v/c", 3);
	assert_false(cdi_kind_valid(vendor, 256));
	memcpy(vendor + 1, "/", 1);
	vendor[253] = vendor[254] = 'v';
	assert_true(cdi_kind_valid(vendor, 2 + 63));
	assert_false(cdi_kind_valid(vendor, 2 + 64));
	assert_true(cdi_device_valid("0"));
	assert_true(cdi_device_valid("0:1.0"));
	assert_false(cdi_device_valid(""));
	assert_false(cdi_device_valid("-a"));
	assert_false(cdi_device_valid("a:"));
	assert_false(cdi_device_valid("a/b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),	  cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_yaml),	  cmocka_unit_test(test_yaml_scalars),
		cmocka_unit_test(test_yaml_wrong), cmocka_unit_test(test_yaml_deep),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
