/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/validate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/spec/number.h"
#include "exec/spec/type.h"
#include "tests/unit/unit.h"

enum { TABLE_MAX = 1 << 20 };

/* The folder of the tables. */
static const char *data_path;

static void print_findings(const struct findings *found)
{
	for (size_t i = 0; i < found->count; i++)
		print_message("# %s: %s (%s)\n", found->items[i].pointer, found->items[i].text,
			      found->items[i].section);
}

/* Checks bytes; each pair is the pointer of a finding and words that it says, up to NULL. */
static void expect(enum validate_kind kind, const char *json, const char *const *wanted)
{
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	assert_ok(validate_bytes(kind, json, strlen(json), &found, &err), &err);
	size_t n = 0;
	for (; wanted[2 * n]; n++)
		if (n >= found.count || strcmp(found.items[n].pointer, wanted[2 * n]) != 0 ||
		    !strstr(found.items[n].text, wanted[2 * n + 1]))
			break;
	if (wanted[2 * n] || n != found.count) {
		print_findings(&found);
		fail_msg("%s has not exactly the findings wanted: %zu is the first that differs",
			 json, n);
	}
}
#define EXPECT(kind, json, ...) expect(kind, json, (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT_GOOD(kind, json) expect(kind, json, (const char *const[]){NULL})

/* The value that a pointer goes through, and its last step in `last`, unescaped. */
static json_t *walk(json_t *document, const char *pointer, char last[static 256])
{
	json_t *at = document;
	for (;;) {
		size_t n = 0;
		assert_int_equal(*pointer, '/');
		pointer++;
		while (*pointer && *pointer != '/') {
			char c = *pointer++;
			if (c == '~')
				c = *pointer++ == '1' ? '/' : '~';
			last[n++] = c;
		}
		last[n] = '\0';
		if (*pointer == '\0')
			return at;
		json_t *next = json_is_array(at) ? json_array_get(at, strtoul(last, NULL, 10))
						 : json_object_get(at, last);
		if (!next) {
			next = json_object();
			assert_int_equal(json_object_set_new(at, last, next), 0);
		}
		at = next;
	}
}

static void edit(json_t *document, const json_t *change)
{
	char last[256];
	json_t *at = walk(document, json_string_value(json_array_get(change, 0)), last);
	json_t *value = json_array_get(change, 1);
	int r;
	if (!value)
		r = json_is_array(at) ? json_array_remove(at, strtoul(last, NULL, 10))
				      : json_object_del(at, last);
	else if (json_is_array(at))
		r = strcmp(last, "-") == 0 ? json_array_append(at, value)
					   : json_array_set(at, strtoul(last, NULL, 10), value);
	else
		r = json_object_set(at, last, value);
	assert_int_equal(r, 0);
}

static json_t *load_table(const char *name)
{
	AUTO_FINISH(buf) struct buf text = buf_make(TABLE_MAX), marked = buf_make(TABLE_MAX),
				path = buf_make(PATH_MAX);
	struct err err = {0};
	json_t *table = NULL;
	assert_int_equal(buf_printf(&path, "%s/%s", data_path, name), 0);
	assert_ok(file_slurp(AT_FDCWD, path.data, &text, &err), &err);
	assert_int_equal(oci_number_mark(text.data, text.len, &marked), 0);
	const struct buf *from = marked.len > 0 ? &marked : &text;
	assert_ok(json_parse_object(from->data, from->len, name, &table, &err), &err);
	return table;
}

/* The base of the tables, changed. */
static json_t *edited(const json_t *broken, const json_t *changes)
{
	json_t *document = json_deep_copy(json_object_get(broken, "base"));
	json_t *change;
	size_t i;
	json_array_foreach(changes, i, change)
		edit(document, change);
	return document;
}

/* Whether nothing is found in it. */
static bool is_good(const char *name, const json_t *document)
{
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	assert_ok(validate_json(VALIDATE_CONFIG, document, &found, &err), &err);
	if (found.count == 0)
		return true;
	print_message("# %s:\n", name);
	print_findings(&found);
	return false;
}

