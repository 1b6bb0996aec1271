/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What happens to a queued unit. A transfer job takes a run of neighbouring
 * units, claims them (so that no other process fetches them too), serves those
 * that have come into the store meanwhile, fetches the missing windows, then
 * the compressed bytes in one range request. Each unit goes to a decoder as
 * soon as its bytes are complete.
 */

#include "fetcher/layer_private.h"

#include <string.h>

#include "base/log.h"
#include "base/num.h"

enum {
	/* A larger unit, or one of several spans, is decoded while it arrives. */
	UNIT_BUFFER_MAX = 32 << 20,
	/*
	 * Units of one transfer. Each is claimed under the layer's lock, and what a claim costs
	 * grows with the claims that are not neighbours: 1 ms for so many, 90 ms for 4096.
	 */
	TRANSFER_UNITS_MAX = 512,
};

struct transfer {
	struct work work;
	struct layer *layer;
	enum work_priority priority;
	struct list local;   /* units that turned out to be in the store */
	struct list units;   /* units to fetch, by in_off */
	unsigned int taken;  /* units ever claimed for it */
	uint64_t in_off, in_end;
	uint64_t win_off, win_end; /* where their windows are, when these can be fetched */
	uint64_t pos;	     /* of the next byte that arrives */
	void *bytes;	     /* of the first of `units`, so far; owned */
	uint64_t n_bytes;
	/* Of the first of `units` when it is a long one; owned. */
	struct span_decoder *decoder;
	struct span_bench *bench;
	bool decoded;	     /* all its spans are out, whatever bytes still come */
	struct err *err;     /* what went wrong with all of it */
};

/* A unit of one span on its way to a processor. */
struct decode {
	struct work work;
	struct layer *layer;
	struct unit *unit;
	void *bytes; /* owned, unit->in_len of pool memory */
};

/* The check of a layer that is whole. */
struct check {
	struct work work;
	struct layer *layer;
};

/* ---- checking the whole ---- */

/* Once nothing is under way and everything is local, the whole is checked, once. */
static void layer_check_run(struct work *work)
{
	struct check *check = container_of(work, struct check, work);
	struct layer *layer = check->layer;
	struct err err = {0};
	int r = store_layer_check_whole(layer->store, &err);
	if (r == -EBADMSG)
		log_error("%s", err_text(&err));
	else if (r < 0)
		log_debug("check a whole layer: %s", err_text(&err));
	(void)pthread_mutex_lock(&layer->lock);
	if (r == -EBADMSG)
		__atomic_store_n(&layer->broken, true, __ATOMIC_RELAXED);
	else if (r < 0)
		/* Something was evicted meanwhile, or the disk failed: another time. */
		layer->checking = false;
	(void)pthread_mutex_unlock(&layer->lock);
	free(check);
	layer_release(layer);
}

static void layer_maybe_check(struct layer *layer)
{
	struct store_layer_counts counts;
	(void)pthread_mutex_lock(&layer->lock);
	bool quiet = layer->units.count == 0 && !layer->checking && !layer->closing &&
		     seek_is_tar(layer->seek) && !store_layer_info(layer->store)->whole_checked;
	(void)pthread_mutex_unlock(&layer->lock);
	if (!quiet)
		return;
	store_layer_counts(layer->store, &counts);
	if (counts.spans_present < counts.spans)
		return;
	struct check *check = calloc(1, sizeof(*check));
	if (!check)
		return;
	*check = (struct check){.work.run = layer_check_run, .layer = layer};
	(void)pthread_mutex_lock(&layer->lock);
	bool go = !layer->checking && !layer->closing;
	if (go) {
		layer->checking = true;
		layer_hold(layer);
	}
	(void)pthread_mutex_unlock(&layer->lock);
	if (!go)
		free(check);
	else if (workers_submit(fetch_pool_cpu(layer->pool), &check->work, WORK_LATER) < 0)
		layer_check_run(&check->work);
}

/* ---- decoding ---- */

/* Keeps a verified span; a store that cannot take it costs a later fetch, not this read. */
static void layer_keep(struct layer *layer, size_t i, const void *data)
{
	struct err err = {0};
	if (store_layer_fill(layer->store, i, data, &err) < 0)
		log_debug("span %zu is not kept: %s", i, err_text(&err));
	counter_add(&layer->counters->spans_fetched, 1);
}

/* Counts a unit whose bytes were wrong; what may have made them so is fetched anew, too. */
static void layer_reject_unit(struct layer *layer, const struct unit *unit, int r)
{
	if (r != -EBADMSG)
		return;
	counter_add(&layer->counters->spans_rejected, 1);
	for (size_t i = unit->first; i < unit->end; i++)
		store_layer_drop_window(layer->store, i);
}

