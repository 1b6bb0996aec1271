/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Times one operation over the files that stdin names, one a line, relative to
 * ROOT, on one thread: fsops OPERATION ROOT ROUNDS
 *
 *   stat   fstatat(2)
 *   open   open(2), one read(2) of up to 64 KiB, close(2)
 *   read   open(2), read(2) to the end in steps of 128 KiB, close(2)
 *
 * Prints {"ns": [of each round], "count": files, "bytes": of a round}.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	FILES_MAX = 1 << 22,
	ROUNDS_MAX = 1000,
	SMALL_BYTES = 64 << 10,
	STEP_BYTES = 128 << 10,
	SECOND_NS = 1000000000,
};

struct files {
	char **names;
	size_t n;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "fsops: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void read_names(struct files *files)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	files->names = calloc(FILES_MAX, sizeof(char *));
	if (!files->names)
		die("calloc");
	while ((n = getline(&line, &size, stdin)) > 0) {
		line[n - 1] = '\0';
		if (files->n == FILES_MAX || !(files->names[files->n++] = strdup(line)))
			die("read the names");
	}
	free(line);
}

static uint64_t op_stat(int root, const char *name, char *buf)
{
	struct stat st;
	(void)buf;
	if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		die(name);
	return 0;
}

static uint64_t op_open(int root, const char *name, char *buf)
{
	int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, SMALL_BYTES);
	if (n < 0)
		die(name);
	(void)close(fd);
	return (uint64_t)n;
}

static uint64_t op_read(int root, const char *name, char *buf)
{
	uint64_t bytes = 0;
	ssize_t n;
	int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(name);
	while ((n = read(fd, buf, STEP_BYTES)) > 0)
		bytes += (uint64_t)n;
	if (n < 0)
		die(name);
	(void)close(fd);
	return bytes;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		uint64_t (*run)(int root, const char *name, char *buf);
	} ops[] = {{"stat", op_stat}, {"open", op_open}, {"read", op_read}};
	enum { OPS = sizeof(ops) / sizeof(ops[0]) };
	static char buf[STEP_BYTES];
	size_t op = 0;
	while (argc == 4 && op < OPS && strcmp(ops[op].name, argv[1]) != 0)
		op++;
	long rounds = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	if (op == OPS || rounds < 1 || rounds > ROUNDS_MAX) {
		(void)fprintf(stderr, "fsops stat|open|read ROOT ROUNDS <names\n");
		return 2;
	}
	struct files files = {0};
	read_names(&files);
	int root = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		die(argv[2]);
	uint64_t bytes = 0;
	(void)printf("{\"ns\": [");
	for (long i = 0; i < rounds; i++) {
		int64_t start = now_ns();
		bytes = 0;
		for (size_t k = 0; k < files.n; k++)
			bytes += ops[op].run(root, files.names[k], buf);
		(void)printf("%s%lld", i ? ", " : "", (long long)(now_ns() - start));
	}
	(void)printf("], \"count\": %zu, \"bytes\": %llu}\n", files.n, (unsigned long long)bytes);
	return 0;
}
