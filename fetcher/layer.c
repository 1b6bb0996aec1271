/* SPDX-License-Identifier: Apache-2.0 */

/* Reads and queues of a layer. The other half, what happens to a queued unit, is layer_fetch.c. */

#include "fetcher/layer_private.h"

#include <string.h>

#include "base/log.h"
#include "base/num.h"

enum {
	LAYER_LOCAL_TRY_SPANS = 64, /* of one read; a read with more lets the transfer look */
};

static struct layer *layer_of(const struct source *source)
{
	return container_of(source, struct layer, source);
}

void layer_hold(struct layer *layer)
{
	layer->busy++;
}

void layer_release(struct layer *layer)
{
	(void)pthread_mutex_lock(&layer->lock);
	if (--layer->busy == 0)
		(void)pthread_cond_broadcast(&layer->idle);
	(void)pthread_mutex_unlock(&layer->lock);
}

/* ---- units ---- */

static bool unit_match(const struct hnode *node, const void *key)
{
	return container_of(node, const struct unit, node)->first == *(const size_t *)key;
}

struct unit *layer_find_unit(const struct layer *layer, size_t first)
{
	struct hnode *node = htab_find(&layer->units, hash_u64(first), unit_match, &first);
	return node ? container_of(node, struct unit, node) : NULL;
}

struct unit *layer_queued_unit(const struct layer *layer, size_t span)
{
	size_t first, end;
	if (span >= seek_count(layer->seek))
		return NULL;
	seek_unit(layer->seek, span, &first, &end);
	struct unit *unit = layer_find_unit(layer, first);
	return unit && unit->state == UNIT_QUEUED ? unit : NULL;
}

void layer_unqueue(struct layer *layer, struct unit *unit)
{
	list_remove(&unit->link);
	if (unit->state == UNIT_QUEUED)
		layer->n_queued--;
}

void layer_enqueue(struct layer *layer, struct unit *unit)
{
	unit->state = UNIT_QUEUED;
	list_append(&layer->queue[unit->urgent ? WORK_URGENT : WORK_LATER], &unit->link);
	layer->n_queued++;
}

void layer_forget_unit(struct layer *layer, struct unit *unit)
{
	htab_remove(&layer->units, &unit->node);
}

struct unit *layer_new_unit(struct layer *layer, size_t first, size_t end)
{
	struct unit *unit = calloc(1, sizeof(*unit));
	if (!unit)
		return NULL;
	struct span span;
	seek_get(layer->seek, first, &span);
	list_init(&unit->link);
	list_init(&unit->waits);
	unit->first = first;
	unit->end = end;
	unit->in_off = span.in_off;
	unit->in_len = span.in_len;
	if (htab_insert(&layer->units, &unit->node, hash_u64(first)) < 0) {
		free(unit);
		return NULL;
	}
	return unit;
}

/* The unit of a span, entered and queued if it is not under way. NULL without memory. */
static struct unit *layer_want_unit(struct layer *layer, size_t span, bool urgent)
{
	size_t first, end;
	seek_unit(layer->seek, span, &first, &end);
	struct unit *unit = layer_find_unit(layer, first);
	if (!unit) {
		unit = layer_new_unit(layer, first, end);
		if (!unit)
			return NULL;
		unit->urgent = urgent;
		layer_enqueue(layer, unit);
		return unit;
	}
	if (urgent && !unit->urgent) {
		unit->urgent = true;
		unit->ahead = false;
		if (unit->state == UNIT_QUEUED) {
			layer_unqueue(layer, unit);
			layer_enqueue(layer, unit);
		}
		if (unit->transfer)
			layer_join_ahead(layer, unit);
		layer_hurry_decode(layer, unit);
	}
	return unit;
}

/* ---- reads ---- */

/* The part of a read that lies in [off, off + len) of the device. */
static uint64_t read_overlap(const struct source_read *read, uint64_t off, uint64_t len,
			     uint64_t *ret_from)
{
	uint64_t from = u64_max(read->off, off);
	uint64_t to = u64_min(read->off + read->len, off + len);
	*ret_from = from;
	return from < to ? to - from : 0;
}

/* Takes the read out of everything that knows it. Called with the lock held. */
static void read_detach(struct layer *layer, struct source_read *read)
{
	uint64_t end = read->off + read->len;
	size_t count = seek_count(layer->seek);
	for (size_t i = seek_find(layer->seek, read->off); i < count;) {
		struct span span;
		seek_get(layer->seek, i, &span);
		if (span.out_off >= end)
			break;
		size_t first, next;
		seek_unit(layer->seek, i, &first, &next);
		struct unit *unit = layer_find_unit(layer, first);
		struct wait *wait, *tmp;
		if (unit) {
			list_for_each_safe(wait, tmp, &unit->waits, link) {
				if (wait->read != read)
					continue;
				list_remove(&wait->link);
				free(wait);
			}
		}
		i = next;
	}
	list_remove(&read->link);
	read->waiting = false;
}

