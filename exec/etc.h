/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * /etc/hostname, /etc/hosts and /etc/resolv.conf of a container. They are
 * written into the container's own directory and mounted over the image's, as
 * Docker and podman do: so they stay out of what is committed, and the image's
 * own files out of their way.
 */

#include "base/err.h"
#include "exec/spec/oci.h"

enum {
	ETC_FILE_MAX = 1 << 20,	/* bytes of each, and of the host's resolv.conf */
	ETC_HOSTNAME_MAX = 64,	/* HOST_NAME_MAX of Linux */
	ETC_NAME_MAX = 253,	/* a host's name, as DNS has it */
};

struct etc_words {
	const char *hostname;		/* NULL: none of its own; hosts has localhost alone */
	const char *address;		/* of the container, for its name; NULL: 127.0.1.1 */
	const char *const *hosts;	/* "ADDRESS NAME", NULL-terminated, or NULL */
	const char *const *dns;		/* addresses of servers; NULL or empty: the host's */
	const char *const *dns_search;	/* domains, "." for none; NULL or empty: the host's */
	const char *const *dns_options; /* NULL or empty: the host's */
	const char *resolv_conf;	/* the host's file; NULL: the one that says most */
	bool own_network;		/* the host's loopback is out of reach */
};

/*
 * Writes hostname, hosts and resolv.conf into dirfd, 0644, in the place of what
 * was there; not synced. A container with a network of its own is given none of
 * the host's servers on a loopback address; where systemd-resolved is such a
 * one, those that it asks itself. -EINVAL: a name or an address that is none.
 */
int etc_write(int dirfd, const struct etc_words *words, struct err *err);

/*
 * Mounts those files, which are in the directory `dir` (absolute, of the host),
 * over the image's. A mount that the configuration has on one of them stays as
 * it is. -ENOMEM.
 */
int etc_mount(const char *dir, struct oci_config *config, struct err *err);
