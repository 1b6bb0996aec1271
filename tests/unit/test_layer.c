/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/layer_rig.h"

enum { BUDGET = 1 << 30, THREADS = 8 };

static const enum rig_kind kinds[] = {RIG_TAR,	RIG_GZIP,      RIG_GZIP_REMOTE,
				      RIG_ZSTD, RIG_ZSTD_LONG, RIG_CHUNKED};

/* The bytes of the blob crossed once; only those that two deflate spans share may twice. */
static void assert_crossed_once(struct rig *rig)
{
	size_t twice = 0;
	unsigned int most = mock_crossed_most(&rig->mock, &twice);
	assert_in_range(most, 1, 2);
	assert_in_range(twice, 0, seek_count(rig->seek));
}

static void read_at_random(struct rig *rig, uint32_t seed, size_t times)
{
	struct err err = {0};
	for (size_t i = 0; i < times; i++) {
		uint64_t off = ((uint64_t)layer_random(&seed) << 8) % rig->device.len;
		size_t len = (size_t)u64_min(layer_random(&seed) % 150000, rig->device.len - off);
		assert_ok(rig_read(rig, off, len, &err), &err);
	}
}

static void test_random_reads(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		read_at_random(rig, 3, 60);
		rig_read_all(rig);
		assert_crossed_once(rig);
		assert_int_equal(rig->counters.reads_failed, 0);
		assert_int_equal(rig->counters.spans_rejected, 0);
		/* Everything is local now. */
		uint8_t bytes[1000];
		size_t before = mock_requests(&rig->mock);
		assert_int_equal(source_peek(rig->source, bytes, sizeof(bytes), 4000), 1000);
		assert_memory_equal(bytes, rig->device.data + 4000, sizeof(bytes));
		read_at_random(rig, 4, 20);
		assert_int_equal(mock_requests(&rig->mock), before);
		rig_destroy(rig);
	}
}

struct reader {
	pthread_t thread;
	struct rig *rig;
	uint32_t seed;
};

static void *reader_main(void *data)
{
	struct reader *reader = data;
	read_at_random(reader->rig, reader->seed, 40);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct reader readers[THREADS];
		for (uint32_t i = 0; i < THREADS; i++) {
			readers[i] = (struct reader){.rig = rig, .seed = i * 9 + 1};
			assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main,
							&readers[i]), 0);
		}
		for (uint32_t i = 0; i < THREADS; i++)
			assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_crossed_once(rig);
		rig_destroy(rig);
	}
}

static void test_one_fetch_for_all(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_GZIP, BUDGET);
	struct job jobs[20];
	mock_set_stalled(&rig->mock, true);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		job_start(&jobs[i], rig->source, 1000 + i, 5000, RIG_TIMEOUT_MS);
	mock_await_stalled(&rig->mock, 1);
	mock_set_stalled(&rig->mock, false);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		assert_ok(job_end(&jobs[i], rig), &jobs[i].err);
	assert_int_equal(mock_requests(&rig->mock), 1);
	assert_int_equal(rig->counters.transfers, 1);
	assert_int_equal(rig->counters.spans_fetched, 1);
	assert_int_equal(rig->counters.reads_waited, ARRAY_LEN(jobs));
	rig_destroy(rig);
}

/* One read over all spans is one request; so is advice over all of them. */
static void test_neighbours_join(void **state)
{
	(void)state;
	static const enum rig_kind joined[] = {RIG_TAR, RIG_GZIP, RIG_GZIP_REMOTE, RIG_ZSTD};
	for (size_t k = 0; k < ARRAY_LEN(joined); k++) {
		struct rig *rig = rig_make(joined[k], BUDGET);
		struct err err = {0};
		assert_true(seek_count(rig->seek) >= 4);
		assert_ok(rig_read(rig, 0, rig->device.len, &err), &err);
		assert_int_equal(mock_requests(&rig->mock), 1);
		assert_int_equal(rig->mock.n_windows, joined[k] == RIG_GZIP_REMOTE);
		assert_int_equal(rig->counters.spans_fetched, seek_count(rig->seek));
		rig_destroy(rig);
	}
}