static int decode_unit(struct decode *d, struct span_bench *bench, struct err *err)
{
	struct layer *layer = d->layer;
	struct span span;
	seek_get(layer->seek, d->unit->first, &span);
	void *window = NULL;
	if (span.win_len > 0) {
		window = bench->window;
		int r = store_layer_window(layer->store, d->unit->first, window, err);
		if (r < 0)
			return r;
	}
	int r = span_bench_reserve(bench, span.out_len);
	if (r < 0)
		return err_set(err, r, "decode a span");
	return span_decode(bench->scratch, layer->seek, d->unit->first, d->bytes,
			   d->unit->in_len, window, bench->out, err);
}

static void decode_run(struct work *work)
{
	struct decode *d = container_of(work, struct decode, work);
	struct layer *layer = d->layer;
	struct err err = {0};
	struct span_bench *bench = fetch_pool_bench(layer->pool);
	int r = bench ? decode_unit(d, bench, &err) : err_set(&err, -ENOMEM, "decode a span");
	fetch_pool_put_buffer(layer->pool, d->bytes, d->unit->in_len);
	if (r == 0)
		layer_keep(layer, d->unit->first, bench->out);
	layer_reject_unit(layer, d->unit, r);
	layer_finish_unit(layer, d->unit, r == 0 ? bench->out : NULL, r, &err);
	fetch_pool_put_bench(layer->pool, bench);
	free(d);
	/* This may have been the last, long after its transfer was over. */
	layer_maybe_check(layer);
	layer_release(layer);
}

/* Hands the complete first unit of the transfer to a processor. */
static int transfer_decode(struct transfer *t, struct unit *unit, struct err *err)
{
	struct layer *layer = t->layer;
	struct decode *d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, -ENOMEM, "decode a span");
	*d = (struct decode){.work.run = decode_run, .layer = layer, .unit = unit};
	d->bytes = steal_ptr(&t->bytes);
	list_remove(&unit->link);
	(void)pthread_mutex_lock(&layer->lock);
	layer_hold(layer);
	/* Somebody may wait by now for what was only advised. */
	enum work_priority priority = unit->urgent ? WORK_URGENT : WORK_LATER;
	(void)pthread_mutex_unlock(&layer->lock);
	if (workers_submit(fetch_pool_cpu(layer->pool), &d->work, priority) < 0)
		decode_run(&d->work); /* no thread to be had: here, then */
	return 0;
}

/* ---- receiving ---- */

static bool unit_is_long(const struct unit *unit)
{
	return unit->end - unit->first > 1 || unit->in_len > UNIT_BUFFER_MAX;
}

static int transfer_span_out(void *data, size_t i, const void *bytes, size_t n)
{
	struct transfer *t = data;
	struct unit *unit = list_first(&t->units, struct unit, link);
	(void)n;
	layer_keep(t->layer, i, bytes);
	layer_serve_span(t->layer, unit, i, bytes);
	return 0;
}

static int transfer_begin_unit(struct transfer *t, struct unit *unit, struct err *err)
{
	struct layer *layer = t->layer;
	t->n_bytes = 0;
	if (!unit_is_long(unit)) {
		t->bytes = fetch_pool_buffer(layer->pool, unit->in_len);
		return t->bytes ? 0 : err_set(err, -ENOMEM, "fetch a span");
	}
	struct span span;
	uint8_t window[SEEK_WINDOW_BYTES];
	seek_get(layer->seek, unit->first, &span);
	if (span.win_len > 0) {
		int r = store_layer_window(layer->store, unit->first, window, err);
		if (r < 0)
			return r;
	}
	t->decoded = false;
	t->bench = fetch_pool_bench(layer->pool);
	if (!t->bench)
		return err_set(err, -ENOMEM, "decode a span");
	return span_decoder_create(t->bench->scratch, layer->seek, unit->first, unit->end,
				   span.win_len > 0 ? window : NULL, transfer_span_out, t,
				   &t->decoder, err);
}

/* Lets go of what the first unit has received so far. */
static void transfer_drop_unit(struct transfer *t, const struct unit *unit)
{
	span_decoder_destroy(steal_ptr(&t->decoder));
	fetch_pool_put_bench(t->layer->pool, steal_ptr(&t->bench));
	fetch_pool_put_buffer(t->layer->pool, steal_ptr(&t->bytes), unit->in_len);
}

