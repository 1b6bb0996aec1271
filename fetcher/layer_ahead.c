/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is fetched before anybody asks (source_fetch()). Its transfer carries
 * units that are not in a queue: a reader who comes for one that arrives soon
 * joins it, and one who comes for what is far behind takes it out, and has it
 * fetched by itself.
 */

#include "base/num.h"
#include "fetcher/layer_private.h"

enum { AHEAD_BITS = 32 }; /* of a word of layer->ahead */

static const struct layer *layer_of(const struct source *source)
{
	return container_of(source, const struct layer, source);
}

/* ---- units ---- */

static bool span_is_local(const struct layer *layer, size_t i, enum seek_codec codec)
{
	return codec == SEEK_ZEROS || (store_layer_state(layer->store, i) & SPAN_PRESENT);
}

bool layer_unit(const struct source *source, uint64_t off, struct source_unit *ret)
{
	const struct layer *layer = layer_of(source);
	struct span span;
	size_t first, end;
	size_t i = seek_find(layer->seek, off);
	if (i >= seek_count(layer->seek))
		return false;
	seek_unit(layer->seek, i, &first, &end);
	seek_get(layer->seek, end - 1, &span);
	uint64_t out_end = span.out_off + span.out_len;
	struct source_unit unit = {.local = true};
	/* A hostile unit has very many spans, and is asked about very often. */
	for (i = first; i < end && unit.local; i++) {
		seek_get(layer->seek, i, &span);
		unit.local = span_is_local(layer, i, span.codec);
	}
	seek_get(layer->seek, first, &span);
	unit.off = span.out_off;
	unit.len = out_end - span.out_off;
	unit.in_off = span.in_off;
	unit.in_len = span.codec == SEEK_ZEROS ? 0 : span.in_len;
	*ret = unit;
	return true;
}

/* ---- a fetch ---- */

/*
 * Whether the unit can come with those before it, of which there are n. The bytes come once and in
 * order, and the windows at once, all that lie between the first and the last: a table may put them
 * anywhere. What does not fit is left to its readers, or a later fetch.
 */
static bool ahead_joins(const struct transfer *t, size_t first, const struct span *span,
			unsigned int n)
{
	uint64_t win_off, win_end;
	transfer_windows_with(t, first, &win_off, &win_end);
	return n == 0 || (span->in_off + 1 >= t->in_end &&
			  win_end - win_off <= LAYER_WINDOWS_AHEAD_MAX);
}

/* Enters the units of one range that nobody has, in order. False when there may be no more. */
static bool ahead_add(struct transfer *t, const struct source_range *range, unsigned int *n)
{
	struct layer *layer = t->layer;
	uint64_t size = seek_out_size(layer->seek);
	uint64_t end = range->off < size ? range->off + u64_min(range->len, size - range->off) : 0;
	size_t count = seek_count(layer->seek);
	for (size_t i = seek_find(layer->seek, range->off), next; i < count; i = next) {
		struct span span;
		size_t first;
		seek_get(layer->seek, i, &span);
		if (span.out_off >= end)
			break;
		seek_unit(layer->seek, i, &first, &next);
		if (span_is_local(layer, i, span.codec)) {
			next = i + 1;
			continue;
		}
		if (!ahead_joins(t, first, &span, *n) || layer_find_unit(layer, first))
			continue;
		if (*n == SOURCE_FETCH_UNITS_MAX)
			return false;
		struct unit *unit = layer_new_unit(layer, first, next);
		if (!unit)
			return false;
		unit->state = UNIT_CARRIED;
		unit->ahead = true;
		unit->transfer = t;
		list_append(&t->units, &unit->link);
		t->in_off = (*n)++ == 0 ? unit->in_off : t->in_off;
		t->in_end = unit->in_off + unit->in_len;
		transfer_windows_with(t, first, &t->win_off, &t->win_end);
	}
	return true;
}

