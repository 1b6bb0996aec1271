/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: what they refuse, what they keep, and that none outlives its mount. */
#include <signal.h>
#include <sys/wait.h>

#include "fetcher/store_layer_priv.h"
#include "fetcher/store_pin_priv.h"
#include "tests/unit/store_unit.h"

enum { SPANS = 4, SPAN = 8192, BUDGET = 4 * SPANS * SPAN, PINNED = 1, OTHER = 2 };

#define ID "0123abcd"

static void publish(struct store *store, uint64_t seed, size_t spans)
{
	struct seek *seek = layer_seek(seed, SPANS, SPAN, 0, SEEK_SUM_OUT);
	layer_publish(store, seed, seek, spans * SPAN);
	seek_destroy(seek);
}

static struct digest image_digest(void)
{
	struct digest digest;
	assert_int_equal(digest_of(DIGEST_SHA256, "image", 5, &digest), 0);
	return digest;
}

/* The directory that a prepared image has. */
static void image_make(struct store *store)
{
	struct err err = {0};
	const struct digest image = image_digest();
	char name[DIGEST_STR_MAX];
	int fd = -1;
	assert_ok(dir_make_at(store_dir_images(store), store_entry_name(&image, name), 0700, &fd,
			      &err), &err);
	(void)close(fd);
}

static int take(struct store *store, uint64_t seed, struct store_pin **ret, struct err *err)
{
	const struct digest image = image_digest();
	const struct digest layer = layer_digest(seed);
	return store_pin_take(store, ID, &image, &layer, 1, ret, err);
}

static void refuses(struct store *store, uint64_t seed, int code, const char *why)
{
	struct err err = {0};
	struct store_pin *pin = NULL;
	assert_err(take(store, seed, &pin, &err), code, &err, why);
	assert_null(pin);
}

static bool pin_is_there(struct store *store)
{
	AUTO_FREE char *path = NULL;
	assert_true(asprintf(&path, "%s/pins/" ID, store_path(store)) > 0);
	return access(path, F_OK) == 0;
}

/* A pin as another process has left it. */
static void pin_put(struct store *store, const char *boot, const char *rest)
{
	struct err err = {0};
	struct digest_text image, layer;
	const struct digest i = image_digest();
	const struct digest l = layer_digest(PINNED);
	char text[1024];
	int dir = -1;
	assert_ok(pins_open(store, true, &dir, &err), &err);
	int fd = openat(dir, ID, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)snprintf(text, sizeof(text), "boot %s\nimage %s\nlayer %s %d\n%s", boot,
		       digest_str(&i, image.s), digest_str(&l, layer.s), SPANS * SPAN, rest);
	assert_int_equal(file_write(fd, text, strlen(text)), 0);
	(void)close(fd);
	(void)close(dir);
}

static void share(struct store *store, const char *from, const char *to)
{
	struct err err = {0};
	int dir = -1;
	assert_ok(pins_open(store, true, &dir, &err), &err);
	assert_int_equal(renameat(dir, from, dir, to), 0);
	(void)close(dir);
}

static uint64_t evict(struct store *store)
{
	struct err err = {0};
	uint64_t freed = UINT64_MAX;
	assert_ok(store_evict(store, 0, &freed, &err), &err);
	return freed;
}

static size_t present(struct store *store, uint64_t seed)
{
	struct store_layer *layer = layer_open(store, seed);
	struct store_layer_counts counts;
	store_layer_counts(layer, &counts);
	store_layer_close(layer);
	return (size_t)counts.spans_present;
}