/* The next bytes of the first unit; true in *ret_whole when they were its last. */
static int transfer_feed(struct transfer *t, struct unit *unit, const void *bytes, size_t n,
			 bool *ret_whole, struct err *err)
{
	int r = t->bytes || t->decoder ? 0 : transfer_begin_unit(t, unit, err);
	if (r < 0)
		return r;
	if (!t->decoder)
		memcpy((char *)t->bytes + t->n_bytes, bytes, n);
	else if (!t->decoded)
		r = span_decoder_push(t->decoder, bytes, n, err);
	t->decoded = r > 0 || t->decoded;
	t->n_bytes += n;
	*ret_whole = t->n_bytes == unit->in_len;
	return r < 0 ? r : 0;
}

static int transfer_end_unit(struct transfer *t, struct unit *unit, struct err *err)
{
	if (!t->decoder)
		return transfer_decode(t, unit, err);
	int r = span_decoder_finish(t->decoder, err);
	if (r < 0)
		return r;
	transfer_drop_unit(t, unit);
	list_remove(&unit->link);
	layer_finish_unit(t->layer, unit, NULL, 0, NULL);
	return 0;
}

/* Ends the first unit alone: what follows it may still be good. */
static void transfer_fail_unit(struct transfer *t, struct unit *unit, int r, const struct err *err)
{
	transfer_drop_unit(t, unit);
	list_remove(&unit->link);
	layer_reject_unit(t->layer, unit, r);
	layer_finish_unit(t->layer, unit, NULL, r, err);
}

static int transfer_write(void *data, const void *bytes, size_t n)
{
	struct transfer *t = data;
	uint64_t end = t->pos + n;
	if (__atomic_load_n(&t->layer->closing, __ATOMIC_RELAXED))
		return -ECANCELED;
	counter_add(&t->layer->counters->bytes_fetched, n);
	/* Neighbours may share a byte (transfer_wants()), which is then in this very piece. */
	while (!list_empty(&t->units)) {
		struct unit *unit = list_first(&t->units, struct unit, link);
		struct err err = {0};
		uint64_t from = unit->in_off + (t->bytes || t->decoder ? t->n_bytes : 0);
		uint64_t to = u64_min(unit->in_off + unit->in_len, end);
		bool whole = false;
		if (from >= end)
			break;
		int r = transfer_feed(t, unit, (const char *)bytes + (from - t->pos),
				      (size_t)(to - from), &whole, &err);
		if (r == 0 && !whole)
			break;
		if (r == 0)
			r = transfer_end_unit(t, unit, &err);
		if (r < 0)
			transfer_fail_unit(t, unit, r, &err);
	}
	t->pos = end;
	/* After a failure of the last unit, what is left of it is of no use. */
	return list_empty(&t->units) && end < t->in_end ? -ECANCELED : 0;
}

/* ---- choosing what to fetch ---- */

static bool unit_is_local(const struct layer *layer, const struct unit *unit)
{
	if (unit->refetch)
		return false;
	for (size_t i = unit->first; i < unit->end; i++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		if (span.codec != SEEK_ZEROS &&
		    !(store_layer_state(layer->store, i) & SPAN_PRESENT))
			return false;
	}
	return true;
}

/* Where the windows of the transfer are once the unit's is with them. */
static void transfer_windows_with(const struct transfer *t, const struct unit *unit,
				  uint64_t *ret_off, uint64_t *ret_end)
{
	struct span span;
	seek_get(t->layer->seek, unit->first, &span);
	*ret_off = t->win_off;
	*ret_end = t->win_end;
	if (span.win_len == 0 || digest_is_none(&t->layer->windows.digest))
		return;
	uint64_t end = span.win_off + span.win_len;
	*ret_off = t->win_end == 0 ? span.win_off : u64_min(t->win_off, span.win_off);
	*ret_end = u64_max(t->win_end, end);
}

/* Leaves a unit to the process that fetches it; unless somebody waits here, for good. */
static void layer_leave_unit(struct layer *layer, struct unit *unit)
{
	if (list_empty(&unit->waits)) {
		layer_forget_unit(layer, unit);
		free(unit);
		return;
	}
	unit->state = UNIT_FOREIGN;
	list_append(&layer->foreign, &unit->link);
}

