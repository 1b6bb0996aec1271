/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What /proc tells of another process, so that a number that was given anew is noticed. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { BOOT_ID_MAX = 37 };

/*
 * When the process began, in clock ticks since the boot, and whether it has
 * ended and only waits to be waited for (ret_zombie may be NULL). -ESRCH.
 */
int proc_start_time(pid_t pid, uint64_t *ret, bool *ret_zombie);

/*
 * Whether the process is what it was forked as, and has executed no program since. An init that a
 * runtime made is the runtime's own code until then. -ESRCH.
 */
int proc_forked(pid_t pid, bool *ret);

/* Whether the process of that number is alive and the one that began then (0: whenever). */
bool proc_alive(pid_t pid, uint64_t start_time);

/* The kernel's name for the time since the last boot; "" when it does not say. */
void proc_boot_id(char out[static BOOT_ID_MAX]);
