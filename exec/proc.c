/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

enum {
	STAT_MAX = 4096,
	STAT_FIELD_START = 22, /* of proc(5)'s /proc/PID/stat */
	STAT_FIELD_STATE = 3,
};

/* "12 (a name) with ) S 1 …": the fields begin after the last parenthesis. */
int proc_start_time(pid_t pid, uint64_t *ret, bool *ret_zombie)
{
	char text[STAT_MAX];
	(void)snprintf(text, sizeof(text), "/proc/%d/stat", (int)pid);
	AUTO_CLOSE int fd = open(text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	ssize_t n = file_read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	const char *at = strrchr(text, ')');
	if (!at || at[1] != ' ')
		return -EINVAL;
	at += 2;
	char state = at[0];
	for (int field = STAT_FIELD_STATE; field < STAT_FIELD_START; field++) {
		at = strchr(at, ' ');
		if (!at)
			return -EINVAL;
		at++;
	}
	*ret = strtoull(at, NULL, 10);
	if (ret_zombie)
		*ret_zombie = state == 'Z' || state == 'X';
	return 0;
}

bool proc_alive(pid_t pid, uint64_t start_time)
{
	uint64_t start;
	bool zombie;
	return pid > 0 && proc_start_time(pid, &start, &zombie) == 0 && !zombie &&
	       (start_time == 0 || start == start_time);
}

void proc_boot_id(char out[static BOOT_ID_MAX])
{
	out[0] = '\0';
	AUTO_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : file_read(fd, out, BOOT_ID_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}
