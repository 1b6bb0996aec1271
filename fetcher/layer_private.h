/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of a layer share: layer.c (reads and queues), layer_fetch.c
 * (transfers), layer_decode.c (what has arrived), layer_ahead.c (what is
 * fetched before anybody asks).
 */

#include <pthread.h>

#include "base/htab.h"
#include "fetcher/layer.h"

enum unit_state {
	UNIT_QUEUED,
	UNIT_FOREIGN, /* another process fetches it; looked at again at every tick */
	UNIT_CARRIED, /* in a transfer that nobody waits for, not yet arriving; may be taken out */
	UNIT_ACTIVE,  /* in a transfer or with a decoder */
};

struct transfer;
struct decode;

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
	bool ahead;   /* fetched before anybody asked, and so far nobody has */
	bool counted; /* in its transfer's fetch->wanted */
	struct transfer *transfer; /* while it is in one made by source_fetch() */
	struct decode *decode;	   /* while it waits for a processor behind what is urgent */
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
	deadline_t foreign_at;		 /* when their claims are tried again */
	struct list reads;		 /* waiting, oldest first: of struct source_read */
	unsigned int transfers[WORK_PRIORITIES]; /* jobs queued or running */
	unsigned int busy;		 /* jobs, decodes and copies that use the layer */
	struct fetch_ticker ticker;
	_Atomic(_Atomic uint32_t *) ahead; /* owned; bits: spans fetched ahead that nobody read yet; NULL: none ever */
	atomic_size_t n_ahead;		 /* bits set */
	bool checking;			 /* the whole is being checked, or was */
	bool broken;			 /* its index lied: nothing is served any more */
	bool closing;
};

/* One range request for a run of units. */
struct transfer {
	struct work work;
	struct layer *layer;
	enum work_priority priority;
	struct source_fetch *fetch; /* whose it is; NULL: made for what was queued */
	struct list local;   /* units that turned out to be in the store */
	struct list units;   /* units to fetch, by in_off; under the lock when there is a fetch */
	struct unit *head;   /* the one that arrives, no longer in `units`; NULL: none */
	unsigned int taken;  /* units ever claimed for it */
	uint64_t in_off, in_end;
	uint64_t win_off, win_end; /* where their windows are, when these can be fetched */
	_Atomic uint64_t pos; /* of the next byte that arrives */
	enum work_priority head_priority;
	uint64_t began_ns, first_ns; /* the request, and its first byte */
	uint64_t gated_ns;	     /* spent in the fetch's gate */
	void *bytes;	     /* of the head, so far; owned */
	uint64_t n_bytes;
	/* Of a head that is a long one; owned. */
	struct span_decoder *decoder;
	struct span_bench *bench;
	bool decoded;	     /* all its spans are out, whatever bytes still come */
	struct windows *windows; /* a share; NULL: all are in the store */
	struct err *err;     /* what went wrong with all of it */
};

/* A unit of one span on its way to a processor. */
struct decode {
	struct work work;
	struct list link; /* while its window is on its way */
	struct layer *layer;
	struct unit *unit;
	void *bytes; /* owned, unit->in_len of pool memory */
};

/* The windows of one transfer, which come beside its bytes. Fields under the layer's lock. */
struct windows {
	struct work work;
	struct layer *layer;
	unsigned int shares; /* the job's, the transfer's */
	enum { WINDOWS_COMING, WINDOWS_HERE, WINDOWS_FAILED } state;
	struct list held; /* of struct decode: arrived before their windows */
	size_t *spans;	  /* owned; those whose windows are asked for */
	size_t n_spans;
	uint64_t from, to;
	deadline_t deadline;
	int result;
	struct err err;
};

/* Starts transfers for what is queued. Called with the lock held. */
void layer_kick(struct layer *layer);

/* A unit, entered and not queued; NULL without memory. Called with the lock held. */
struct unit *layer_new_unit(struct layer *layer, size_t first, size_t end);

/* The unit that begins with this span, or NULL. Called with the lock held. */
struct unit *layer_find_unit(const struct layer *layer, size_t first);

/* ---- layer_fetch.c ---- */

/* Whether every span of the unit is in the store. */
bool layer_has_unit(const struct layer *layer, const struct unit *unit);

/* Where the windows of the transfer are once that of the unit that begins with span `first` is with them. */
void transfer_windows_with(const struct transfer *t, size_t first, uint64_t *ret_off,
			   uint64_t *ret_end);

/* Claims the unit for the transfer. False when another process has it. Called with the lock held. */
bool transfer_take(struct transfer *t, struct unit *unit, bool in_front);

/* Runs a transfer made by source_fetch(). */
void transfer_run(struct work *work);

/* ---- layer_decode.c ---- */

/* Keeps a verified span; a store that cannot take it costs a later fetch, not this read. */
void layer_keep(struct layer *layer, const struct unit *unit, size_t i, const void *data);

/* Counts a unit whose bytes were wrong; what may have made them so is fetched anew, too. */
void layer_reject_unit(struct layer *layer, const struct unit *unit, int r);

/* Hands the complete head of the transfer to a processor, once its window is here. */
int transfer_decode(struct transfer *t, struct unit *unit, struct err *err);

/* Whether the unit's window must be fetched; *ret is its first span. */
bool unit_lacks_window(const struct layer *layer, const struct unit *unit, struct span *ret);

/*
 * Starts to fetch the windows that the units need and the store lacks, in one
 * request. With `wait`, has them here when it returns.
 */
int transfer_windows(struct transfer *t, bool wait, deadline_t deadline);

/* Puts the transfer's share back. */
void transfer_put_windows(struct transfer *t);

/* 0, or what went wrong with the windows, with its text in t->err. */
int transfer_windows_result(struct transfer *t);

/* Somebody waits for the unit now: its decoding does not stay behind that of others. With the lock held. */
void layer_hurry_decode(struct layer *layer, struct unit *unit);

/* Checks a layer of which all is local and nothing is under way, once. */
void layer_maybe_check(struct layer *layer);

/* ---- layer_ahead.c ---- */

/* The source's unit() and fetch(). */
bool layer_unit(const struct source *source, uint64_t off, struct source_unit *ret);
void layer_fetch(struct source *source, struct source_fetch *fetch);

/* Takes what nobody asked for yet into the transfer. Called with the lock held. */
void transfer_choose_ahead(struct transfer *t);

/*
 * Somebody waits for a unit that a fetch carries: it is taken out and queued
 * when it is far behind in it; else the fetch is told. Called with the lock held.
 */
void layer_join_ahead(struct layer *layer, struct unit *unit);

/* The unit leaves the transfer that carries it, if any. Called with the lock held. */
void layer_leave_ahead(struct unit *unit);

/* Notes that span i came before anybody asked; and that [off, off + len) was read. */
void layer_note_ahead(struct layer *layer, size_t i, uint64_t bytes);
void layer_note_used(struct layer *layer, uint64_t off, uint64_t len);

/* ---- layer.c ---- */

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
