/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/ref.h"

#include <errno.h>

#include "base/num.h"
#include "tests/unit/unit.h"

#define HEX64 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define DIGEST "sha256:" HEX64
#define X64    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void test_canonical(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} good[] = {
		{"x", "docker.io/library/x:latest"},
		{"docker://python:3.12", "docker.io/library/python:3.12"},
		{"user/app", "docker.io/user/app:latest"},
		{"index.docker.io/busybox", "docker.io/library/busybox:latest"},
		{"docker.io/library/busybox:1", "docker.io/library/busybox:1"},
		{"localhost/a", "localhost/a:latest"},
		{"localhost:5000/a/b:t", "localhost:5000/a/b:t"},
		{"localhost:5000", "docker.io/library/localhost:5000"},
		{"quay.io/a", "quay.io/a:latest"},
		{"Registry/a", "Registry/a:latest"},
		{"127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"},
		{"[::1]:5000/a", "[::1]:5000/a:latest"},
		{"[2001:db8::1]/a", "[2001:db8::1]/a:latest"},
		{"a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest"},
		{"a@" DIGEST, "docker.io/library/a@" DIGEST},
		{"a:t@" DIGEST, "docker.io/library/a:t@" DIGEST},
		{"a:_A.-9", "docker.io/library/a:_A.-9"},
		{"oci:dir", "oci:dir"},
		{"oci:/a/b:docker.io/library/x:1", "oci:/a/b:docker.io/library/x:1"},
		{"oci:/a@b@" DIGEST, "oci:/a@b@" DIGEST},
		{"oci-archive:f.tar:v1", "oci-archive:f.tar:v1"},
		{"docker-archive:f.tar:busybox:1", "docker-archive:f.tar:busybox:1"},
	};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct err err = {0};
		AUTO_FINISH(ref) struct ref ref = {0};
		AUTO_FINISH(ref) struct ref again = {0};
		AUTO_FREE char *text = NULL;
		AUTO_FREE char *text2 = NULL;
		assert_ok(ref_parse(good[i].text, &ref, &err), &err);
		assert_int_equal(ref_text(&ref, &text), 0);
		assert_string_equal(text, good[i].want);
		/* The canonical text means the same. */
		assert_ok(ref_parse(text, &again, &err), &err);
		assert_int_equal(ref_text(&again, &text2), 0);
		assert_string_equal(text2, text);
	}
}

static void test_parts(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(ref) struct ref ref = {0};
	assert_ok(ref_parse("docker-archive:/x/f.tar:busybox:1", &ref, &err), &err);
	assert_int_equal(ref.kind, REF_DOCKER_ARCHIVE);
	assert_string_equal(ref.path, "/x/f.tar");
	assert_string_equal(ref.tag, "busybox:1");
	assert_null(ref.host);
	assert_true(digest_is_none(&ref.digest));
	ref_finish(&ref);
	assert_ok(ref_parse("localhost:5000/a@" DIGEST, &ref, &err), &err);
	assert_string_equal(ref.host, "localhost:5000");
	assert_string_equal(ref.repository, "a");
	assert_null(ref.tag);
	assert_int_equal(ref.digest.algo, DIGEST_SHA256);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "the name is missing"},
		{":tag", "the name is missing"},
		{"docker://", "the name is missing"},
		{"@" DIGEST, "the name is missing"},
		{"a:", "a tag is at most 128"},
		{"a:.x", "a tag is at most 128"},
		{"a:b:c", "a tag is at most 128"},
		{"a:" X64 X64 "x", "a tag is at most 128"},
		{"a:b c", "a tag is at most 128"},
		{"a@sha256:12", "takes 64 hex digits"},
		{"a@" DIGEST "@" DIGEST, "takes 64 hex digits"},
		{"a@md5:12", "must begin with sha256"},
		{HEX64, "image ID"},
		{"A", "a repository is lower-case"},
		{"quay.io/App", "a repository is lower-case"},
		{"a//b", "a repository is lower-case"},
		{"a/", "a repository is lower-case"},
		{"/a", "a repository is lower-case"},
		{"a..b", "a repository is lower-case"},
		{"a___b", "a repository is lower-case"},
		{"a._b", "a repository is lower-case"},
		{"a-", "a repository is lower-case"},
		{"../etc", "the host must be"},
		{"quay.io/../x", "a repository is lower-case"},
		{"-a.b/c", "the host must be"},
		{"a..b/c", "the host must be"},
		{"a-.b/c", "the host must be"},
		{"host:/c", "the host must be"},
		{"host:99999/c", "the host must be"},
		{"host:0/c", "the host must be"},
		{"[::1/c", "the host must be"},
		{"[::g]:1/c", "the host must be"},
		{"https://quay.io/a", "the host must be"},
		{"user@host.com/a", "must begin with sha256"},
		{X64 X64 X64 X64, "longer than 255"},
		{"oci:", "the path is missing"},
		{"oci::v1", "the path is missing"},
		{"oci:dir:", "the tag after ':' is missing"},
		{"oci:dir:a b", "a character that no tag may have"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct ref ref = {0};
		assert_err(ref_parse(bad[i].text, &ref, &err), -EINVAL, &err, bad[i].words);
		assert_null(ref.repository);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
