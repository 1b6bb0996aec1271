/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_profile.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/seccomp_resolve.h"
#include "tests/unit/unit.h"

static struct seccomp_profile *parse(const char *text)
{
	struct err err = {0};
	struct seccomp_profile *profile = NULL;
	assert_ok(seccomp_profile_parse(text, strlen(text), "it", &profile, &err), &err);
	return profile;
}

static void test_dialects(void **state)
{
	(void)state;
	AUTO(seccomp_profile) struct seccomp_profile *moby = parse(
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\n"
		"\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\",\"subArchitectures\":"
		"[\"SCMP_ARCH_X86\"]},{\"architecture\":\"SCMP_ARCH_RISCV64\","
		"\"subArchitectures\":null}],\n"
		"\"syscalls\":[{\"names\":[\"read\",\"write\"],\"action\":\"SCMP_ACT_ALLOW\"},\n"
		"{\"name\":\"mount\",\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":22,\"args\":null,"
		"\"comment\":\"x\",\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"],\"minKernel\":\"4.8\","
		"\"arches\":[\"amd64\",\"x32\"]},\"excludes\":{}}]}");
	assert_int_equal(moby->default_action, SECCOMP_RET_ERRNO | 38);
	assert_int_equal(moby->n_maps, 2);
	assert_int_equal(moby->maps[0].subs[0], SECCOMP_ARCH_X86);
	assert_int_equal(moby->n_rules, 2);
	assert_string_equal(moby->rules[0].names[1], "write");
	assert_int_equal(moby->rules[0].action, SECCOMP_RET_ALLOW);
	assert_int_equal(moby->rules[1].action, SECCOMP_RET_ERRNO | 22);
	assert_int_equal(moby->rules[1].line, 4);
	assert_true(moby->rules[1].includes.caps == cap_bit(21));
	assert_int_equal(moby->rules[1].includes.kernel.minor, 8);
	assert_true(moby->has_kernel_rules);

	AUTO(seccomp_profile) struct seccomp_profile *containers = parse(
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":1,"
		"\"defaultErrno\":\"ENOSYS\",\"architectures\":[\"SCMP_ARCH_AARCH64\"],"
		"\"syscalls\":[{\"names\":[\"socket\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1,"
		"\"errno\":\"EINVAL\",\"args\":[{\"index\":0,\"value\":16,\"valueTwo\":0,"
		"\"op\":\"SCMP_CMP_EQ\"}]},{\"names\":[\"a\"],\"action\":\"SCMP_ACT_TRACE\","
		"\"errno\":\"300\"},{\"names\":[\"b\"],\"action\":\"SCMP_ACT_KILL\",\"errno\":\"\"}]}");
	assert_int_equal(containers->default_action, SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(containers->rules[0].action, SECCOMP_RET_ERRNO | EINVAL);
	assert_int_equal(containers->rules[1].action, SECCOMP_RET_TRACE | 300);
	assert_int_equal(containers->rules[2].action, SECCOMP_RET_KILL_THREAD);
	assert_int_equal(containers->arches[0], SECCOMP_ARCH_AARCH64);
	assert_false(containers->has_kernel_rules);
}

static void test_disabled(void **state)
{
	(void)state;
	static const char *const empty[] = {
		"{}",
		"{\"defaultAction\":\"\",\"syscalls\":[]}",
		"{\"defaultAction\":\"\",\"syscalls\":null,\"archMap\":null}",
	};
	for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
		AUTO(seccomp_profile) struct seccomp_profile *profile = parse(empty[i]);
		assert_true(profile->disabled);
	}
	AUTO(seccomp_profile) struct seccomp_profile *all =
		parse("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
	assert_false(all->disabled);
}

static void test_numbers(void **state)
{
	(void)state;
	AUTO(seccomp_profile) struct seccomp_profile *profile = parse(
		"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"name\":\"x\",\"action\":"
		"\"SCMP_ACT_KILL_PROCESS\",\"args\":[\n"
		"{\"index\":5,\"value\":18446744073709551615,\"valueTwo\":9223372036854775808,"
		"\"op\":\"SCMP_CMP_MASKED_EQ\"},"
		"{\"index\":4,\"value\":9223372036854775807,\"op\":\"SCMP_CMP_LT\"},"
		"{\"index\":4,\"value\":0,\"op\":\"SCMP_CMP_NE\"}]}]}");
	const struct seccomp_rule *rule = &profile->rules[0];
	assert_true(rule->conds[0].value == UINT64_MAX);
	assert_true(rule->conds[0].value_two == UINT64_C(1) << 63);
	assert_true(rule->conds[1].value == INT64_MAX);
	assert_int_equal(rule->conds[2].op, SECCOMP_OP_NE);
	assert_true(rule->any); /* 4 stands twice */
}