/* Tells the reads of a list that they are over. Called without the lock. */
static void reads_done(struct list *done, int result, const struct err *err)
{
	while (!list_empty(done)) {
		struct source_read *read = list_first(done, struct source_read, link);
		list_remove(&read->link);
		read->done(read, result, err);
	}
}

/* Fails everything that waits for the unit, into `failed`. Called with the lock held. */
static void unit_fail_waits(struct layer *layer, struct unit *unit, struct list *failed)
{
	while (!list_empty(&unit->waits)) {
		struct source_read *read = list_first(&unit->waits, struct wait, link)->read;
		read_detach(layer, read);
		list_append(failed, &read->link);
		counter_add(&layer->counters->reads_failed, 1);
	}
}

/* Copies span i to all that wait for it; complete reads go to `done`. With the lock held. */
static void unit_serve(struct unit *unit, size_t i, const struct span *span, const void *data,
		       struct list *done)
{
	struct wait *wait, *tmp;
	list_for_each_safe(wait, tmp, &unit->waits, link) {
		struct source_read *read = wait->read;
		if (wait->next != i)
			continue;
		uint64_t from;
		uint64_t n = read_overlap(read, span->out_off, span->out_len, &from);
		memcpy((char *)read->data + (from - read->off),
		       (const char *)data + (from - span->out_off), n);
		read->left -= n;
		if (++wait->next < wait->end)
			continue;
		list_remove(&wait->link);
		free(wait);
		if (read->left > 0)
			continue;
		list_remove(&read->link);
		read->waiting = false;
		list_append(done, &read->link);
	}
}

void layer_serve_span(struct layer *layer, struct unit *unit, size_t i, const void *data)
{
	struct list done;
	struct span span;
	list_init(&done);
	seek_get(layer->seek, i, &span);
	(void)pthread_mutex_lock(&layer->lock);
	unit_serve(unit, i, &span, data, &done);
	(void)pthread_mutex_unlock(&layer->lock);
	reads_done(&done, 0, NULL);
}

/* Whether a unit that failed is to be fetched once more: proxies and mirrors flip bits. */
static bool unit_try_again(const struct layer *layer, struct unit *unit, int result)
{
	if ((result != -EBADMSG && result != -EAGAIN) || unit->tried || !layer->origin ||
	    layer->closing)
		return false;
	unit->tried = true;
	return true;
}

/*
 * Ends a unit with result: who waits is failed into `failed`, or, where it is
 * tried again, stays. Frees the unit or queues it. Called with the lock held.
 */
static void unit_end(struct layer *layer, struct unit *unit, int result, struct list *failed)
{
	layer_leave_ahead(unit);
	if (unit->claimed)
		store_layer_release(layer->store, unit->first, unit->end);
	unit->claimed = false;
	if (unit_try_again(layer, unit, result))
		result = 0;
	if (result < 0 || layer->closing)
		unit_fail_waits(layer, unit, failed);
	if (list_empty(&unit->waits)) {
		layer_forget_unit(layer, unit);
		free(unit);
		return;
	}
	/* These came after their span had gone by: they find it in the store, or anew. */
	unit->urgent = true;
	layer_enqueue(layer, unit);
	layer_kick(layer);
}

/* What readers are told; to them -EAGAIN would mean something else. */
static int unit_failure(int result)
{
	if (result == 0)
		return -ESHUTDOWN;
	return result == -EAGAIN ? -EIO : result;
}

void layer_fail_units(struct layer *layer, struct list *units, int result, const struct err *err)
{
	struct list failed;
	list_init(&failed);
	(void)pthread_mutex_lock(&layer->lock);
	while (!list_empty(units)) {
		struct unit *unit = list_first(units, struct unit, link);
		list_remove(&unit->link);
		unit_end(layer, unit, result, &failed);
	}
	(void)pthread_mutex_unlock(&layer->lock);
	reads_done(&failed, unit_failure(result), err);
}

