/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What happens to a queued unit. A transfer job takes a run of neighbouring
 * units, claims them (so that no other process fetches them too), serves those
 * that have come into the store meanwhile, and fetches the compressed bytes in
 * one range request, beside them the missing windows in another. Each unit goes
 * to a decoder (layer_decode.c) as soon as its bytes are complete.
 */

#include "fetcher/layer_private.h"

#include <string.h>

#include "base/log.h"
#include "base/num.h"

enum {
	TRANSFER_QUEUE_AHEAD = 256 << 10, /* bytes that wait for a gate */
	/* A larger unit, or one of several spans, is decoded while it arrives. */
	UNIT_BUFFER_MAX = 32 << 20,
	/*
	 * Units of one transfer. Each is claimed under the layer's lock, and what a claim costs
	 * grows with the claims that are not neighbours: 1 ms for so many, 90 ms for 4096.
	 */
	TRANSFER_UNITS_MAX = SOURCE_FETCH_UNITS_MAX,
};

/* ---- receiving ---- */

static bool unit_is_long(const struct unit *unit)
{
	return unit->end - unit->first > 1 || unit->in_len > UNIT_BUFFER_MAX;
}

static int transfer_span_out(void *data, size_t i, const void *bytes, size_t n)
{
	struct transfer *t = data;
	(void)n;
	layer_keep(t->layer, t->head, i, bytes);
	layer_serve_span(t->layer, t->head, i, bytes);
	return 0;
}

