/* SPDX-License-Identifier: Apache-2.0 */

/* Prints what the tar reader says of an archive on standard input; see check_tar.py. */

#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/tar.h"
#include "tests/unit/entrydump.h"

static int count_entry(void *data, const struct entry *entry, struct err *err)
{
	(void)entry;
	(void)err;
	++*(uint64_t *)data;
	return 0;
}

/* -t FILE: how fast a file in memory is read. */
static int measure(struct tar_reader *t, const struct buf *in, const uint64_t *count,
		   struct err *err)
{
	struct timespec a, b;
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	for (size_t at = 0; at < in->len; at += 65536) {
		int r = tar_reader_push(t, in->data + at, (size_t)u64_min(65536, in->len - at), err);
		if (r < 0)
			return r;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("%" PRIu64 " entries, %.0f MB in %.3f s: %.0f entries/s, %.0f MB/s\n", *count,
	       (double)in->len / 1e6, s, (double)*count / s, (double)in->len / 1e6 / s);
	return tar_reader_finish(t, err);
}

int main(int argc, char **argv)
{
	struct err err = {0};
	bool timed = argc > 1 && strcmp(argv[1], "-t") == 0;
	AUTO_FINISH(buf) struct buf in = buf_make(GIB(4));
	AUTO_FINISH(buf) struct buf out = buf_make(GIB(1));
	uint64_t count = 0;
	AUTO(tar_reader) struct tar_reader *t = NULL;
	int r = tar_reader_create(timed ? count_entry : dump_entry, timed ? (void *)&count : &out,
				  &t);
	r = r < 0 ? r : file_slurp_fd(STDIN_FILENO, &in);
	if (r == 0 && timed)
		r = measure(t, &in, &count, &err);
	else if (r == 0)
		r = tar_reader_push(t, buf_str(&in), in.len, &err);
	r = r < 0 ? r : tar_reader_finish(t, &err);
	(void)fputs(buf_str(&out), stdout);
	if (r < 0)
		(void)fprintf(stderr, "%d: %s\n", -r, err_text(&err));
	return r < 0 ? 1 : 0;
}