static void await_spans(struct rig *rig, uint64_t n)
{
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (atomic_load(&rig->counters.spans_fetched) < n) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(2, 0);
	}
}

static void test_advice(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	source_advise(rig->source, 0, UINT64_MAX);
	source_advise(rig->source, rig->device.len, 10);
	await_spans(rig, seek_count(rig->seek));
	assert_int_equal(mock_requests(&rig->mock), 1);
	rig_read_all(rig);
	assert_int_equal(mock_requests(&rig->mock), 1);
	assert_int_equal(rig->counters.reads_waited, 0);
	rig_destroy(rig);
}

/* Advice of more layers than there are places for it, none of which is ever read. */
static void test_advice_of_many_layers(void **state)
{
	(void)state;
	enum { LAYERS = FETCH_ADVISED_MAX + 3 };
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct rig *others[LAYERS];
	mock_set_stalled(&rig->mock, true);
	for (size_t i = 0; i < LAYERS; i++) {
		others[i] = rig_make_cold(i % 2 ? RIG_TAR : RIG_CHUNKED, BUDGET);
		others[i]->pool = rig->pool;
		mock_set_stalled(&others[i]->mock, true);
		others[i]->source = rig_open_source(others[i], others[i]->store, true);
		source_advise(others[i]->source, 0, others[i]->device.len);
	}
	for (size_t i = 0; i < LAYERS; i++)
		mock_set_stalled(&others[i]->mock, false);
	for (size_t i = 0; i < LAYERS; i++) {
		size_t zeros = i % 2 ? 0 : (RIG_CHUNKS + 3) / 7;
		await_spans(others[i], seek_count(others[i]->seek) - zeros);
		source_destroy(steal_ptr(&others[i]->source));
		others[i]->pool = NULL;
		rig_destroy(others[i]);
	}
	rig_destroy(rig);
}

/* What was advised and is now waited for does not wait for the places of advice. */
static void test_promotion(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct job job;
	for (size_t i = 0; i < FETCH_ADVISED_MAX; i++)
		assert_true(fetch_pool_begin_advised(rig->pool));
	source_advise(rig->source, 0, rig->device.len);
	clock_sleep_ms(100, 0);
	assert_int_equal(mock_requests(&rig->mock), 0);
	job_start(&job, rig->source, rig_span_off(rig, 3), 100, RIG_TIMEOUT_MS);
	assert_ok(job_end(&job, rig), &job.err);
	/* Its transfer begins with it: nobody waits for what is in front. */
	assert_int_equal(rig->mock.log[0].off, rig_span_off(rig, 3));
	for (size_t i = 0; i < FETCH_ADVISED_MAX; i++)
		fetch_pool_end_advised(rig->pool);
	await_spans(rig, seek_count(rig->seek));
	assert_crossed_once(rig);
	rig_destroy(rig);
}

static void test_cancel(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct job gone, stays;
	mock_set_stalled(&rig->mock, true);
	job_start(&gone, rig->source, 10, 1000, RIG_TIMEOUT_MS);
	job_start(&stays, rig->source, 20, 1000, RIG_TIMEOUT_MS);
	mock_await_stalled(&rig->mock, 1);
	assert_true(source_cancel(rig->source, &gone.read));
	assert_false(source_cancel(rig->source, &gone.read));
	memset(gone.read.data, 1, gone.read.len);
	mock_set_stalled(&rig->mock, false);
	assert_ok(job_end(&stays, rig), &stays.err);
	assert_false(source_cancel(rig->source, &stays.read));
	assert_int_equal(gone.calls, 0);
	assert_int_equal(*(uint8_t *)gone.read.data, 1);
	free(gone.read.data);
	rig_destroy(rig);
}