static int transfer_begin_unit(struct transfer *t, struct unit *unit, struct err *err)
{
	struct layer *layer = t->layer;
	t->n_bytes = 0;
	if (!unit_is_long(unit)) {
		t->bytes = fetch_pool_buffer(layer->pool, unit->in_len, t->head_priority);
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

/* Lets go of what the head has received so far. */
static void transfer_drop_unit(struct transfer *t, const struct unit *unit)
{
	span_decoder_destroy(steal_ptr(&t->decoder));
	fetch_pool_put_bench(t->layer->pool, steal_ptr(&t->bench));
	fetch_pool_put_buffer(t->layer->pool, steal_ptr(&t->bytes), unit->in_len);
}

/* The next bytes of the head; true in *ret_whole when they were its last. */
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
	int r = t->decoder ? span_decoder_finish(t->decoder, err) : transfer_decode(t, unit, err);
	if (r < 0)
		return r;
	if (t->decoder) {
		transfer_drop_unit(t, unit);
		layer_finish_unit(t->layer, unit, NULL, 0, NULL);
	}
	t->head = NULL;
	return 0;
}

/* Ends the head alone: what follows it may still be good. */
static void transfer_fail_head(struct transfer *t, int r, const struct err *err)
{
	struct unit *unit = steal_ptr(&t->head);
	transfer_drop_unit(t, unit);
	layer_reject_unit(t->layer, unit, r);
	layer_finish_unit(t->layer, unit, NULL, r, err);
}

/* The unit that what comes before `end` belongs to: from now on nobody takes it out. */
static struct unit *transfer_head(struct transfer *t, uint64_t end)
{
	struct layer *layer = t->layer;
	if (t->head)
		return t->head;
	(void)pthread_mutex_lock(&layer->lock);
	if (!list_empty(&t->units)) {
		struct unit *unit = list_first(&t->units, struct unit, link);
		if (unit->in_off < end) {
			list_remove(&unit->link);
			unit->state = UNIT_ACTIVE;
			t->head = unit;
			t->head_priority = unit->urgent ? WORK_URGENT : WORK_LATER;
		}
	}
	(void)pthread_mutex_unlock(&layer->lock);
	return t->head;
}

static bool transfer_is_over(struct transfer *t)
{
	(void)pthread_mutex_lock(&t->layer->lock);
	bool over = !t->head && list_empty(&t->units);
	(void)pthread_mutex_unlock(&t->layer->lock);
	return over;
}

static int transfer_admit(struct transfer *t, size_t n)
{
	struct layer *layer = t->layer;
	if (t->first_ns == 0)
		t->first_ns = clock_now_ns();
	if (__atomic_load_n(&layer->closing, __ATOMIC_RELAXED))
		return -ECANCELED;
	int r = t->windows ? transfer_windows_result(t) : 0;
	if (r == 0 && t->fetch && t->fetch->gate) {
		uint64_t before = clock_now_ns();
		r = t->fetch->gate(t->fetch, n);
		t->gated_ns += clock_now_ns() - before;
	}
	if (r < 0)
		return r;
	counter_add(&layer->counters->bytes_fetched, n);
	if (t->fetch)
		counter_add(&layer->counters->ahead_fetched, n);
	return 0;
}

static int transfer_write(void *data, const void *bytes, size_t n)
{
	struct transfer *t = data;
	uint64_t pos = atomic_load_explicit(&t->pos, memory_order_relaxed);
	uint64_t end = pos + n;
	struct unit *unit;
	int r = transfer_admit(t, n);
	if (r < 0)
		return r;
	/* Neighbours may share a byte (transfer_wants()), which is then in this very piece. */
	while ((unit = transfer_head(t, end))) {
		struct err err = {0};
		uint64_t from = unit->in_off + (t->bytes || t->decoder ? t->n_bytes : 0);
		uint64_t to = u64_min(unit->in_off + unit->in_len, end);
		bool whole = false;
		if (from >= end)
			break;
		r = transfer_feed(t, unit, (const char *)bytes + (from - pos), (size_t)(to - from),
				  &whole, &err);
		if (r == 0 && !whole)
			break;
		if (r == 0)
			r = transfer_end_unit(t, unit, &err);
		if (r < 0)
			transfer_fail_head(t, r, &err);
	}
	atomic_store_explicit(&t->pos, end, memory_order_relaxed);
	/* After a failure of the last unit, what is left of it is of no use. */
	return end < t->in_end && transfer_is_over(t) ? -ECANCELED : 0;
}

/* ---- choosing what to fetch ---- */

bool layer_has_unit(const struct layer *layer, const struct unit *unit)
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

void transfer_windows_with(const struct transfer *t, size_t first, uint64_t *ret_off,
			   uint64_t *ret_end)
{
	struct span span;
	seek_get(t->layer->seek, first, &span);
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
	layer_leave_ahead(unit);
	if (list_empty(&unit->waits)) {
		layer_forget_unit(layer, unit);
		free(unit);
		return;
	}
	unit->state = UNIT_FOREIGN;
	list_append(&layer->foreign, &unit->link);
	layer->foreign_at = deadline_in_ms(FETCH_TICK_MS);
	fetch_pool_tick_now(layer->pool, &layer->ticker);
}

bool transfer_take(struct transfer *t, struct unit *unit, bool in_front)
{
	struct layer *layer = t->layer;
	layer_unqueue(layer, unit);
	if (store_layer_claim(layer->store, unit->first, unit->end) < 0) {
		layer_leave_unit(layer, unit);
		return false;
	}
	unit->state = t->fetch ? UNIT_CARRIED : UNIT_ACTIVE;
	unit->claimed = true;
	t->taken++;
	if (layer_has_unit(layer, unit)) {
		unit->state = UNIT_ACTIVE;
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
	transfer_windows_with(t, unit->first, &t->win_off, &t->win_end);
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
	transfer_windows_with(t, unit->first, &win_off, &win_end);
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
	(void)pthread_mutex_lock(&layer->lock);
	size_t end = list_empty(&unit->waits) ? unit->first : unit->end;
	(void)pthread_mutex_unlock(&layer->lock);
	for (size_t i = unit->first; i < end && r == 0; i++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		AUTO_FREE void *bytes = malloc(span.out_len);
		if (!bytes) {
			r = err_set(&err, -ENOMEM, "read a span");
			break;
		}
		if (store_layer_read(layer->store, bytes, span.out_len, span.out_off) ==
		    (ssize_t)span.out_len) {
			layer_serve_span(layer, unit, i, bytes);
			layer_note_used(layer, span.out_off, span.out_len);
		} else {
			/* The disk failed: the reads stay, and the origin is asked. */
			unit->refetch = true;
		}
	}
	layer_finish_unit(layer, unit, NULL, r, &err);
}

/* Whether the first thing to do with a unit's first byte is to take its window. */
static bool transfer_needs_windows_first(struct transfer *t)
{
	bool needs = false;
	struct unit *unit;
	(void)pthread_mutex_lock(&t->layer->lock);
	list_for_each(unit, &t->units, link) {
		struct span span;
		needs |= unit_is_long(unit) && unit_lacks_window(t->layer, unit, &span);
	}
	(void)pthread_mutex_unlock(&t->layer->lock);
	return needs;
}

/* What the transfer cost tells how long the next will take. */
static void transfer_note(const struct transfer *t)
{
	uint64_t now = clock_now_ns();
	if (t->first_ns == 0)
		return;
	/* A gate that held it up is no property of the link. */
	fetch_pool_note(t->layer->pool, t->first_ns - t->began_ns,
			atomic_load_explicit(&t->pos, memory_order_relaxed) - t->in_off,
			now - t->first_ns - t->gated_ns);
}

static int transfer_fetch(struct transfer *t)
{
	struct layer *layer = t->layer;
	if (!layer->origin)
		return err_say(t->err, -EHOSTUNREACH, "the bytes are not in the store");
	deadline_t deadline = t->fetch ? t->fetch->deadline : deadline_in_ms(layer->transfer_ms);
	int r = transfer_windows(t, transfer_needs_windows_first(t), deadline);
	if (r < 0)
		return r;
	/* What a gate holds up must not come all the same, into a queue before it. */
	struct byte_sink sink = {.write = transfer_write, .data = t,
				 .queue = t->fetch ? TRANSFER_QUEUE_AHEAD : 0};
	atomic_store_explicit(&t->pos, t->in_off, memory_order_relaxed);
	t->began_ns = clock_now_ns();
	counter_add(&layer->counters->transfers, 1);
	r = origin_range(layer->origin, &layer->blob, t->in_off, t->in_end - t->in_off, &sink,
			 deadline, t->err);
	transfer_note(t);
	/* A transfer that its windows ended has their words. */
	int windows = r < 0 ? transfer_windows_result(t) : 0;
	return windows < 0 ? windows : r;
}

/* Ends what the transfer leaves. */
static void transfer_leave(struct transfer *t, int r)
{
	struct layer *layer = t->layer;
	if (t->head) {
		transfer_drop_unit(t, t->head);
		(void)pthread_mutex_lock(&layer->lock);
		list_push(&t->units, &t->head->link);
		(void)pthread_mutex_unlock(&layer->lock);
		t->head = NULL;
	}
	if (r < 0 && r != -ECANCELED)
		log_debug("fetch %llu bytes: %s", (unsigned long long)(t->in_end - t->in_off),
			  err_text(t->err));
	if (r == 0)
		r = err_say(t->err, -EIO, "the transfer ended early");
	/* What was fetched ahead of need fails nobody: who waits for it has it fetched anew. */
	layer_fail_units(layer, &t->units, t->fetch ? 0 : r, t->err);
}

/* Gives back the transfer's places, then lets others have them. */
static void transfer_end(struct transfer *t)
{
	struct layer *layer = t->layer;
	if (t->priority == WORK_URGENT)
		fetch_pool_end_urgent(layer->pool);
	else if (!t->fetch)
		fetch_pool_end_advised(layer->pool);
	(void)pthread_mutex_lock(&layer->lock);
	if (!t->fetch)
		layer->transfers[t->priority]--;
	layer_kick(layer);
	(void)pthread_mutex_unlock(&layer->lock);
	transfer_put_windows(t);
	layer_maybe_check(layer);
}

void transfer_run(struct work *work)
{
	struct transfer *t = container_of(work, struct transfer, work);
	struct layer *layer = t->layer;
	struct source_fetch *fetch = t->fetch;
	struct err err = {0};
	t->err = &err;
	(void)pthread_mutex_lock(&layer->lock);
	if (fetch)
		transfer_choose_ahead(t);
	else
		transfer_choose(t);
	/* What this one left may go at the same time. */
	layer_kick(layer);
	bool fetches = !list_empty(&t->units) && !layer->closing;
	(void)pthread_mutex_unlock(&layer->lock);

	while (!list_empty(&t->local)) {
		struct unit *unit = list_first(&t->local, struct unit, link);
		list_remove(&unit->link);
		layer_serve_local(layer, unit);
	}
	int r = fetches ? transfer_fetch(t) : 0;
	if (r == -ECANCELED && transfer_is_over(t))
		r = 0;
	transfer_leave(t, r);
	transfer_end(t);
	free(t);
	if (fetch)
		fetch->over(fetch, r, &err);
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
	if (priority == WORK_URGENT)
		fetch_pool_begin_urgent(layer->pool);
	if (workers_submit(fetch_pool_io(layer->pool), &t->work, priority) == 0)
		return true;
	if (priority == WORK_URGENT)
		fetch_pool_end_urgent(layer->pool);
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