void layer_finish_unit(struct layer *layer, struct unit *unit, const void *data, int result,
		       const struct err *err)
{
	struct list done, failed;
	list_init(&done);
	list_init(&failed);
	(void)pthread_mutex_lock(&layer->lock);
	if (result == 0 && data) {
		struct span span;
		seek_get(layer->seek, unit->first, &span);
		unit_serve(unit, unit->first, &span, data, &done);
	}
	unit_end(layer, unit, result, &failed);
	(void)pthread_mutex_unlock(&layer->lock);
	reads_done(&done, 0, NULL);
	reads_done(&failed, unit_failure(result), err);
}

/* Tries the first spans of a read in the store; bits of `missing` say which are not there. */
static uint64_t read_try_local(struct layer *layer, struct source_read *read)
{
	uint64_t missing = 0;
	uint64_t end = read->off + read->len;
	size_t i = seek_find(layer->seek, read->off);
	for (size_t k = 0; i < seek_count(layer->seek) && k < LAYER_LOCAL_TRY_SPANS; i++, k++) {
		struct span span;
		seek_get(layer->seek, i, &span);
		if (span.out_off >= end)
			break;
		uint64_t from;
		uint64_t n = read_overlap(read, span.out_off, span.out_len, &from);
		void *to = (char *)read->data + (from - read->off);
		if (store_layer_read(layer->store, to, n, from) != (ssize_t)n)
			missing |= UINT64_C(1) << k;
		else if (atomic_load_explicit(&layer->n_ahead, memory_order_relaxed) > 0)
			layer_note_used(layer, from, n);
	}
	return missing;
}

/* Waits for the spans of one unit from span i on. Called with the lock held. */
static int read_attach_unit(struct layer *layer, struct source_read *read, size_t i,
			    size_t *ret_next)
{
	struct unit *unit = layer_want_unit(layer, i, true);
	struct wait *wait = calloc(1, sizeof(*wait));
	if (!unit || !wait) {
		free(wait);
		return -ENOMEM;
	}
	*wait = (struct wait){.read = read, .next = i, .end = i};
	while (wait->end < unit->end) {
		struct span span;
		uint64_t from;
		seek_get(layer->seek, wait->end, &span);
		uint64_t n = read_overlap(read, span.out_off, span.out_len, &from);
		if (n == 0)
			break;
		read->left += n;
		wait->end++;
	}
	list_append(&unit->waits, &wait->link);
	*ret_next = wait->end;
	return 0;
}

/* Enters a wait for every unit with missing spans. Called with the lock held. */
static int read_attach(struct layer *layer, struct source_read *read, uint64_t missing)
{
	uint64_t end = read->off + read->len;
	size_t first = seek_find(layer->seek, read->off);
	for (size_t i = first; i < seek_count(layer->seek);) {
		struct span span;
		seek_get(layer->seek, i, &span);
		if (span.out_off >= end)
			break;
		bool local = i - first < LAYER_LOCAL_TRY_SPANS && !(missing >> (i - first) & 1);
		if (span.codec == SEEK_ZEROS) {
			uint64_t from;
			uint64_t n = read_overlap(read, span.out_off, span.out_len, &from);
			memset((char *)read->data + (from - read->off), 0, n);
			local = true;
		}
		if (local) {
			i++;
			continue;
		}
		int r = read_attach_unit(layer, read, i, &i);
		if (r < 0)
			return r;
	}
	return 0;
}

static void layer_submit(struct source *source, struct source_read *read)
{
	struct layer *layer = layer_of(source);
	struct err err = {0};
	int r = 0;
	read->left = 0;
	read->waiting = false;
	list_init(&read->link);
	if (!range_within(read->off, read->len, seek_out_size(layer->seek))) {
		(void)err_say(&err, -EINVAL, "a read goes past the end of the layer");
		counter_add(&layer->counters->reads_failed, 1);
		read->done(read, -EINVAL, &err);
		return;
	}
	/* What lies between the spans of a synthetic device is zero. */
	if (!seek_is_tar(layer->seek) && read->len > 0)
		memset(read->data, 0, read->len);

	uint64_t missing = read_try_local(layer, read);
	(void)pthread_mutex_lock(&layer->lock);
	if (layer->broken)
		r = err_say(&err, -EIO, "the layer's index was found to be wrong");
	else if (layer->closing)
		r = err_say(&err, -ESHUTDOWN, "the layer is being closed");
	if (r == 0) {
		read->waiting = true;
		list_append(&layer->reads, &read->link);
		r = read_attach(layer, read, missing);
		if (r < 0 || read->left == 0)
			read_detach(layer, read);
		if (r < 0)
			(void)err_set(&err, r, "queue a read");
	}
	bool waits = read->waiting;
	if (waits)
		layer_kick(layer);
	(void)pthread_mutex_unlock(&layer->lock);

	struct fetch_counters *counters = layer->counters;
	counter_add(waits ? &counters->reads_waited :
		    r < 0 ? &counters->reads_failed :
			    &counters->reads_local, 1);
	if (waits)
		fetch_pool_tick(layer->pool, &layer->ticker);
	else
		read->done(read, r, &err);
}