/* Each of the table is refused for its one reason, at exactly its place. */
static void test_broken(void **state)
{
	(void)state;
	AUTO_JSON json_t *table = load_table("broken_configs.json");
	json_t *entry;
	size_t i, n = 0;
	json_array_foreach(json_object_get(table, "broken"), i, entry) {
		AUTO_JSON json_t *document = edited(table, json_array_get(entry, 3));
		AUTO_FINISH(findings) struct findings found = {0};
		struct err err = {0};
		const char *name = json_string_value(json_array_get(entry, 0)),
			   *pointer = json_string_value(json_array_get(entry, 1)),
			   *words = json_string_value(json_array_get(entry, 2));
		assert_ok(validate_json(VALIDATE_CONFIG, document, &found, &err), &err);
		if (found.count == 1 && strcmp(found.items[0].pointer, pointer) == 0 &&
		    strstr(found.items[0].text, words)) {
			n++;
			continue;
		}
		print_message("# %s: wanted %s with \"%s\", got %zu\n", name, pointer, words,
			      found.count);
		print_findings(&found);
	}
	assert_int_equal(n, json_array_size(json_object_get(table, "broken")));
	assert_true(n >= 60);
}

static void test_good(void **state)
{
	(void)state;
	AUTO_JSON json_t *broken = load_table("broken_configs.json");
	AUTO_JSON json_t *good = load_table("good_configs.json");
	const json_t *edits = json_object_get(good, "edits");
	json_t *document, *entry;
	const char *name;
	size_t i, bad = !is_good("the base", json_object_get(broken, "base"));
	json_object_foreach(json_object_get(good, "documents"), name, document)
		bad += !is_good(name, document);
	json_array_foreach(edits, i, entry) {
		AUTO_JSON json_t *changed = edited(broken, json_array_get(entry, 1));
		bad += !is_good(json_string_value(json_array_get(entry, 0)), changed);
	}
	assert_int_equal(bad, 0);
	assert_true(json_array_size(edits) > 0);
}

/* All that is wrong is found at once, what breaks the schema first. */
static void test_all_at_once(void **state)
{
	(void)state;
	EXPECT(VALIDATE_CONFIG,
	       "{\"ociVersion\":1,\"hostname\":\"x\",\"root\":{},\"process\":{\"args\":\"sh\",\"cwd\":\"a\","
	       "\"env\":[\"A\",5],\"rlimits\":[{\"type\":\"nofile\",\"soft\":-1,\"hard\":1.5}]},"
	       "\"linux\":{\"namespaces\":[{\"type\":\"net\"},{}],\"resources\":null}}",
	       "/linux/namespaces/0/type", "must be one of mount, pid, network",
	       "/linux/namespaces/1/type", "is required, but is missing",
	       "/linux/resources", "must be an object, but is null",
	       "/ociVersion", "must be a string, but is 1",
	       "/process/args", "must be an array, but is \"sh\"",
	       "/process/env/1", "must be a string, but is 5",
	       "/process/rlimits/0/hard", "must be a whole number, but is 1.5",
	       "/process/rlimits/0/soft", "must not be negative, but is -1",
	       "/process/rlimits/0/type", "must match ^RLIMIT_[A-Z]+$, but is \"nofile\"",
	       "/root/path", "is required",
	       "/process/cwd", "must be an absolute path, but is \"a\"",
	       "/process/env/0", "must be NAME=VALUE",
	       "/hostname", "\"uts\"");
}

/* Types, ranges, words and patterns, each at its place. */
static void test_schema(void **state)
{
	(void)state;
	EXPECT(VALIDATE_CONFIG, "{}", "/ociVersion", "is required", "/root", "is required");
	EXPECT(VALIDATE_CONFIG,
	       "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\",\"readonly\":\"yes\"},\"mounts\":{},"
	       "\"annotations\":{\"a/b~c\":5,\"d\":null},\"hooks\":{\"poststop\":[{\"path\":\"/x\",\"timeout\":0}]},"
	       "\"process\":{\"cwd\":\"/\",\"args\":[\"x\"],\"user\":{\"uid\":4294967296,\"gid\":18446744073709551616}}}",
	       "/annotations/a~1b~0c", "must be a string, but is 5",
	       "/annotations/d", "must be a string, but is null",
	       "/hooks/poststop/0/timeout", "at least 1",
	       "/mounts", "must be an array, but is an empty object",
	       "/process/user/gid", "from 0 to 4294967295, but is 18446744073709551616",
	       "/process/user/uid", "from 0 to 4294967295, but is 4294967296",
	       "/root/readonly", "must be true or false, but is \"yes\"");
	EXPECT(VALIDATE_CONFIG,
	       "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\\u0000b\"},\"windows\":{\"layerFolders\":[],"
	       "\"credentialSpec\":[]},\"linux\":{\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":"
	       "[{\"names\":[],\"action\":\"SCMP_ACT_DENY\"}]},\"intelRdt\":{\"memBwSchema\":\"MB:n\"},"
	       "\"devices\":[{\"path\":\"/d\",\"type\":\"x\",\"fileMode\":512}]}}",
	       "/linux/devices/0/fileMode", "from 0 to 511", "/linux/devices/0/type", "^[cbup]$",
	       "/linux/seccomp/syscalls/0/action", "SCMP_ACT_KILL",
	       "/linux/seccomp/syscalls/0/names", "at least 1 entry", "/root/path", "NUL",
	       "/windows/credentialSpec", "an object", "/windows/layerFolders", "at least 1 entry");
}

