/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers on networks of CNI plugins: `--network NAME`, `--network bridge`
 * and `--publish`. The namespace is the file `netns` in the container's directory.
 * Where networks are described and where plugins are is said by NETCONFPATH and
 * CNI_PATH, as for CNI's own cnitool.
 */

#include "exec/cni.h"
#include "exec/container.h"
#include "tools/run_options.h"

enum {
	RUN_CONNECT_MS = 120000,
	RUN_DISCONNECT_MS = 60000,
};

/*
 * Whether what was asked for goes together; ports alone ask for the network
 * "bridge". -EOPNOTSUPP: ports of a container that has no such network, or a user who
 * is not root.
 */
int run_network_check(struct run_options *options, struct err *err);

/*
 * Makes the namespace, has the plugins connect it, and puts its path into the
 * options. "bridge" is the network of that name, else the first that there is. Nothing where no network was asked for, and
 * none is made for --dry-run. The caller finishes *ret. -ENOENT: no such network; and what
 * netns_create() and cni_attach() give. run_network_detach() takes all of it back; a failure has done so.
 */
int run_network_attach(struct run_options *options, const struct container *container,
		       struct cni_result *ret, struct err *err);

/* Removes the namespace, and what is known of a connection that its plugins refuse to undo. */
int run_network_forget(const struct container *container, struct err *err);

/* Disconnects a container, whoever connected it, and removes its namespace. 0: there is none. */
int run_network_detach(const struct container *container, struct err *err);
