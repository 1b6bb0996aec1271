/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/num.h"
#include "exec/seccomp_bpf.h"
#include "tests/unit/unit.h"

static const char profile_name[] = "seccomp-apply.json";
static const char annotation[] = "run.oci.seccomp_bpf_data";

static struct oci_config *config_of(const char *text)
{
	struct err err = {0};
	struct oci_config *config = NULL;
	assert_ok(oci_config_parse(text, strlen(text), &config, &err), &err);
	return config;
}

#define CONFIG(caps)                                                                         \
	"{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\",\"capabilities\":{\"bounding\":"  \
	"[" caps "]}},\"annotations\":{\"run.oci.seccomp_bpf_data\":\"AAAA\",\"a\":\"b\","      \
	"\"run.oci.seccomp.receiver\":\"/evil\"},\"linux\":{\"seccomp\":{\"defaultAction\":"    \
	"\"SCMP_ACT_ALLOW\"}}}"

static void write_profile(const char *text)
{
	struct err err = {0};
	assert_ok(file_commit(AT_FDCWD, profile_name, text, strlen(text), COMMIT_REPLACE, &err),
		  &err);
}

/* The verdict of the filter in the annotation on a call of this host without arguments. */
static uint32_t verdict(const struct oci_config *config, int nr)
{
	static const uint64_t zeros[6];
	const char *text = oci_config_get_annotations(config, annotation);
	AUTO_FREE char *code = NULL;
	size_t n = 0;
	struct err err = {0};
	enum seccomp_arch arch;
	assert_non_null(text);
	assert_int_equal(base64_decode(text, strlen(text), SECCOMP_BPF_BYTES_MAX, &code, &n), 0);
	assert_int_equal(seccomp_arch_of_host(&arch), 0);
	struct seccomp_bpf bpf = {.code = code, .n = n,
				  .big_endian = seccomp_arch_big_endian(arch)};
	assert_ok(seccomp_bpf_check(&bpf, &err), &err);
	return seccomp_bpf_call(&bpf, arch, nr, zeros);
}

static void test_crun(void **state)
{
	(void)state;
	enum { MOUNT = 165 };
	AUTO(oci_config) struct oci_config *config = config_of(CONFIG("\"CAP_CHOWN\""));
	AUTO(oci_config) struct oci_config *able = config_of(CONFIG("\"CAP_SYS_ADMIN\""));
	struct seccomp_choice choice = {.crun = true, .cache_dirfd = -1, .native_only = true};
	struct err err = {0};
	enum seccomp_arch arch;
	assert_ok(seccomp_apply(config, &choice, &err), &err);
	assert_ok(seccomp_apply(able, &choice, &err), &err);
	assert_null(oci_config_get_annotations(config, "run.oci.seccomp.receiver"));
	assert_string_equal(oci_config_get_annotations(config, "a"), "b");
	assert_int_equal(config->linux->seccomp->n_architectures, 1);
	assert_string_equal(config->linux->seccomp->default_action, "SCMP_ACT_ERRNO");
	assert_int_equal(config->linux->seccomp->default_errno_ret, ENOSYS);
	assert_true(config->linux->seccomp->n_syscalls > 10);
	assert_int_equal(seccomp_arch_of_host(&arch), 0);
	if (arch != SECCOMP_ARCH_X86_64)
		skip();
	assert_int_equal(verdict(config, MOUNT), SECCOMP_RET_ERRNO | EPERM);
	assert_int_equal(verdict(able, MOUNT), SECCOMP_RET_ALLOW);
}

