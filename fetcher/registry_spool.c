/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A blob of a server that answers no ranges is fetched whole, once, into an
 * unlinked temporary file, by a thread of its own; reads wait until the file
 * has got as far as they need. Who gives up waiting does not end the fetch.
 */

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/registry_internal.h"

enum { SPOOL_COPY_BYTES = 128 << 10 }; /* of the file at a time, to a sink */

/* A file without a name, in the directory. */
static int spool_file(int dirfd, int *ret_fd, struct err *err)
{
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return err_set(err, -errno, "make a temporary file");
	char name[64];
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)snprintf(name, sizeof(name), ".spool-%ld-%ld-%ld", (long)getpid(), (long)now.tv_sec,
		       now.tv_nsec);
	fd = openat(dirfd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "make a temporary file");
	(void)unlinkat(dirfd, name, 0);
	*ret_fd = fd;
	return 0;
}

static int spool_write(void *data, const void *bytes, size_t n)
{
	struct blob *blob = data;
	struct registry *reg = blob->registry;
	/* Only this thread moves `spooled` while the state is SPOOL_BUSY. */
	int r = file_pwrite(blob->spool_fd, bytes, n, blob->spooled);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&reg->lock);
	blob->spooled += n;
	(void)pthread_cond_broadcast(&reg->spool_moved);
	(void)pthread_mutex_unlock(&reg->lock);
	return 0;
}

static void spool_run(struct work *work)
{
	struct blob *blob = container_of(work, struct blob, work);
	struct registry *reg = blob->registry;
	struct byte_sink sink = {.write = spool_write, .data = blob};
	struct err err = {0};
	int r = registry_stream_idle(reg, &blob->desc, &sink, REGISTRY_SPOOL_IDLE_MS, &err);

	(void)pthread_mutex_lock(&reg->lock);
	blob->spools++;
	blob->failure = err;
	blob->failure.code = r;
	blob->spool = r < 0 ? SPOOL_NONE : SPOOL_DONE;
	(void)pthread_cond_broadcast(&reg->spool_moved);
	(void)pthread_mutex_unlock(&reg->lock);
}

/* With the lock held, which is given up meanwhile. The state is SPOOL_NONE. */
static int spool_start(struct registry *reg, struct blob *blob, struct err *err)
{
	int fd = -1;
	struct workers *workers = NULL;
	blob->spool = SPOOL_BUSY;
	(void)pthread_mutex_unlock(&reg->lock);
	int r = registry_workers(reg, &workers, err);
	if (r == 0)
		r = spool_file(reg->spool_dirfd, &fd, err);
	(void)pthread_mutex_lock(&reg->lock);
	if (r == 0) {
		/* Readers of a failed attempt hold duplicates of the old descriptor. */
		cleanup_close(&blob->spool_fd);
		blob->spool_fd = fd;
		blob->spooled = 0;
		blob->work.run = spool_run;
		r = workers_submit(workers, &blob->work, WORK_LATER);
		if (r < 0)
			(void)err_set(err, r, "start to fetch a blob whole");
	}
	if (r < 0) {
		blob->spool = SPOOL_NONE;
		blob->spools++;
		blob->failure = err ? *err : (struct err){.code = r};
		(void)pthread_cond_broadcast(&reg->spool_moved);
	}
	return r;
}

/* Waits until [0, upto) is there and duplicates the descriptor. With the lock held. */
static int spool_await(struct registry *reg, struct blob *blob, uint64_t upto,
		       deadline_t deadline, int *ret_fd, struct err *err)
{
	if (blob->spool == SPOOL_NONE) {
		int r = spool_start(reg, blob, err);
		if (r < 0)
			return r;
	}
	unsigned int spools = blob->spools;
	while (blob->spooled < upto || blob->spool_fd < 0) {
		if (blob->spools != spools && blob->spool == SPOOL_NONE)
			return blob->failure.code < 0 ? err_copy(err, &blob->failure) : -EIO;
		int r = 0;
		if (deadline == 0) {
			(void)pthread_cond_wait(&reg->spool_moved, &reg->lock);
		} else {
			struct timespec until = deadline_timespec(deadline);
			r = pthread_cond_clockwait(&reg->spool_moved, &reg->lock, CLOCK_MONOTONIC,
						   &until);
		}
		if (r == ETIMEDOUT && blob->spooled < upto)
			return err_set(err, -ETIMEDOUT, "wait for a blob whose server has no ranges");
	}
	int fd = fcntl(blob->spool_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_set(err, -errno, "read a temporary file");
	*ret_fd = fd;
	return 0;
}

int spool_read(struct registry *reg, struct blob *blob, uint64_t off, uint64_t len,
	       const struct byte_sink *sink, deadline_t deadline, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	(void)pthread_mutex_lock(&reg->lock);
	int r = spool_await(reg, blob, off + len, deadline, &fd, err);
	(void)pthread_mutex_unlock(&reg->lock);
	if (r < 0)
		return r;
	AUTO_FREE char *copy = malloc(SPOOL_COPY_BYTES);
	if (!copy)
		return err_set(err, -ENOMEM, "read a temporary file");
	while (len > 0) {
		size_t n = (size_t)u64_min(len, SPOOL_COPY_BYTES);
		ssize_t got = file_pread(fd, copy, n, off);
		if (got < 0 || (size_t)got != n)
			return err_set(err, got < 0 ? (int)got : -EIO, "read a temporary file");
		r = sink->write(sink->data, copy, n);
		if (r < 0)
			return err_set(err, r, "take the bytes of a blob");
		off += n;
		len -= n;
	}
	return 0;
}