static void test_deadline(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct job late, patient;
	mock_set_stalled(&rig->mock, true);
	uint64_t start = clock_now_ns();
	job_start(&patient, rig->source, 0, 10, 0);
	job_start(&late, rig->source, 0, 10, 150);
	assert_err(job_end(&late, rig), -ETIMEDOUT, &late.err, "did not arrive in time");
	assert_in_range((late.over_ns - start) / NS_PER_MS, 149, 5000);
	assert_false(job_is_over(&patient));
	mock_set_stalled(&rig->mock, false);
	assert_ok(job_end(&patient, rig), &patient.err);
	assert_int_equal(mock_requests(&rig->mock), 1);
	assert_int_equal(rig->counters.reads_failed, 1);
	rig_destroy(rig);
}

/* Reads what failed before; a transfer that had begun then may still be about to fail. */
static void read_healed(struct rig *rig, uint64_t off, size_t len)
{
	struct err err = {0};
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (rig_read(rig, off, len, &err) == -EHOSTUNREACH) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(5, 0);
	}
	assert_ok(rig_read(rig, off, len, &err), &err);
}

static void test_failure_wakes_all(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct job jobs[10];
		mock_set_down(&rig->mock, true);
		mock_set_stalled(&rig->mock, true);
		for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
			job_start(&jobs[i], rig->source, i * 50, 100000, RIG_TIMEOUT_MS);
		mock_set_stalled(&rig->mock, false);
		for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
			assert_err(job_end(&jobs[i], rig), -EHOSTUNREACH, &jobs[i].err, "mock");
		assert_int_equal(rig->counters.reads_failed, ARRAY_LEN(jobs));
		mock_set_down(&rig->mock, false);
		read_healed(rig, 0, 100000);
		rig_read_all(rig);
		rig_destroy(rig);
	}
}

static void test_short_data(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct job whole, first;
	struct err err = {0};
	rig->mock.short_at = 1;
	job_start(&whole, rig->source, 0, rig->device.len, RIG_TIMEOUT_MS);
	assert_err(job_end(&whole, rig), -EIO, &whole.err, "ended early");
	/* What came before the end is kept. */
	job_start(&first, rig->source, 0, SEEK_SPAN_BYTES, RIG_TIMEOUT_MS);
	assert_ok(job_end(&first, rig), &first.err);
	assert_int_equal(mock_requests(&rig->mock), 1);
	assert_ok(rig_read(rig, 0, rig->device.len, &err), &err);
	rig_destroy(rig);
}

/* A byte in the middle of span i of the blob. */
static uint64_t middle_of_span(const struct rig *rig, size_t i)
{
	struct span span;
	seek_get(rig->seek, i, &span);
	return span.in_off + span.in_len / 2;
}

/* A bit that flips once costs another request, and nobody sees it. */
static void test_flip_heals(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		struct err err = {0};
		rig->mock.flip_off = middle_of_span(rig, 1);
		rig->mock.flips = 1;
		assert_ok(rig_read(rig, 0, rig->device.len, &err), &err);
		assert_int_equal(rig->counters.spans_rejected, 1);
		assert_int_equal(rig->counters.reads_failed, 0);
		rig_destroy(rig);
	}
}

/* Bytes that stay wrong are -EBADMSG, for their own span alone, and are not kept. */
static void test_flip_stays(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct job jobs[3];
	struct err err = {0};
	char byte;
	mock_set_stalled(&rig->mock, true);
	rig->mock.flip_off = middle_of_span(rig, 1);
	rig->mock.flips = 2;
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		job_start(&jobs[i], rig->source, rig_span_off(rig, i), 100, RIG_TIMEOUT_MS);
	mock_set_stalled(&rig->mock, false);
	assert_ok(job_end(&jobs[0], rig), &jobs[0].err);
	assert_err(job_end(&jobs[1], rig), -EBADMSG, &jobs[1].err, "span 1");
	assert_ok(job_end(&jobs[2], rig), &jobs[2].err);
	assert_int_equal(rig->counters.spans_rejected, 2);
	assert_int_equal(source_peek(rig->source, &byte, 1, rig_span_off(rig, 1)), -EAGAIN);
	assert_ok(rig_read(rig, rig_span_off(rig, 1), 100, &err), &err);
	rig_destroy(rig);
}

