/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Random access to the bytes of one device (fetcher/entry.h), whatever is
 * behind it: the seam between fetcher and fs. Two ways to read:
 *
 *   source_peek()    what is local, at once, on any thread; never the network.
 *   source_submit()  anything; the answer comes through a callback.
 *
 * Bytes that either hands out have been verified. All functions are safe from
 * any thread.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"

struct source;

/* A read under way. Embedded in the caller's own request. */
struct source_read {
	/* Set by the caller before source_submit(), and unchanged until done. */
	uint64_t off;
	size_t len;	/* [off, off + len) lies within the source */
	void *data;	/* len bytes, owned by the caller */
	deadline_t deadline; /* afterwards: -ETIMEDOUT */
	/*
	 * Called exactly once, on any thread, also from within source_submit();
	 * it may free the read, and must not block. result is 0, or the -errno
	 * that err (valid during the call) explains.
	 */
	void (*done)(struct source_read *read, int result, const struct err *err);

	/* The source's own. */
	struct list link;
	uint64_t left; /* bytes still missing */
	bool waiting;
};

/* What is fetched and decoded as one, whichever of its bytes is wanted. */
struct source_unit {
	uint64_t off, len;	 /* of the device, padding behind it left out */
	uint64_t in_off, in_len; /* where what is fetched for it stands; 0 bytes: nothing is */
	bool local;		 /* nothing needs to be fetched just now */
};

struct source_range {
	uint64_t off, len;
};

enum { SOURCE_FETCH_UNITS_MAX = 512 }; /* of one source_fetch */

/* Bytes that nobody waits for yet, brought by one request. Embedded in the caller's own. */
struct source_fetch {
	/* Set by the caller before source_fetch(), and unchanged until it is over. */
	const struct source_range *ranges; /* disjoint, in the order of what is fetched; borrowed */
	size_t n_ranges;
	deadline_t deadline;
	/*
	 * Called before the next n bytes are taken, on the thread that takes
	 * them, and may block it, which holds up this request and no other: that
	 * is how it yields. A negative result ends the request.
	 */
	int (*gate)(struct source_fetch *fetch, size_t n);
	/* A reader waits for something that this brings. Must not block; the source's lock is held. */
	void (*hurry)(struct source_fetch *fetch);
	/*
	 * Called exactly once, on any thread, also from within source_fetch();
	 * it may free the fetch. What came before a failure is kept, and may
	 * still be on its way through a decoder.
	 */
	void (*over)(struct source_fetch *fetch, int result, const struct err *err);

	/* The source's own; readers that wait for it may be looked at any time. */
	atomic_uint wanted;
};

struct source_ops {
	uint64_t (*size)(const struct source *source);
	ssize_t (*peek)(struct source *source, void *data, size_t len, uint64_t off);
	void (*submit)(struct source *source, struct source_read *read);
	bool (*cancel)(struct source *source, struct source_read *read);
	void (*advise)(struct source *source, uint64_t off, uint64_t len);
	bool (*unit)(const struct source *source, uint64_t off, struct source_unit *ret);
	void (*fetch)(struct source *source, struct source_fetch *fetch);
	void (*destroy)(struct source *source);
};

/* First member of every implementation. */
struct source {
	const struct source_ops *ops;
};

/* Bytes of the device. */
static inline uint64_t source_size(const struct source *source)
{
	return source->ops->size(source);
}

/*
 * Copies [off, off + len) when every byte of it is local and verified: len.
 * -EAGAIN when some byte is not, another -errno when the store fails (the
 * caller then submits, which knows how to heal). Never waits for the network.
 */
static inline ssize_t source_peek(struct source *source, void *data, size_t len, uint64_t off)
{
	return source->ops->peek(source, data, len, off);
}

/* Starts a read; its done() tells the end. Never blocks, never fails by itself. */
static inline void source_submit(struct source *source, struct source_read *read)
{
	source->ops->submit(source, read);
}

/*
 * Gives up a read: true when it was still waiting, and then done() will not be
 * called; false when done() was or is about to be called. The fetch itself
 * goes on, since others may wait for it or want it soon.
 */
static inline bool source_cancel(struct source *source, struct source_read *read)
{
	return source->ops->cancel(source, read);
}

/* Says that [off, off + len) will likely be read soon: fetched after all that is waited for. */
static inline void source_advise(struct source *source, uint64_t off, uint64_t len)
{
	source->ops->advise(source, off, len);
}

/* Tells of the first unit that ends after off; false when there is none. Never the network. */
static inline bool source_unit(const struct source *source, uint64_t off, struct source_unit *ret)
{
	return source->ops->unit && source->ops->unit(source, off, ret);
}

/*
 * Brings the units of the ranges that are neither local nor under way, at most
 * SOURCE_FETCH_UNITS_MAX of them, as one request from the first to the last;
 * what lies between them crosses the network, too. No read is failed by it: a
 * reader who waits for something that it does not bring after all has that
 * fetched anew, and one who waits for what is far behind in it does not wait
 * for it.
 */
static inline void source_fetch(struct source *source, struct source_fetch *fetch)
{
	source->ops->fetch(source, fetch);
}

/*
 * Ends every waiting read with -ESHUTDOWN and releases the source. No gate may
 * be holding up a fetch any more. Accepts NULL.
 */
static inline void source_destroy(struct source *source)
{
	if (source)
		source->ops->destroy(source);
}
