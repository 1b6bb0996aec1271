/* SPDX-License-Identifier: Apache-2.0 */
#include "base/again.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#else
#define __libc_single_threaded 0 /* not known: a program is loaded again */
#endif

enum {
	STAT_MAX = 4096,
	STAT_FIRST = 3, /* the field behind the name, in proc(5)'s /proc/PID/stat */
	STAT_LAST = 51,
};

bool again_possible(void)
{
	unsigned int size = 0;
	return __libc_single_threaded && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 &&
	       prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0 &&
	       size == sizeof(struct prctl_mm_map);
}

/* The numbers of /proc/self/stat by the index that proc(5) gives them. */
static int stat_fields(uint64_t fields[static STAT_LAST + 1])
{
	char text[STAT_MAX];
	AUTO_CLOSE int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : file_read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	char *at = strrchr(text, ')');
	char *save = NULL;
	at = at ? strtok_r(at + 1, " ", &save) : NULL;
	for (int i = STAT_FIRST; i <= STAT_LAST; i++, at = strtok_r(NULL, " ", &save)) {
		if (!at)
			return -EINVAL;
		fields[i] = strtoull(at, NULL, 10); /* the state is a letter, and not used */
	}
	return 0;
}

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

/* The kernel takes all the places or none: the others stay as they are. */
static int set_arguments(const char *text, size_t n)
{
	uint64_t f[STAT_LAST + 1] = {0};
	int r = stat_fields(f);
	if (r < 0)
		return r;
	struct prctl_mm_map map = {
		.start_code = f[26],
		.end_code = f[27],
		.start_data = f[45],
		.end_data = f[46],
		.start_brk = f[47],
		.brk = address(sbrk(0)),
		.start_stack = f[28],
		.arg_start = address(text),
		.arg_end = address(text + n),
		.env_start = f[50],
		.env_end = f[51],
		.exe_fd = UINT32_MAX,
	};
	return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0) < 0 ? -errno : 0;
}

int again_go(again_main main_again, char *const *argv, int close_from)
{
	size_t n = 0;
	for (size_t i = 0; argv[i]; i++)
		n += strlen(argv[i]) + 1;
	/* Pages of their own, for as long as the process lives. */
	char *text = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (text == MAP_FAILED)
		return err_errno();
	char *at = text;
	for (size_t i = 0; argv[i]; i++)
		at = stpcpy(at, argv[i]) + 1;
	int r = set_arguments(text, n);
	if (r < 0) {
		(void)munmap(text, n);
		return r;
	}
	(void)close_range((unsigned int)close_from, UINT_MAX, 0);
	_exit(main_again(argv));
}
