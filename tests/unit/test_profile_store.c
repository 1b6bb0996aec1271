/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "fs/image_record.h"
#include "fs/profile_names.h"
#include "fs/profile_registry.h"
#include "fs/profile_store.h"
#include "fs/tree.h"
#include "tests/unit/store_unit.h"

enum {
	LAYERS = 2,
	DEVICE = 1 << 20,
	LEARNERS = 4,
	RUNS = 2, /* of each learner */
	SCORE_OF_8 = 232, /* after so many runs: 64, 112, 148, 175, 196, 211, 223, 232 */
};

struct kit {
	struct place place;
	struct store *store;
	struct digest image, layers[LAYERS];
	int dir;
};

/* Files: a of 3000 bytes, d/b of 100000, e that is a hole but for its end, f that is empty. */
static void add_file(struct tree *tree, const char *path, uint64_t size, uint64_t dev_off,
		     uint64_t off)
{
	struct err err = {0};
	struct entry_extent extent = {.file_off = off, .dev_off = dev_off, .len = size - off};
	struct entry entry = {
		.path = path,
		.type = ENTRY_REG,
		.mode = 0644,
		.size = size,
		.extents = &extent,
		.n_extents = size > off,
	};
	assert_ok(tree_add(tree, &entry, &err), &err);
}

static void write_tree(const struct kit *kit)
{
	struct err err = {0};
	AUTO(tree) struct tree *tree = NULL;
	struct tree_device devices[LAYERS] = {{.size = DEVICE, .tag = "a"}, {.size = DEVICE, .tag = "b"}};
	assert_int_equal(tree_create(&tree), 0);
	add_file(tree, "a", 3000, 512, 0);
	add_file(tree, "d/b", 100000, 8192, 0);
	add_file(tree, "e", 8192 + 512, 4096, 8192);
	add_file(tree, "f", 0, 0, 0);
	int fd = openat(kit->dir, "tree.erofs", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(tree_write(tree, devices, LAYERS, fd, &err), &err);
	(void)close(fd);
}

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	struct err err = {0};
	assert_non_null(kit);
	place_make(&kit->place);
	kit->store = place_open(&kit->place, 0);
	kit->image = layer_digest(1);
	kit->layers[0] = layer_digest(2);
	kit->layers[1] = layer_digest(3);
	assert_ok(image_dir_open(kit->store, &kit->image, true, &kit->dir, &err), &err);
	char reference[] = "registry/name:tag", type[] = "a/b";
	struct image_record record = {
		.reference = reference, .media_type = type, .manifest = kit->image,
		.config = layer_digest(9), .layers = kit->layers, .n_layers = LAYERS,
	};
	write_tree(kit);
	assert_ok(image_record_save(kit->dir, &record, &err), &err);
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

static struct profile *run_of(uint32_t layer, uint64_t off, uint64_t len)
{
	struct profile *p = NULL;
	assert_int_equal(profile_create(&p), 0);
	assert_int_equal(profile_add(p, layer, off, len), 0);
	return p;
}

static void write_text(const struct kit *kit, const char *text)
{
	struct err err = {0};
	assert_ok(file_commit(kit->dir, PROFILE_FILE, text, strlen(text), COMMIT_REPLACE, &err), &err);
}

static void assert_first(const struct profile *p, uint64_t off, uint8_t score)
{
	struct profile_range range;
	assert_true(profile_count(p) > 0);
	profile_get(p, 0, &range);
	assert_int_equal(range.off, off);
	assert_int_equal(range.score, score);
}

static void test_facts(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	assert_ok(profile_facts_load(kit->store, &kit->image, &facts, &err), &err);
	assert_true(digest_equal(&facts.image, &kit->image));
	assert_int_equal(facts.n, LAYERS);
	for (size_t i = 0; i < LAYERS; i++) {
		assert_true(digest_equal(&facts.layers[i], &kit->layers[i]));
		assert_int_equal(facts.sizes[i], DEVICE);
	}
	struct digest other = layer_digest(7);
	struct profile_facts none = {0};
	assert_err(profile_facts_load(kit->store, &other, &none, &err), -ENOENT, &err, "open image");
}

static void test_learn_load_remove(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO(profile) struct profile *run = run_of(1, 4096, 8192);
	AUTO(profile) struct profile *once = NULL;
	AUTO(profile) struct profile *twice = NULL;
	struct profile *none = NULL;
	assert_err(profile_load(kit->store, &kit->image, &none, &err), -ENOENT, &err,
		   "open the image's startup profile");
	assert_ok(profile_check(kit->store, &kit->image, &err), &err);
	assert_ok(profile_learn(kit->store, &kit->image, run, &err), &err);
	assert_ok(profile_load(kit->store, &kit->image, &once, &err), &err);
	assert_true(profile_equal(once, run));
	assert_ok(profile_learn(kit->store, &kit->image, run, &err), &err);
	assert_ok(profile_load(kit->store, &kit->image, &twice, &err), &err);
	assert_first(twice, 4096, 112);
	assert_ok(profile_remove(kit->store, &kit->image, &err), &err);
	assert_err(profile_remove(kit->store, &kit->image, &err), -ENOENT, &err, "remove the image's");
	struct digest other = layer_digest(7);
	assert_err(profile_learn(kit->store, &other, run, &err), -ENOENT, &err,
		   "keep what the start touched");
	assert_null(none);
}

static void test_wrong_one_is_no_obstacle(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO(profile) struct profile *run = run_of(0, 0, 512);
	AUTO(profile) struct profile *got = NULL;
	struct profile *none = NULL;
	write_text(kit, "{");
	assert_err(profile_load(kit->store, &kit->image, &none, &err), -EBADMSG, &err, "not valid JSON");
	assert_err(profile_check(kit->store, &kit->image, &err), -EBADMSG, &err, "not valid JSON");
	assert_ok(profile_learn(kit->store, &kit->image, run, &err), &err);
	assert_ok(profile_load(kit->store, &kit->image, &got, &err), &err);
	assert_true(profile_equal(got, run));

	int fd = openat(kit->dir, PROFILE_FILE, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PROFILE_TEXT_MAX + 1), 0);
	(void)close(fd);
	assert_err(profile_load(kit->store, &kit->image, &none, &err), -EBADMSG, &err,
		   "the profile has more than 8388608 bytes");
	assert_null(none);
}

