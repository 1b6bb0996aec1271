/* SPDX-License-Identifier: Apache-2.0 */

/*
 * gpu TRACE
 *
 * The program of an image that is like those of GPU programs: does what the
 * lines of TRACE say, as an interpreter that imports modules, loads libraries
 * and then weights would, one after the other; then says that it is ready.
 *
 *   open PATH              a module: read whole
 *   lib PATH OFF LEN …     a library: mapped, and in each range every page touched
 *   seq PATH OFF LEN       weights: read in order
 *
 * It is put into the image, so it stands alone and is linked statically.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_BYTES_MAX = 1 << 16,
	PAGE = 4096,
	READ_BYTES = 1 << 20,
	MILLISECOND_NS = 1000000,
	LINGER_MS = 300, /* so that it is still there when it is looked at */
};

static _Noreturn void die(const char *what, const char *path)
{
	(void)fprintf(stderr, "gpu: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static uint64_t read_range(const char *path, off_t off, uint64_t len)
{
	static uint8_t bytes[READ_BYTES];
	uint64_t sum = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", path);
	while (len > 0) {
		size_t want = len < sizeof(bytes) ? (size_t)len : sizeof(bytes);
		ssize_t n = pread(fd, bytes, want, off);
		if (n < 0)
			die("read", path);
		if (n == 0)
			break;
		sum += bytes[0];
		off += n;
		len -= (uint64_t)n;
	}
	(void)close(fd);
	return sum;
}

static uint64_t load(const char *path, char *ranges)
{
	struct stat st;
	uint64_t sum = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		die("open", path);
	size_t size = (size_t)st.st_size;
	const volatile uint8_t *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		die("map", path);
	(void)close(fd);
	for (char *save = NULL, *word = strtok_r(ranges, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		const char *length = strtok_r(NULL, " \n", &save);
		uint64_t off = strtoull(word, NULL, 10);
		uint64_t end = off + (length ? strtoull(length, NULL, 10) : 0);
		for (; off < end && off < size; off += PAGE)
			sum += map[off];
	}
	(void)munmap((void *)(uintptr_t)map, size);
	return sum;
}

int main(int argc, char **argv)
{
	static char line[LINE_BYTES_MAX];
	uint64_t sum = 0, n = 0;
	FILE *trace = argc == 2 ? fopen(argv[1], "re") : NULL;
	if (!trace)
		die("open", argc == 2 ? argv[1] : "no trace");
	for (; fgets(line, sizeof(line), trace); n++) {
		char *save = NULL, *what = strtok_r(line, " \n", &save);
		const char *path = strtok_r(NULL, " \n", &save);
		if (!what || !path) {
			errno = EINVAL;
			die("line of", argv[1]);
		}
		unsigned long long off = 0, len = UINT64_MAX;
		if (strcmp(what, "lib") == 0) {
			sum += load(path, save);
			continue;
		}
		if (strcmp(what, "seq") == 0)
			(void)sscanf(save, "%llu %llu", &off, &len); // NOLINT(cert-err34-c)
		sum += read_range(path, (off_t)off, len);
	}
	(void)fclose(trace);
	(void)printf("ready after %llu lines, sum %llu\n", (unsigned long long)n,
		     (unsigned long long)sum);
	(void)fflush(stdout);
	(void)nanosleep(&(struct timespec){.tv_nsec = LINGER_MS * (long)MILLISECOND_NS}, NULL);
	return 0;
}
