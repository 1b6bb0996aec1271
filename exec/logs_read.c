/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"
#include "exec/logs.h"
#include "exec/logs_priv.h"

enum {
	CHUNK = 64 * 1024,
	LINE_MAX_BYTES = LOGS_PIECE_MAX + 128, /* an entry */
	POLL_MS = 60000,
};

struct reader {
	int dirfd;
	const char *name;
	const struct driver_logs *want;
	struct buf rest;  /* the entry that is not complete yet */
	bool overlong;	  /* what comes until the next newline is not an entry */
	uint64_t skip;	  /* whole lines that are not shown: tail */
	bool counting;	  /* the first pass of tail */
	uint64_t n_lines; /* that it counted */
};

static int parse_stamp(const char *text, int64_t *ret)
{
	struct tm tm = {0};
	const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!at || at[0] != '.')
		return -EINVAL;
	char *end;
	long ns = strtol(at + 1, &end, 10);
	if (end - at != 10 || end[0] != 'Z' || ns < 0)
		return -EINVAL;
	*ret = (int64_t)timegm(&tm) * (int64_t)NS_PER_SEC + ns;
	return 0;
}

/* "STAMP stdout F bytes", where bytes has room for one more, its newline. */
static int entry(struct reader *reader, char *line, size_t n)
{
	int64_t ns;
	char *at = memchr(line, ' ', n);
	if (!at || parse_stamp(line, &ns) < 0)
		return 0;
	size_t left = n - (size_t)(at - line);
	static const char out[] = " stdout ", err[] = " stderr ";
	enum { WORD = sizeof(out) - 1 };
	if (left < WORD + 2 || (memcmp(at, out, WORD) != 0 && memcmp(at, err, WORD) != 0) ||
	    (at[WORD] != 'F' && at[WORD] != 'P') || at[WORD + 1] != ' ')
		return 0;
	bool whole = at[WORD] == 'F';
	if (reader->want->since_ns > ns)
		return 0;
	if (reader->counting) {
		reader->n_lines += whole;
		return 0;
	}
	if (reader->skip > 0) {
		reader->skip -= whole;
		return 0;
	}
	enum driver_stream stream = memcmp(at, out, WORD) == 0 ? DRIVER_STDOUT : DRIVER_STDERR;
	char *bytes = at + WORD + 2;
	size_t len = left - WORD - 2;
	if (whole)
		bytes[len++] = '\n'; /* it stands there, or is the buffer's NUL */
	return reader->want->line(reader->want->data, stream, ns, bytes, len);
}

/* Takes bytes of a file: complete entries are shown, the rest is kept. */
static int take(struct reader *reader, const char *bytes, size_t n)
{
	while (n > 0) {
		const char *end = memchr(bytes, '\n', n);
		size_t len = end ? (size_t)(end - bytes) : n;
		if (reader->rest.len + len > LINE_MAX_BYTES)
			reader->overlong = true;
		int r = reader->overlong ? 0 : buf_append(&reader->rest, bytes, len);
		if (r < 0)
			return r;
		if (end) {
			r = reader->overlong || reader->rest.len == 0 ?
				    0 : entry(reader, reader->rest.data, reader->rest.len);
			buf_clear(&reader->rest);
			reader->overlong = false;
			if (r != 0)
				return r;
			len++;
		}
		bytes += len;
		n -= len;
	}
	return 0;
}

/* Reads from where the descriptor stands to the present end. */
static int read_on(struct reader *reader, int fd, const struct driver_call *call)
{
	AUTO_FREE char *chunk = malloc(CHUNK);
	if (!chunk)
		return -ENOMEM;
	for (;;) {
		if (cancel_fired(call->cancel))
			return -ECANCELED;
		if (deadline_passed(call->deadline))
			return -ETIMEDOUT;
		ssize_t n = file_read(fd, chunk, CHUNK);
		if (n <= 0)
			return (int)n;
		int r = take(reader, chunk, (size_t)n);
		if (r != 0)
			return r;
	}
}

