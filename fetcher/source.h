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

struct source_ops {
	uint64_t (*size)(const struct source *source);
	ssize_t (*peek)(struct source *source, void *data, size_t len, uint64_t off);
	void (*submit)(struct source *source, struct source_read *read);
	bool (*cancel)(struct source *source, struct source_read *read);
	void (*advise)(struct source *source, uint64_t off, uint64_t len);
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

/* Ends every waiting read with -ESHUTDOWN and releases the source. Accepts NULL. */
static inline void source_destroy(struct source *source)
{
	if (source)
		source->ops->destroy(source);
}
