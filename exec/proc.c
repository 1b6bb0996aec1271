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
	STAT_FIELD_FLAGS = 9,
	STAT_FIELD_STATE = 3,
	STAT_FORKED = 0x40, /* PF_FORKNOEXEC of linux/sched.h, in the flags */
};

/* One field, and the letter of the state (ret_state may be NULL). */
static int stat_field(pid_t pid, int want, uint64_t *ret, char *ret_state)
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
	/* "12 (a name) with ) S 1 …": the fields begin after the last parenthesis. */
	const char *at = strrchr(text, ')');
	if (!at || at[1] != ' ')
		return -EINVAL;
	at += 2;
	char state = at[0];
	for (int field = STAT_FIELD_STATE; field < want; field++) {
		at = strchr(at, ' ');
		if (!at)
			return -EINVAL;
		at++;
	}
	*ret = strtoull(at, NULL, 10);
	if (ret_state)
		*ret_state = state;
	return 0;
}

int proc_start_time(pid_t pid, uint64_t *ret, bool *ret_zombie)
{
	char state;
	int r = stat_field(pid, STAT_FIELD_START, ret, &state);
	if (r == 0 && ret_zombie)
		*ret_zombie = state == 'Z' || state == 'X';
	return r;
}

int proc_forked(pid_t pid, bool *ret)
{
	uint64_t flags;
	int r = stat_field(pid, STAT_FIELD_FLAGS, &flags, NULL);
	if (r == 0)
		*ret = (flags & STAT_FORKED) != 0;
	return r;
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