static void test_section(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = config_of(CONFIG("\"CAP_CHOWN\""));
	struct seccomp_choice choice = {.profile = profile_name, .cache_dirfd = -1,
					.native_only = true};
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(4096);
	write_profile("{\"defaultAction\":\"SCMP_ACT_LOG\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
		      "\"listenerPath\":\"/run/x\",\"listenerMetadata\":\"m\",\"syscalls\":["
		      "{\"names\":[\"a\",\"b\"],\"action\":\"SCMP_ACT_ERRNO\",\"errno\":\"EIO\","
		      "\"args\":[{\"index\":1,\"value\":18446744073709551615,\"valueTwo\":2,"
		      "\"op\":\"SCMP_CMP_MASKED_EQ\"},{\"index\":1,\"value\":3,\"op\":\"SCMP_CMP_NE\"}]},"
		      "{\"name\":\"c\",\"action\":\"SCMP_ACT_KILL\",\"comment\":\"gone\","
		      "\"excludes\":{\"caps\":[\"CAP_KILL\"]}},"
		      "{\"name\":\"d\",\"action\":\"SCMP_ACT_KILL\",\"excludes\":"
		      "{\"caps\":[\"CAP_CHOWN\"]}}]}");
	assert_ok(seccomp_apply(config, &choice, &err), &err);
	assert_null(oci_config_get_annotations(config, annotation));
	oci_linux_seccomp_clear_architectures(config->linux->seccomp);
	assert_ok(oci_linux_seccomp_emit(config->linux->seccomp, &out, &err), &err);
	assert_string_equal(
		buf_str(&out),
		"{\"defaultAction\":\"SCMP_ACT_LOG\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
		"\"listenerMetadata\":\"m\",\"listenerPath\":\"/run/x\",\"syscalls\":["
		"{\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":1,\"op\":\"SCMP_CMP_MASKED_EQ\","
		"\"value\":18446744073709551615,\"valueTwo\":2}],\"errnoRet\":5,\"names\":[\"a\",\"b\"]},"
		"{\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":1,\"op\":\"SCMP_CMP_NE\","
		"\"value\":3}],\"errnoRet\":5,\"names\":[\"a\",\"b\"]},"
		"{\"action\":\"SCMP_ACT_KILL_THREAD\",\"names\":[\"c\"]}]}");
	(void)unlink(profile_name);
}

static void test_none(void **state)
{
	(void)state;
	static const char *const none[] = {SECCOMP_UNCONFINED, profile_name};
	write_profile("{}");
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		AUTO(oci_config) struct oci_config *config = config_of(CONFIG(""));
		struct seccomp_choice choice = {.profile = none[i], .crun = true, .cache_dirfd = -1};
		struct err err = {0};
		assert_ok(seccomp_apply(config, &choice, &err), &err);
		assert_null(config->linux->seccomp);
		assert_null(oci_config_get_annotations(config, annotation));
	}
	AUTO(oci_config) struct oci_config *bare = config_of("{\"ociVersion\":\"1.0.2\"}");
	struct seccomp_choice choice = {.cache_dirfd = -1};
	struct err err = {0};
	assert_ok(seccomp_apply(bare, &choice, &err), &err);
	assert_non_null(bare->linux->seccomp);
	(void)unlink(profile_name);
}

/* What is asked for and cannot be had is an error, and never no filter. */
static void test_failures(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *odd = config_of(CONFIG("\"CAP_WHAT\""));
	AUTO(oci_config) struct oci_config *config = config_of(CONFIG(""));
	struct seccomp_choice choice = {.crun = true, .cache_dirfd = -1};
	struct err err = {0};
	assert_err(seccomp_apply(odd, &choice, &err), -EINVAL, &err,
		   "there is no capability 'CAP_WHAT'");
	choice.profile = "nowhere.json";
	assert_err(seccomp_apply(config, &choice, &err), -ENOENT, &err,
		   "seccomp profile nowhere.json: open nowhere.json");
	choice.profile = profile_name;
	write_profile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\n\"syscalls\":[7]}");
	assert_err(seccomp_apply(config, &choice, &err), -EINVAL, &err,
		   "seccomp-apply.json: line 2, column 13: /syscalls/0: an object is expected");
	write_profile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_S390X\"]}");
	assert_err(seccomp_apply(config, &choice, &err), -EOPNOTSUPP, &err,
		   "their byte orders differ");
	assert_null(oci_config_get_annotations(config, annotation));
	(void)unlink(profile_name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crun),
		cmocka_unit_test(test_section),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
