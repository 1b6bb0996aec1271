/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/readahead.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/num.h"

struct stream {
	uint64_t key;
	uint64_t first;	 /* where the reads in a row began */
	uint64_t next;	 /* the end of what was read */
	uint64_t asked;	 /* the end of what was asked for */
	uint64_t window;
	uint64_t used;	 /* the tick of the last read; 0: free */
	uint32_t run;	 /* reads in a row */
};

struct readahead {
	pthread_mutex_t lock;
	uint64_t tick;
	struct stream streams[READAHEAD_STREAMS];
};

int readahead_create(struct readahead **ret)
{
	struct readahead *ra = calloc(1, sizeof(*ra));
	if (!ra)
		return -ENOMEM;
	int r = pthread_mutex_init(&ra->lock, NULL);
	if (r != 0) {
		free(ra);
		return -r;
	}
	*ret = ra;
	return 0;
}

void readahead_destroy(struct readahead *ra)
{
	if (!ra)
		return;
	(void)pthread_mutex_destroy(&ra->lock);
	free(ra);
}

static bool stream_is_device(const struct stream *s)
{
	return (s->key & (READAHEAD_LAYER | READAHEAD_DEVICE)) == READAHEAD_DEVICE;
}

static bool stream_goes_on(const struct stream *s, uint64_t off, uint64_t end)
{
	if (s->run == 0) /* most files are read from their start to their end */
		return off == 0 && !stream_is_device(s);
	uint64_t slack = stream_is_device(s) ? READAHEAD_DEVICE_SLACK : READAHEAD_SLACK;
	return off <= s->next + slack && end + slack >= s->next;
}

/* The stream of this file, of a device the one that goes on here; or the one to take over for it. */
static struct stream *stream_find(struct readahead *ra, uint64_t key, uint64_t off, uint64_t end)
{
	struct stream *oldest = &ra->streams[0];
	for (size_t i = 0; i < READAHEAD_STREAMS; i++) {
		struct stream *s = &ra->streams[i];
		if (s->used != 0 && s->key == key &&
		    (!stream_is_device(s) || stream_goes_on(s, off, end)))
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	*oldest = (struct stream){.key = key};
	return oldest;
}

static uint64_t stream_note(struct stream *s, uint64_t off, uint64_t len, uint64_t size,
			    uint64_t *ret_off)
{
	uint64_t end = off + len;
	if (!stream_goes_on(s, off, end)) {
		s->run = 1;
		s->first = off;
		s->next = s->asked = end;
		s->window = 0;
		return 0;
	}
	s->run = s->run < READAHEAD_RUN ? s->run + 1 : s->run;
	s->next = u64_max(s->next, end);
	s->asked = u64_max(s->asked, s->next);
	if (s->run < READAHEAD_RUN || s->asked >= size || s->asked - s->next > s->window / 2)
		return 0;

	uint64_t row = s->next - s->first;
	if (stream_is_device(s) && row < READAHEAD_DEVICE_FIRST)
		return 0;
	s->window = s->window == 0 ? READAHEAD_FIRST : u64_min(s->window * 2, READAHEAD_MAX);
	if (stream_is_device(s))
		s->window = u64_min(s->window, row / 2);
	uint64_t to = u64_min(size, s->next + s->window);
	if (to <= s->asked)
		return 0;
	uint64_t n = to - s->asked;
	*ret_off = s->asked;
	s->asked = to;
	return n;
}

uint64_t readahead_note(struct readahead *ra, uint64_t key, uint64_t off, uint64_t len,
			uint64_t size, uint64_t *ret_off)
{
	(void)pthread_mutex_lock(&ra->lock);
	struct stream *s = stream_find(ra, key, off, off + len);
	s->used = ++ra->tick;
	uint64_t n = stream_note(s, off, len, size, ret_off);
	(void)pthread_mutex_unlock(&ra->lock);
	return n;
}
