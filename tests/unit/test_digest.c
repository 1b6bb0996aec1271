/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <errno.h>

#include "tests/unit/unit.h"

/* FIPS 180-2, appendix B.1 and C.1: the digests of "abc". */
#define ABC_256 "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_512                                                              \
	"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void test_known_answers(void **state)
{
	(void)state;
	struct digest d;
	struct digest_text text;
	assert_int_equal(digest_of(DIGEST_SHA256, "abc", 3, &d), 0);
	assert_string_equal(digest_str(&d, text.s), ABC_256);
	assert_int_equal(digest_of(DIGEST_SHA512, "abc", 3, &d), 0);
	assert_string_equal(digest_str(&d, text.s), ABC_512);
}

static void test_round_trip(void **state)
{
	(void)state;
	struct err err = {0};
	struct digest a, b;
	struct digest_text text;
	assert_ok(digest_parse(ABC_512, &a, &err), &err);
	assert_ok(digest_parse(digest_str(&a, text.s), &b, &err), &err);
	assert_true(digest_equal(&a, &b));
}

static void test_grammar(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "must begin with"},
		{"sha256", "must begin with"},
		{"md5:d41d8cd98f00b204e9800998ecf8427e", "must begin with"},
		{"SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "must begin"},
		{"sha256:", "takes 64 hex digits"},
		{ABC_256 "0", "takes 64 hex digits"},
		{"sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", "only 0-9"},
		{"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a/", "only 0-9"},
		{" " ABC_256, "must begin with"},
		{"sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "takes 128"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};
		struct digest d = {0};
		assert_err(digest_parse(bad[i].text, &d, &err), -EINVAL, &err, bad[i].words);
		assert_true(digest_is_none(&d));
	}
}

static void test_pieces(void **state)
{
	(void)state;
	struct digest_ctx *ctx = NULL;
	struct digest d;
	struct digest_text text;
	assert_int_equal(digest_ctx_create(DIGEST_SHA256, &ctx), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(digest_ctx_update(ctx, "a", 1), 0);
		assert_int_equal(digest_ctx_update(ctx, "bc", 2), 0);
		assert_int_equal(digest_ctx_final(ctx, &d), 0);
		assert_string_equal(digest_str(&d, text.s), ABC_256);
	}
	digest_ctx_destroy(ctx);
}

static void test_mismatch_names_both(void **state)
{
	(void)state;
	struct err err = {0};
	struct digest d;
	assert_ok(digest_parse(ABC_256, &d, &err), &err);
	assert_int_equal(digest_check(&d, "abc", 3, "the manifest", &err), 0);
	assert_err(digest_check(&d, "abd", 3, "the manifest", &err), -EBADMSG, &err, ABC_256);
	assert_non_null(strstr(err_text(&err), "the manifest is corrupt"));
	assert_non_null(strstr(err_text(&err), "got sha256:a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),  cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_grammar),	       cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_mismatch_names_both),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
