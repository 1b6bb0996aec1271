/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A layer of any kind in a store of its own, over a mock origin, and reads to try on it. */

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "fetcher/layer.h"
#include "fetcher/manifest.h"
#include "fetcher/source_wait.h"
#include "fetcher/store.h"
#include "tests/unit/layers.h"
#include "tests/unit/origin_mock.h"

enum { RIG_DUST_BYTES = 16, RIG_DUST_SPANS = 60000 };
enum { RIG_BYTES = 5 << 20, RIG_TIMEOUT_MS = 30000, RIG_CHUNK = 3000, RIG_CHUNKS = 200 };

enum rig_kind {
	RIG_TAR,
	RIG_GZIP,	 /* windows in the store */
	RIG_GZIP_REMOTE, /* windows to be fetched */
	RIG_ZSTD,	 /* several frames */
	RIG_ZSTD_LONG,	 /* one frame: one unit of several spans */
	RIG_CHUNKED,	 /* a synthetic device: gaps, units of several spans, zeros */
	RIG_KINDS,
	RIG_OVERLAP = RIG_KINDS, /* a hostile table: spans over one another in the blob */
	RIG_BACKWARDS,		 /* another: the first span stands last */
	RIG_DUST,		 /* one frame of very many spans */
	RIG_CRUMBS,		 /* very many units */
	RIG_GZIP_FAR,		 /* another: half of the windows far from the others */
};

struct rig {
	char dir[64];
	struct buf blob, windows, device;
	struct seek *seek;
	struct mock mock;
	struct store *store;
	struct fetch_pool *pool;
	struct fetch_counters counters;
	struct descriptor desc;
	struct source *source;
};

/* ---- layers ---- */

static inline void rig_index(struct rig *rig)
{
	struct err err = {0};
	struct indexed x;
	assert_ok(layer_index(rig->blob.data, rig->blob.len, 65536, &x, &err), &err);
	rig->seek = x.seek;
	rig->windows = x.windows;
	buf_finish(&x.out);
}

static inline void rig_add_span(struct seek_builder *b, const struct span *span, const void *data)
{
	struct err err = {0};
	struct span s = *span;
	struct digest digest;
	if (s.codec != SEEK_ZEROS) {
		assert_int_equal(digest_of(DIGEST_SHA256, data, s.out_len, &digest), 0);
		memcpy(s.sha256, digest.bytes, SHA256_BYTES);
		s.sum = SEEK_SUM_OUT;
	}
	assert_ok(seek_builder_add(b, &s, &err), &err);
}

/*
 * As an image of small files: every chunk at a multiple of 4096 and followed
 * by padding; every third frame holds two chunks with unused bytes between;
 * every seventh chunk is zeros; frames stand in the blob with gaps, and the
 * first two in the wrong order.
 */
static inline void rig_make_chunked(struct rig *rig)
{
	struct seek_builder *b = NULL;
	struct seek_totals totals = {.layer.algo = DIGEST_SHA256};
	struct err err = {0};
	uint8_t data[2 * RIG_CHUNK + 100];
	uint64_t ins[RIG_CHUNKS], lens[RIG_CHUNKS];
	assert_int_equal(seek_builder_create(&b), 0);
	layer_zeros(&rig->device, RIG_CHUNKS * 4096);
	for (size_t k = 0; k < RIG_CHUNKS; k++) {
		size_t n = k % 3 == 1 ? sizeof(data) : RIG_CHUNK;
		size_t at = k < 2 ? 1 - k : k; /* which frame stands here */
		uint32_t seed = (uint32_t)at + 77;
		n = at % 3 == 1 ? sizeof(data) : RIG_CHUNK;
		for (size_t i = 0; i < n; i++)
			data[i] = (uint8_t)(layer_random(&seed) % 23);
		ins[at] = rig->blob.len;
		layer_zstd(&rig->blob, data, n, 1, 0);
		lens[at] = rig->blob.len - ins[at];
		layer_zeros(&rig->blob, k % 5 * 10);
	}
	for (size_t k = 0; k < RIG_CHUNKS; k++) {
		struct span s = {.out_off = k * 4096, .out_len = RIG_CHUNK, .codec = SEEK_ZEROS};
		size_t frame = k % 3 == 2 ? k - 1 : k;
		uint32_t seed = (uint32_t)frame + 77;
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)(layer_random(&seed) % 23);
		if (k % 7 != 3) {
			s.codec = SEEK_ZSTD;
			s.in_off = ins[frame];
			s.in_len = lens[frame];
			s.skip = k % 3 == 2 ? RIG_CHUNK + 100 : 0;
			memcpy(rig->device.data + s.out_off, data + s.skip, RIG_CHUNK);
		}
		rig_add_span(b, &s, data + s.skip);
	}
	totals.in_size = rig->blob.len;
	totals.out_size = rig->device.len;
	assert_ok(digest_of(DIGEST_SHA256, rig->blob.data, rig->blob.len, &totals.layer), &err);
	assert_ok(seek_builder_finish(b, &totals, &rig->seek, &err), &err);
	seek_builder_destroy(b);
}