/* What changes nothing is not written: a disk need not be waited for. */
static void test_adopting_the_same_writes_nothing(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	struct stat before, after;
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO(profile) struct profile *run = run_of(0, 0, 512);
	AUTO(profile) struct profile *joined = NULL;
	assert_ok(profile_facts_load(kit->store, &kit->image, &facts, &err), &err);
	assert_ok(profile_adopt(kit->store, &facts, run, NULL, &err), &err);
	assert_int_equal(fstatat(kit->dir, PROFILE_FILE, &before, 0), 0);
	assert_ok(profile_adopt(kit->store, &facts, run, &joined, &err), &err);
	assert_int_equal(fstatat(kit->dir, PROFILE_FILE, &after, 0), 0);
	assert_true(profile_equal(joined, run));
	assert_int_equal(before.st_ino, after.st_ino);
}

struct learner {
	pthread_t thread;
	const struct kit *kit;
};

static void *learn(void *data)
{
	const struct learner *learner = data;
	struct err err = {0};
	AUTO(profile) struct profile *run = run_of(0, 4096, 512);
	for (int i = 0; i < RUNS; i++)
		assert_ok(profile_learn(learner->kit->store, &learner->kit->image, run, &err), &err);
	return NULL;
}

/* Each run counts once: had one been lost, the score would be lower. */
static void test_learners_take_turns(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	struct learner learners[LEARNERS];
	for (size_t i = 0; i < LEARNERS; i++) {
		learners[i] = (struct learner){.kit = kit};
		assert_int_equal(pthread_create(&learners[i].thread, NULL, learn, &learners[i]), 0);
	}
	for (size_t i = 0; i < LEARNERS; i++)
		(void)pthread_join(learners[i].thread, NULL);
	AUTO(profile) struct profile *all = NULL;
	assert_ok(profile_load(kit->store, &kit->image, &all, &err), &err);
	assert_int_equal(profile_count(all), 1);
	assert_first(all, 4096, SCORE_OF_8);
}

static void test_blob_round_trip(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_FINISH(profile_facts) struct profile_facts facts = {0};
	AUTO_FINISH(buf) struct buf blob = buf_make(PROFILE_BLOB_MAX);
	AUTO(profile) struct profile *run = run_of(0, 0, 512);
	AUTO(profile) struct profile *got = NULL;
	assert_ok(profile_facts_load(kit->store, &kit->image, &facts, &err), &err);
	assert_ok(profile_encode(&facts, run, &blob, &err), &err);
	assert_ok(profile_decode(&facts, blob.data, blob.len, &got, &err), &err);
	assert_true(profile_equal(got, run));
	struct profile *none = NULL;
	assert_err(profile_decode(&facts, blob.data, blob.len - 3, &none, &err), -EBADMSG, &err,
		   "unpack a profile: ");
	assert_null(none);
}

static void test_names(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO(erofs) struct erofs *tree = NULL;
	AUTO(profile) struct profile *p = run_of(0, 512, 8192);
	AUTO_FINISH(profile_names) struct profile_names names = {0};
	AUTO_CLOSE int fd = openat(kit->dir, "tree.erofs", O_RDONLY | O_CLOEXEC);
	assert_int_equal(profile_add(p, 1, 512, 512), 0);
	assert_int_equal(profile_add(p, 0, 50000, 10), 0);
	assert_ok(erofs_open(fd, &tree, &err), &err);
	assert_ok(profile_names_make(tree, p, &names, &err), &err);
	assert_int_equal(names.n, 3);
	assert_int_equal(names.files, 3);
	assert_int_equal(names.ranges[0].count, 3);
	assert_string_equal(names.ranges[0].names[0], "/a");
	assert_string_equal(names.ranges[0].names[1], "/d/b");
	assert_string_equal(names.ranges[0].names[2], "/e");
	assert_null(names.ranges[0].names[3]);
	assert_int_equal(names.ranges[1].count, 0);
	assert_int_equal(names.ranges[2].count, 1);
	assert_string_equal(names.ranges[2].names[0], "/d/b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_learn_load_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_one_is_no_obstacle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopting_the_same_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_learners_take_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_blob_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