#define RULE(text)                                                                          \
	"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\n\"syscalls\":[\n{\"names\":[\"read\"]," text "}]}"
#define ALLOW "\"action\":\"SCMP_ACT_ALLOW\""
#define WITH(text) "{\"defaultAction\":\"SCMP_ACT_ALLOW\"," text "}"
#define ARG(text) RULE(ALLOW ",\"args\":[" text "]")

static const struct {
	const char *text, *words;
} bad[] = {
	{"", "it: line 1, column 0: '[' or '{' expected near end of file"},
	{"[]", "it: line 1, column 1: not a JSON object"},
	{"{\n\"defaultAction\" \"x\"}", "it: line 2, column 19: ':' expected near '\"x\"'"},
	{"{\"a\":1,\n \"a\":2}", "it: line 2, column 4: duplicate object key near '\"a\"'"},
	{"{\"defaultErrnoRet\":\n -1}", "line 2, column 2: a profile has no negative numbers"},
	{"{\"defaultErrnoRet\":18446744073709551616}", "line 1, column 39: too big integer"},
	{"{\"defaultaction\":\"SCMP_ACT_ALLOW\"}",
	 "line 1, column 18: /defaultaction: a profile has no such key"},
	{"{\"syscalls\":[{}]}", "it: line 1, column 1: /: \"defaultAction\" is missing"},
	{"{\"defaultAction\":7}", "line 1, column 18: /defaultAction: a string is expected"},
	{"{\"defaultAction\":\"ALLOW\"}", "/defaultAction: 'ALLOW' is no action"},
	{"{\"defaultAction\":\"SCMP_ACT_\\u0000\"}", "/defaultAction: the string holds a NUL"},
	{WITH("\"defaultErrnoRet\":1"), "/defaultErrnoRet: SCMP_ACT_ALLOW takes no error"},
	{WITH("\"defaultErrno\":\"EPERM\""), "/defaultErrno: SCMP_ACT_ALLOW takes no error"},
	{"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrno\":\"EWHAT\"}",
	 "/defaultErrno: 'EWHAT' is no error"},
	{"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":0}",
	 "/defaultErrnoRet: an error is a number from 1 to 4095"},
	{"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}",
	 "/defaultErrnoRet: an error is a number from 1 to 4095"},
	{"{\"defaultAction\":\"SCMP_ACT_TRACE\",\"defaultErrnoRet\":65536}",
	 "/defaultErrnoRet: at most 65535 is possible"},
	{"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":1.5}",
	 "/defaultErrnoRet: a whole number is expected"},
	{WITH("\"architectures\":[\"SCMP_ARCH_X86\"],\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86\"}]"),
	 "/archMap: \"architectures\" and \"archMap\" exclude each other"},
	{WITH("\"architectures\":[\"amd64\"]"), "/architectures/0: 'amd64' is no architecture"},
	{WITH("\"architectures\":[\"SCMP_ARCH_X86\",\"SCMP_ARCH_X86\"]"),
	 "/architectures/1: 'SCMP_ARCH_X86' stands twice"},
	{WITH("\"architectures\":{}"), "/architectures: a list is expected"},
	{WITH("\"archMap\":[{}]"), "/archMap/0: \"architecture\" is missing"},
	{WITH("\"archMap\":[[]]"), "/archMap/0: an object is expected"},
	{WITH("\"archMap\":[{\"architecture\":\"x\"}]"),
	 "/archMap/0/architecture: 'x' is no architecture"},
	{WITH("\"archMap\":[{\"architecture\":\"SCMP_ARCH_ARM\"},{\"architecture\":\"SCMP_ARCH_ARM\"}]"),
	 "/archMap/1/architecture: 'SCMP_ARCH_ARM' stands twice"},
	{WITH("\"archMap\":[{\"architecture\":\"SCMP_ARCH_ARM\",\"subArchitectures\":[\"SCMP_ARCH_ARM\"]}]"),
	 "/archMap/0/subArchitectures: 'SCMP_ARCH_ARM' is below itself"},
	{WITH("\"flags\":[\"SECCOMP_FILTER_FLAG_NEW_LISTENER\"]"),
	 "/flags/0: 'SECCOMP_FILTER_FLAG_NEW_LISTENER' is no flag"},
	{WITH("\"listenerPath\":\"run/x\""), "/listenerPath: 'run/x' is not absolute"},
	{WITH("\"listenerMetadata\":\"x\""), "/listenerMetadata: it is of no use without"},
	{WITH("\"syscalls\":[5]"), "/syscalls/0: an object is expected"},
	{WITH("\"syscalls\":[{" ALLOW "}]"), "/syscalls/0: \"names\" is missing or empty"},
	{WITH("\"syscalls\":[{\"names\":[]," ALLOW "}]"),
	 "/syscalls/0: \"names\" is missing or empty"},
	{WITH("\"syscalls\":[{\"names\":[\"Read\"]," ALLOW "}]"),
	 "/syscalls/0/names/0: 'Read' cannot be a system call"},
	{WITH("\"syscalls\":[{\"names\":[\"read\", 5]," ALLOW "}]"),
	 "/syscalls/0/names/1: a string is expected"},
	{RULE(ALLOW ",\"name\":\"x\""),
	 "it: line 3, column 52: /syscalls/0/name: \"name\" and \"names\" exclude each other"},
	{RULE("\"comment\":\"x\""),
	 "it: line 3, column 1: /syscalls/0: \"action\" is missing"},
	{RULE(ALLOW ",\"exclude\":{}"), "/syscalls/0/exclude: a profile has no such key"},
	{RULE(ALLOW ",\"comment\":1"), "/syscalls/0/comment: a string is expected"},
	{RULE(ALLOW ",\"errnoRet\":1"), "/syscalls/0/errnoRet: SCMP_ACT_ALLOW takes no error"},
	{RULE(ALLOW ",\"includes\":[]"), "/syscalls/0/includes: an object is expected"},
	{RULE(ALLOW ",\"includes\":{\"cap\":[]}"),
	 "/syscalls/0/includes/cap: a profile has no such key"},
	{RULE(ALLOW ",\"includes\":{\"caps\":[\"SYS_ADMIN\"]}"),
	 "/syscalls/0/includes/caps/0: 'SYS_ADMIN' is no capability"},
	{RULE(ALLOW ",\"excludes\":{\"arches\":[\"SCMP_ARCH_X86\"]}"),
	 "/syscalls/0/excludes/arches/0: 'SCMP_ARCH_X86' is no architecture"},
	{RULE(ALLOW ",\"includes\":{\"minKernel\":\"4\"}"),
	 "/syscalls/0/includes/minKernel: a version like \"4.8\" is expected"},
	{RULE(ALLOW ",\"includes\":{\"minKernel\":\"4.8.1\"}"),
	 "/syscalls/0/includes/minKernel: a version like \"4.8\" is expected"},
	{ARG("1"), "/syscalls/0/args/0: an object is expected"},
	{ARG("{\"value\":1,\"op\":\"SCMP_CMP_EQ\"}"), "/syscalls/0/args/0: \"index\" is missing"},
	{ARG("{\"index\":1,\"op\":\"SCMP_CMP_EQ\"}"), "/syscalls/0/args/0: \"value\" is missing"},
	{ARG("{\"index\":1,\"value\":1}"), "/syscalls/0/args/0: \"op\" is missing"},
	{ARG("{\"index\":6,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}"),
	 "/syscalls/0/args/0/index: at most 5 is possible"},
	{ARG("{\"index\":0,\"value\":1,\"op\":\"==\"}"),
	 "/syscalls/0/args/0/op: '==' is no comparison"},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct seccomp_profile *profile = NULL;
		assert_err(seccomp_profile_parse(bad[i].text, strlen(bad[i].text), "it", &profile,
						 &err),
			   -EINVAL, &err, bad[i].words);
		assert_null(profile);
	}
}

