/* SPDX-License-Identifier: Apache-2.0 */
/* gc and fsck: what stays, what goes, and that every kind of damage is found. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "fetcher/store_layer_priv.h"
#include "tests/unit/store_unit.h"

enum { SPANS = 6, SPAN = 5000, BUDGET = 64 << 20, SEEDS = 4 };

static void blob_put(struct store *store, const char *text)
{
	struct err err = {0};
	struct digest digest;
	assert_int_equal(digest_of(DIGEST_SHA256, text, strlen(text), &digest), 0);
	assert_ok(store_blob_put(store, &digest, text, strlen(text), &err), &err);
}

static bool blob_has(struct store *store, const char *text)
{
	struct digest digest;
	struct buf buf = buf_make(1024);
	assert_int_equal(digest_of(DIGEST_SHA256, text, strlen(text), &digest), 0);
	int r = store_blob_get(store, &digest, &buf, NULL);
	buf_finish(&buf);
	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

static bool layer_has(struct store *store, uint64_t seed)
{
	char name[DIGEST_STR_MAX];
	const struct digest digest = layer_digest(seed);
	return faccessat(store_dir_layers(store), store_entry_name(&digest, name), F_OK, 0) == 0;
}

/* An image that names the manifest "m", the config "c", and one layer. */
static void image_put(struct store *store, uint64_t seed, const char *json)
{
	struct err err = {0};
	struct digest m, c;
	struct digest_text tm, tc, tl;
	char name[DIGEST_STR_MAX];
	char text[1024];
	int fd = -1;
	const struct digest layer = layer_digest(seed);
	assert_int_equal(digest_of(DIGEST_SHA256, "m", 1, &m), 0);
	assert_int_equal(digest_of(DIGEST_SHA256, "c", 1, &c), 0);
	(void)snprintf(text, sizeof(text),
		       "{\"manifest\":\"%s\",\"config\":\"%s\",\"layers\":[\"%s\"],\"blobs\":[]}",
		       digest_str(&m, tm.s), digest_str(&c, tc.s), digest_str(&layer, tl.s));
	if (json)
		(void)snprintf(text, sizeof(text), "%s", json);
	assert_ok(dir_make_at(store_dir_images(store), store_entry_name(&m, name), 0700, &fd, &err),
		  &err);
	assert_ok(file_commit(fd, "image.json", text, strlen(text), COMMIT_REPLACE, &err), &err);
	(void)close(fd);
}

static void layers_put(struct store *store)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct seek *seek = layer_seek(seed, SPANS, SPAN, 0, SEEK_SUM_OUT);
		layer_publish(store, seed, seek, SPANS * SPAN);
		seek_destroy(seek);
	}
}

static struct store_gc_result gc(struct store *store, bool dry_run, bool all, uint64_t min_age)
{
	struct err err = {0};
	struct store_gc_result result;
	const struct store_gc_options options = {dry_run, all, min_age};
	assert_ok(store_gc(store, &options, &result, &err), &err);
	return result;
}

static void test_gc_keeps(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	layers_put(store);
	image_put(store, 0, NULL);
	blob_put(store, "m");
	blob_put(store, "c");
	blob_put(store, "unnamed");
	struct store_layer *open = layer_open(store, 1);
	const struct digest worked_on = layer_digest(2);
	int lock = -1;
	assert_ok(store_lock(store, &worked_on, 0, &lock, &err), &err);

	/* All is young; then a dry run tells, and does nothing. */
	assert_int_equal(gc(store, false, true, 3600).removed_entries, 0);
	assert_int_equal(gc(store, true, false, 0).removed_entries, 2);
	assert_true(layer_has(store, 3) && blob_has(store, "unnamed"));
	struct store_gc_result result = gc(store, false, false, 0);
	assert_int_equal(result.removed_entries, 2);
	assert_true(result.freed_bytes >= SPANS * SPAN);
	assert_true(layer_has(store, 0) && layer_has(store, 1) && layer_has(store, 2));
	assert_false(layer_has(store, 3) || blob_has(store, "unnamed"));
	assert_true(blob_has(store, "m") && blob_has(store, "c"));
	assert_int_equal(store_counted(store), 3 * SPANS * u64_align(SPAN, 512));
	/* The layer that is open still reads. */
	assert_int_equal(layer_read_span_right(open, 1, 2), 0);
	store_layer_close(open);
	(void)close(lock);
	assert_int_equal(gc(store, false, false, 0).removed_entries, 2);
	assert_true(layer_has(store, 0));
	store_close(store);
}