static int open_index(const struct reader *reader, unsigned int index)
{
	char name[LOGS_NAME_MAX];
	logs_file_name(reader->name, index, name);
	int fd = openat(reader->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static bool same_file(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino &&
	       x.st_dev == y.st_dev;
}

/*
 * Opens the files, the current one first. A file that is renamed meanwhile may be met twice, and
 * is then left out once; in this order none is missed.
 */
static int open_all(const struct reader *reader, int fds[static LOGS_FILES_MAX],
		    unsigned int *ret_n)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i < LOGS_FILES_MAX; i++) {
		int fd = open_index(reader, i);
		if (fd == -ENOENT)
			break;
		if (fd < 0) {
			while (n > 0)
				(void)close(fds[--n]);
			return fd;
		}
		if (n > 0 && same_file(fd, fds[n - 1]))
			(void)close(fd);
		else
			fds[n++] = fd;
	}
	*ret_n = n;
	return 0;
}

/*
 * Reads what is newer than *fd, the oldest first; with -1, or when that file is not kept any more,
 * all. *fd becomes the current file, at its end; -1: there is none.
 */
static int read_newer(struct reader *reader, int *fd, const struct driver_call *call)
{
	int fds[LOGS_FILES_MAX];
	unsigned int n, newer = 0;
	int r = open_all(reader, fds, &n);
	if (r < 0)
		return r;
	while (newer < n && (*fd < 0 || !same_file(*fd, fds[newer])))
		newer++;
	for (unsigned int i = newer; r == 0 && i-- > 0;)
		r = read_on(reader, fds[i], call);
	if (newer > 0 && r == 0) {
		cleanup_close(fd);
		*fd = fds[0];
		fds[0] = -1;
	}
	for (unsigned int i = 0; i < n; i++)
		cleanup_close(&fds[i]);
	return r;
}

/* Whether NAME is another file now. */
static bool was_rotated(const struct reader *reader, int fd)
{
	struct stat mine, now;
	return fd < 0 || fstat(fd, &mine) < 0 ||
	       (fstatat(reader->dirfd, reader->name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
		(mine.st_ino != now.st_ino || mine.st_dev != now.st_dev));
}

/* What was written since, also when the file got another name on the way. */
static int catch_up(struct reader *reader, int *fd, const struct driver_call *call)
{
	/* Looked at before: what is written to a file comes before the next one exists. */
	bool rotated = was_rotated(reader, *fd);
	int r = *fd >= 0 ? read_on(reader, *fd, call) : 0;
	return r == 0 && rotated ? read_newer(reader, fd, call) : r;
}

static int follow(struct reader *reader, int *fd, int watch, int over_fd,
		  const struct driver_call *call)
{
	for (;;) {
		struct pollfd fds[3] = {
			{.fd = watch, .events = POLLIN},
			{.fd = over_fd, .events = POLLIN},
			{.fd = cancel_fd(call->cancel), .events = POLLIN},
		};
		uint64_t left = deadline_left_ms(call->deadline, POLL_MS);
		if (left == 0)
			return -ETIMEDOUT;
		if (poll(fds, 3, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[2].revents)
			return -ECANCELED;
		char events[CHUNK / 16];
		if (fds[0].revents && read(watch, events, sizeof(events)) < 0 && errno != EAGAIN)
			return -errno;
		int r = catch_up(reader, fd, call);
		if (r != 0 || fds[1].revents)
			return r;
	}
}

static int read_with(struct reader *reader, int over_fd, const struct driver_call *call)
{
	const struct driver_logs *want = reader->want;
	int r = 0;
	if (want->tail != DRIVER_UNKNOWN) {
		reader->counting = true;
		AUTO_CLOSE int counted = -1;
		r = read_newer(reader, &counted, call);
		reader->counting = false;
		buf_clear(&reader->rest);
		reader->skip = reader->n_lines > want->tail ? reader->n_lines - want->tail : 0;
	}
	AUTO_CLOSE int fd = -1;
	if (r != 0 || !want->follow)
		return r != 0 ? r : read_newer(reader, &fd, call);
	AUTO_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char dir[64];
	(void)snprintf(dir, sizeof(dir), "/proc/self/fd/%d", reader->dirfd);
	if (watch < 0 || inotify_add_watch(watch, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return -errno;
	r = read_newer(reader, &fd, call);
	return r != 0 ? r : follow(reader, &fd, watch, over_fd, call);
}

int logs_read(int dirfd, const char *name, const struct driver_logs *want, int over_fd,
	      const struct driver_call *call, struct err *err)
{
	static const struct driver_call whenever = {0};
	struct reader reader = {.dirfd = dirfd, .name = name, .want = want,
				.rest = buf_make(LINE_MAX_BYTES)};
	int r = read_with(&reader, over_fd, call ? call : &whenever);
	buf_finish(&reader.rest);
	return r < 0 ? err_set(err, r, "read the log %s", name) : 0;
}
