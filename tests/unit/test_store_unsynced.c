/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/store_unsynced.h"

#include <dirent.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "fetcher/store_priv.h"
#include "tests/unit/store_unit.h"

enum { SPANS = 4, SPAN = 1000, LATE = 1, EARLY = 2, IMAGE = 3, SHORT_MS = 300 };

static _Atomic int n_syncs;
static ino_t notes_ino;	   /* of the directory of notes; 0: nobody looks at it */
static bool notes_settled; /* the end of the last note is on the disk, too */

/* Takes the C library's place. */
int fsync(int fd)
{
	struct stat st;
	n_syncs++;
	if (notes_ino != 0 && fstat(fd, &st) == 0 && st.st_ino == notes_ino) {
		DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		notes_settled = true;
		for (struct dirent *entry; (entry = readdir(dir));) // NOLINT(concurrency-mt-unsafe)
			notes_settled &= entry->d_name[0] == '.';
		(void)closedir(dir);
	}
	return (int)syscall(SYS_fsync, fd);
}

static void watch_notes(const struct store *store)
{
	struct stat st = {0};
	if (store)
		assert_int_equal(fstat(store->dirs[STORE_DIR_UNSYNCED], &st), 0);
	notes_settled = false;
	notes_ino = st.st_ino;
}

static size_t notes(struct store *store)
{
	size_t n = 0;
	DIR *dir = fdopendir(dup(store->dirs[STORE_DIR_UNSYNCED]));
	assert_non_null(dir);
	rewinddir(dir);
	for (struct dirent *entry; (entry = readdir(dir));) // NOLINT(concurrency-mt-unsafe)
		n += entry->d_name[0] != '.';
	(void)closedir(dir);
	return n;
}

/* The name of the only temporary in a directory, the caller's. */
static char *commit_name(int dirfd)
{
	char *name = NULL;
	DIR *dir = fdopendir(dup(dirfd));
	assert_non_null(dir);
	rewinddir(dir);
	for (struct dirent *entry; (entry = readdir(dir));) // NOLINT(concurrency-mt-unsafe)
		if (commit_is_temporary(entry->d_name))
			name = strdup(entry->d_name);
	(void)closedir(dir);
	assert_non_null(name);
	return name;
}

/* The machine starts again: nothing that lived then lives, and the store is opened anew. */
static struct store *reboot(const struct place *place, struct store *store)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/usage", store_path(store));
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(file_pwrite(fd, "before", 6, offsetof(struct store_counter, boot)), 0);
	(void)close(fd);
	DIR *dir = fdopendir(dup(store->dirs[STORE_DIR_UNSYNCED]));
	assert_non_null(dir);
	rewinddir(dir);
	for (struct dirent *entry; (entry = readdir(dir));) // NOLINT(concurrency-mt-unsafe)
		if (entry->d_name[0] != '.')
			store_damage(store, ".", "unsynced", entry->d_name, 0, "before", 6);
	(void)closedir(dir);
	store_close(store);
	return place_open(place, 0);
}

static void late_publish(struct store *store, uint64_t seed)
{
	struct err err = {0};
	struct store_layer_new *n = NULL;
	struct seek *seek = layer_seek(seed, SPANS, SPAN, 0, SEEK_SUM_OUT);
	const struct digest digest = layer_digest(seed);
	const struct store_layer_info info = {.index = LAYER_INDEX_SLUICE};
	assert_ok(store_layer_new_create(store, &digest, &n, &err), &err);
	store_layer_new_late(n);
	assert_ok(store_layer_new_finish(n, seek, &info, &err), &err);
	store_layer_new_destroy(n);
	seek_destroy(seek);
}

static bool has_layer(struct store *store, uint64_t seed)
{
	struct store_layer *layer = NULL;
	const struct digest digest = layer_digest(seed);
	int r = store_layer_open(store, &digest, &layer, NULL);
	store_layer_close(layer);
	return r == 0;
}

