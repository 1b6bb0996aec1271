/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An origin over bytes in memory that counts what it is asked for, and fails as it is told. */

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/num.h"
#include "fetcher/origin.h"
#include "tests/unit/unit.h"

enum { MOCK_LOG_MAX = 256, MOCK_PIECE = 10000 };

struct mock {
	struct origin origin;
	const struct buf *blob, *windows; /* borrowed */
	struct digest windows_digest;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* All below under the lock. */
	uint8_t *crossed;   /* how often each byte of the blob was handed out, up to 255 */
	size_t n_requests;  /* ranges of the blob, also failed ones */
	size_t n_windows;   /* ranges of the windows */
	struct {
		uint64_t off, len;
	} log[MOCK_LOG_MAX];
	size_t fail_from, fail_to; /* these requests of the blob fail, counted from 1 … */
	int fail_with;		   /* … with this */
	size_t short_at;	   /* this one ends at its middle, and says nothing */
	uint64_t flip_off;	   /* of the blob */
	unsigned int flips;	   /* how many more times that byte is wrong */
	unsigned int window_flips; /* how many more times windows are wrong */
	unsigned int delay_ms;
	bool stalled; /* requests wait, until their deadline */
	bool windows_stalled; /* those of windows do */
	size_t n_stalled;
	bool down;
	uint32_t chaos; /* every so many requests something goes wrong; 0: nothing by chance */
	uint32_t seed;
};

static inline struct mock *mock_of(struct origin *o)
{
	return container_of(o, struct mock, origin);
}

static inline uint32_t mock_random(struct mock *m)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return m->seed >> 8;
}

/* What this request does, beside what it should. With the lock held. */
struct mock_fault {
	int r;
	bool flip;
	uint64_t len; /* bytes to hand out */
	unsigned int delay_ms;
};

static inline void mock_by_chance(struct mock *m, uint64_t len, struct mock_fault *f)
{
	if (m->chaos == 0 || mock_random(m) % m->chaos != 0)
		return;
	switch (mock_random(m) % 5) {
	case 0:
		f->r = -ECONNRESET;
		f->len = mock_random(m) % (len + 1);
		break;
	case 1:
		f->len = mock_random(m) % len;
		break;
	case 2:
		f->flip = true;
		break;
	case 3:
		f->r = -EHOSTUNREACH;
		f->len = 0;
		break;
	default:
		f->delay_ms = 1 + mock_random(m) % 40;
		break;
	}
}

static inline int mock_stall(struct mock *m, bool windows, deadline_t deadline)
{
	m->n_stalled++;
	(void)pthread_cond_broadcast(&m->changed);
	int r = 0;
	while ((m->stalled || (windows && m->windows_stalled)) && r == 0) {
		struct timespec until = deadline_timespec(deadline);
		r = pthread_cond_clockwait(&m->changed, &m->lock, CLOCK_MONOTONIC, &until);
	}
	m->n_stalled--;
	return r == 0 ? 0 : -ETIMEDOUT;
}

static inline struct mock_fault mock_plan(struct mock *m, bool windows, uint64_t off, uint64_t len,
					  deadline_t deadline)
{
	struct mock_fault f = {.len = len, .delay_ms = m->delay_ms};
	size_t n = windows ? ++m->n_windows : ++m->n_requests;
	if (!windows && n <= MOCK_LOG_MAX) {
		m->log[n - 1].off = off;
		m->log[n - 1].len = len;
	}
	if (m->stalled || (windows && m->windows_stalled))
		f.r = mock_stall(m, windows, deadline);
	if (m->down)
		f.r = -EHOSTUNREACH;
	if (!windows && n >= m->fail_from && n <= m->fail_to)
		f.r = m->fail_with;
	if (f.r < 0)
		f.len = 0;
	if (!windows && n == m->short_at)
		f.len = len / 2;
	if (windows && m->window_flips > 0) {
		m->window_flips--;
		f.flip = true;
	}
	mock_by_chance(m, len, &f);
	return f;
}