static bool layer_cancel(struct source *source, struct source_read *read)
{
	struct layer *layer = layer_of(source);
	(void)pthread_mutex_lock(&layer->lock);
	bool waiting = read->waiting;
	if (waiting)
		read_detach(layer, read);
	(void)pthread_mutex_unlock(&layer->lock);
	return waiting;
}

static ssize_t layer_peek(struct source *source, void *data, size_t len, uint64_t off)
{
	struct layer *layer = layer_of(source);
	if (__atomic_load_n(&layer->broken, __ATOMIC_RELAXED))
		return -EIO;
	ssize_t n = store_layer_read(layer->store, data, len, off);
	if (n < 0)
		return n;
	counter_add(&layer->counters->reads_local, 1);
	if (atomic_load_explicit(&layer->n_ahead, memory_order_relaxed) > 0)
		layer_note_used(layer, off, len);
	return n;
}

/* Queues the unit of span i, and says where the next begins. False when the queue is full. */
static bool layer_advise_unit(struct layer *layer, size_t i, size_t *ret_next)
{
	struct unit *unit = NULL;
	(void)pthread_mutex_lock(&layer->lock);
	if (layer->n_queued < LAYER_QUEUE_MAX && !layer->closing)
		unit = layer_want_unit(layer, i, false);
	if (unit)
		*ret_next = unit->end;
	(void)pthread_mutex_unlock(&layer->lock);
	return unit;
}

static void layer_advise(struct source *source, uint64_t off, uint64_t len)
{
	struct layer *layer = layer_of(source);
	if (!layer->origin)
		return;
	uint64_t size = seek_out_size(layer->seek);
	uint64_t end = off < size ? off + u64_min(len, size - off) : 0;
	size_t count = seek_count(layer->seek);
	/* The lock is for one unit at a time: a reader waits behind no walk over a whole layer. */
	for (size_t i = seek_find(layer->seek, off), next; i < count; i = next) {
		struct span span;
		next = i + 1;
		seek_get(layer->seek, i, &span);
		if (span.out_off >= end)
			break;
		if (span.codec == SEEK_ZEROS ||
		    (store_layer_state(layer->store, i) & SPAN_PRESENT))
			continue;
		if (!layer_advise_unit(layer, i, &next))
			break;
	}
	(void)pthread_mutex_lock(&layer->lock);
	layer_kick(layer);
	bool queued = layer->n_queued > 0;
	(void)pthread_mutex_unlock(&layer->lock);
	/* When other layers have all the places for advice, a tick finds the next free one. */
	if (queued)
		fetch_pool_tick(layer->pool, &layer->ticker);
}

static uint64_t layer_size(const struct source *source)
{
	return seek_out_size(layer_of(source)->seek);
}

/* ---- time ---- */

/* Ends reads whose deadline is past, into `late`. Called with the lock held. */
static void layer_expire_reads(struct layer *layer, struct list *late)
{
	struct source_read *read, *tmp;
	uint64_t now = clock_now_ns();
	list_for_each_safe(read, tmp, &layer->reads, link) {
		if (read->deadline == 0 || read->deadline > now)
			continue;
		read_detach(layer, read);
		list_append(late, &read->link);
		counter_add(&layer->counters->reads_failed, 1);
	}
}

/* Queued for readers who have all gone: nobody wants it any more. With the lock held. */
static void layer_drop_unwanted(struct layer *layer)
{
	struct unit *unit, *tmp;
	list_for_each_safe(unit, tmp, &layer->queue[WORK_URGENT], link) {
		if (!list_empty(&unit->waits) && !layer->closing)
			continue;
		layer_unqueue(layer, unit);
		layer_forget_unit(layer, unit);
		free(unit);
	}
}

/*
 * What other processes fetch is looked at: what has come is served; what is
 * not is tried to be claimed now and then, since they may have died.
 */
static void layer_tick_foreign(struct layer *layer)
{
	bool try = deadline_passed(layer->foreign_at);
	struct unit *unit, *tmp;
	list_for_each_safe(unit, tmp, &layer->foreign, link) {
		if (!try && !layer_has_unit(layer, unit))
			continue;
		list_remove(&unit->link);
		layer_enqueue(layer, unit);
	}
}

