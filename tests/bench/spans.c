/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a benchmark has to know of a layer, from the library itself:
 *
 *   spans index FILE    indexes a layer on this thread, and drops what comes out;
 *                       prints the bytes, the time and the most memory it took
 *   spans need SEEK     how many bytes of the layer the ranges of its device that
 *                       stdin names, "offset length" a line, cannot do without
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "fetcher/indexer.h"
#include "fetcher/seek.h"

enum {
	READ_BYTES = 64 << 10, /* as the network gives them */
	SECOND_NS = 1000000000,
};

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	(void)clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* Of this program alone: getrusage() would tell of whoever started it as well. */
static long peak_kib(void)
{
	char line[256];
	long kib = 0;
	FILE *file = fopen("/proc/self/status", "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	if (file)
		(void)fclose(file);
	return kib;
}

static int drop(void *data, const void *bytes, size_t n)
{
	(void)data;
	(void)bytes;
	(void)n;
	return 0;
}

static int push_file(struct indexer *indexer, int fd, struct err *err)
{
	static uint8_t buf[READ_BYTES];
	ssize_t n;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		int r = indexer_push(indexer, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
	return n < 0 ? err_set(err, -errno, "read") : 0;
}

static int index_file(int fd, struct err *err)
{
	AUTO(indexer) struct indexer *indexer = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct indexer_options options = {.out = {.write = drop}, .windows = {.write = drop}};
	struct seek_totals totals;
	struct digest none;
	int64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	int r = indexer_create(&options, &indexer, err);
	if (r == 0)
		r = push_file(indexer, fd, err);
	if (r == 0)
		r = digest_of(DIGEST_SHA256, "", 0, &none);
	if (r == 0)
		r = indexer_finish(indexer, &none, &seek, &totals, err);
	if (r < 0)
		return r;
	(void)printf("{\"in\": %llu, \"out\": %llu, \"spans\": %zu, \"windows\": %llu, "
		     "\"wall_ns\": %lld, \"cpu_ns\": %lld, \"rss_kib\": %ld}\n",
		     (unsigned long long)totals.in_size, (unsigned long long)totals.out_size,
		     seek_count(seek), (unsigned long long)totals.windows_size,
		     (long long)(clock_ns(CLOCK_MONOTONIC) - wall),
		     (long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu), peak_kib());
	return 0;
}

/* A unit is fetched once, whole, and with it its window. */
static int need(int fd, struct err *err)
{
	AUTO(seek) struct seek *seek = NULL;
	int r = seek_map(fd, &seek, err);
	if (r < 0)
		return r;
	AUTO_FREE bool *seen = calloc(seek_count(seek) + 1, sizeof(bool));
	if (!seen)
		return err_set(err, -ENOMEM, "count");
	unsigned long long off, len, bytes = 0, windows = 0;
	while (scanf("%llu %llu", &off, &len) == 2) { // NOLINT(cert-err34-c): our own caller
		struct span span;
		for (size_t i = seek_find(seek, off); i < seek_count(seek); i++) {
			size_t first, end;
			seek_get(seek, i, &span);
			if (span.out_off >= off + len)
				break;
			seek_unit(seek, i, &first, &end);
			if (!seen[first]) {
				bytes += span.in_len;
				windows += span.win_len;
			}
			seen[first] = true;
		}
	}
	(void)printf("{\"bytes\": %llu, \"windows\": %llu}\n", bytes, windows);
	return 0;
}

int main(int argc, char **argv)
{
	struct err err = {0};
	bool index = argc == 3 && strcmp(argv[1], "index") == 0;
	if (argc != 3 || (!index && strcmp(argv[1], "need") != 0)) {
		(void)fprintf(stderr, "spans index|need FILE\n");
		return 2;
	}
	AUTO_CLOSE int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	int r = fd < 0  ? err_set(&err, -errno, "open %s", argv[2])
		: index ? index_file(fd, &err)
			: need(fd, &err);
	if (r < 0)
		(void)fprintf(stderr, "spans: %s\n", err_text(&err));
	return r < 0;
}
