/* SPDX-License-Identifier: Apache-2.0 */

/* Runs a fuzz target over every file of the directories given, where no fuzzing engine is linked. */

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { REPLAY_FILE_MAX = 16 << 20 };

static int replay_file(int dirfd, const char *name)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf buf = buf_make(REPLAY_FILE_MAX);
	int r = file_slurp(dirfd, name, &buf, &err);
	if (r < 0) {
		(void)fprintf(stderr, "%s\n", err_text(&err));
		return r;
	}
	/* An exact allocation, so that a read past the end is seen by the sanitizer. */
	AUTO_FREE uint8_t *data = malloc(buf.len ? buf.len : 1);
	if (!data)
		return -ENOMEM;
	if (buf.len)
		memcpy(data, buf.data, buf.len);
	(void)LLVMFuzzerTestOneInput(data, buf.len);
	return 0;
}

static int replay_dir(const char *path, size_t *files)
{
	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		return -errno;
	}
	int r = 0;
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		r = replay_file(dirfd(dir), entry->d_name);
		++*files;
	}
	(void)closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	size_t files = 0;
	for (int i = 1; i < argc; i++)
		if (replay_dir(argv[i], &files) < 0)
			return 1;
	(void)printf("%zu inputs replayed\n", files);
	/* An empty corpus is a mistake in the build, not a success. */
	return files > 0 ? 0 : 1;
}