/* Stored spans that begin `step` bytes after the one before, or, negative, before it. */
static inline void rig_make_hostile(struct rig *rig, int step)
{
	struct seek_builder *b = NULL;
	struct seek_totals totals = {0};
	struct err err = {0};
	assert_int_equal(seek_builder_create(&b), 0);
	layer_mixed(&rig->blob, RIG_CHUNKS * RIG_CHUNK, 6);
	for (int k = 0; k < RIG_CHUNKS; k++) {
		int from = step < 0 ? RIG_CHUNKS - 1 - k : k;
		struct span s = {
			.in_off = (uint64_t)(from * (step < 0 ? -step : step)),
			.in_len = RIG_CHUNK,
			.out_off = rig->device.len,
			.out_len = RIG_CHUNK,
			.codec = SEEK_COPY,
		};
		const char *data = rig->blob.data + s.in_off;
		rig_add_span(b, &s, data);
		assert_int_equal(buf_append(&rig->device, data, RIG_CHUNK), 0);
	}
	totals.in_size = rig->blob.len;
	totals.out_size = rig->device.len;
	assert_ok(digest_of(DIGEST_SHA256, rig->blob.data, rig->blob.len, &totals.layer), &err);
	assert_ok(seek_builder_finish(b, &totals, &rig->seek, &err), &err);
	seek_builder_destroy(b);
}

/* Spans of a few bytes, all of one zstd frame or each stored by itself. */
static inline void rig_make_dust(struct rig *rig, bool one_frame)
{
	struct seek_builder *b = NULL;
	struct seek_totals totals = {0};
	struct err err = {0};
	assert_int_equal(seek_builder_create(&b), 0);
	layer_mixed(&rig->device, RIG_DUST_SPANS * RIG_DUST_BYTES, 8);
	if (one_frame)
		layer_zstd(&rig->blob, rig->device.data, rig->device.len, 1, 0);
	else
		assert_int_equal(buf_append(&rig->blob, rig->device.data, rig->device.len), 0);
	for (size_t i = 0; i < RIG_DUST_SPANS; i++) {
		uint64_t off = i * RIG_DUST_BYTES;
		struct span s = {.out_off = off, .out_len = RIG_DUST_BYTES, .in_off = off,
				 .in_len = RIG_DUST_BYTES, .codec = SEEK_COPY};
		if (one_frame) {
			s.codec = SEEK_ZSTD;
			s.in_off = 0;
			s.in_len = rig->blob.len;
			s.skip = off;
		}
		rig_add_span(b, &s, rig->device.data + off);
	}
	totals.in_size = rig->blob.len;
	totals.out_size = rig->device.len;
	assert_ok(digest_of(DIGEST_SHA256, rig->blob.data, rig->blob.len, &totals.layer), &err);
	assert_ok(seek_builder_finish(b, &totals, &rig->seek, &err), &err);
	seek_builder_destroy(b);
}

enum { RIG_FAR = 24 << 20 };

/* Puts the windows of the second half of the spans far behind the others. */
static inline void rig_spread_windows(struct rig *rig)
{
	struct seek_builder *b = NULL;
	struct seek *near = rig->seek;
	struct buf windows = buf_make(2 * (size_t)RIG_FAR);
	struct err err = {0};
	size_t count = seek_count(near);
	assert_int_equal(seek_builder_create(&b), 0);
	assert_int_equal(buf_append(&windows, rig->windows.data, rig->windows.len), 0);
	layer_zeros(&windows, RIG_FAR);
	assert_int_equal(buf_append(&windows, rig->windows.data, rig->windows.len), 0);
	for (size_t i = 0; i < count; i++) {
		struct span span;
		seek_get(near, i, &span);
		if (i >= count / 2 && span.win_len > 0)
			span.win_off += windows.len - rig->windows.len;
		assert_ok(seek_builder_add(b, &span, &err), &err);
	}
	const struct seek_totals totals = {
		.layer = *seek_layer(near), .diff_id = *seek_diff_id(near), .is_tar = true,
		.in_size = rig->blob.len, .out_size = rig->device.len, .windows_size = windows.len};
	assert_ok(seek_builder_finish(b, &totals, &rig->seek, &err), &err);
	seek_builder_destroy(b);
	seek_destroy(near);
	buf_finish(&rig->windows);
	rig->windows = windows;
}