static void test_resolve(void **state)
{
	(void)state;
	AUTO(seccomp_profile) struct seccomp_profile *profile = parse(
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"archMap\":[{\"architecture\":"
		"\"SCMP_ARCH_X86_64\",\"subArchitectures\":[\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"]}],"
		"\"syscalls\":["
		"{\"name\":\"a0\",\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1},"
		"{\"name\":\"a1\"," ALLOW ",\"includes\":{\"caps\":[\"CAP_CHOWN\",\"CAP_KILL\"]}},"
		"{\"name\":\"a2\"," ALLOW ",\"excludes\":{\"caps\":[\"CAP_CHOWN\",\"CAP_KILL\"]}},"
		"{\"name\":\"a3\"," ALLOW ",\"includes\":{\"arches\":[\"arm\",\"amd64\"]}},"
		"{\"name\":\"a4\"," ALLOW ",\"excludes\":{\"arches\":[\"arm\",\"amd64\"]}},"
		"{\"name\":\"a5\"," ALLOW ",\"includes\":{\"minKernel\":\"4.8\"}},"
		"{\"name\":\"a6\"," ALLOW ",\"excludes\":{\"minKernel\":\"4.8\"}},"
		"{\"name\":\"a7\"," ALLOW ",\"args\":["
		"{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"},"
		"{\"index\":0,\"value\":2,\"op\":\"SCMP_CMP_EQ\"},"
		"{\"index\":1,\"value\":3,\"op\":\"SCMP_CMP_EQ\"}]}]}");
	static const struct {
		struct seccomp_target target;
		const char *names;
		size_t n_arches;
	} cases[] = {
		{{.native = SECCOMP_ARCH_X86_64, .kernel = {4, 8}}, "a2 a3 a5 a7 a7 a7 ", 3},
		{{.native = SECCOMP_ARCH_X86_64, .kernel = {4, 8}, .native_only = true},
		 "a2 a3 a5 a7 a7 a7 ", 1},
		{{.native = SECCOMP_ARCH_X86_64, .kernel = {5, 0}, .caps = 1}, "a3 a5 a7 a7 a7 ", 3},
		{{.native = SECCOMP_ARCH_AARCH64, .kernel = {4, 7}, .caps = CAP_SET_ALL},
		 "a1 a4 a6 a7 a7 a7 ", 1},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		char names[128] = "";
		AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
		assert_ok(seccomp_resolve(profile, &cases[i].target, &filter, &err), &err);
		for (size_t j = 0; j < filter->n_calls; j++) {
			strcat(names, filter->calls[j].rule->names[0]);
			strcat(names, " ");
		}
		assert_string_equal(names, cases[i].names);
		assert_int_equal(filter->n_arches, cases[i].n_arches);
		assert_int_equal(filter->arches[0], cases[i].target.native);
		assert_int_equal(filter->calls[filter->n_calls - 1].n_conds, 1);
		assert_int_equal(filter->calls[filter->n_calls - 1].conds[0].value, 3);
	}
}

