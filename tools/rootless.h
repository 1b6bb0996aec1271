/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers of ordinary users. `run` makes namespaces (exec/userns.h) in which
 * it is root and goes on as root does; the monitor and the holder of the image,
 * which it starts, stay in them and own the mounts. Verbs that only read files
 * or talk to the monitor work from outside; those that need the runtime, or take
 * away what belongs to other ids of the user's, go in. For root nothing here does anything.
 */

#include <sys/types.h>

#include "tools/containers.h"

/* The user's own id, also where that has become 0. */
uid_t rootless_uid(void);

/* Whether this process went into such a namespace, or is a child of one that did. */
bool rootless_is_inside(void);

/*
 * Makes the namespaces and goes on in them, when this is an ordinary user; before there are
 * threads. What the container will lack is logged as a warning. When a process is named (0: none),
 * its user namespace is the new one's, too, so that its other namespaces can be shared.
 */
int rootless_enter(pid_t shared, struct err *err);

/*
 * Goes into the namespaces of a container, when this is an ordinary user: those of its monitor,
 * or of whoever else of it lives, or new ones with the same ids. Not to be left again.
 */
int rootless_join(struct ctx *ctx, const struct opened_container *opened, struct err *err);

/*
 * Calls fn(), by a child in the container's namespaces when this is an ordinary user. What it
 * changes in memory is lost then; its result and its error are passed on.
 */
typedef int (*rootless_fn)(struct ctx *ctx, struct opened_container *opened, struct err *err);
int rootless_call(struct ctx *ctx, struct opened_container *opened, rootless_fn fn,
		  struct err *err);