static inline void rig_make_blob(struct rig *rig, enum rig_kind kind)
{
	rig->blob = rig->device = buf_make(LAYER_MAX);
	if (kind == RIG_CHUNKED) {
		rig_make_chunked(rig);
		return;
	}
	if (kind == RIG_OVERLAP || kind == RIG_BACKWARDS) {
		rig_make_hostile(rig, kind == RIG_OVERLAP ? 130 : -RIG_CHUNK);
		return;
	}
	if (kind == RIG_DUST || kind == RIG_CRUMBS) {
		rig_make_dust(rig, kind == RIG_DUST);
		return;
	}
	layer_mixed(&rig->device, RIG_BYTES, (uint32_t)kind + 5);
	const char *data = rig->device.data;
	size_t n = rig->device.len;
	if (kind == RIG_TAR)
		assert_int_equal(buf_append(&rig->blob, data, n), 0);
	else if (kind == RIG_GZIP || kind == RIG_GZIP_REMOTE || kind == RIG_GZIP_FAR)
		layer_gzip(&rig->blob, data, n, 1, Z_NO_FLUSH);
	else if (kind == RIG_ZSTD_LONG)
		layer_zstd(&rig->blob, data, n, 1, 0);
	else
		for (size_t done = 0; done < n;) {
			size_t part = (size_t)u64_min(n - done, 300000);
			layer_zstd(&rig->blob, data + done, part, 1, 0);
			done += part;
		}
	rig_index(rig);
	if (kind == RIG_GZIP_FAR)
		rig_spread_windows(rig);
}

/* ---- the store and the layer in it ---- */

static inline struct store *rig_open_store(const struct rig *rig, uint64_t budget)
{
	struct err err = {0};
	struct store *store = NULL;
	char path[80];
	(void)snprintf(path, sizeof(path), "%s/store", rig->dir);
	assert_ok(store_open(&(struct store_config){.path = path, .budget_bytes = budget}, &store,
			     &err), &err);
	return store;
}

static inline void rig_publish(struct rig *rig, enum rig_kind kind)
{
	struct err err = {0};
	AUTO(store_layer_new) struct store_layer_new *n = NULL;
	struct store_layer_info info = {.index = LAYER_INDEX_LOCAL};
	assert_ok(store_layer_new_create(rig->store, seek_layer(rig->seek), &n, &err), &err);
	if (kind == RIG_GZIP_REMOTE || kind == RIG_GZIP_FAR) {
		assert_int_equal(digest_of(DIGEST_SHA256, rig->windows.data, rig->windows.len,
					   &info.windows_digest), 0);
		info.windows_size = rig->windows.len;
		rig->mock.windows_digest = info.windows_digest;
	} else if (rig->windows.len > 0) {
		assert_ok(store_layer_new_windows(n, rig->windows.data, rig->windows.len, &err),
			  &err);
	}
	assert_ok(store_layer_new_finish(n, rig->seek, &info, &err), &err);
}

/* Opens the layer as a source; the rig's own origin, or none. */
static inline struct source *rig_open_source(struct rig *rig, struct store *store, bool origin)
{
	struct err err = {0};
	struct source *source = NULL;
	struct layer_config config = {
		.origin = origin ? &rig->mock.origin : NULL,
		.blob = &rig->desc,
		.pool = rig->pool,
		.counters = &rig->counters,
	};
	assert_ok(store_layer_open(store, seek_layer(rig->seek), &config.store, &err), &err);
	assert_ok(layer_open(&config, &source, &err), &err);
	return source;
}

