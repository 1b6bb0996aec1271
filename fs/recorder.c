/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/recorder.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"

enum { WORD_BITS = 64 };

/* What is noted of a device: a bit a grain. Pages of it that nobody touches take no memory. */
struct noted {
	_Atomic uint64_t *words; /* owned */
	uint64_t size, grain;
};

struct recorder {
	struct recorder_config config;
	struct noted *noted; /* owned; one a source */
	pthread_t thread;
	int end_fd; /* owned; an eventfd: it is to end */
	atomic_bool on;
	_Atomic uint64_t last_ns; /* when something new was noted */

	pthread_mutex_t lock; /* of what is below */
	struct profile *run;  /* owned */
};

static void recorder_free(struct recorder *r)
{
	for (size_t i = 0; r->noted && i < r->config.n_sources; i++)
		free(r->noted[i].words);
	free(r->noted);
	profile_destroy(r->run);
	cleanup_close(&r->end_fd);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

bool recorder_is_on(const struct recorder *r)
{
	return atomic_load_explicit(&r->on, memory_order_relaxed);
}

/* The bits of word w that [first, end) has. */
static uint64_t word_mask(uint64_t w, uint64_t first, uint64_t end)
{
	uint64_t from = u64_max(first, w * WORD_BITS) - w * WORD_BITS;
	uint64_t to = u64_min(end, (w + 1) * WORD_BITS) - w * WORD_BITS;
	uint64_t upto = to == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << to) - 1;
	return upto & ~((UINT64_C(1) << from) - 1);
}

static bool is_noted(const struct noted *noted, uint64_t first, uint64_t end)
{
	for (uint64_t w = first / WORD_BITS; w * WORD_BITS < end; w++) {
		uint64_t mask = word_mask(w, first, end);
		if ((atomic_load_explicit(&noted->words[w], memory_order_relaxed) & mask) != mask)
			return false;
	}
	return true;
}

void recorder_note(struct recorder *r, size_t i, uint64_t off, uint64_t len)
{
	if (!recorder_is_on(r) || i >= r->config.n_sources || len == 0)
		return;
	struct noted *noted = &r->noted[i];
	if (!range_within(off, len, noted->size))
		return;
	uint64_t first = off / noted->grain;
	uint64_t end = (off + len + noted->grain - 1) / noted->grain;
	if (is_noted(noted, first, end))
		return;
	(void)pthread_mutex_lock(&r->lock);
	/* Under the lock: once it is over, the run belongs to who learns from it. */
	int result = recorder_is_on(r) ? profile_add(r->run, (uint32_t)i, off, len) : 0;
	for (uint64_t w = first / WORD_BITS; w * WORD_BITS < end; w++)
		(void)atomic_fetch_or_explicit(&noted->words[w], word_mask(w, first, end),
					       memory_order_relaxed);
	atomic_store_explicit(&r->last_ns, clock_now_ns(), memory_order_relaxed);
	bool full = result < 0 || profile_bytes(r->run) >= r->config.max_bytes;
	(void)pthread_mutex_unlock(&r->lock);
	if (full)
		recorder_ready(r);
}

void recorder_ready(struct recorder *r)
{
	(void)eventfd_write(r->end_fd, 1);
}

/* Waits until the recording is to end. */
static void recorder_wait(struct recorder *r)
{
	struct pollfd fds[] = {{.fd = r->end_fd, .events = POLLIN},
			       {.fd = r->config.ready_fd, .events = POLLIN}};
	deadline_t end = deadline_in_ms(r->config.max_ms);
	while (!deadline_passed(end)) {
		uint64_t last = atomic_load_explicit(&r->last_ns, memory_order_relaxed);
		deadline_t quiet = last + r->config.quiet_ms * NS_PER_MS;
		/* Before the first read a start has not begun. */
		if (last != 0 && deadline_passed(quiet))
			return;
		uint64_t wait = deadline_left_ms(last == 0 ? end : u64_min(quiet, end),
						 r->config.quiet_ms);
		int n = poll(fds, ARRAY_LEN(fds), (int)u64_min(wait, INT32_MAX));
		if (n > 0 || (n < 0 && errno != EINTR))
			return;
	}
}

static void *recorder_main(void *data)
{
	struct recorder *r = data;
	(void)pthread_setname_np(pthread_self(), "sluice-record");
	recorder_wait(r);
	(void)pthread_mutex_lock(&r->lock);
	atomic_store(&r->on, false);
	(void)pthread_mutex_unlock(&r->lock);
	r->config.learn(r->config.data, r->run);
	return NULL;
}

static int noted_init(struct noted *noted, uint64_t size)
{
	noted->size = size;
	noted->grain = RECORDER_GRAIN;
	while (size / noted->grain > RECORDER_BITS_MAX)
		noted->grain *= 2;
	/* calloc() of this much maps zero pages. */
	noted->words = calloc(size / noted->grain / WORD_BITS + 1, sizeof(*noted->words));
	return noted->words ? 0 : -ENOMEM;
}

static int recorder_start(struct recorder *r)
{
	sigset_t all, old;
	/* Signals belong to the thread that asked for them. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int result = -pthread_create(&r->thread, NULL, recorder_main, r);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return result;
}

int recorder_create(const struct recorder_config *config, struct recorder **ret, struct err *err)
{
	struct recorder *r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "record what is read");
	r->config = *config;
	r->end_fd = -1;
	(void)pthread_mutex_init(&r->lock, NULL);
	atomic_init(&r->on, true);
	if (r->config.quiet_ms == 0)
		r->config.quiet_ms = RECORDER_QUIET_MS;
	if (r->config.max_ms == 0)
		r->config.max_ms = RECORDER_MAX_MS;
	if (r->config.max_bytes == 0)
		r->config.max_bytes = (uint64_t)RECORDER_BYTES_MAX_MIB << 20;
	r->noted = calloc(config->n_sources + 1, sizeof(*r->noted));
	r->end_fd = eventfd(0, EFD_CLOEXEC);
	int result = !r->noted ? -ENOMEM : r->end_fd < 0 ? -errno : profile_create(&r->run);
	for (size_t i = 0; i < config->n_sources && result == 0; i++)
		result = noted_init(&r->noted[i], source_size(config->sources[i]));
	if (result == 0)
		result = recorder_start(r);
	if (result < 0) {
		recorder_free(r);
		return err_set(err, result, "record what is read");
	}
	*ret = r;
	return 0;
}

void recorder_destroy(struct recorder *r)
{
	if (!r)
		return;
	recorder_ready(r);
	(void)pthread_join(r->thread, NULL);
	recorder_free(r);
}