static void test_refusals(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct err err = {0};
	struct store_pin *pin = NULL;
	const struct digest image = image_digest();
	const struct digest layer = layer_digest(PINNED);
	image_make(store);
	refuses(store, PINNED, -ENOENT, "pin an image: layer sha256-");
	publish(store, PINNED, SPANS - 1);
	refuses(store, PINNED, -EAGAIN, "it is not wholly here");
	struct store_layer *open = layer_open(store, PINNED);
	assert_ok(layer_fill(open, PINNED, SPANS - 1, &err), &err);
	(void)atomic_fetch_or(&open->present.state[1], SPAN_UNVERIFIED);
	refuses(store, PINNED, -EAGAIN, "not all of it was checked since the machine was started");
	assert_int_equal(layer_read_span_right(open, PINNED, 1), 0); /* which checks it */
	char boot[BOOT_ID_MAX];
	memcpy(boot, open->present.head->boot, sizeof(boot));
	open->present.head->boot[0] ^= 1;
	refuses(store, PINNED, -EAGAIN, "it was not used since the machine was started");
	memcpy(open->present.head->boot, boot, sizeof(boot));
	open->present.head->count++;
	refuses(store, PINNED, -EBADMSG, "`present` has a header that does not fit");
	open->present.head->count--;
	store_layer_close(open);

	const char *const bad[] = {"", "a/b", "..", "a b"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_err(store_pin_take(store, bad[i], &image, &layer, 1, &pin, &err), -EINVAL,
			   &err, "pin an image: ");
	assert_err(store_pin_take(store, ID, &image, &layer, 0, &pin, &err), -EINVAL, &err, "0 layers");

	int evicting = openat(store->fd, "usage", O_RDWR | O_CLOEXEC);
	assert_int_equal(ofd_lock(evicting, F_WRLCK, STORE_LOCK_EVICT, 1), 0);
	refuses(store, PINNED, -EAGAIN, "spans are being evicted");
	(void)close(evicting);
	assert_false(pin_is_there(store));
	assert_ok(take(store, PINNED, &pin, &err), &err);
	struct store_pin *second = NULL;
	assert_err(take(store, PINNED, &second, &err), -EEXIST, &err, "pin an image: make it");
	assert_true(pin_is_there(store));
	store_pin_close(pin);
	assert_false(pin_is_there(store));
	store_close(store);
}

/* Eviction keeps a part of the budget for itself. */
static void test_budget(void **state)
{
	struct store *store = place_open(*state, UINT64_C(2) * SPANS * SPAN - 1);
	struct err err = {0};
	struct store_pin *pin = NULL;
	image_make(store);
	publish(store, PINNED, SPANS);
	refuses(store, PINNED, -EAGAIN, "the budget of the store lets");
	assert_false(pin_is_there(store));
	store_close(store);
	/* An image that is pinned already takes nothing more. */
	store = place_open(*state, UINT64_C(2) * SPANS * SPAN);
	assert_ok(take(store, PINNED, &pin, &err), &err);
	const struct digest image = image_digest();
	const struct digest layers[] = {layer_digest(PINNED), layer_digest(PINNED)};
	struct store_pin *second = NULL;
	assert_ok(store_pin_take(store, "second", &image, layers, 2, &second, &err), &err);
	store_pin_close(second);
	store_pin_close(pin);
	store_close(store);
}

static void check_kept(struct store *store)
{
	struct err err = {0};
	uint64_t bytes = 0;
	char name[DIGEST_STR_MAX];
	const struct digest layer = layer_digest(PINNED);
	const struct digest image = image_digest();
	assert_int_equal(evict(store), SPANS * SPAN);
	assert_int_equal(present(store, PINNED), SPANS);
	assert_int_equal(present(store, OTHER), 0);
	assert_err(store_remove_layer(store, store_entry_name(&layer, name), false, &bytes, &err),
		   -EBUSY, &err, "");
	assert_err(store_remove_image(store, store_entry_name(&image, name), false, &bytes, &err),
		   -EBUSY, &err, "");
}

static void check_let_go(struct store *store)
{
	struct err err = {0};
	uint64_t bytes = 0;
	char name[DIGEST_STR_MAX];
	const struct digest layer = layer_digest(PINNED);
	assert_int_equal(evict(store), SPANS * SPAN);
	assert_int_equal(present(store, PINNED), 0);
	assert_false(pin_is_there(store));
	assert_ok(store_remove_layer(store, store_entry_name(&layer, name), false, &bytes, &err),
		  &err);
}

/* As long as its maker lives, also before anything is mounted. */
static void test_making(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct err err = {0};
	struct store_pin *pin = NULL;
	image_make(store);
	publish(store, PINNED, SPANS);
	publish(store, OTHER, SPANS);
	assert_ok(take(store, PINNED, &pin, &err), &err);
	char byte = 0;
	assert_int_equal(file_pread(store_pin_data(pin, 0), &byte, 1, 0), 1);
	assert_int_equal((uint8_t)byte, device_byte(PINNED, 0));
	check_kept(store);
	/* Nothing was mounted. */
	assert_err(store_pin_release(store, ID, &err), -EBUSY, &err, "is still there");
	store_pin_close(pin);
	check_let_go(store);
	store_close(store);
}

/* A maker that is killed leaves its pin, which says nothing then. */
static void test_maker_killed(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	int ready[2];
	image_make(store);
	publish(store, PINNED, SPANS);
	publish(store, OTHER, SPANS);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct store_pin *pin = NULL;
		struct store *own = place_open(*state, BUDGET);
		int r = take(own, PINNED, &pin, NULL);
		if (write(ready[1], &r, sizeof(r)) == (ssize_t)sizeof(r))
			(void)pause();
		_exit(1);
	}
	int r = -1;
	assert_int_equal(read(ready[0], &r, sizeof(r)), sizeof(r));
	assert_int_equal(r, 0);
	check_kept(store);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)close(ready[0]);
	(void)close(ready[1]);
	assert_true(pin_is_there(store));
	check_let_go(store);
	store_close(store);
}