/* Objects, arrays and maps that are something else, and null, which is nothing in a config. */
static void test_shapes(void **state)
{
	(void)state;
	EXPECT(VALIDATE_CONFIG, "{\"ociVersion\":\"1.0.0\",\"root\":5,\"annotations\":[],\"mounts\":null}",
	       "/annotations", "must be an object, but is an empty array", "/mounts",
	       "must be an array, but is null", "/root", "must be an object, but is 5");
	EXPECT(VALIDATE_CONFIG, "{\"ociVersion\":null,\"root\":{\"path\":\"a\"},\"annotations\":null}",
	       "/annotations", "must be an object, but is null", "/ociVersion",
	       "must be a string, but is null");
}

/* More than the kernel takes are not even looked at. */
static void test_mappings_limit(void **state)
{
	(void)state;
	enum { KERNEL_MAX = 340 };
	for (int n = KERNEL_MAX; n <= KERNEL_MAX + 1; n++) {
		AUTO_FINISH(buf) struct buf json = buf_make(TABLE_MAX);
		int r = buf_puts(&json, "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\"},\"linux\":{"
					"\"namespaces\":[{\"type\":\"user\"}],\"uidMappings\":[");
		for (int i = 0; i < n && r == 0; i++)
			r = buf_printf(&json, "%s{\"containerID\":%d,\"hostID\":%d,\"size\":1}",
				       i ? "," : "", i, i);
		assert_int_equal(r, 0);
		assert_int_equal(buf_puts(&json, "]}}"), 0);
		if (n == KERNEL_MAX)
			EXPECT_GOOD(VALIDATE_CONFIG, json.data);
		else
			EXPECT(VALIDATE_CONFIG, json.data, "/linux/uidMappings", "at most 340 mappings, but are 341");
	}
}

static void test_not_json(void **state)
{
	(void)state;
	EXPECT(VALIDATE_CONFIG, "", "", "not valid JSON");
	EXPECT(VALIDATE_CONFIG, "{]", "", "not valid JSON: line 1, column 2");
	EXPECT(VALIDATE_CONFIG, "[]", "", "not a JSON object");
	EXPECT(VALIDATE_CONFIG, "{\"ociVersion\":\"1.0.0\",\"ociVersion\":\"1.0.0\"}", "", "duplicate");
	EXPECT(VALIDATE_STATE, "nul", "", "not valid JSON");
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	assert_ok(validate_bytes(VALIDATE_CONFIG, "{", 1, &found, &err), &err);
	assert_string_equal(found.items[0].section, "config.md");
}

static void test_too_large(void **state)
{
	(void)state;
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	assert_err(validate_bytes(VALIDATE_CONFIG, "{}", (size_t)OCI_JSON_MAX + 1, &found, &err), -E2BIG,
		   &err, "a document of");
	assert_int_equal(found.count, 0);
}

static void test_state(void **state)
{
	(void)state;
	EXPECT_GOOD(VALIDATE_STATE, "{\"ociVersion\":\"1.0.0\",\"id\":\"a\",\"status\":\"running\",\"pid\":5,"
				    "\"bundle\":\"/b\",\"annotations\":{\"a\":\"b\"},\"owner\":\"root\"}");
	EXPECT_GOOD(VALIDATE_STATE, "{\"ociVersion\":\"1.0.0\",\"id\":\"a\",\"status\":\"stopped\","
				    "\"bundle\":\"C:\\\\b\"}");
	EXPECT_GOOD(VALIDATE_STATE, "{\"ociVersion\":\"1.0.0\",\"id\":\"a\",\"status\":\"creating\",\"pid\":0,"
				    "\"bundle\":\"/b\"}");
	EXPECT(VALIDATE_STATE, "{\"ociVersion\":\"1\",\"id\":\"\",\"status\":\"created\",\"bundle\":\"b\"}",
	       "/ociVersion", "SemVer", "/id", "id", "/pid", "created, but is missing", "/bundle",
	       "absolute");
	EXPECT(VALIDATE_STATE,
	       "{\"ociVersion\":\"1.0.0\",\"id\":\"a\",\"status\":\"running\",\"pid\":0,\"bundle\":\"/b\","
	       "\"annotations\":{\"\":\"x\"}}",
	       "/pid", "running, but is 0", "/annotations/", "empty");
	EXPECT(VALIDATE_STATE, "{\"status\":\"asleep\",\"pid\":-1}", "/bundle", "is required", "/id",
	       "is required", "/ociVersion", "is required", "/pid", "negative", "/status", "creating");
}

