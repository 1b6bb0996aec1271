/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers of ordinary users: this process, and all that it starts, goes on
 * in a user namespace in which the user is root, and a mount namespace that
 * belongs to it (user_namespaces(7)). The user's further ids are those of
 * /etc/subuid and /etc/subgid, mapped by newuidmap(1) and newgidmap(1); without
 * them the user is the only one there is.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "tools/ctx.h"

/* Set, for the processes in it, to the user's id outside. */
#define ROOTLESS_VARIABLE "SLUICE_USERNS_UID"

enum { ROOTLESS_MAP_MS = 10000 }; /* for newuidmap(1) and newgidmap(1) each */

/*
 * Enters namespaces as above; nothing for root. The process has one thread.
 * -EPERM: this kernel lets users make none.
 */
int rootless_enter(struct ctx *ctx, struct err *err);

/* Enters those that another process of this user's, a container's monitor, is in. */
int rootless_join(struct ctx *ctx, pid_t pid, struct err *err);

/* Whether this process is in such a namespace, and whether it has one id alone. */
bool rootless_is_in(void);
bool rootless_is_single(void);
