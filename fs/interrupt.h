/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel sends INTERRUPT once for a request, at the first signal of any
 * kind, while its task waits on. A task that is about to die can only die once
 * its request is answered; any other must get its bytes, since page faults and
 * O_DIRECT reads have nobody who would try again: a program whose timer ticks
 * (or whose runtime uses signals, or whose cgroup is being frozen) would see
 * errors, or never get on.
 */

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whether a signal that will end the task is pending, by /proc/TID/status: one
 * whose default is to end it, and that is not blocked, ignored or caught. (The
 * kernel turns most of them into SIGKILL, but not while another one is pending:
 * complete_signal() in its kernel/signal.c.) tid is that of struct fuse_ctx; a
 * task that cannot be seen (0: of another PID namespace) counts as dying.
 */
bool interrupt_is_deadly(pid_t tid);