static void test_words(void **state)
{
	(void)state;
	char text[SECCOMP_ACTION_TEXT_MAX];
	struct seccomp_kernel kernel;
	assert_string_equal(seccomp_action_text(SECCOMP_RET_ERRNO | EPERM, text), "EPERM");
	assert_string_equal(seccomp_action_text(SECCOMP_RET_ERRNO | 4000, text), "errno 4000");
	assert_string_equal(seccomp_action_text(SECCOMP_RET_TRACE | 3, text), "trace 3");
	assert_string_equal(seccomp_action_text(SECCOMP_RET_ALLOW, text), "allow");
	assert_string_equal(seccomp_action_text(SECCOMP_RET_KILL_THREAD, text), "kill thread");
	assert_string_equal(seccomp_action_name(SECCOMP_RET_ERRNO | 5), "SCMP_ACT_ERRNO");
	assert_null(seccomp_action_name(0x12340000));
	assert_int_equal(seccomp_kernel_parse("6.18.44-x", &kernel), 0);
	assert_int_equal(kernel.major, 6);
	assert_int_equal(kernel.minor, 18);
	assert_int_equal(seccomp_kernel_parse("6", &kernel), -EINVAL);
	assert_int_equal(seccomp_kernel_parse("", &kernel), -EINVAL);
}

static void test_limits(void **state)
{
	(void)state;
	struct err err = {0};
	struct seccomp_profile *profile = NULL;
	AUTO_FREE char *big = malloc(SECCOMP_PROFILE_BYTES_MAX + 1);
	assert_non_null(big);
	memset(big, ' ', SECCOMP_PROFILE_BYTES_MAX + 1);
	assert_err(seccomp_profile_parse(big, SECCOMP_PROFILE_BYTES_MAX + 1, "it", &profile, &err),
		   -E2BIG, &err, "it has more than 1048576 bytes");
	assert_err(seccomp_profile_load(-100, "/nowhere/profile.json", &profile, &err), -ENOENT,
		   &err, "seccomp profile /nowhere/profile.json: open /nowhere/profile.json");
	assert_null(profile);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialects), cmocka_unit_test(test_disabled),
		cmocka_unit_test(test_numbers),	 cmocka_unit_test(test_refused),
		cmocka_unit_test(test_resolve),	 cmocka_unit_test(test_words),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
