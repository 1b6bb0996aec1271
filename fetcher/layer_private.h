/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What layer.c (reads and queues) and layer_fetch.c (transfers and decoding) share. */

#include <pthread.h>

#include "base/htab.h"
#include "fetcher/layer.h"

enum unit_state {
	UNIT_QUEUED,
	UNIT_FOREIGN, /* another process fetches it; looked at again at every tick */
	UNIT_ACTIVE,  /* in a transfer or with a decoder */
};

/* Spans that come out of one compressed range and are fetched or under way. */
struct unit {
	struct hnode node;	/* in layer->units while anybody may wait for it */
	struct list link;	/* in a queue, the foreign list, or a transfer */
	struct list waits;	/* of struct wait */
	size_t first, end;	/* spans */
	uint64_t in_off, in_len;
	enum unit_state state;
	bool urgent;
	bool claimed;
	bool tried;   /* its bytes were wrong once */
	bool refetch; /* the store has it and cannot give it */
};

/*
 * One read waits for one unit. Its spans are taken strictly in order: a read
 * that joins a long unit half-way skips what goes by and is served when the
 * unit, at its end, is queued again and found in the store.
 */
struct wait {
	struct list link;
	struct source_read *read;
	size_t next, end; /* spans still to come */
};

struct layer {
	struct source source;
	struct store_layer *store;	 /* owned */
	const struct seek *seek;	 /* the store's */
	struct origin *origin;
	struct descriptor blob;		 /* owned */
	struct descriptor windows;	 /* owned; digest none: all windows are local */
	struct fetch_pool *pool;
	struct fetch_counters *counters; /* the caller's, or own_counters */
	struct fetch_counters own_counters;
	uint64_t transfer_ms;

	pthread_mutex_t lock;
	pthread_cond_t idle;		 /* transfers, decodes or copies came to an end */
	struct htab units;		 /* of struct unit, by first span */
	struct list queue[WORK_PRIORITIES];
	size_t n_queued;
	struct list foreign;
	struct list reads;		 /* waiting, oldest first: of struct source_read */
	unsigned int transfers[WORK_PRIORITIES]; /* jobs queued or running */
	unsigned int busy;		 /* jobs, decodes and copies that use the layer */
	struct fetch_ticker ticker;
	bool checking;			 /* the whole is being checked, or was */
	bool broken;			 /* its index lied: nothing is served any more */
	bool closing;
};

/* Starts transfers for what is queued. Called with the lock held. */
void layer_kick(struct layer *layer);

/* The unit of a span when it is queued, else NULL. Called with the lock held. */
struct unit *layer_queued_unit(const struct layer *layer, size_t span);

/* Into and out of the queue its urgency asks for. Called with the lock held. */
void layer_enqueue(struct layer *layer, struct unit *unit);
void layer_unqueue(struct layer *layer, struct unit *unit);

/* Takes the unit out of the table: later reads start anew. Called with the lock held. */
void layer_forget_unit(struct layer *layer, struct unit *unit);

/*
 * Ends a unit: releases its claim and answers every read that waits for it:
 * with the bytes of `data` (the unit's single span) when not NULL, from the
 * store when result is 0, else with result and err. Bytes that were wrong
 * (-EBADMSG, or -EAGAIN: its window was) are fetched once more before anybody
 * is told. Frees the unit or queues it again. Called without the lock.
 */
void layer_finish_unit(struct layer *layer, struct unit *unit, const void *data, int result,
		       const struct err *err);

/*
 * The same for all units that a transfer leaves, in one step: whoever reads
 * after the first failure is told begins anew, and joins none that is about to
 * fail, too. Called without the lock.
 */
void layer_fail_units(struct layer *layer, struct list *units, int result, const struct err *err);

/* Serves what waits for span i of a unit that goes on. Called without the lock. */
void layer_serve_span(struct layer *layer, struct unit *unit, size_t i, const void *data);

/* One more or one less job uses the layer. The first is called with the lock, the other without. */
void layer_hold(struct layer *layer);
void layer_release(struct layer *layer);
