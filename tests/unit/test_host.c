/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/host.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include "exec/defaults.h"
#include "tests/unit/unit.h"

static struct host_facts poor_host(void)
{
	struct host_facts facts = {
		.bounding = CAP_SET_ALL & ~cap_bit(CAP_MKNOD),
		.effective = CAP_SET_ALL & ~cap_bit(CAP_SYS_RESOURCE),
		.oom_score_adj = 100,
		.nr_open = 1 << 20,
	};
	for (size_t i = 0; i < HOST_LIMITS; i++)
		facts.limits_hard[i] = UINT64_MAX;
	facts.limits_hard[RLIMIT_NOFILE] = 4096;
	facts.limits_hard[RLIMIT_CORE] = 0;
	return facts;
}

static void add_limit(struct oci_config *config, const char *type, uint64_t soft, uint64_t hard)
{
	struct oci_rlimit *limit = oci_process_add_rlimits(config->process);
	assert_non_null(limit);
	assert_int_equal(oci_rlimit_set_type(limit, type), 0);
	oci_rlimit_set_soft(limit, soft);
	oci_rlimit_set_hard(limit, hard);
}

static void test_clamp(void **state)
{
	(void)state;
	static const char *const want[] = {
		"oomScoreAdj -500 needs CAP_SYS_RESOURCE; it stays at 100",
		"RLIMIT_NOFILE 8388608 is above our own, which needs CAP_SYS_RESOURCE; it is lowered "
		"to 4096",
		"RLIMIT_CORE unlimited is above our own, which needs CAP_SYS_RESOURCE; it is lowered "
		"to 0",
		"CAP_MKNOD is not ours to give; the container does without",
		NULL,
	};
	const struct host_facts facts = poor_host();
	AUTO(oci_config) struct oci_config *config = NULL;
	char **warnings = NULL;
	struct err err = {0};
	assert_ok(defaults_create(&config, &err), &err);
	oci_process_set_oom_score_adj(config->process, -500);
	add_limit(config, "RLIMIT_NOFILE", 1024, 8 << 20);
	add_limit(config, "RLIMIT_CORE", UINT64_MAX, UINT64_MAX);
	add_limit(config, "RLIMIT_STACK", 1, UINT64_MAX);
	assert_ok(host_clamp(&facts, config, &warnings, &err), &err);
	assert_non_null(warnings);
	for (size_t i = 0; want[i] || warnings[i]; i++)
		assert_string_equal(warnings[i] ? warnings[i] : "-", want[i] ? want[i] : "-");
	host_warnings_free(warnings);
	const struct oci_process *process = config->process;
	assert_int_equal(process->oom_score_adj, 100);
	assert_int_equal(process->rlimits[0]->soft, 1024);
	assert_int_equal(process->rlimits[0]->hard, 4096);
	assert_int_equal(process->rlimits[1]->soft, 0);
	assert_int_equal(process->rlimits[1]->hard, 0);
	assert_true(process->rlimits[2]->hard == UINT64_MAX);
	assert_int_equal(process->capabilities->n_bounding, 13);
	assert_int_equal(process->capabilities->n_effective, 13);
	assert_int_equal(process->capabilities->n_permitted, 13);
}

static void test_nothing(void **state)
{
	(void)state;
	struct host_facts facts = poor_host();
	AUTO(oci_config) struct oci_config *config = NULL;
	AUTO(oci_config) struct oci_config *empty = oci_config_create();
	char **warnings = NULL;
	struct err err = {0};
	facts.bounding = facts.effective = CAP_SET_ALL;
	assert_ok(defaults_create(&config, &err), &err);
	oci_process_set_oom_score_adj(config->process, -500);
	add_limit(config, "RLIMIT_NOFILE", 1024, 1 << 20);
	add_limit(config, "RLIMIT_CORE", 0, UINT64_MAX);
	assert_ok(host_clamp(&facts, config, &warnings, &err), &err);
	assert_null(warnings);
	add_limit(config, "RLIMIT_NOFILE", UINT64_MAX, UINT64_MAX);
	assert_ok(host_clamp(&facts, config, &warnings, &err), &err);
	assert_non_null(warnings);
	assert_string_equal(warnings[0], "RLIMIT_NOFILE unlimited is above fs.nr_open of this host; "
					 "it is lowered to 1048576");
	assert_null(warnings[1]);
	host_warnings_free(warnings);
	warnings = NULL;
	assert_int_equal(config->process->oom_score_adj, -500);
	assert_ok(host_clamp(&facts, empty, &warnings, &err), &err);
	assert_null(warnings);
}

static void test_facts(void **state)
{
	(void)state;
	struct host_facts facts = {0};
	struct rlimit limit;
	struct err err = {0};
	assert_ok(host_facts_read(&facts, &err), &err);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(facts.limits_hard[RLIMIT_NOFILE] == limit.rlim_max);
	assert_true(facts.nr_open >= 1024);
	assert_in_range(facts.oom_score_adj + 1000, 0, 2000);
	assert_true((facts.effective & ~CAP_SET_ALL) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clamp),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_facts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