static void test_gc_all(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct digest image, was;
	int hold = -1;
	layers_put(store);
	image_put(store, 0, NULL);
	assert_int_equal(digest_of(DIGEST_SHA256, "m", 1, &image), 0);
	assert_ok(store_image_hold(store, &image, &hold, &err), &err);
	/* What a name was stays as long as the image that it was. */
	const struct digest other = layer_digest(9);
	assert_ok(store_tag_put(store, "r:1", &image, &err), &err);
	assert_ok(store_tag_put(store, "r:2", &other, &err), &err);
	assert_int_equal(gc(store, false, false, 0).removed_entries, SEEDS - 1);
	assert_ok(store_tag_get(store, "r:2", &was, &err), &err);
	assert_int_equal(gc(store, false, true, 0).removed_entries, 1);
	assert_int_equal(store_tag_get(store, "r:2", &was, &err), -ENOENT);
	assert_ok(store_tag_get(store, "r:1", &was, &err), &err);
	assert_true(layer_has(store, 0));
	(void)close(hold);
	assert_int_equal(gc(store, true, true, 0).removed_entries, 3);
	assert_ok(store_tag_get(store, "r:1", &was, &err), &err);
	assert_int_equal(gc(store, false, true, 0).removed_entries, 3);
	assert_int_equal(store_tag_get(store, "r:1", &was, &err), -ENOENT);
	assert_false(layer_has(store, 0));
	assert_int_equal(store_counted(store), 0);
	assert_int_equal(store_image_hold(store, &image, &hold, &err), -ENOENT);
	store_close(store);
}

static void test_gc_damaged_image(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct store_gc_result result;
	const struct store_gc_options options = {0};
	layers_put(store);
	image_put(store, 0, "{\"manifest\":7}");
	assert_err(store_gc(store, &options, &result, &err), -EBADMSG, &err, "run fsck --repair");
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		assert_true(layer_has(store, seed));
	store_close(store);
}

/* A process that dies while it makes a layer, and while it fills a span. */
static void test_gc_after_death(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct seek *seek = layer_seek(0, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, 0, seek, 0);
	image_put(store, 0, NULL);
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		static char bytes[SPAN];
		struct store_layer_new *n = NULL;
		const struct digest digest = layer_digest(1);
		struct store *own = place_open(*state, BUDGET);
		struct store_layer *layer = layer_open(own, 0);
		if (store_layer_new_create(own, &digest, &n, NULL) == 0 &&
		    store_layer_new_data(n, bytes, sizeof(bytes), NULL) == 0 &&
		    store_layer_claim(layer, 1, 2) == 0 && store_reserve(own, SPAN) &&
		    file_pwrite(store_layer_data_fd(layer), bytes, SPAN / 2, SPAN) == 0)
			(void)!write(ready[1], "x", 1);
		(void)pause();
		_exit(1);
	}
	char c;
	assert_int_equal(read(ready[0], &c, 1), 1);
	/* While it lives, its work stays, however old. */
	assert_int_equal(gc(store, false, false, 0).removed_entries, 0);
	struct store_layer *layer = layer_open(store, 0);
	assert_int_equal(store_layer_claim(layer, 1, 2), -EAGAIN);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);

	assert_int_equal(layer_read_span_right(layer, 0, 1), -EAGAIN);
	assert_int_equal(gc(store, false, false, 0).removed_entries, 1);
	assert_int_equal(store_counted(store), 0);
	struct stat st;
	assert_int_equal(fstat(store_layer_data_fd(layer), &st), 0);
	assert_int_equal(st.st_blocks, 0);
	struct err err = {0};
	assert_ok(layer_fill(layer, 0, 1, &err), &err);
	assert_int_equal(layer_read_span_right(layer, 0, 1), 0);
	store_layer_close(layer);
	seek_destroy(seek);
	(void)close(ready[0]);
	(void)close(ready[1]);
	store_close(store);
}

struct findings {
	unsigned int count;
	char what[256], why[512];
};

static void note_finding(void *data, const char *what, const char *why)
{
	struct findings *f = data;
	f->count++;
	(void)snprintf(f->what, sizeof(f->what), "%s", what);
	(void)snprintf(f->why, sizeof(f->why), "%s", why);
}

static uint64_t fsck(struct store *store, bool repair, bool deep, struct findings *f)
{
	struct err err = {0};
	uint64_t wrong;
	const struct store_fsck_options options = {.repair = repair, .deep = deep};
	*f = (struct findings){0};
	assert_ok(store_fsck(store, &options, note_finding, f, &wrong, &err), &err);
	assert_int_equal(wrong, f->count);
	return wrong;
}

