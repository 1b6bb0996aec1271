/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/source_wait.h"

#include <errno.h>
#include <pthread.h>

#include "base/num.h"

struct waited {
	struct source_read read;
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool done;
	int result;
	struct err *err;
};

static void waited_done(struct source_read *read, int result, const struct err *err)
{
	struct waited *w = container_of(read, struct waited, read);
	(void)pthread_mutex_lock(&w->lock);
	w->done = true;
	w->result = result;
	if (result < 0 && err && w->err)
		(void)err_copy(w->err, err);
	(void)pthread_cond_signal(&w->over);
	(void)pthread_mutex_unlock(&w->lock);
}

int source_read_wait(struct source *source, void *data, size_t len, uint64_t off,
		     uint64_t timeout_ms, struct err *err)
{
	if (!range_within(off, len, source_size(source)))
		return err_say(err, -EIO, "a read goes past the end of the layer");
	if (len == 0 || source_peek(source, data, len, off) == (ssize_t)len)
		return 0;
	struct waited w = {
		.read = {.off = off,
			 .len = len,
			 .data = data,
			 .deadline = deadline_in_ms(timeout_ms),
			 .done = waited_done},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.over = PTHREAD_COND_INITIALIZER,
		.err = err,
	};
	source_submit(source, &w.read);
	(void)pthread_mutex_lock(&w.lock);
	while (!w.done)
		(void)pthread_cond_wait(&w.over, &w.lock);
	(void)pthread_mutex_unlock(&w.lock);
	return w.result;
}