/* A window that does not unpack is fetched again. */
static void test_window_flip_heals(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_GZIP_REMOTE, BUDGET);
	struct err err = {0};
	rig->mock.window_flips = 1;
	assert_ok(rig_read(rig, rig_span_off(rig, 2), 1000, &err), &err);
	assert_int_equal(rig->mock.n_windows, 2);
	rig->mock.window_flips = 2;
	assert_err(rig_read(rig, rig_span_off(rig, 3), 1000, &err), -EIO, &err, "damaged");
	assert_ok(rig_read(rig, rig_span_off(rig, 3), 1000, &err), &err);
	rig_destroy(rig);
}

/* Stands a window in the store that unpacks, and is another. */
static void forge_window(struct rig *rig, size_t i)
{
	static uint8_t other[SEEK_WINDOW_BYTES];
	struct err err = {0};
	struct span span;
	AUTO(store_layer) struct store_layer *layer = NULL;
	seek_get(rig->seek, i, &span);
	memset(other, 'x', sizeof(other));
	uint8_t packed[SEEK_WINDOW_PACKED_MAX] = {0};
	size_t n = ZSTD_compress(packed, sizeof(packed), other, sizeof(other), 1);
	assert_true(n + 8 < span.win_len);
	/* The rest is a frame that is skipped: RFC 8878, 3.1.2. */
	const uint32_t skip[2] = {0x184D2A50, span.win_len - (uint32_t)n - 8};
	memcpy(packed + n, skip, sizeof(skip));
	assert_ok(store_layer_open(rig->store, seek_layer(rig->seek), &layer, &err), &err);
	assert_ok(store_layer_fill_windows(layer, i, i + 1, span.win_off, packed, span.win_len,
					   &err), &err);
}

static void test_wrong_window_heals(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_GZIP_REMOTE, BUDGET);
	struct err err = {0};
	forge_window(rig, 2);
	assert_ok(rig_read(rig, rig_span_off(rig, 2), 1000, &err), &err);
	assert_int_equal(rig->counters.spans_rejected, 1);
	assert_int_equal(rig->mock.n_windows, 1);
	assert_int_equal(mock_requests(&rig->mock), 2);
	rig_destroy(rig);
}

static void test_no_origin(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct err err = {0};
	assert_ok(rig_read(rig, 0, 1000, &err), &err);
	source_destroy(rig->source);
	rig->source = rig_open_source(rig, rig->store, false);
	assert_ok(rig_read(rig, 5, 1000, &err), &err);
	source_advise(rig->source, 0, rig->device.len);
	assert_err(rig_read(rig, rig->device.len - 10, 10, &err), -EHOSTUNREACH, &err,
		   "not in the store");
	rig_destroy(rig);
}

/* What a table says of the blob's order must not make a transfer leave the bytes it has. */
static void test_hostile_order(void **state)
{
	(void)state;
	for (int kind = RIG_OVERLAP; kind <= RIG_BACKWARDS; kind++) {
		struct rig *rig = rig_make((enum rig_kind)kind, BUDGET);
		struct err err = {0};
		source_advise(rig->source, 0, rig->device.len / 2);
		assert_ok(rig_read(rig, 0, rig->device.len, &err), &err);
		assert_int_equal(rig->counters.spans_fetched, RIG_CHUNKS);
		rig_destroy(rig);
	}
}

/* Advice about tens of thousands of spans costs the queue's length, not their square. */
static void test_advice_of_dust(void **state)
{
	(void)state;
	enum { ADVICE_MS_MAX = 1000 };
	for (int kind = RIG_DUST; kind <= RIG_CRUMBS; kind++) {
		struct rig *rig = rig_make((enum rig_kind)kind, BUDGET);
		struct err err = {0};
		deadline_t end = deadline_in_ms(ADVICE_MS_MAX);
		source_advise(rig->source, 0, rig->device.len);
		assert_false(deadline_passed(end));
		size_t len = 1000 * RIG_DUST_BYTES;
		assert_ok(rig_read(rig, rig->device.len - len, len, &err), &err);
		/* No transfer has so many units that claiming them holds up the layer. */
		uint64_t most = kind == RIG_CRUMBS ? 512 * RIG_DUST_BYTES : rig->blob.len;
		for (size_t i = 0; i < mock_requests(&rig->mock); i++)
			assert_in_range(rig->mock.log[i].len, 1, most);
		rig_destroy(rig);
	}
}