static int ahead_start(struct layer *layer, struct source_fetch *fetch, struct err *err)
{
	unsigned int n = 0;
	struct transfer *t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "fetch ahead");
	*t = (struct transfer){.work.run = transfer_run, .layer = layer, .fetch = fetch,
			       .priority = WORK_LATER};
	list_init(&t->local);
	list_init(&t->units);
	(void)pthread_mutex_lock(&layer->lock);
	bool refused = layer->broken || layer->closing || !layer->origin;
	for (size_t i = 0; i < fetch->n_ranges && !refused; i++)
		if (!ahead_add(t, &fetch->ranges[i], &n))
			break;
	atomic_store_explicit(&t->pos, t->in_off, memory_order_relaxed);
	layer_hold(layer);
	int r = n > 0 ? workers_submit(fetch_pool_io(layer->pool), &t->work, WORK_LATER) : 1;
	(void)pthread_mutex_unlock(&layer->lock);
	if (r == 0)
		return 1;
	layer_fail_units(layer, &t->units, 0, NULL);
	free(t);
	layer_release(layer);
	if (r < 0)
		return err_set(err, r, "fetch ahead");
	return refused ? err_say(err, -ESHUTDOWN, "the layer fetches nothing") : 0;
}

void layer_fetch(struct source *source, struct source_fetch *fetch)
{
	struct layer *layer = container_of(source, struct layer, source);
	struct err err = {0};
	atomic_init(&fetch->wanted, 0);
	int r = ahead_start(layer, fetch, &err);
	if (r <= 0)
		fetch->over(fetch, r, &err);
}

void transfer_choose_ahead(struct transfer *t)
{
	struct list units;
	list_init(&units);
	list_splice(&units, &t->units);
	t->in_off = t->in_end = t->win_off = t->win_end = 0;
	while (!list_empty(&units)) {
		struct unit *unit = list_first(&units, struct unit, link);
		if (!transfer_take(t, unit, false))
			continue;
		if (unit->state == UNIT_ACTIVE) /* it has come into the store meanwhile */
			layer_leave_ahead(unit);
	}
	atomic_store_explicit(&t->pos, t->in_off, memory_order_relaxed);
}

/* ---- readers that come for it ---- */

void layer_leave_ahead(struct unit *unit)
{
	if (unit->transfer && unit->counted)
		(void)atomic_fetch_sub(&unit->transfer->fetch->wanted, 1);
	unit->transfer = NULL;
	unit->counted = false;
}

void layer_join_ahead(struct layer *layer, struct unit *unit)
{
	struct transfer *t = unit->transfer;
	uint64_t pos = atomic_load_explicit(&t->pos, memory_order_relaxed);
	uint64_t before = unit->in_off - u64_min(pos, unit->in_off);
	if (unit->state == UNIT_CARRIED && before > fetch_pool_near_bytes(layer->pool)) {
		layer_leave_ahead(unit);
		list_remove(&unit->link);
		if (unit->claimed)
			store_layer_release(layer->store, unit->first, unit->end);
		unit->claimed = false;
		layer_enqueue(layer, unit);
		return;
	}
	if (unit->counted)
		return;
	unit->counted = true;
	(void)atomic_fetch_add(&t->fetch->wanted, 1);
	if (t->fetch->hurry)
		t->fetch->hurry(t->fetch);
}

/* ---- what came of it ---- */

void layer_note_ahead(struct layer *layer, size_t i, uint64_t bytes)
{
	counter_add(&layer->counters->ahead_bytes, bytes);
	_Atomic uint32_t *words = atomic_load_explicit(&layer->ahead, memory_order_acquire);
	if (!words) {
		_Atomic uint32_t *fresh =
			calloc(seek_count(layer->seek) / AHEAD_BITS + 1, sizeof(*fresh));
		if (!fresh)
			return; /* only counted for whoever looks */
		if (atomic_compare_exchange_strong(&layer->ahead, &words, fresh))
			words = fresh;
		else
			free(fresh);
	}
	uint32_t bit = UINT32_C(1) << i % AHEAD_BITS;
	if (!(atomic_fetch_or(&words[i / AHEAD_BITS], bit) & bit))
		(void)atomic_fetch_add(&layer->n_ahead, 1);
}

void layer_note_used(struct layer *layer, uint64_t off, uint64_t len)
{
	_Atomic uint32_t *words = atomic_load_explicit(&layer->ahead, memory_order_acquire);
	size_t count = seek_count(layer->seek);
	for (size_t i = seek_find(layer->seek, off); words && i < count; i++) {
		struct span span;
		uint32_t bit = UINT32_C(1) << i % AHEAD_BITS;
		seek_get(layer->seek, i, &span);
		if (span.out_off >= off + len)
			break;
		if (!(atomic_load_explicit(&words[i / AHEAD_BITS], memory_order_relaxed) & bit) ||
		    !(atomic_fetch_and(&words[i / AHEAD_BITS], ~bit) & bit))
			continue;
		(void)atomic_fetch_sub(&layer->n_ahead, 1);
		counter_add(&layer->counters->ahead_used, span.out_len);
	}
}