/* Takes a queued unit into the transfer. False when another process has it. */
static bool transfer_take(struct transfer *t, struct unit *unit, bool in_front)
{
	struct layer *layer = t->layer;
	layer_unqueue(layer, unit);
	if (store_layer_claim(layer->store, unit->first, unit->end) < 0) {
		layer_leave_unit(layer, unit);
		return false;
	}
	unit->state = UNIT_ACTIVE;
	unit->claimed = true;
	t->taken++;
	if (unit_is_local(layer, unit)) {
		list_append(&t->local, &unit->link);
		return true;
	}
	uint64_t end = unit->in_off + unit->in_len;
	bool first = list_empty(&t->units);
	if (in_front)
		list_push(&t->units, &unit->link);
	else
		list_append(&t->units, &unit->link);
	t->in_off = first ? unit->in_off : u64_min(t->in_off, unit->in_off);
	t->in_end = first ? end : u64_max(t->in_end, end);
	transfer_windows_with(t, unit, &t->win_off, &t->win_end);
	return true;
}

/*
 * Whether the unit can join the run: near enough, and the run not too long. A
 * table may put spans in any order and over one another, but the bytes of a
 * transfer come once and in order: a unit joins only where the run ends, and
 * shares no more than the byte that neighbours in a deflate stream do. A unit
 * in front makes those behind it wait.
 */
static bool transfer_wants(const struct transfer *t, const struct unit *unit, bool in_front)
{
	uint64_t end = unit->in_off + unit->in_len;
	uint64_t from = u64_min(t->in_off, unit->in_off);
	uint64_t to = u64_max(t->in_end, end);
	uint64_t win_off, win_end;
	transfer_windows_with(t, unit, &win_off, &win_end);
	if (to - from > LAYER_RUN_BYTES_MAX || win_end - win_off > LAYER_WINDOWS_BYTES_MAX)
		return false;
	if (in_front)
		return end <= t->in_off + 1 && t->in_off <= end + LAYER_RUN_GAP_MAX &&
		       (unit->urgent || t->priority == WORK_LATER);
	return unit->in_off + 1 >= t->in_end && unit->in_off <= t->in_end + LAYER_RUN_GAP_MAX;
}

/* Fills the transfer from the queues. Called with the lock held. */
static void transfer_choose(struct transfer *t)
{
	struct layer *layer = t->layer;
	struct list *queue = &layer->queue[t->priority];
	size_t first = 0, end = 0;
	while (list_empty(&t->units) && !list_empty(queue) && t->taken < TRANSFER_UNITS_MAX) {
		struct unit *unit = list_first(queue, struct unit, link);
		first = unit->first;
		end = unit->end;
		(void)transfer_take(t, unit, false);
	}
	if (list_empty(&t->units))
		return;
	while (t->taken < TRANSFER_UNITS_MAX) {
		struct unit *next = layer_queued_unit(layer, end);
		if (!next || !transfer_wants(t, next, false))
			break;
		end = next->end;
		if (!transfer_take(t, next, false))
			break;
	}
	while (first > 0 && t->taken < TRANSFER_UNITS_MAX) {
		struct unit *before = layer_queued_unit(layer, first - 1);
		if (!before || !transfer_wants(t, before, true))
			break;
		first = before->first;
		if (!transfer_take(t, before, true))
			break;
	}
}

/* ---- the transfer ---- */

/* Serves a unit from the store: another process, or an earlier transfer, has brought it. */
static void layer_serve_local(struct layer *layer, struct unit *unit)
{
	struct err err = {0};
	int r = 0;
	for (size_t i = unit->first; i < unit->end && r == 0; i++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		AUTO_FREE void *bytes = malloc(span.out_len);
		if (!bytes) {
			r = err_set(&err, -ENOMEM, "read a span");
			break;
		}
		if (store_layer_read(layer->store, bytes, span.out_len, span.out_off) ==
		    (ssize_t)span.out_len)
			layer_serve_span(layer, unit, i, bytes);
		else
			/* The disk failed: the reads stay, and the origin is asked. */
			unit->refetch = true;
	}
	layer_finish_unit(layer, unit, NULL, r, &err);
}