static void test_bounds(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], BUDGET);
		uint64_t size = source_size(rig->source);
		const uint64_t offs[] = {size, size - 3, size + 1, UINT64_MAX, UINT64_MAX - 5};
		struct err err = {0};
		char bytes[8];
		assert_int_equal(size, rig->device.len);
		for (size_t i = 0; i < ARRAY_LEN(offs); i++) {
			struct job job;
			job_start(&job, rig->source, offs[i], 8, RIG_TIMEOUT_MS);
			assert_err(job_end(&job, rig), -EINVAL, &job.err, "past the end");
			assert_int_equal(source_peek(rig->source, bytes, 8, offs[i]), -EINVAL);
			assert_err(source_read_wait(rig->source, bytes, 8, offs[i], 1, &err), -EIO,
				   &err, "past the end");
		}
		const uint64_t empty[] = {0, 5, size};
		for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
			struct job job;
			job_start(&job, rig->source, empty[i], 0, RIG_TIMEOUT_MS);
			assert_ok(job_end(&job, rig), &job.err);
			assert_int_equal(source_peek(rig->source, bytes, 0, empty[i]), 0);
		}
		assert_int_equal(mock_requests(&rig->mock), 0);
		rig_destroy(rig);
	}
}

static void *destroy_main(void *source)
{
	source_destroy(source);
	return NULL;
}

static void test_destroy_ends_reads(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct job jobs[30];
	mock_set_stalled(&rig->mock, true);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		job_start(&jobs[i], rig->source, i * 150000, 1000, RIG_TIMEOUT_MS);
	source_advise(rig->source, 0, rig->device.len);
	mock_await_stalled(&rig->mock, 1);
	pthread_t releaser;
	/* The readers are told at once; only the destroy waits for the transfer. */
	assert_int_equal(pthread_create(&releaser, NULL, destroy_main, rig->source), 0);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		assert_err(job_end(&jobs[i], rig), -ESHUTDOWN, &jobs[i].err, "being closed");
	mock_set_stalled(&rig->mock, false);
	assert_int_equal(pthread_join(releaser, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
		assert_int_equal(jobs[i].calls, 1);
	rig->source = NULL;
	rig_destroy(rig);
}

/* A store that can keep nothing costs fetches, not reads. */
static void test_store_full(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct rig *rig = rig_make(kinds[k], 2000);
		read_at_random(rig, 8, 15);
		assert_int_equal(rig->counters.reads_failed, 0);
		rig_destroy(rig);
	}
}

static void test_eviction(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_GZIP, 3 * SEEK_SPAN_BYTES);
	uint64_t freed = 0;
	struct err err = {0};
	for (uint32_t i = 0; i < 5; i++) {
		read_at_random(rig, i + 1, 15);
		assert_ok(store_evict(rig->store, 0, &freed, &err), &err);
	}
	assert_int_equal(rig->counters.reads_failed, 0);
	rig_destroy(rig);
}

/* The store says it has the bytes, and cannot give them: the origin is asked, once a read. */
static void test_store_fails(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct err err = {0};
	char path[512], name[DIGEST_STR_MAX];
	assert_ok(rig_read(rig, 0, 1000, &err), &err);
	(void)snprintf(path, sizeof(path), "%s/layers/%s/data", store_path(rig->store),
		       store_entry_name(seek_layer(rig->seek), name));
	assert_int_equal(truncate(path, 0), 0);
	assert_ok(rig_read(rig, 0, 1000, &err), &err);
	assert_int_equal(mock_requests(&rig->mock), 2);
	mock_set_down(&rig->mock, true);
	assert_err(rig_read(rig, 0, 1000, &err), -EHOSTUNREACH, &err, "mock");
	rig_destroy(rig);
}

