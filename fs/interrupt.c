/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"

enum { STATUS_MAX = 64 * 1024 }; /* bytes of /proc/TID/status; a few thousand groups fit */

/* A signal's place in the masks of /proc. */
#define SIGNAL_BIT(n) (UINT64_C(1) << ((n) - 1))

/* What ends nobody that neither catches nor ignores it. Stopping waits, too. */
static const uint64_t harmless = SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGCONT) | SIGNAL_BIT(SIGURG) |
				 SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGSTOP) |
				 SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) |
				 SIGNAL_BIT(SIGTTOU);

/* The mask that a line like "\nSigPnd:" names. False when there is none. */
static bool find_mask(const char *status, const char *line, uint64_t *ret)
{
	const char *at = strstr(status, line);
	if (!at)
		return false;
	char *end;
	*ret = strtoull(at + strlen(line), &end, 16);
	return *end == '\n';
}

bool interrupt_is_deadly(pid_t tid)
{
	char path[32];
	(void)snprintf(path, sizeof(path), "/proc/%d/status", tid);
	AUTO_FINISH(buf) struct buf status = buf_make(STATUS_MAX);
	uint64_t own, shared, blocked, ignored, caught;
	if (tid <= 0 || file_slurp(AT_FDCWD, path, &status, NULL) < 0 ||
	    !find_mask(buf_str(&status), "\nSigPnd:", &own) ||
	    !find_mask(buf_str(&status), "\nShdPnd:", &shared) ||
	    !find_mask(buf_str(&status), "\nSigBlk:", &blocked) ||
	    !find_mask(buf_str(&status), "\nSigIgn:", &ignored) ||
	    !find_mask(buf_str(&status), "\nSigCgt:", &caught))
		return true;
	return ((own | shared) & ~(blocked | ignored | caught | harmless)) != 0;
}
