/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/platform.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "tests/unit/unit.h"

static void test_parse(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"linux/amd64", "linux/amd64"},	      {"Linux/x86_64", "linux/amd64"},
		{"linux/x86-64", "linux/amd64"},      {"linux/amd64/v1", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3"}, {"linux/aarch64", "linux/arm64"},
		{"linux/arm64/v8", "linux/arm64"},    {"linux/arm64/8", "linux/arm64"},
		{"linux/arm64/v9", "linux/arm64/v9"}, {"linux/arm", "linux/arm/v7"},
		{"linux/arm/7", "linux/arm/v7"},      {"linux/arm/v6", "linux/arm/v6"},
		{"linux/armhf", "linux/arm/v7"},      {"linux/armel", "linux/arm/v6"},
		{"linux/i686", "linux/386"},	      {"linux/loongarch64", "linux/loong64"},
		{"macos/arm64", "darwin/arm64"},      {"linux/riscv64", "linux/riscv64"},
		{"arm64", "linux/arm64"},	      {"AArch64", "linux/arm64"},
		{"x86_64", "linux/amd64"},	      {"arm", "linux/arm/v7"},
		{"armel", "linux/arm/v6"},	      {"s390x", "linux/s390x"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct platform p;
		struct err err = {0};
		char text[PLATFORM_TEXT_MAX];
		assert_ok(platform_parse(cases[i].text, &p, &err), &err);
		assert_string_equal(platform_text(&p, text), cases[i].want);
	}
}

static void test_native(void **state)
{
	(void)state;
	struct platform native, os;
	struct err err = {0};
	assert_ok(platform_parse(NULL, &native, &err), &err);
	assert_string_equal(native.os, "linux");
	assert_true(native.arch[0] != '\0');
	assert_ok(platform_parse("macos", &os, &err), &err);
	assert_string_equal(os.os, "darwin");
	assert_string_equal(os.arch, native.arch);
	assert_ok(platform_parse("windows", &os, &err), &err);
	assert_string_equal(os.os, "windows");
	assert_string_equal(os.arch, native.arch);
	assert_string_equal(os.variant, native.variant);
}

static void test_parse_refuses(void **state)
{
	(void)state;
	static const char *const cases[] = {
		"", "/", "linux/", "/amd64", "linux//v7", "linux/arm/v7/x", "linux/arm/",
		"li nux/arm", "linux/a*b", "linux/\xc3\xa4",
		"linux/0123456789012345678901234567890123456789", "lniux", "v7",
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct platform p = {.os = "kept"};
		struct err err = {0};
		assert_err(platform_parse(cases[i], &p, &err), -EINVAL, &err, "is no platform");
		assert_string_equal(p.os, "kept");
	}
}

/* Index entries from a list of platforms; "-" is one that does not say. */
static void entries_make(const char *list, struct descriptors *ret)
{
	char text[512];
	char *save = NULL;
	(void)snprintf(text, sizeof(text), "%s", list);
	for (char *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
		struct descriptor desc = {.media_type = strdup(one)};
		char *inner = NULL;
		if (*one != '-') {
			const char *os = strtok_r(one, "/", &inner);
			const char *arch = strtok_r(NULL, "/", &inner);
			const char *variant = strtok_r(NULL, "/", &inner);
			desc.platform = json_pack("{s:s,s:s*,s:s*}", "os", os, "architecture",
						  arch, "variant", variant);
			assert_non_null(desc.platform);
		}
		assert_int_equal(descriptors_add(ret, &desc), 0);
	}
}

