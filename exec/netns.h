/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A network namespace that is a file: bound to a name in a directory, it lives
 * until the name is taken away, whoever is in it. Plugins connect it before
 * anything runs there. Needs CAP_SYS_ADMIN over the mount namespace and the
 * network. Safe from any thread.
 */

#include <stdbool.h>

#include "base/err.h"

/*
 * Makes a namespace with nothing in it but a loopback that is up, and binds it
 * to a new file in dirfd, which nobody else may write to. -EEXIST; -EPERM; what
 * clone(2) and mount(2) give.
 */
int netns_create(int dirfd, const char *name, struct err *err);

/* Takes the file away, and with it the namespace as soon as nothing runs in it. 0: it is not there. */
int netns_remove(int dirfd, const char *name, struct err *err);

/* Whether a path leads to a namespace, and not to the file that a reboot left of one. */
bool netns_is_bound(const char *path);
