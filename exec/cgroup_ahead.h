/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Before a process is moved to another control group, the kernel waits until no process can be
 * forking or ending unseen: for a grace period of RCU, which takes 5 to 20 ms, as long as all else
 * that a runtime does. Moves within the next 20 ms or so need not wait for another one. So whoever is
 * about to have a runtime start a container can begin that wait, and do his own part meanwhile.
 */

#include <sys/types.h>

/*
 * Has a child move itself to where it is, which changes nothing, and goes on. *ret is the child, which
 * ends by itself and is the caller's to wait for. 0 or -errno: where that cannot be done, nothing
 * but time is lost.
 */
int cgroup_begin_move(pid_t *ret);
