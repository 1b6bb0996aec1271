/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/logs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"
#include "exec/logs_priv.h"

enum {
	STAMP_MAX = 64,		 /* "2026-01-02T03:04:05.123456789Z stdout F " */
	ENTRIES_MAX = 1 << 20,	 /* bytes of entries that one logs_write() makes at a time */
};

struct logs {
	int dirfd;	/* owned */
	int fd;		/* owned; -1 when the file could not be opened again */
	char *name;	/* owned */
	uint64_t size;	/* of the current file */
	uint64_t max;
	unsigned int n_files;
	struct buf entries;
};

void logs_file_name(const char *name, unsigned int index, char out[static LOGS_NAME_MAX])
{
	if (index == 0)
		(void)snprintf(out, LOGS_NAME_MAX, "%s", name);
	else
		(void)snprintf(out, LOGS_NAME_MAX, "%s.%u", name, index);
}

static int open_file(struct logs *logs)
{
	cleanup_close(&logs->fd);
	logs->fd = openat(logs->dirfd, logs->name,
			  O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return logs->fd < 0 ? -errno : file_size(logs->fd, &logs->size);
}

int logs_create(int dirfd, const char *name, uint64_t max_bytes, unsigned int n_files,
		struct logs **ret, struct err *err)
{
	if (n_files < 1 || n_files > LOGS_FILES_MAX || strlen(name) + 8 > LOGS_NAME_MAX)
		return err_say(err, -EINVAL, "open the log %s: its name or its number of files is wrong",
			       name);
	AUTO(logs) struct logs *logs = malloc(sizeof(*logs));
	if (!logs)
		return err_set(err, -ENOMEM, "open the log %s", name);
	*logs = (struct logs){.dirfd = -1, .fd = -1, .max = max_bytes, .n_files = n_files,
			      .entries = buf_make(ENTRIES_MAX)};
	logs->name = strdup(name);
	logs->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	int r = !logs->name ? -ENOMEM : logs->dirfd < 0 ? -errno : open_file(logs);
	if (r < 0)
		return err_set(err, r, "open the log %s", name);
	*ret = steal_ptr(&logs);
	return 0;
}

void logs_destroy(struct logs *logs)
{
	if (!logs)
		return;
	buf_finish(&logs->entries);
	cleanup_close(&logs->fd);
	cleanup_close(&logs->dirfd);
	free(logs->name);
	free(logs);
}

/* NAME becomes NAME.1 and so on. The names are all that changes, so a reader loses nothing. */
static int rotate(struct logs *logs)
{
	char from[LOGS_NAME_MAX], to[LOGS_NAME_MAX];
	if (logs->n_files == 1 && unlinkat(logs->dirfd, logs->name, 0) < 0 && errno != ENOENT)
		return -errno;
	for (unsigned int i = logs->n_files - 1; i > 0; i--) {
		logs_file_name(logs->name, i - 1, from);
		logs_file_name(logs->name, i, to);
		if (renameat(logs->dirfd, from, logs->dirfd, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return open_file(logs);
}

static int add_entry(struct buf *entries, const char *stamp, enum driver_stream stream,
		     const char *bytes, size_t n, bool whole)
{
	int r = buf_printf(entries, "%s %s %c ", stamp, stream == DRIVER_STDERR ? "stderr" : "stdout",
			   whole ? 'F' : 'P');
	if (r == 0)
		r = buf_append(entries, bytes, n);
	return r < 0 ? r : buf_append(entries, "\n", 1);
}

/* Cuts output into lines, and those into pieces. */
static int add_entries(struct buf *entries, enum driver_stream stream, const char *bytes, size_t n)
{
	struct timespec now;
	struct tm tm;
	char date[32], stamp[STAMP_MAX];
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(stamp, sizeof(stamp), "%s.%09ldZ", date, now.tv_nsec);
	while (n > 0) {
		const char *end = memchr(bytes, '\n', n);
		size_t len = end ? (size_t)(end - bytes) : n;
		bool whole = end != NULL && len <= LOGS_PIECE_MAX;
		len = len > LOGS_PIECE_MAX ? LOGS_PIECE_MAX : len;
		int r = add_entry(entries, stamp, stream, bytes, len, whole);
		if (r < 0)
			return r;
		len += whole ? 1 : 0;
		bytes += len;
		n -= len;
	}
	return 0;
}

/* What is in the buffer goes to the file, into a new one when it would grow too long. */
static int write_entries(struct logs *logs)
{
	int r = 0;
	if (logs->fd < 0 || (logs->size > 0 && logs->size + logs->entries.len > logs->max))
		r = logs->fd < 0 ? open_file(logs) : rotate(logs);
	if (r == 0)
		r = file_write(logs->fd, logs->entries.data, logs->entries.len);
	if (r == 0)
		logs->size += logs->entries.len;
	return r;
}

int logs_write(struct logs *logs, enum driver_stream stream, const void *bytes, size_t n,
	       struct err *err)
{
	/* In portions whose entries fit the buffer even when every byte is a line. */
	enum { PORTION = ENTRIES_MAX / STAMP_MAX };
	const char *at = bytes;
	int r = 0;
	while (n > 0) {
		size_t part = n < PORTION ? n : PORTION;
		buf_clear(&logs->entries);
		int w = add_entries(&logs->entries, stream, at, part);
		if (w == 0)
			w = write_entries(logs);
		r = r == 0 ? w : r;
		at += part;
		n -= part;
	}
	return r < 0 ? err_set(err, r, "write the log %s", logs->name) : 0;
}