static void test_choose(void **state)
{
	(void)state;
	static const struct {
		const char *want, *have, *choice; /* NULL: none */
	} cases[] = {
		{"linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"},
		{"linux/amd64", "linux/amd64/v1 linux/amd64", "linux/amd64/v1"},
		{"linux/amd64", "linux/amd64/v2", NULL},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v2"},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v4", "linux/amd64"},
		{"linux/arm/v7", "linux/arm/v5 linux/arm/v6", "linux/arm/v6"},
		{"linux/arm/v7", "linux/arm/v6 linux/arm", "linux/arm"},
		{"linux/arm/v6", "linux/arm/v7 linux/arm", NULL},
		{"linux/arm64", "linux/arm64/v8", "linux/arm64/v8"},
		{"linux/arm64", "linux/arm64/v9", NULL},
		{"linux/arm64", "linux/arm/v7", NULL},
		{"linux/arm64", "linux/aarch64", "linux/aarch64"},
		{"linux/amd64", "windows/amd64", NULL},
		{"linux/amd64", "unknown/unknown linux/amd64", "linux/amd64"},
		{"linux/amd64", "-", "-"},
		{"linux/amd64", "- -", NULL},
		{"linux/amd64", "- linux/arm64", NULL},
		{"linux/amd64", "linux", NULL},
		{"linux/amd64", "", NULL},
		{"linux/amd64", "linux/0123456789012345678901234567890123456789", NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_FINISH(descriptors) struct descriptors list = {0};
		AUTO_FREE char *offers = NULL;
		struct platform want;
		struct err err = {0};
		assert_ok(platform_parse(cases[i].want, &want, &err), &err);
		entries_make(cases[i].have, &list);
		const struct descriptor *got = platform_choose(&want, &list, &offers);
		const char *choice = got ? got->media_type : "none";
		const char *right = cases[i].choice ? cases[i].choice : "none";
		if (strcmp(choice, right) != 0)
			fail_msg("case %zu: %s instead of %s", i, choice, right);
		assert_true((offers == NULL) == (got != NULL));
	}
}

static void test_offers(void **state)
{
	(void)state;
	AUTO_FINISH(descriptors) struct descriptors list = {0};
	AUTO_FINISH(descriptors) struct descriptors many = {0};
	struct platform want;
	struct err err = {0};
	char *offers = NULL;
	assert_ok(platform_parse("linux/s390x", &want, &err), &err);
	entries_make("linux/x86_64 - linux/arm", &list);
	assert_null(platform_choose(&want, &list, &offers));
	assert_string_equal(offers, "linux/amd64, linux/arm/v7");
	free(offers);
	for (size_t i = 0; i < 200; i++)
		entries_make("linux/amd64", &many);
	assert_null(platform_choose(&want, &many, &offers));
	assert_in_range(strlen(offers), 800, 900);
	free(offers);
	assert_null(platform_choose(&want, &many, NULL));
}

static void test_check(void **state)
{
	(void)state;
	static const struct {
		const char *want, *os, *arch, *variant;
		const char *why; /* NULL: it serves */
	} cases[] = {
		{"linux/amd64", "linux", "amd64", NULL, NULL},
		{"linux/amd64", "linux", "x86_64", NULL, NULL},
		{"linux/amd64/v3", "linux", "amd64", NULL, NULL},
		{"linux/amd64/v3", "linux", "amd64", "v2", NULL},
		{"linux/arm/v7", "linux", "arm", "v6", NULL},
		{"linux/arm64", "linux", "arm64", "v8", NULL},
		{"linux/arm64", NULL, "amd64", NULL, NULL},
		{"linux/arm64", "linux", "", NULL, NULL},
		{"linux/arm64", "linux", "amd64", NULL, "for linux/arm64; it is one for linux/amd64"},
		{"linux/arm/v6", "linux", "arm", "v7", "for linux/arm/v6; it is one for linux/arm/v7"},
		{"linux/amd64", "windows", "amd64", NULL, "it is one for windows/amd64"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		struct platform p;
		char *os = (char *)(uintptr_t)cases[i].os, *arch = (char *)(uintptr_t)cases[i].arch;
		const struct image_config config = {
			.os = os, .architecture = arch, .variant = (char *)(uintptr_t)cases[i].variant};
		assert_ok(platform_parse(cases[i].want, &p, &err), &err);
		if (cases[i].why)
			assert_err(platform_check(&p, &config, &err), -ENOENT, &err, cases[i].why);
		else
			assert_ok(platform_check(&p, &config, &err), &err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),  cmocka_unit_test(test_native),
		cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_choose),
		cmocka_unit_test(test_offers), cmocka_unit_test(test_check),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