static void test_features(void **state)
{
	(void)state;
	EXPECT_GOOD(VALIDATE_FEATURES, "{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.0.0\"}");
	EXPECT_GOOD(VALIDATE_FEATURES,
		    "{\"ociVersionMin\":\"1.0.0-rc.2\",\"ociVersionMax\":\"1.0.0-rc.11\",\"hooks\":null,"
		    "\"linux\":{\"cgroup\":null,\"capabilities\":[\"CAP_CHOWN\"]}}");
	EXPECT(VALIDATE_FEATURES, "{\"ociVersionMin\":\"1.1.0\",\"ociVersionMax\":\"1.1.0-dev\"}",
	       "/ociVersionMax", "less than ociVersionMin");
	EXPECT(VALIDATE_FEATURES,
	       "{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.0.0\",\"annotations\":{\"\":\"x\"}}",
	       "/annotations/", "empty string");
	EXPECT(VALIDATE_FEATURES, "{\"ociVersionMin\":null,\"linux\":{\"capabilities\":[\"CHOWN\"]}}",
	       "/linux/capabilities/0", "^CAP_", "/ociVersionMax", "is required", "/ociVersionMin",
	       "is null");
}

/* Each finding names where the specification says so. */
static void test_sections(void **state)
{
	(void)state;
	static const char json[] =
		"{\"ociVersion\":\"1\",\"root\":{\"path\":\"\"},\"process\":{\"args\":[],\"cwd\":\"/\","
		"\"oomScoreAdj\":5000,\"user\":{\"gid\":0}},\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}],"
		"\"resources\":{\"rdma\":{\"x\":{}}},\"sysctl\":{\"vm.x\":\"1\"}}}";
	static const char *const sections[] = {
		"config.md#specification-version", "config.md#root", "config.md#process",
		"config.md#posix-platform-user", "config.md#linux-process", "config-linux.md#namespaces",
		"config-linux.md#rdma", "config-linux.md#sysctl",
	};
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	assert_ok(validate_bytes(VALIDATE_CONFIG, json, strlen(json), &found, &err), &err);
	assert_int_equal(found.count, ARRAY_LEN(sections));
	for (size_t i = 0; i < found.count; i++)
		assert_string_equal(found.items[i].section, sections[i]);
}

/* A document of nothing but mistakes: the list ends, the rest is counted. */
static void test_limit(void **state)
{
	(void)state;
	enum { MISTAKES = 5000 };
	AUTO_FINISH(buf) struct buf json = buf_make(TABLE_MAX);
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	int r = buf_puts(&json, "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\"},\"process\":"
				"{\"cwd\":\"/\",\"args\":[\"x\"],\"env\":[\"A\"");
	for (int i = 1; i < MISTAKES && r == 0; i++)
		r = buf_puts(&json, ",\"A\"");
	assert_int_equal(r, 0);
	assert_int_equal(buf_puts(&json, "]}}"), 0);
	assert_ok(validate_bytes(VALIDATE_CONFIG, json.data, json.len, &found, &err), &err);
	assert_int_equal(found.count, VALIDATE_FINDINGS_MAX);
	assert_int_equal(found.left_off, MISTAKES - VALIDATE_FINDINGS_MAX);
	assert_string_equal(found.items[VALIDATE_FINDINGS_MAX - 1].pointer, "/process/env/255");
}

/* What a document says is quoted so that it fits on a line and drives no terminal. */
static void test_quotes(void **state)
{
	(void)state;
	EXPECT(VALIDATE_CONFIG,
	       "{\"ociVersion\":\"\\u001b[2J\\n\u00e9\",\"root\":{\"path\":\"a\"},\"process\":{\"args\":[\"x\"],"
	       "\"cwd\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}}",
	       "/ociVersion", "but is \"\\u001b[2J\\u000a\u00e9\"", "/process/cwd", "456789…\"");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_schema),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_mappings_limit),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_quotes),
	};
	if (argc != 2)
		return 2;
	data_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