static enum fetch_tick layer_tick(struct fetch_ticker *ticker)
{
	struct layer *layer = container_of(ticker, struct layer, ticker);
	struct list late;
	list_init(&late);
	(void)pthread_mutex_lock(&layer->lock);
	layer_expire_reads(layer, &late);
	layer_drop_unwanted(layer);
	layer_tick_foreign(layer);
	layer_kick(layer);
	enum fetch_tick next = !list_empty(&layer->foreign) ? FETCH_TICK_SOON :
			       !list_empty(&layer->reads) || layer->n_queued > 0 ?
							      FETCH_TICK_LATER : FETCH_TICK_NEVER;
	(void)pthread_mutex_unlock(&layer->lock);

	struct err err = {0};
	(void)err_say(&err, -ETIMEDOUT, "the bytes did not arrive in time");
	reads_done(&late, -ETIMEDOUT, &err);
	return next;
}

/* ---- life ---- */

static void layer_free(struct layer *layer)
{
	store_layer_close(layer->store);
	descriptor_finish(&layer->blob);
	descriptor_finish(&layer->windows);
	htab_finish(&layer->units);
	free(atomic_load(&layer->ahead));
	(void)pthread_cond_destroy(&layer->idle);
	(void)pthread_mutex_destroy(&layer->lock);
	free(layer);
}

/* Frees the units of a queue whose readers were all told. Called with the lock held. */
static void layer_drop_queue(struct layer *layer, struct list *queue)
{
	while (!list_empty(queue)) {
		struct unit *unit = list_first(queue, struct unit, link);
		layer_unqueue(layer, unit);
		layer_forget_unit(layer, unit);
		free(unit);
	}
}

static void layer_destroy(struct source *source)
{
	struct layer *layer = layer_of(source);
	struct list ended;
	list_init(&ended);
	(void)pthread_mutex_lock(&layer->lock);
	__atomic_store_n(&layer->closing, true, __ATOMIC_RELAXED);
	while (!list_empty(&layer->reads)) {
		struct source_read *read = list_first(&layer->reads, struct source_read, link);
		read_detach(layer, read);
		list_append(&ended, &read->link);
		counter_add(&layer->counters->reads_failed, 1);
	}
	layer_drop_queue(layer, &layer->queue[WORK_URGENT]);
	layer_drop_queue(layer, &layer->queue[WORK_LATER]);
	layer_drop_queue(layer, &layer->foreign);
	(void)pthread_mutex_unlock(&layer->lock);

	struct err err = {0};
	(void)err_say(&err, -ESHUTDOWN, "the layer is being closed");
	reads_done(&ended, -ESHUTDOWN, &err);

	fetch_pool_untick(layer->pool, &layer->ticker);
	(void)pthread_mutex_lock(&layer->lock);
	while (layer->busy > 0)
		(void)pthread_cond_wait(&layer->idle, &layer->lock);
	(void)pthread_mutex_unlock(&layer->lock);
	layer_free(layer);
}

static const struct source_ops layer_ops = {
	.size = layer_size,
	.peek = layer_peek,
	.submit = layer_submit,
	.cancel = layer_cancel,
	.advise = layer_advise,
	.unit = layer_unit,
	.fetch = layer_fetch,
	.destroy = layer_destroy,
};

int layer_open(const struct layer_config *config, struct source **ret, struct err *err)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	if (!layer) {
		store_layer_close(config->store);
		return err_set(err, -ENOMEM, "open a layer");
	}
	layer->source.ops = &layer_ops;
	layer->store = config->store;
	layer->seek = store_layer_seek(layer->store);
	layer->origin = config->origin;
	layer->pool = config->pool;
	layer->counters = config->counters ? config->counters : &layer->own_counters;
	layer->transfer_ms = config->transfer_ms ? config->transfer_ms : LAYER_TRANSFER_MS;
	(void)pthread_mutex_init(&layer->lock, NULL);
	(void)pthread_cond_init(&layer->idle, NULL);
	for (int p = 0; p < WORK_PRIORITIES; p++)
		list_init(&layer->queue[p]);
	list_init(&layer->foreign);
	list_init(&layer->reads);
	layer->ticker.tick = layer_tick;
	list_init(&layer->ticker.link);

	const struct store_layer_info *info = store_layer_info(layer->store);
	layer->windows.digest = info->windows_digest;
	layer->windows.size = info->windows_size;
	layer->windows.media_type = strdup("application/octet-stream");
	int r = descriptor_copy(config->blob, &layer->blob);
	if (r < 0 || !layer->windows.media_type) {
		layer_free(layer);
		return err_set(err, -ENOMEM, "open a layer");
	}
	*ret = &layer->source;
	return 0;
}
