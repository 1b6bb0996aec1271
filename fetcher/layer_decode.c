/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What happens to a unit whose bytes have arrived: a processor decodes and
 * checks it, its readers get it, the store keeps it. The windows that deflate
 * needs are fetched at the same time as the bytes; what comes before its window
 * is held until that is here.
 */

#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "fetcher/layer_private.h"

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

void layer_maybe_check(struct layer *layer)
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

void layer_keep(struct layer *layer, const struct unit *unit, size_t i, const void *data)
{
	struct err err = {0};
	struct span span;
	(void)pthread_mutex_lock(&layer->lock);
	bool ahead = unit->ahead;
	(void)pthread_mutex_unlock(&layer->lock);
	seek_get(layer->seek, i, &span);
	/* What nobody asked for pushes nothing out that somebody did. */
	int r = ahead ? store_layer_fill_spare(layer->store, i, data, &err) :
			store_layer_fill(layer->store, i, data, &err);
	if (r < 0)
		log_debug("span %zu is not kept: %s", i, err_text(&err));
	else if (ahead)
		layer_note_ahead(layer, i, span.out_len);
	counter_add(&layer->counters->spans_fetched, 1);
}

void layer_reject_unit(struct layer *layer, const struct unit *unit, int r)
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
	struct unit *unit = d->unit;
	struct err err = {0};
	(void)pthread_mutex_lock(&layer->lock);
	unit->decode = NULL;
	(void)pthread_mutex_unlock(&layer->lock);
	struct span_bench *bench = fetch_pool_bench(layer->pool);
	int r = bench ? decode_unit(d, bench, &err) : err_set(&err, -ENOMEM, "decode a span");
	fetch_pool_put_buffer(layer->pool, d->bytes, unit->in_len);
	if (r == 0)
		layer_keep(layer, unit, unit->first, bench->out);
	layer_reject_unit(layer, unit, r);
	layer_finish_unit(layer, unit, r == 0 ? bench->out : NULL, r, &err);
	fetch_pool_put_bench(layer->pool, bench);
	free(d);
	/* This may have been the last, long after its transfer was over. */
	layer_maybe_check(layer);
	layer_release(layer);
}

/* To a processor; the caller decodes it when none is to be had. Called with the lock held. */
static bool decode_submit(struct decode *d)
{
	struct layer *layer = d->layer;
	struct workers *cpu = fetch_pool_cpu(layer->pool);
	/* Somebody may wait by now for what was only advised. */
	enum work_priority priority = d->unit->urgent ? WORK_URGENT : WORK_LATER;
	d->unit->decode = priority == WORK_LATER ? d : NULL;
	if (workers_submit(cpu, &d->work, priority) == 0)
		return true;
	d->unit->decode = NULL;
	return false;
}

void layer_hurry_decode(struct layer *layer, struct unit *unit)
{
	struct decode *d = unit->decode;
	struct workers *cpu = fetch_pool_cpu(layer->pool);
	if (!d || !workers_cancel(cpu, &d->work))
		return;
	unit->decode = NULL;
	/* It was queued: there is a thread. */
	(void)workers_submit(cpu, &d->work, WORK_URGENT);
}

int transfer_decode(struct transfer *t, struct unit *unit, struct err *err)
{
	struct layer *layer = t->layer;
	struct windows *w = t->windows;
	struct span span;
	struct decode *d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, -ENOMEM, "decode a span");
	*d = (struct decode){.work.run = decode_run, .layer = layer, .unit = unit};
	list_init(&d->link);
	d->bytes = steal_ptr(&t->bytes);
	(void)pthread_mutex_lock(&layer->lock);
	layer_leave_ahead(unit);
	layer_hold(layer);
	bool held = w && w->state == WINDOWS_COMING && unit_lacks_window(layer, unit, &span);
	if (held)
		list_append(&w->held, &d->link);
	bool taken = held || decode_submit(d);
	(void)pthread_mutex_unlock(&layer->lock);
	if (!taken)
		decode_run(&d->work); /* no thread to be had: here, then */
	return 0;
}

/* ---- windows ---- */