static bool whole_is_noted(struct rig *rig)
{
	struct err err = {0};
	AUTO(store_layer) struct store_layer *layer = NULL;
	assert_ok(store_layer_open(rig->store, seek_layer(rig->seek), &layer, &err), &err);
	return store_layer_info(layer)->whole_checked;
}

static void test_whole_is_checked(void **state)
{
	(void)state;
	static const enum rig_kind tars[] = {RIG_TAR, RIG_GZIP, RIG_GZIP_REMOTE, RIG_ZSTD,
					     RIG_ZSTD_LONG};
	for (size_t k = 0; k < ARRAY_LEN(tars); k++) {
		struct rig *rig = rig_make(tars[k], BUDGET);
		assert_false(whole_is_noted(rig));
		rig_read_all(rig);
		deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
		while (!whole_is_noted(rig)) {
			assert_false(deadline_passed(end));
			clock_sleep_ms(5, 0);
		}
		rig_destroy(rig);
	}
}

/* A table whose spans are what it says, and whose diff_id is another. */
static void rig_lie(struct rig *rig)
{
	struct err err = {0};
	AUTO(seek_builder) struct seek_builder *b = NULL;
	struct seek *seek = NULL;
	struct seek_totals totals = {
		.layer = *seek_layer(rig->seek),
		.diff_id = *seek_layer(rig->seek),
		.in_size = seek_in_size(rig->seek),
		.out_size = seek_out_size(rig->seek),
		.is_tar = true,
	};
	totals.layer.bytes[0] ^= 1;
	totals.diff_id.bytes[0] ^= 2;
	assert_int_equal(seek_builder_create(&b), 0);
	for (size_t i = 0; i < seek_count(rig->seek); i++) {
		struct span span;
		seek_get(rig->seek, i, &span);
		assert_ok(seek_builder_add(b, &span, &err), &err);
	}
	assert_ok(seek_builder_finish(b, &totals, &seek, &err), &err);
	seek_destroy(rig->seek);
	rig->seek = seek;
	rig->desc.digest = totals.layer;
	rig_publish(rig, RIG_TAR);
}

static void test_lying_index(void **state)
{
	(void)state;
	struct rig *rig = rig_make(RIG_TAR, BUDGET);
	struct err err = {0};
	struct job job;
	char byte;
	source_destroy(rig->source);
	rig_lie(rig);
	rig->source = rig_open_source(rig, rig->store, true);
	/* All at once: what is left to read once all is local may meet the verdict. */
	assert_ok(rig_read(rig, 0, rig->device.len, &err), &err);
	deadline_t end = deadline_in_ms(RIG_TIMEOUT_MS);
	while (source_peek(rig->source, &byte, 1, 0) != -EIO) {
		assert_false(deadline_passed(end));
		clock_sleep_ms(5, 0);
	}
	job_start(&job, rig->source, 0, 1, RIG_TIMEOUT_MS);
	assert_err(job_end(&job, rig), -EIO, &job.err, "found to be wrong");
	struct store_layer *layer = NULL;
	assert_err(store_layer_open(rig->store, seek_layer(rig->seek), &layer, &err), -ENOENT, &err,
		   "open layer");
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_reads),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_one_fetch_for_all),
		cmocka_unit_test(test_neighbours_join),
		cmocka_unit_test(test_advice),
		cmocka_unit_test(test_advice_of_many_layers),
		cmocka_unit_test(test_promotion),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_failure_wakes_all),
		cmocka_unit_test(test_short_data),
		cmocka_unit_test(test_flip_heals),
		cmocka_unit_test(test_flip_stays),
		cmocka_unit_test(test_window_flip_heals),
		cmocka_unit_test(test_wrong_window_heals),
		cmocka_unit_test(test_no_origin),
		cmocka_unit_test(test_hostile_order),
		cmocka_unit_test(test_advice_of_dust),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_destroy_ends_reads),
		cmocka_unit_test(test_store_full),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_store_fails),
		cmocka_unit_test(test_whole_is_checked),
		cmocka_unit_test(test_lying_index),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