/* Everything but the pool and the source, which a child makes for itself. */
static inline struct rig *rig_make_cold(enum rig_kind kind, uint64_t budget)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	assert_non_null(rig);
	(void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/sluice-layer-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	rig_make_blob(rig, kind);
	mock_init(&rig->mock, &rig->blob, &rig->windows);
	rig->desc.media_type = strdup(MEDIA_OCI_LAYER);
	rig->desc.digest = *seek_layer(rig->seek);
	rig->desc.size = rig->blob.len;
	rig->store = rig_open_store(rig, budget);
	rig_publish(rig, kind);
	return rig;
}

static inline struct rig *rig_make(enum rig_kind kind, uint64_t budget)
{
	struct err err = {0};
	struct rig *rig = rig_make_cold(kind, budget);
	assert_ok(fetch_pool_create(2, &rig->pool, &err), &err);
	rig->source = rig_open_source(rig, rig->store, true);
	return rig;
}

static inline void rig_destroy(struct rig *rig)
{
	struct err err = {0};
	source_destroy(rig->source);
	fetch_pool_destroy(rig->pool);
	store_close(rig->store);
	descriptor_finish(&rig->desc);
	mock_finish(&rig->mock);
	seek_destroy(rig->seek);
	buf_finish(&rig->blob);
	buf_finish(&rig->windows);
	buf_finish(&rig->device);
	assert_ok(tree_remove(AT_FDCWD, rig->dir, &err), &err);
	free(rig);
}

/* Where span i begins. */
static inline uint64_t rig_span_off(const struct rig *rig, size_t i)
{
	struct span span;
	seek_get(rig->seek, i, &span);
	return span.out_off;
}

/* Reads and compares; the result of the read. Bytes that are wrong fail the test. */
static inline int rig_read(struct rig *rig, uint64_t off, size_t len, struct err *err)
{
	uint8_t *got = malloc(len + 1);
	assert_non_null(got);
	memset(got, 0xa5, len + 1);
	int r = source_read_wait(rig->source, got, len, off, RIG_TIMEOUT_MS, err);
	if (r == 0)
		assert_memory_equal(got, rig->device.data + off, len);
	assert_int_equal(got[len], 0xa5);
	free(got);
	return r;
}

static inline void rig_read_all(struct rig *rig)
{
	struct err err = {0};
	for (uint64_t off = 0; off < rig->device.len;) {
		size_t n = (size_t)u64_min(400000, rig->device.len - off);
		assert_ok(rig_read(rig, off, n, &err), &err);
		off += n;
	}
}

/* ---- reads that go on by themselves ---- */

struct job {
	struct source_read read;
	pthread_mutex_t lock;
	pthread_cond_t over;
	int calls, result;
	struct err err;
	uint64_t order; /* when it was over, among all */
	uint64_t over_ns;
};

static inline void job_done(struct source_read *read, int result, const struct err *err)
{
	struct job *job = container_of(read, struct job, read);
	(void)pthread_mutex_lock(&job->lock);
	job->calls++;
	job->result = result;
	job->over_ns = clock_now_ns();
	if (err)
		(void)err_copy(&job->err, err);
	(void)pthread_cond_broadcast(&job->over);
	(void)pthread_mutex_unlock(&job->lock);
}

static inline void job_start(struct job *job, struct source *source, uint64_t off, size_t len,
			     uint64_t timeout_ms)
{
	*job = (struct job){.read = {.off = off, .len = len, .done = job_done,
				     .data = malloc(len), .deadline = deadline_in_ms(timeout_ms)}};
	assert_non_null(job->read.data);
	(void)pthread_mutex_init(&job->lock, NULL);
	(void)pthread_cond_init(&job->over, NULL);
	source_submit(source, &job->read);
}

static inline bool job_is_over(struct job *job)
{
	(void)pthread_mutex_lock(&job->lock);
	bool over = job->calls > 0;
	(void)pthread_mutex_unlock(&job->lock);
	return over;
}

/* Waits for the end, which came once; compares the bytes of a success. Frees what it holds. */
static inline int job_end(struct job *job, const struct rig *rig)
{
	(void)pthread_mutex_lock(&job->lock);
	while (job->calls == 0)
		(void)pthread_cond_wait(&job->over, &job->lock);
	(void)pthread_mutex_unlock(&job->lock);
	assert_int_equal(job->calls, 1);
	if (job->result == 0)
		assert_memory_equal(job->read.data, rig->device.data + job->read.off,
				    job->read.len);
	free(job->read.data);
	return job->result;
}