static int windows_append(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

bool unit_lacks_window(const struct layer *layer, const struct unit *unit, struct span *ret)
{
	seek_get(layer->seek, unit->first, ret);
	return ret->win_len > 0 && !digest_is_none(&layer->windows.digest) &&
	       !(store_layer_state(layer->store, unit->first) & SPAN_WINDOW);
}

static int windows_keep(struct windows *w, const struct buf *bytes)
{
	struct layer *layer = w->layer;
	for (size_t i = 0; i < w->n_spans; i++) {
		struct span span;
		seek_get(layer->seek, w->spans[i], &span);
		/* Another process may have put one there meanwhile. */
		if (store_layer_state(layer->store, w->spans[i]) & SPAN_WINDOW)
			continue;
		int r = store_layer_fill_windows(layer->store, w->spans[i], w->spans[i] + 1,
						 span.win_off, bytes->data + (span.win_off - w->from),
						 span.win_len, &w->err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int windows_fetch(struct windows *w)
{
	struct layer *layer = w->layer;
	uint64_t len = w->to - w->from;
	AUTO_FINISH(buf) struct buf bytes = buf_make(len);
	struct byte_sink sink = {.write = windows_append, .data = &bytes};
	counter_add(&layer->counters->transfers, 1);
	int r = origin_range(layer->origin, &layer->windows, w->from, len, &sink, w->deadline,
			     &w->err);
	if (r < 0)
		return err_prefix(&w->err, r, "fetch decompression windows");
	counter_add(&layer->counters->bytes_fetched, bytes.len);
	if (bytes.len != len)
		return err_say(&w->err, -EIO, "the decompression windows ended early");
	return windows_keep(w, &bytes);
}

static void windows_free(struct windows *w)
{
	free(w->spans);
	free(w);
}

/* Called with the lock held; true when it was the last. */
static bool windows_put(struct windows *w)
{
	return --w->shares == 0;
}

/* What waited for its window goes on, or fails with it. */
static void windows_release(struct windows *w, struct list *held, int r)
{
	struct layer *layer = w->layer;
	while (!list_empty(held)) {
		struct decode *d = list_first(held, struct decode, link);
		list_remove(&d->link);
		if (r == 0) {
			(void)pthread_mutex_lock(&layer->lock);
			bool taken = decode_submit(d);
			(void)pthread_mutex_unlock(&layer->lock);
			if (!taken)
				decode_run(&d->work);
			continue;
		}
		fetch_pool_put_buffer(layer->pool, d->bytes, d->unit->in_len);
		layer_finish_unit(layer, d->unit, NULL, r, &w->err);
		free(d);
		layer_release(layer);
	}
}

static void windows_run(struct work *work)
{
	struct windows *w = container_of(work, struct windows, work);
	struct layer *layer = w->layer;
	struct list held;
	list_init(&held);
	int r = windows_fetch(w);
	if (r < 0)
		log_debug("%s", err_text(&w->err));
	(void)pthread_mutex_lock(&layer->lock);
	w->result = r;
	w->state = r < 0 ? WINDOWS_FAILED : WINDOWS_HERE;
	list_splice(&held, &w->held);
	(void)pthread_mutex_unlock(&layer->lock);
	windows_release(w, &held, r);
	(void)pthread_mutex_lock(&layer->lock);
	bool last = windows_put(w);
	(void)pthread_mutex_unlock(&layer->lock);
	if (last)
		windows_free(w);
	layer_release(layer);
}

/* Which windows to ask for; NULL in *ret when none. */
static int windows_create(struct transfer *t, deadline_t deadline, struct windows **ret)
{
	struct layer *layer = t->layer;
	struct windows *w = calloc(1, sizeof(*w));
	size_t *spans = calloc(t->taken, sizeof(*spans));
	struct unit *unit;
	if (!w || !spans) {
		free(w);
		free(spans);
		return err_set(t->err, -ENOMEM, "fetch decompression windows");
	}
	*w = (struct windows){.work.run = windows_run, .layer = layer, .shares = 2, .spans = spans,
			      .from = UINT64_MAX, .deadline = deadline};
	list_init(&w->held);
	(void)pthread_mutex_lock(&layer->lock);
	list_for_each(unit, &t->units, link) {
		struct span span;
		if (!unit_lacks_window(layer, unit, &span))
			continue;
		w->spans[w->n_spans++] = unit->first;
		w->from = u64_min(w->from, span.win_off);
		w->to = u64_max(w->to, span.win_off + span.win_len);
	}
	(void)pthread_mutex_unlock(&layer->lock);
	if (w->n_spans > 0)
		*ret = w;
	else
		windows_free(w);
	return 0;
}

int transfer_windows(struct transfer *t, bool wait, deadline_t deadline)
{
	struct layer *layer = t->layer;
	struct windows *w = NULL;
	int r = windows_create(t, deadline, &w);
	if (r < 0 || !w)
		return r;
	t->windows = w;
	(void)pthread_mutex_lock(&layer->lock);
	layer_hold(layer);
	(void)pthread_mutex_unlock(&layer->lock);
	if (wait || workers_submit(fetch_pool_windows(layer->pool), &w->work, t->priority) < 0)
		windows_run(&w->work);
	return transfer_windows_result(t);
}

int transfer_windows_result(struct transfer *t)
{
	struct layer *layer = t->layer;
	struct windows *w = t->windows;
	if (!w)
		return 0;
	(void)pthread_mutex_lock(&layer->lock);
	int r = w->state == WINDOWS_FAILED ? w->result : 0;
	(void)pthread_mutex_unlock(&layer->lock);
	if (r < 0)
		(void)err_copy(t->err, &w->err);
	return r;
}

void transfer_put_windows(struct transfer *t)
{
	struct windows *w = steal_ptr(&t->windows);
	if (!w)
		return;
	(void)pthread_mutex_lock(&t->layer->lock);
	bool last = windows_put(w);
	(void)pthread_mutex_unlock(&t->layer->lock);
	if (last)
		windows_free(w);
}
