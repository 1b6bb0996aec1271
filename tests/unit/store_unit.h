/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Stores in a temporary directory, and layers with known bytes, for the tests of the store. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/store.h"
#include "fetcher/store_layer_priv.h"
#include "tests/unit/unit.h"

struct place {
	char dir[64];
	char store[80];
};

static inline void place_make(struct place *place)
{
	(void)snprintf(place->dir, sizeof(place->dir), "/tmp/sluice-store-XXXXXX");
	assert_non_null(mkdtemp(place->dir));
	(void)snprintf(place->store, sizeof(place->store), "%s/store", place->dir);
}

static inline void place_remove(struct place *place)
{
	struct err err = {0};
	assert_ok(tree_remove(AT_FDCWD, place->dir, &err), &err);
}

/* A test's own place, as its state. */
static inline int place_setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	assert_non_null(place);
	place_make(place);
	*state = place;
	return 0;
}

static inline int place_teardown(void **state)
{
	place_remove(*state);
	free(*state);
	return 0;
}

static inline struct store *place_open(const struct place *place, uint64_t budget)
{
	struct err err = {0};
	struct store *store = NULL;
	const struct store_config config = {.path = place->store, .budget_bytes = budget};
	assert_ok(store_open(&config, &store, &err), &err);
	return store;
}

/* The byte at off of the device of layer `seed`: no two spans are alike. */
static inline uint8_t device_byte(uint64_t seed, uint64_t off)
{
	uint64_t v = (off / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed * UINT64_C(0xbf58476d1ce4e5b9);
	v ^= v >> 29;
	return (uint8_t)(v >> (8 * (off % 8)));
}

static inline void device_bytes(uint64_t seed, uint64_t off, void *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)data)[i] = device_byte(seed, off + i);
}

static inline struct digest layer_digest(uint64_t seed)
{
	struct digest digest;
	assert_int_equal(digest_of(DIGEST_SHA256, &seed, sizeof(seed), &digest), 0);
	return digest;
}

/* A table of count spans of span_len bytes each, gap bytes apart; stored as they are. */
static inline struct seek *layer_seek(uint64_t seed, size_t count, size_t span_len, size_t gap,
				      enum seek_sum sum)
{
	struct err err = {0};
	struct seek_builder *builder = NULL;
	struct seek *seek = NULL;
	struct digest_ctx *whole = NULL;
	struct seek_totals totals = {.layer = layer_digest(seed), .is_tar = gap == 0};
	uint8_t *data = malloc(span_len);
	assert_non_null(data);
	assert_ok(seek_builder_create(&builder), &err);
	assert_ok(digest_ctx_create(DIGEST_SHA256, &whole), &err);
	for (size_t i = 0; i < count; i++) {
		struct span span = {
			.in_off = i * span_len,
			.in_len = span_len,
			.out_off = i * (span_len + gap),
			.out_len = span_len,
			.codec = SEEK_COPY,
			.sum = sum,
		};
		struct digest digest;
		device_bytes(seed, span.out_off, data, span_len);
		assert_ok(digest_of(DIGEST_SHA256, data, span_len, &digest), &err);
		assert_ok(digest_ctx_update(whole, data, span_len), &err);
		memcpy(span.sha256, digest.bytes, SHA256_BYTES);
		assert_ok(seek_builder_add(builder, &span, &err), &err);
	}
	totals.in_size = count * span_len;
	totals.out_size = count * (span_len + gap);
	if (gap == 0)
		assert_ok(digest_ctx_final(whole, &totals.diff_id), &err);
	assert_ok(seek_builder_finish(builder, &totals, &seek, &err), &err);
	digest_ctx_destroy(whole);
	seek_builder_destroy(builder);
	free(data);
	return seek;
}