/* What is mounted is asked of the kernel: "features" is a name that it always has. */
static void test_mounted(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct err err = {0};
	if (!pin_mount_exists("features")) {
		print_message("# SKIP: this kernel has no EROFS\n");
		store_close(store);
		skip();
	}
	image_make(store);
	publish(store, PINNED, SPANS);
	publish(store, OTHER, SPANS);
	pin_put(store, store->boot, "end\nmount none-such features\n");
	check_kept(store);
	assert_err(store_pin_release(store, ID, &err), -EBUSY, &err, "is still there");
	share(store, ID PIN_SHARED, ID);
	pin_put(store, store->boot, "end\nmount none-such\n");
	assert_ok(store_pin_release(store, ID, &err), &err);
	assert_false(pin_is_there(store));
	check_let_go(store);
	store_close(store);
}

/* Which of several mounts made at once a pin is of cannot be told: the end of the last one clears it. */
static void test_shared(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct err err = {0};
	if (!pin_mount_exists("features")) {
		print_message("# SKIP: this kernel has no EROFS\n");
		store_close(store);
		skip();
	}
	image_make(store);
	publish(store, PINNED, SPANS);
	publish(store, OTHER, SPANS);
	pin_put(store, store->boot, "end\nmount none-such features\n");
	share(store, ID, ID PIN_SHARED);
	check_kept(store);
	assert_err(store_pin_release(store, ID, &err), -EBUSY, &err, "or one that was made with it");
	assert_ok(store_pin_release(store, "another", &err), &err);
	share(store, ID PIN_SHARED, ID);
	pin_put(store, store->boot, "end\nmount none-such nor-this\n");
	share(store, ID, ID PIN_SHARED);
	assert_ok(store_pin_release(store, "another", &err), &err);
	AUTO_FREE char *path = NULL;
	assert_true(asprintf(&path, "%s/pins/" ID PIN_SHARED, store_path(store)) > 0);
	assert_int_equal(access(path, F_OK), -1);
	check_let_go(store);
	store_close(store);
}

/* None of these keeps anything. */
static void test_dead(void **state)
{
	static const char *const rests[] = {
		"",		       /* torn */
		"end\n",	       /* its maker is gone, and never mounted */
		"end\nmount",	       /* the line was never finished */
		"end\nmount features", /* nor was this */
		"end\nmount ../erofs\n",
		"end\nmount none-such\n",
		"layer nonsense\nend\nmount features\n",
		"mount features\n",
	};
	struct store *store = place_open(*state, BUDGET);
	struct err err = {0};
	image_make(store);
	publish(store, PINNED, SPANS);
	struct store_layer *layer = layer_open(store, PINNED);
	for (size_t i = 0; i <= ARRAY_LEN(rests); i++) {
		for (size_t k = 0; k < SPANS; k++)
			assert_ok(layer_fill(layer, PINNED, k, &err), &err);
		if (i < ARRAY_LEN(rests))
			pin_put(store, store->boot, rests[i]);
		else
			pin_put(store, "00000000-0000-0000-0000-000000000000",
				"end\nmount features\n");
		assert_int_equal(evict(store), SPANS * SPAN);
		assert_false(pin_is_there(store));
	}
	store_layer_close(layer);
	store_close(store);
}

/* A span that turned bad under a mount is fetched again into its place, and no hole is made of it. */
static void test_fsck(void **state)
{
	struct store *store = place_open(*state, BUDGET);
	struct err err = {0};
	struct store_pin *pin = NULL;
	uint64_t wrong = 0;
	uint8_t byte = 0;
	image_make(store);
	publish(store, PINNED, SPANS);
	assert_ok(take(store, PINNED, &pin, &err), &err);
	struct store_layer *layer = layer_open(store, PINNED);
	uint8_t bad = (uint8_t)~device_byte(PINNED, SPAN + 7);
	assert_int_equal(file_pwrite(layer->data_fd, &bad, 1, SPAN + 7), 0);
	const struct store_fsck_options options = {.repair = true, .deep = true};
	assert_ok(store_fsck(store, &options, NULL, NULL, &wrong, &err), &err);
	assert_int_equal(wrong, 1);
	assert_false(store_layer_state(layer, 1) & SPAN_PRESENT);
	const struct store_gc_options nothing = {0};
	struct store_gc_result result;
	assert_ok(store_gc(store, &nothing, &result, &err), &err); /* which looks for pages to free */
	assert_int_equal(file_pread(store_pin_data(pin, 0), &byte, 1, SPAN + 7), 1);
	assert_int_equal(byte, bad);
	assert_int_equal(layer_read_span_right(layer, PINNED, 1), -EAGAIN);
	assert_ok(layer_fill(layer, PINNED, 1, &err), &err);
	assert_int_equal(file_pread(store_pin_data(pin, 0), &byte, 1, SPAN + 7), 1);
	assert_int_equal(byte, device_byte(PINNED, SPAN + 7));
	assert_int_equal(store_counted(store), SPANS * SPAN);
	store_layer_close(layer);
	store_pin_close(pin);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refusals, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_budget, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_making, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_maker_killed, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_mounted, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_shared, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_dead, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_fsck, place_setup, place_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
