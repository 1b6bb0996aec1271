/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Namespaces of other containers, as `container:NAME` of --network, --pid and so on names them. */

#include "tools/ctx.h"
#include "tools/run_options.h"

/*
 * Puts the path of the namespace in the place of the container's name. -ENOENT: there is
 * no such container; -ESRCH: it does not run. What a path means can change when
 * that container ends before ours is made, as with any path. And what
 * run_network_check() gives. *ret_init becomes the first process of one of those containers, and
 * stays as it is when there is none.
 */
int run_spaces_resolve(struct ctx *ctx, struct run_options *options, pid_t *ret_init,
		       struct err *err);
