/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/userns.h"

#include <stdio.h>

#include "tests/unit/unit.h"

struct given {
	const char *text, *name;
	uid_t id;
	const char *want; /* "first+count first+count " */
};

static void check_ranges(const struct given *given)
{
	struct userns_ranges ranges;
	char got[1024] = "";
	size_t n = 0;
	userns_ranges_parse(given->text, given->name, given->id, &ranges);
	for (size_t i = 0; i < ranges.count; i++)
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%u+%u ", ranges.list[i].first,
				      ranges.list[i].count);
	assert_string_equal(got, given->want);
}

static void test_ranges(void **state)
{
	(void)state;
	static const struct given givens[] = {
		{"", "ana", 1000, ""},
		{"ana:100000:65536\n", "ana", 1000, "100000+65536 "},
		{"ana:100000:65536", "ana", 1000, "100000+65536 "},
		{"bob:1:2\nana:3:4\nbob:5:6\nana:7:8\n", "ana", 1000, "3+4 7+8 "},
		{"1000:3:4\nana:5:6\n", "ana", 1000, "3+4 5+6 "},
		{"1000:3:4\n", NULL, 1000, "3+4 "},
		{"ana:3:4\n", NULL, 1000, ""},
		{"anabel:3:4\nan:3:4\n:3:4\n10000:3:4\n100:3:4\n", "ana", 1000, ""},
		{"# ana:3:4\n ana:3:4\n\nana\nana:\nana:3\nana:3:\nana::4\n", "ana", 1000, ""},
		{"ana:3:0\nana:-3:4\nana:3:4:5\nana:x:4\nana:3:4 \n", "ana", 1000, ""},
		{"ana:4294967295:1\nana:4294967290:6\nana:4294967290:5\n", "ana", 1000, "4294967290+5 "},
		{"ana:99999999999999999999999999:1\nana:5:6\n", "ana", 1000, "5+6 "},
	};
	for (size_t i = 0; i < sizeof(givens) / sizeof(givens[0]); i++)
		check_ranges(&givens[i]);
}

static void test_too_many_ranges(void **state)
{
	(void)state;
	struct userns_ranges ranges;
	char text[4 * USERNS_RANGES_MAX * 8];
	size_t n = 0;
	for (int i = 0; i < 2 * USERNS_RANGES_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "ana:%d:1\n", i);
	userns_ranges_parse(text, "ana", 1000, &ranges);
	assert_int_equal(ranges.count, USERNS_RANGES_MAX);
	assert_int_equal(ranges.list[USERNS_RANGES_MAX - 1].first, USERNS_RANGES_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_too_many_ranges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
