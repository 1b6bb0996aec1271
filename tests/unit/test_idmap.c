/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/idmap.h"
#include "tests/unit/unit.h"

static void add(struct id_range **ranges, size_t *n, uint32_t inside, uint32_t outside, uint32_t count)
{
	assert_int_equal(id_ranges_add(ranges, n, (struct id_range){inside, outside, count}), 0);
}

static void test_ids(void **state)
{
	(void)state;
	AUTO_FINISH(id_maps) struct id_maps maps = {0};
	assert_int_equal(id_maps_uid(NULL, 7), 7);
	assert_int_equal(id_maps_uid(&maps, 7), 7);
	assert_int_equal(id_maps_gid_inside(&maps, 7), 7);
	assert_true(id_maps_has_uid(&maps, 7) && id_maps_has_gid(NULL, 7));
	add(&maps.uids, &maps.n_uids, 0, 100000, 1000);
	add(&maps.uids, &maps.n_uids, 65534, 5, 1);
	add(&maps.uids, &maps.n_uids, 4294967294, 9, 1);
	add(&maps.gids, &maps.n_gids, 10, 20, 2);
	assert_int_equal(id_maps_uid(&maps, 0), 100000);
	assert_int_equal(id_maps_uid(&maps, 999), 100999);
	assert_int_equal(id_maps_uid(&maps, 1000), ID_OVERFLOW);
	assert_int_equal(id_maps_uid(&maps, 65534), 5);
	assert_int_equal(id_maps_uid(&maps, 4294967294), 9);
	assert_int_equal(id_maps_uid(&maps, 4294967295), ID_OVERFLOW);
	assert_int_equal(id_maps_uid_inside(&maps, 100999), 999);
	assert_int_equal(id_maps_uid_inside(&maps, 99999), ID_OVERFLOW);
	assert_int_equal(id_maps_uid_inside(&maps, 101000), ID_OVERFLOW);
	assert_int_equal(id_maps_gid(&maps, 11), 21);
	assert_int_equal(id_maps_gid_inside(&maps, 20), 10);
	assert_false(id_maps_has_gid(&maps, 9) || id_maps_has_gid(&maps, 12));
	assert_true(id_maps_has_uid(&maps, 65534) && !id_maps_has_uid(&maps, 65533));
	for (size_t i = maps.n_gids; i < ID_RANGES_MAX; i++)
		add(&maps.gids, &maps.n_gids, 1, 1, 1);
	assert_int_equal(id_ranges_add(&maps.gids, &maps.n_gids, (struct id_range){1, 1, 1}), -E2BIG);
}

static void test_json(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"{}", "{\"uids\":[]}", "{\"uids\":[[1,2]],\"gids\":[]}", "{\"uids\":[[1,2,-3]],\"gids\":[]}",
		"{\"uids\":[[1,2,4294967296]],\"gids\":[]}", "{\"uids\":[1],\"gids\":[]}",
		"{\"uids\":[[1,\"2\",3]],\"gids\":[]}", "{\"uids\":{},\"gids\":[]}",
	};
	AUTO_FINISH(id_maps) struct id_maps maps = {0};
	AUTO_FINISH(id_maps) struct id_maps back = {0};
	AUTO_FINISH(id_maps) struct id_maps copy = {0};
	AUTO_FINISH(id_maps) struct id_maps none = {0};
	struct err err = {0};
	add(&maps.uids, &maps.n_uids, 0, 4000000000, 65536);
	add(&maps.gids, &maps.n_gids, 1, 2, 3);
	AUTO_JSON json_t *json = id_maps_json(&maps);
	assert_ok(id_maps_parse(json, &back, &err), &err);
	assert_ok(id_maps_parse(NULL, &none, &err), &err);
	assert_int_equal(id_maps_copy(&back, &copy), 0);
	assert_int_equal(copy.n_uids, 1);
	assert_memory_equal(copy.uids, maps.uids, sizeof(*maps.uids));
	assert_memory_equal(copy.gids, maps.gids, sizeof(*maps.gids));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		AUTO_JSON json_t *wrong = json_loads(bad[i], 0, NULL);
		assert_non_null(wrong);
		assert_err(id_maps_parse(wrong, &none, &err), -EINVAL, &err, "ids\"");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