/* Publishes a layer whose first `kept` device bytes are there. */
static inline void layer_publish(struct store *store, uint64_t seed, const struct seek *seek,
				 size_t kept)
{
	struct err err = {0};
	struct store_layer_new *n = NULL;
	const struct digest digest = layer_digest(seed);
	const struct store_layer_info info = {.index = LAYER_INDEX_LOCAL};
	assert_ok(store_layer_new_create(store, &digest, &n, &err), &err);
	uint8_t step[4096];
	for (size_t off = 0; off < kept;) {
		size_t len = (size_t)u64_min(sizeof(step), kept - off);
		device_bytes(seed, off, step, len);
		assert_ok(store_layer_new_data(n, step, len, &err), &err);
		off += len;
	}
	assert_ok(store_layer_new_finish(n, seek, &info, &err), &err);
	store_layer_new_destroy(n);
}

static inline struct store_layer *layer_open(struct store *store, uint64_t seed)
{
	struct err err = {0};
	struct store_layer *layer = NULL;
	const struct digest digest = layer_digest(seed);
	assert_ok(store_layer_open(store, &digest, &layer, &err), &err);
	return layer;
}

/* Fills span i as the network would have it. */
static inline int layer_fill(struct store_layer *layer, uint64_t seed, size_t i, struct err *err)
{
	struct span span;
	seek_get(store_layer_seek(layer), i, &span);
	uint8_t *data = malloc((size_t)span.out_len);
	assert_non_null(data);
	device_bytes(seed, span.out_off, data, (size_t)span.out_len);
	int r = store_layer_claim(layer, i, i + 1);
	if (r == 0) {
		r = store_layer_fill(layer, i, data, err);
		store_layer_release(layer, i, i + 1);
	}
	free(data);
	return r;
}

/* Reads span i: 0 when every byte is right, -EAGAIN; wrong bytes fail the test. */
static inline int layer_read_span_right(struct store_layer *layer, uint64_t seed, size_t i)
{
	struct span span;
	seek_get(store_layer_seek(layer), i, &span);
	size_t n = (size_t)span.out_len;
	uint8_t *got = malloc(n);
	uint8_t *want = malloc(n);
	assert_true(got && want);
	ssize_t r = store_layer_read(layer, got, n, span.out_off);
	if (r >= 0) {
		device_bytes(seed, span.out_off, want, n);
		assert_int_equal(r, (ssize_t)n);
		assert_memory_equal(got, want, n);
		r = 0;
	}
	free(got);
	free(want);
	return (int)r;
}

static inline uint64_t store_counted(struct store *store)
{
	struct store_usage usage;
	struct err err = {0};
	assert_ok(store_usage(store, &usage, &err), &err);
	return usage.data_bytes;
}

/* Overwrites part of a file of the store, as damage would. */
static inline void store_damage(struct store *store, const char *dir, const char *entry,
				const char *file, uint64_t off, const void *data, size_t n)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/%s/%s/%s", store_path(store), dir, entry, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(file_pwrite(fd, data, n, off), 0);
	(void)close(fd);
}

/* Makes a layer's `present` one of another boot. */
static inline void other_boot(struct store *store, uint64_t seed)
{
	char name[DIGEST_STR_MAX];
	const struct digest digest = layer_digest(seed);
	store_damage(store, "layers", store_entry_name(&digest, name), "present",
		     offsetof(struct present_header, boot), "an earlier boot", 15);
}

/* Two deflate spans; the second one's window is `packed`, n bytes at 100 of the windows. */
static inline struct seek *window_seek(uint64_t seed, size_t n)
{
	struct err err = {0};
	struct seek_builder *builder = NULL;
	struct seek *seek = NULL;
	struct span span = {.in_len = 5000, .out_len = 70000, .codec = SEEK_DEFLATE,
			    .sum = SEEK_SUM_OUT};
	assert_ok(seek_builder_create(&builder), &err);
	assert_ok(seek_builder_add(builder, &span, &err), &err);
	span.in_off = 5000;
	span.out_off = 70000;
	span.win_off = 100;
	span.win_len = (uint32_t)n;
	assert_ok(seek_builder_add(builder, &span, &err), &err);
	const struct seek_totals totals = {
		.layer = layer_digest(seed),
		.in_size = 10000,
		.out_size = 140000,
		.windows_size = 100 + n,
	};
	assert_ok(seek_builder_finish(builder, &totals, &seek, &err), &err);
	seek_builder_destroy(builder);
	return seek;
}