/* Counts a piece; makes its byte wrong that is to be. */
static inline void mock_piece(struct mock *m, bool windows, uint64_t off, uint8_t *piece, size_t n)
{
	if (windows)
		return;
	(void)pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < n; i++)
		if (m->crossed[off + i] < UINT8_MAX)
			m->crossed[off + i]++;
	if (m->flips > 0 && m->flip_off >= off && m->flip_off - off < n) {
		m->flips--;
		piece[m->flip_off - off] ^= 0x10;
	}
	(void)pthread_mutex_unlock(&m->lock);
}

static inline int mock_range(struct origin *o, const struct descriptor *desc, uint64_t off,
			     uint64_t len, const struct byte_sink *sink, deadline_t deadline,
			     struct err *err)
{
	struct mock *m = mock_of(o);
	bool windows = !digest_is_none(&m->windows_digest) &&
		       digest_equal(&desc->digest, &m->windows_digest);
	const struct buf *from = windows ? m->windows : m->blob;
	if (!range_within(off, len, from->len) || len == 0)
		return err_say(err, -EINVAL, "mock: no such range");
	(void)pthread_mutex_lock(&m->lock);
	struct mock_fault f = mock_plan(m, windows, off, len, deadline);
	(void)pthread_mutex_unlock(&m->lock);
	clock_sleep_ms(f.delay_ms, 0);
	for (uint64_t done = 0; done < f.len;) {
		uint8_t piece[MOCK_PIECE];
		size_t n = (size_t)u64_min(MOCK_PIECE, f.len - done);
		memcpy(piece, from->data + off + done, n);
		if (f.flip) /* of windows the magic number, of others what there is */
			piece[windows ? 0 : n / 2] ^= 1;
		f.flip = false;
		mock_piece(m, windows, off + done, piece, n);
		int r = sink->write(sink->data, piece, n);
		if (r < 0)
			return r;
		done += n;
	}
	return f.r < 0 ? err_say(err, f.r, "mock: it failed with %d", f.r) : 0;
}

static const struct origin_ops mock_ops = {.range = mock_range};

static inline void mock_init(struct mock *m, const struct buf *blob, const struct buf *windows)
{
	*m = (struct mock){.origin.ops = &mock_ops, .blob = blob, .windows = windows, .seed = 1};
	(void)pthread_mutex_init(&m->lock, NULL);
	(void)pthread_cond_init(&m->changed, NULL);
	m->crossed = calloc(1, blob->len);
	assert_non_null(m->crossed);
}

static inline void mock_finish(struct mock *m)
{
	free(m->crossed);
	(void)pthread_cond_destroy(&m->changed);
	(void)pthread_mutex_destroy(&m->lock);
}

/* Requests of the blob so far. */
static inline size_t mock_requests(struct mock *m)
{
	(void)pthread_mutex_lock(&m->lock);
	size_t n = m->n_requests;
	(void)pthread_mutex_unlock(&m->lock);
	return n;
}

static inline void mock_set_stalled(struct mock *m, bool stalled)
{
	(void)pthread_mutex_lock(&m->lock);
	m->stalled = stalled;
	(void)pthread_cond_broadcast(&m->changed);
	(void)pthread_mutex_unlock(&m->lock);
}

static inline void mock_set_windows_stalled(struct mock *m, bool stalled)
{
	(void)pthread_mutex_lock(&m->lock);
	m->windows_stalled = stalled;
	(void)pthread_cond_broadcast(&m->changed);
	(void)pthread_mutex_unlock(&m->lock);
}

static inline void mock_set_down(struct mock *m, bool down)
{
	(void)pthread_mutex_lock(&m->lock);
	m->down = down;
	(void)pthread_mutex_unlock(&m->lock);
}

/* Waits until n requests stand still. */
static inline void mock_await_stalled(struct mock *m, size_t n)
{
	(void)pthread_mutex_lock(&m->lock);
	while (m->n_stalled < n)
		(void)pthread_cond_wait(&m->changed, &m->lock);
	(void)pthread_mutex_unlock(&m->lock);
}

/* The most that any byte was handed out; *ret_shared: how many bytes were twice or more. */
static inline unsigned int mock_crossed_most(struct mock *m, size_t *ret_twice)
{
	unsigned int most = 0;
	size_t twice = 0;
	(void)pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->blob->len; i++) {
		most = m->crossed[i] > most ? m->crossed[i] : most;
		twice += m->crossed[i] > 1;
	}
	(void)pthread_mutex_unlock(&m->lock);
	*ret_twice = twice;
	return most;
}