/* One damage is one finding with these words; repair removes it, and then all is well. */
static void assert_finding(struct store *store, bool deep, const char *what, const char *why)
{
	struct findings f;
	assert_int_equal(fsck(store, false, deep, &f), 1);
	if (!strstr(f.what, what) || !strstr(f.why, why))
		fail_msg("found \"%s: %s\" instead of \"%s: %s\"", f.what, f.why, what, why);
	(void)fsck(store, true, deep, &f);
	assert_true(f.count >= 1);
	(void)fsck(store, false, true, &f);
	if (f.count != 0)
		fail_msg("after the repair: %s: %s", f.what, f.why);
}

static void test_fsck_layers(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct findings f;
	static const struct {
		const char *file, *why;
		uint64_t off;
		bool deep;
	} damages[] = {
		{"seek", "its checksum is wrong", 300, false},
		{"present", "header that does not fit", 0, false},
		{"layer.json", "layer.json", 0, false},
		{"data", "instead of 30000", SPANS * SPAN + 5, false},
		{"data", "do not have the SHA-256", 2 * SPAN + 1, true},
	};
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		char name[DIGEST_STR_MAX];
		struct seek *seek = layer_seek(0, SPANS, SPAN, 0, SEEK_SUM_OUT);
		layer_publish(store, 0, seek, SPANS * SPAN);
		assert_int_equal(fsck(store, false, true, &f), 0);
		store_damage(store, "layers", store_entry_name(seek_layer(seek), name),
			     damages[i].file, damages[i].off, "\xff", 1);
		if (damages[i].deep) {
			assert_int_equal(fsck(store, false, false, &f), 0);
			assert_finding(store, true, "span 2", damages[i].why);
			assert_int_equal(store_counted(store), (SPANS - 1) * u64_align(SPAN, 512));
		} else {
			assert_finding(store, false, name, damages[i].why);
			assert_false(layer_has(store, 0));
		}
		seek_destroy(seek);
	}
	store_close(store);
}

static void plant(struct store *store, const char *path)
{
	char full[512];
	(void)snprintf(full, sizeof(full), "%s/%s", store_path(store), path);
	int fd = open(full, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
}

static void test_fsck_rest(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct findings f;
	struct digest digest;
	char hex[DIGEST_STR_MAX];
	char path[512];
	layers_put(store);
	blob_put(store, "m");
	assert_int_equal(digest_of(DIGEST_SHA256, "m", 1, &digest), 0);
	assert_ok(store_tag_put(store, "r:1", &digest, &err), &err);
	image_put(store, 0, NULL);
	assert_int_equal(fsck(store, false, true, &f), 0);

	store_damage(store, "blobs", "sha256", digest_hex(&digest, hex), 0, "M", 1);
	assert_finding(store, false, "blobs/sha256/", "it is corrupt");
	assert_false(blob_has(store, "m"));
	plant(store, "blobs/sha512/abc");
	assert_finding(store, false, "blobs/sha512/abc", "does not belong");
	plant(store, "layers/abc");
	assert_finding(store, false, "layers/abc", "does not belong");
	const struct digest layer = layer_digest(1);
	char name[DIGEST_STR_MAX];
	(void)snprintf(path, sizeof(path), "layers/%s/abc", store_entry_name(&layer, name));
	plant(store, path);
	assert_finding(store, false, path, "does not belong");
	assert_true(layer_has(store, 1));
	store_damage(store, "tags", "", "r:1", 0, "X", 1);
	assert_finding(store, false, "tags/r:1", "does not say");
	/* Of a process that was killed: it is settled by a repair, and nothing was wrong. */
	const uint64_t counted = store_counted(store);
	(void)store_usage_add(store, 12345);
	assert_int_equal(fsck(store, false, true, &f), 0);
	assert_int_equal(store_counted(store), counted + 12345);
	assert_int_equal(fsck(store, true, false, &f), 0);
	assert_int_equal(store_counted(store), counted);
	store_usage_sub(store, 1);
	assert_finding(store, false, "usage", "are counted, and the layers hold");
	image_put(store, 0, "{]");
	assert_finding(store, false, "images/sha256-", "is damaged");
	/* What is not ours is told, and left alone. */
	plant(store, "abc");
	assert_int_equal(fsck(store, true, false, &f), 1);
	assert_string_equal(f.what, "abc");
	assert_int_equal(fsck(store, false, false, &f), 1);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gc_keeps, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_gc_all, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_gc_damaged_image, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_gc_after_death, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_fsck_layers, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_fsck_rest, place_setup, place_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
