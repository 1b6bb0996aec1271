/* SPDX-License-Identifier: Apache-2.0 */
/* The deflate windows of a layer in the store: kept, damaged, fetched again, and not kept at all. */
#include "fetcher/store_layer.h"

#include <signal.h>
#include <sys/resource.h>

#include <zstd.h>

#include "tests/unit/store_unit.h"

enum { SEED = 7, BUDGET = 64 << 20 };

static void window_publish(struct store *store, const struct seek *seek, const void *windows,
			   size_t n, struct digest from)
{
	struct err err = {0};
	struct store_layer_new *new = NULL;
	const struct digest digest = layer_digest(SEED);
	const struct store_layer_info info = {.index = LAYER_INDEX_SLUICE, .windows_digest = from,
					      .windows_size = seek_windows_size(seek)};
	assert_ok(store_layer_new_create(store, &digest, &new, &err), &err);
	if (n > 0)
		assert_ok(store_layer_new_windows(new, windows, n, &err), &err);
	assert_ok(store_layer_new_finish(new, seek, &info, &err), &err);
	store_layer_new_destroy(new);
}

static void test_windows(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	static uint8_t want[SEEK_WINDOW_BYTES], got[SEEK_WINDOW_BYTES];
	char blob[100 + ZSTD_COMPRESSBOUND(SEEK_WINDOW_BYTES)] = {0};
	device_bytes(SEED, 0, want, sizeof(want));
	size_t n = ZSTD_compress(blob + 100, sizeof(blob) - 100, want, sizeof(want), 3);
	assert_false(ZSTD_isError(n));
	struct seek *seek = window_seek(SEED, n);
	const struct digest from = layer_digest(99);

	window_publish(store, seek, NULL, 0, from);
	struct store_layer *layer = layer_open(store, SEED);
	assert_true(digest_equal(&store_layer_info(layer)->windows_digest, &from));
	assert_err(store_layer_window(layer, 0, got, &err), -EINVAL, &err, "span 0 has no window");
	assert_err(store_layer_window(layer, 1, got, &err), -EAGAIN, &err, "not here yet");
	assert_err(store_layer_fill_windows(layer, 0, 2, 101, blob + 101, n - 1, &err), -EINVAL,
		   &err, "not in the bytes given");
	assert_err(store_layer_fill_windows(layer, 0, 3, 0, blob, 100 + n, &err), -EINVAL, &err,
		   "out of range");
	assert_ok(store_layer_fill_windows(layer, 0, 2, 0, blob, 100 + n, &err), &err);
	assert_ok(store_layer_window(layer, 1, got, &err), &err);
	assert_memory_equal(got, want, sizeof(want));
	/* A damaged one is fetched again. */
	char name[DIGEST_STR_MAX];
	store_damage(store, "layers", store_entry_name(seek_layer(seek), name), "windows", 100,
		     "\0\0\0\0", 4);
	assert_err(store_layer_window(layer, 1, got, &err), -EAGAIN, &err, "was damaged");
	assert_err(store_layer_window(layer, 1, got, &err), -EAGAIN, &err, "not here yet");
	assert_ok(store_layer_fill_windows(layer, 1, 2, 100, blob + 100, n, &err), &err);
	assert_ok(store_layer_window(layer, 1, got, &err), &err);
	store_layer_close(layer);
	/* What was fetched before another boot may be lost. */
	other_boot(store, SEED);
	layer = layer_open(store, SEED);
	assert_int_equal(store_layer_window(layer, 1, got, &err), -EAGAIN);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* No file of this process grows beyond so many bytes; a write that would is refused. */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	(void)signal(SIGXFSZ, bytes == RLIM_INFINITY ? SIG_DFL : SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = u64_min(bytes, limit.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Published with its windows, a layer keeps them over a boot. */
static void test_windows_kept(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	static char want[SEEK_WINDOW_BYTES], got[SEEK_WINDOW_BYTES];
	char blob[100 + ZSTD_COMPRESSBOUND(SEEK_WINDOW_BYTES)] = {0};
	device_bytes(SEED, 0, want, sizeof(want));
	size_t n = ZSTD_compress(blob + 100, sizeof(blob) - 100, want, sizeof(want), 3);
	struct seek *seek = window_seek(SEED, n);
	window_publish(store, seek, blob, 100 + n, (struct digest){0});
	other_boot(store, SEED);
	struct store_layer *layer = layer_open(store, SEED);
	assert_ok(store_layer_window(layer, 1, got, &err), &err);
	assert_memory_equal(got, want, sizeof(want));
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* Those that cannot be fetched again: the layer is put aside, and its successor is not. */
static void test_windows_lost(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	struct store_layer *next = NULL;
	static char window[SEEK_WINDOW_BYTES], got[SEEK_WINDOW_BYTES];
	char blob[100 + ZSTD_COMPRESSBOUND(SEEK_WINDOW_BYTES)] = {0};
	char name[DIGEST_STR_MAX];
	device_bytes(SEED, 0, window, sizeof(window));
	size_t n = ZSTD_compress(blob + 100, sizeof(blob) - 100, window, sizeof(window), 3);
	struct seek *seek = window_seek(SEED, n);
	store_entry_name(seek_layer(seek), name);
	window_publish(store, seek, blob, 100 + n, (struct digest){0});
	struct store_layer *layer = layer_open(store, SEED);
	store_damage(store, "layers", name, "windows", 100, "\0\0\0\0", 4);
	assert_err(store_layer_window(layer, 1, got, &err), -EBADMSG, &err, "makes the layer anew");
	assert_err(store_layer_open(store, seek_layer(seek), &next, &err), -ENOENT, &err, name);
	window_publish(store, seek, blob, 100 + n, (struct digest){0});
	assert_int_equal(store_layer_window(layer, 1, got, &err), -EBADMSG);
	next = layer_open(store, SEED);
	assert_ok(store_layer_window(next, 1, got, &err), &err);
	store_layer_close(next);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

static void count_finding(void *data, const char *what, const char *why)
{
	(void)what;
	assert_non_null(strstr(why, "the window of span 1 does not unpack"));
	++*(int *)data;
}

/* fsck finds a damaged window, and what repairs it is that it, or its layer, is made again. */
static void test_windows_fsck(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	static char window[SEEK_WINDOW_BYTES], got[SEEK_WINDOW_BYTES];
	char blob[100 + ZSTD_COMPRESSBOUND(SEEK_WINDOW_BYTES)] = {0};
	char name[DIGEST_STR_MAX];
	device_bytes(SEED, 0, window, sizeof(window));
	size_t n = ZSTD_compress(blob + 100, sizeof(blob) - 100, window, sizeof(window), 3);
	struct seek *seek = window_seek(SEED, n);
	store_entry_name(seek_layer(seek), name);
	for (int remote = 0; remote < 2; remote++) {
		window_publish(store, seek, remote ? NULL : blob, remote ? 0 : 100 + n,
			       remote ? layer_digest(99) : (struct digest){0});
		struct store_layer *layer = layer_open(store, SEED);
		if (remote)
			assert_ok(store_layer_fill_windows(layer, 1, 2, 100, blob + 100, n, &err), &err);
		store_damage(store, "layers", name, "windows", 100, "\0\0\0\0", 4);
		struct store_fsck_options options = {.deep = true};
		for (int repair = 0; repair < 3; repair++) {
			int found = 0;
			uint64_t wrong;
			options.repair = repair == 1;
			assert_ok(store_fsck(store, &options, count_finding, &found, &wrong, &err), &err);
			assert_int_equal(wrong, repair < 2);
			assert_int_equal(found, repair < 2);
		}
		store_layer_close(layer);
		int r = store_layer_open(store, seek_layer(seek), &layer, &err);
		assert_int_equal(r, remote ? 0 : -ENOENT);
		if (remote) {
			assert_int_equal(store_layer_window(layer, 1, got, &err), -EAGAIN);
			store_layer_close(layer);
		}
	}
	seek_destroy(seek);
	store_close(store);
}

/* What the disk does not take is there for one use, and of no use to other processes. */
static void test_windows_disk_full(void **state)
{
	struct err err = {0};
	struct store *store = place_open(*state, BUDGET);
	static char want[SEEK_WINDOW_BYTES], got[SEEK_WINDOW_BYTES];
	char blob[100 + ZSTD_COMPRESSBOUND(SEEK_WINDOW_BYTES)] = {0};
	device_bytes(SEED, 0, want, sizeof(want));
	size_t n = ZSTD_compress(blob + 100, sizeof(blob) - 100, want, sizeof(want), 3);
	struct seek *seek = window_seek(SEED, n);
	window_publish(store, seek, NULL, 0, layer_digest(99));
	struct store_layer *layer = layer_open(store, SEED);
	struct store_layer *other = layer_open(store, SEED);
	limit_files(1);
	int r = store_layer_fill_windows(layer, 1, 2, 100, blob + 100, n, &err);
	limit_files(RLIM_INFINITY);
	assert_ok(r, &err);
	assert_int_equal(store_layer_state(layer, 1) & SPAN_WINDOW, 0);
	assert_err(store_layer_window(other, 1, got, &err), -EAGAIN, &err, "not here yet");
	assert_ok(store_layer_window(layer, 1, got, &err), &err);
	assert_memory_equal(got, want, sizeof(want));
	assert_err(store_layer_window(layer, 1, got, &err), -EAGAIN, &err, "not here yet");
	/* One that nobody came for goes with the layer. */
	limit_files(1);
	r = store_layer_fill_windows(layer, 1, 2, 100, blob + 100, n, &err);
	limit_files(RLIM_INFINITY);
	assert_ok(r, &err);
	store_layer_close(other);
	store_layer_close(layer);
	seek_destroy(seek);
	store_close(store);
}

/* Never more than the limit: the oldest go. */
static void test_spares_limit(void **state)
{
	enum { LEN = SPARES_BYTES_MAX / 4 };
	struct spares spares;
	size_t len = 0;
	(void)state;
	spares_init(&spares);
	char *bytes = calloc(1, LEN);
	assert_non_null(bytes);
	for (size_t i = 0; i < 6; i++) {
		bytes[0] = (char)i;
		assert_int_equal(spares_put(&spares, i, bytes, LEN), 0);
	}
	assert_true(spares.bytes <= SPARES_BYTES_MAX);
	assert_null(spares_take(&spares, 1, &len));
	char *taken = spares_take(&spares, 2, &len);
	assert_non_null(taken);
	assert_int_equal(len, LEN);
	assert_int_equal(taken[0], 2);
	free(taken);
	free(bytes);
	spares_finish(&spares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_windows, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_windows_kept, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_windows_lost, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_windows_fsck, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_windows_disk_full, place_setup, place_teardown),
		cmocka_unit_test(test_spares_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
