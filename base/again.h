/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Another process of the same program without loading the program again, which takes longer than
 * all that a short-lived one does: a child goes on after fork(2), as if it had been executed with
 * other arguments. That needs a process with one thread, since the locks of others would stay
 * taken in the child; one that has not become another user since it was executed, as the kernel
 * would go on to keep its files in /proc from that user; and a kernel that lets a process say what
 * its arguments are (Linux 3.18, CONFIG_CHECKPOINT_RESTORE): who looks at /proc/PID/cmdline sees no
 * difference.
 */

#include <stdbool.h>

/* Runs the program with these arguments, as main() does, and returns its exit status. */
typedef int (*again_main)(char *const *argv);

/* Whether a child may do so now. Asked before fork(2). */
bool again_possible(void);

/*
 * In the child, once its descriptors, its session and its signals are what the program is to find:
 * takes argv for its arguments, closes every descriptor from close_from on, calls main_again, and ends
 * the process with what that returns. Output that the parent has buffered is not written. Returns
 * -errno when the arguments cannot be set; nothing has happened then, and exec(3) is left.
 */
int again_go(again_main main_again, char *const *argv, int close_from);