static int windows_append(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

/* Whether the unit's window must be fetched; *ret is its first span. */
static bool unit_lacks_window(const struct layer *layer, const struct unit *unit, struct span *ret)
{
	seek_get(layer->seek, unit->first, ret);
	return ret->win_len > 0 && !digest_is_none(&layer->windows.digest) &&
	       !(store_layer_state(layer->store, unit->first) & SPAN_WINDOW);
}

static int transfer_keep_windows(struct transfer *t, uint64_t from, const struct buf *bytes)
{
	struct layer *layer = t->layer;
	struct unit *unit;
	list_for_each(unit, &t->units, link) {
		struct span span;
		/* Another process may have put one there: then it was not asked for. */
		if (!unit_lacks_window(layer, unit, &span) || span.win_off < from ||
		    !range_within(span.win_off - from, span.win_len, bytes->len))
			continue;
		int r = store_layer_fill_windows(layer->store, unit->first, unit->end,
						 span.win_off, bytes->data + (span.win_off - from),
						 span.win_len, t->err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The windows that the units need and the store lacks, in one request. */
static int transfer_windows(struct transfer *t, deadline_t deadline)
{
	struct layer *layer = t->layer;
	struct unit *unit;
	uint64_t from = UINT64_MAX, to = 0;
	list_for_each(unit, &t->units, link) {
		struct span span;
		if (!unit_lacks_window(layer, unit, &span))
			continue;
		from = u64_min(from, span.win_off);
		to = u64_max(to, span.win_off + span.win_len);
	}
	if (to == 0)
		return 0;

	AUTO_FINISH(buf) struct buf bytes = buf_make(to - from);
	struct byte_sink sink = {.write = windows_append, .data = &bytes};
	counter_add(&layer->counters->transfers, 1);
	int r = origin_range(layer->origin, &layer->windows, from, to - from, &sink, deadline,
			     t->err);
	if (r < 0)
		return err_prefix(t->err, r, "fetch decompression windows");
	counter_add(&layer->counters->bytes_fetched, bytes.len);
	if (bytes.len != to - from)
		return err_say(t->err, -EIO, "the decompression windows ended early");
	return transfer_keep_windows(t, from, &bytes);
}

static int transfer_fetch(struct transfer *t)
{
	struct layer *layer = t->layer;
	if (!layer->origin)
		return err_say(t->err, -EHOSTUNREACH, "the bytes are not in the store");
	deadline_t deadline = deadline_in_ms(layer->transfer_ms);
	int r = transfer_windows(t, deadline);
	if (r < 0)
		return r;
	struct byte_sink sink = {.write = transfer_write, .data = t};
	t->pos = t->in_off;
	counter_add(&layer->counters->transfers, 1);
	return origin_range(layer->origin, &layer->blob, t->in_off, t->in_end - t->in_off, &sink,
			    deadline, t->err);
}

static void transfer_run(struct work *work)
{
	struct transfer *t = container_of(work, struct transfer, work);
	struct layer *layer = t->layer;
	struct err err = {0};
	t->err = &err;
	(void)pthread_mutex_lock(&layer->lock);
	transfer_choose(t);
	/* What this one left may go at the same time. */
	layer_kick(layer);
	(void)pthread_mutex_unlock(&layer->lock);

	while (!list_empty(&t->local)) {
		struct unit *unit = list_first(&t->local, struct unit, link);
		list_remove(&unit->link);
		layer_serve_local(layer, unit);
	}
	int r = list_empty(&t->units) ? 0 : transfer_fetch(t);
	if (!list_empty(&t->units))
		transfer_drop_unit(t, list_first(&t->units, struct unit, link));
	if (r < 0 && r != -ECANCELED)
		log_debug("fetch %llu bytes: %s", (unsigned long long)(t->in_end - t->in_off),
			  err_text(&err));
	if (r == 0)
		r = err_say(&err, -EIO, "the transfer ended early");
	layer_fail_units(layer, &t->units, r, &err);

	/* First the place, then the kick, which may want it. */
	if (t->priority == WORK_LATER)
		fetch_pool_end_advised(layer->pool);
	(void)pthread_mutex_lock(&layer->lock);
	layer->transfers[t->priority]--;
	layer_kick(layer);
	(void)pthread_mutex_unlock(&layer->lock);
	layer_maybe_check(layer);
	free(t);
	layer_release(layer);
}

static bool layer_start_transfer(struct layer *layer, enum work_priority priority)
{
	struct transfer *t = calloc(1, sizeof(*t));
	if (!t)
		return false;
	*t = (struct transfer){.work.run = transfer_run, .layer = layer, .priority = priority};
	list_init(&t->local);
	list_init(&t->units);
	layer_hold(layer);
	layer->transfers[priority]++;
	if (workers_submit(fetch_pool_io(layer->pool), &t->work, priority) == 0)
		return true;
	layer->transfers[priority]--;
	layer->busy--;
	free(t);
	return false;
}

void layer_kick(struct layer *layer)
{
	if (layer->closing)
		return;
	/* One job a call: each, once it has taken its run, starts the next for what is left. */
	if (!list_empty(&layer->queue[WORK_URGENT]) &&
	    layer->transfers[WORK_URGENT] < FETCH_TRANSFERS_MAX)
		(void)layer_start_transfer(layer, WORK_URGENT);
	if (list_empty(&layer->queue[WORK_LATER]) || !fetch_pool_begin_advised(layer->pool))
		return;
	if (!layer_start_transfer(layer, WORK_LATER))
		fetch_pool_end_advised(layer->pool);
}
