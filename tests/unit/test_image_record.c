/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/image_record.h"

#include "tests/unit/store_unit.h"

#define D "\"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""

struct kit {
	struct place place;
	struct store *store;
	struct digest image;
	int dir;
};

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	struct err err = {0};
	assert_non_null(kit);
	place_make(&kit->place);
	kit->store = place_open(&kit->place, 0);
	kit->image = layer_digest(1);
	int fd = -1;
	assert_err(image_dir_open(kit->store, &kit->image, false, &fd, &err), -ENOENT, &err,
		   "open image sha256-");
	assert_int_equal(fd, -1);
	assert_ok(image_dir_open(kit->store, &kit->image, true, &kit->dir, &err), &err);
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	(void)close(kit->dir);
	store_close(kit->store);
	place_remove(&kit->place);
	free(kit);
	return 0;
}

static void test_round_trip(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	struct digest layers[] = {layer_digest(2), layer_digest(3), layer_digest(2)};
	for (int bundle = 0; bundle <= 1; bundle++) {
		char reference[] = "registry/name:tag", type[] = "a/b";
		struct image_record record = {
			.reference = reference, .media_type = type, .manifest = kit->image,
			.config = layer_digest(9), .layers = layers, .n_layers = 3,
			.from_bundle = bundle,
		};
		AUTO_FINISH(image_record) struct image_record got = {0};
		assert_ok(image_record_save(kit->dir, &record, &err), &err);
		assert_ok(image_record_load(kit->dir, &got, &err), &err);
		assert_string_equal(got.reference, reference);
		assert_string_equal(got.media_type, type);
		assert_true(digest_equal(&got.manifest, &record.manifest));
		assert_true(digest_equal(&got.config, &record.config));
		assert_int_equal(got.n_layers, 3);
		for (size_t i = 0; i < 3; i++)
			assert_true(digest_equal(&got.layers[i], &layers[i]));
		assert_int_equal(got.n_blobs, 0);
		assert_int_equal(got.from_bundle, bundle);
	}
	int fd = -1;
	assert_ok(image_dir_open(kit->store, &kit->image, false, &fd, &err), &err);
	(void)close(fd);
}

static void test_add_blob(void **state)
{
	(void)state;
	AUTO_FINISH(image_record) struct image_record record = {0};
	for (uint64_t i = 0; i < 10; i++) {
		struct digest blob = layer_digest(i % 4);
		assert_int_equal(image_record_add_blob(&record, &blob), 0);
	}
	assert_int_equal(record.n_blobs, 4);
	struct digest last = layer_digest(3);
	assert_true(digest_equal(&record.blobs[3], &last));
}

static void test_corrupt(void **state)
{
	struct kit *kit = *state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"", "not valid JSON"},
		{"[]", "not a JSON object"},
		{"{\"a\":1,\"a\":1}", "not valid JSON"},
		{"{\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D ",\"config\":" D
		 ",\"layers\":[],\"blobs\":[]}", "\"reference\" is missing"},
		{"{\"reference\":1,\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"layers\":[],\"blobs\":[]}", "\"reference\" is not a string"},
		{"{\"reference\":\"r\",\"index\":\"layers\",\"manifest\":" D ",\"config\":" D
		 ",\"layers\":[],\"blobs\":[]}", "\"media_type\" is missing"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"manifest\":" D ",\"config\":" D
		 ",\"layers\":[],\"blobs\":[]}", "\"index\" is missing"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"config\":" D
		 ",\"layers\":[],\"blobs\":[]}", "\"manifest\" is missing"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":"
		 "\"x\",\"config\":" D ",\"layers\":[],\"blobs\":[]}", "\"manifest\""},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"layers\":[],\"blobs\":[]}", "\"config\" is missing"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"blobs\":[]}", "\"layers\" is missing"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"layers\":{},\"blobs\":[]}", "\"layers\" is not an array"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"layers\":[1],\"blobs\":[]}", "something else than text"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"layers\":[\"md5:1\"],\"blobs\":[]}", "md5:1"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"layers\":[" D "]}", "\"blobs\" is missing"},
		{"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"layers\",\"manifest\":" D
		 ",\"config\":" D ",\"layers\":[" D "],\"blobs\":[" D ",null]}",
		 "something else than text"},
	};
	struct err err = {0};
	AUTO_FINISH(image_record) struct image_record got = {0};
	assert_int_equal(image_record_load(kit->dir, &got, &err), -ENOENT);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		err = (struct err){0};
		assert_ok(file_commit(kit->dir, "image.json", cases[i].text, strlen(cases[i].text),
				      COMMIT_REPLACE, &err), &err);
		assert_err(image_record_load(kit->dir, &got, &err), -EBADMSG, &err, cases[i].words);
		assert_null(got.reference);
		assert_null(got.layers);
	}
}

static void test_too_many(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_FINISH(image_record) struct image_record got = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(MIB(2));
	static const char start[] =
		"{\"reference\":\"r\",\"media_type\":\"m\",\"index\":\"sluice\",\"manifest\":" D
		",\"config\":" D ",\"blobs\":[],\"layers\":[0";
	assert_int_equal(buf_puts(&text, start), 0);
	for (size_t i = 0; i < 8192; i++)
		assert_int_equal(buf_puts(&text, ",0"), 0);
	assert_int_equal(buf_puts(&text, "]}"), 0);
	assert_ok(file_commit(kit->dir, "image.json", text.data, text.len, COMMIT_REPLACE, &err),
		  &err);
	assert_err(image_record_load(kit->dir, &got, &err), -EBADMSG, &err, "8193 entries");
	assert_int_equal(buf_reserve(&text, MIB(1)), 0);
	memset(text.data, ' ', MIB(1) + 1);
	assert_ok(file_commit(kit->dir, "image.json", text.data, MIB(1) + 1, COMMIT_REPLACE, &err),
		  &err);
	assert_int_equal(image_record_load(kit->dir, &got, &err), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test(test_add_blob),
		cmocka_unit_test_setup_teardown(test_corrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