static int image_dir(struct store *store, int flags)
{
	char name[DIGEST_STR_MAX];
	const struct digest digest = layer_digest(IMAGE);
	store_entry_name(&digest, name);
	if (flags & O_CREAT)
		(void)mkdirat(store_dir_images(store), name, 0700);
	return openat(store_dir_images(store), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool image_has(struct store *store, const char *file)
{
	AUTO_CLOSE int dir = image_dir(store, 0);
	return dir >= 0 && faccessat(dir, file, F_OK, 0) == 0;
}

/* A layer that was there before, one that is new, and an image of both. */
static int publish(struct store *store)
{
	struct err err = {0};
	struct seek *seek = layer_seek(EARLY, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, EARLY, seek, (size_t)SPANS * SPAN);
	seek_destroy(seek);
	const struct digest image = layer_digest(IMAGE);
	const struct digest layers[] = {layer_digest(LATE), layer_digest(EARLY)};
	const struct digest blob = layer_digest(IMAGE);
	bool noted[2] = {false};
	const struct store_unsynced what = {.image = &image, .layers = layers, .n_layers = 2,
					    .blobs = &blob, .n_blobs = 1, .ret_noted = noted};
	int lock = -1;
	assert_ok(store_unsynced_note(store, &what, &lock, &err), &err);
	assert_int_equal(notes(store), 1);
	assert_true(noted[0] && !noted[1]);
	n_syncs = 0;
	late_publish(store, LATE);
	AUTO_CLOSE int dir = image_dir(store, O_CREAT);
	static const char *const files[] = {"tree.erofs", "image.json", "profile"};
	for (size_t i = 0; i < 3; i++)
		assert_ok(file_commit(dir, files[i], "x", 1, COMMIT_LIVE, &err), &err);
	assert_ok(store_blob_keep(store, &blob, &(uint64_t){IMAGE}, sizeof(uint64_t), COMMIT_LIVE,
				  &err), &err);
	assert_int_equal(n_syncs, 0);
	return lock;
}

/* What a power cut may have torn is not believed after it; what it cannot have torn is. */
static void test_lost(void **state)
{
	const struct place *place = *state;
	struct store *store = place_open(place, 0);
	(void)close(publish(store));
	assert_true(has_layer(store, LATE) && has_layer(store, EARLY));
	watch_notes(store);
	store = reboot(place, store);
	assert_true(notes_settled);
	watch_notes(NULL);
	assert_false(has_layer(store, LATE));
	assert_true(has_layer(store, EARLY));
	assert_false(image_has(store, "image.json") || image_has(store, "tree.erofs"));
	assert_true(image_has(store, "profile"));
	assert_int_equal(notes(store), 0);
	store_close(store);
}

/* Within a boot everything is believed, whoever opens the store. */
static void test_same_boot(void **state)
{
	const struct place *place = *state;
	struct store *store = place_open(place, 0);
	(void)close(publish(store));
	store_close(store);
	store = place_open(place, 0);
	assert_true(has_layer(store, LATE) && image_has(store, "image.json"));
	assert_int_equal(notes(store), 1);
	store_close(store);
}

static void test_settled(void **state)
{
	const struct place *place = *state;
	struct err err = {0};
	struct store *store = place_open(place, 0);
	(void)close(publish(store));
	watch_notes(store);
	assert_ok(store_settle(store, &err), &err);
	assert_true(n_syncs > 10);
	assert_true(notes_settled);
	watch_notes(NULL);
	assert_int_equal(notes(store), 0);
	n_syncs = 0;
	assert_ok(store_settle(store, &err), &err);
	assert_int_equal(n_syncs, 0);
	store = reboot(place, store);
	assert_true(has_layer(store, LATE) && has_layer(store, EARLY));
	assert_true(image_has(store, "image.json") && image_has(store, "tree.erofs"));
	store_close(store);
}

static void *let_go(void *data)
{
	clock_sleep_ms(SHORT_MS, 0);
	(void)close(*(int *)data);
	return NULL;
}

/* Who is still publishing keeps the note; it is waited for. */
static void test_waits_for_the_maker(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, 0);
	int lock = publish(store);
	pthread_t thread;
	uint64_t start = clock_now_ns();
	assert_int_equal(pthread_create(&thread, NULL, let_go, &lock), 0);
	assert_ok(store_settle(store, &err), &err);
	assert_true(clock_now_ns() - start >= SHORT_MS * NS_PER_MS);
	assert_int_equal(notes(store), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	store_close(store);
}

/* What is damaged in a note is told when it is settled, and passed over after another boot. */
static void test_damaged(void **state)
{
	static const char *const bad[] = {"layer sha256:1", "laye", "images sha256:1", "lay sha256:1", " "};
	const struct place *place = *state;
	struct err err = {0};
	struct store *store = place_open(place, 0);
	const struct digest digest = layer_digest(LATE);
	struct digest_text text;
	late_publish(store, LATE);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char note[256];
		int n = snprintf(note, sizeof(note), "before\n%s\nlayer %s\n", bad[i],
				 digest_str(&digest, text.s));
		assert_ok(file_commit(store->dirs[STORE_DIR_UNSYNCED], "0", note, (size_t)n,
				      COMMIT_REPLACE, &err), &err);
		assert_err(store_settle(store, &err), -EBADMSG, &err, "it has a line that is none");
		assert_err(store_settle(store, &err), -EBADMSG, &err, "unsynced");
	}
	store = reboot(place, store);
	assert_int_equal(notes(store), 0);
	assert_false(has_layer(store, LATE));
	store_close(store);
}

/* A blob of the right size and other bytes, as a power cut leaves it, is put again. */
static void test_blob_is_compared(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, 0);
	struct digest digest;
	char hex[DIGEST_STR_MAX];
	AUTO_FINISH(buf) struct buf got = buf_make(16);
	assert_int_equal(digest_of(DIGEST_SHA256, "hello", 5, &digest), 0);
	assert_ok(store_blob_put(store, &digest, "hello", 5, &err), &err);
	store_damage(store, "blobs", "sha256", digest_hex(&digest, hex), 0, "\0\0\0\0\0", 5);
	assert_ok(store_blob_put(store, &digest, "hello", 5, &err), &err);
	assert_ok(store_blob_get(store, &digest, &got, &err), &err);
	assert_string_equal(got.data, "hello");
	store_close(store);
}

/* One that was killed before its note had a name: gc clears what it wrote. */
static void test_maker_was_killed(void **state)
{
	const struct place *place = *state;
	struct store *store = place_open(place, 0);
	struct store_gc_options options = {.min_age_sec = 3600};
	struct store_gc_result result = {0};
	struct commit *commit = NULL;
	struct err err = {0};
	int dir = store->dirs[STORE_DIR_UNSYNCED];
	assert_ok(commit_create(dir, "note", &commit, &err), &err);
	char *name = commit_name(dir);
	assert_ok(store_gc(store, &options, &result, &err), &err);
	assert_int_equal(faccessat(dir, name, F_OK, 0), 0);
	options.min_age_sec = 0;
	assert_ok(store_gc(store, &options, &result, &err), &err);
	assert_int_equal(result.removed_entries, 1);
	assert_int_equal(faccessat(dir, name, F_OK, 0), -1);
	free(name);
	commit_destroy(commit);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lost, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_same_boot, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_settled, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_waits_for_the_maker, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_damaged, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_maker_was_killed, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_blob_is_compared, place_setup, place_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
