/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's connection to a network, made and undone by the plugins of the
 * Container Network Interface (SPEC.md 1.0.0, sections 2 and 3). Before the first
 * plugin runs, what is needed to undo it all is written into the container's
 * directory (`CNI_RECORD`), and the result afterwards: whoever finds the directory
 * later can disconnect it, though the process that connected it was killed, and
 * though the network's configuration has changed since.
 *
 * One attachment a container. Calls on one container must not overlap; those on
 * different ones may, from any thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "exec/cni_network.h"

#define CNI_RECORD "cni.json"

enum {
	CNI_OUTPUT_MAX = 1 << 20,  /* bytes that a plugin says */
	CNI_RECORD_MAX = 16 << 20, /* bytes of CNI_RECORD */
	CNI_UNDO_MS = 30000,	   /* for taking back a connection that could not be made */
};

/* Where plugins usually are, ended by NULL. */
extern const char *const cni_default_plugin_dirs[];

/* A port of the container that the host makes reachable. */
struct cni_port {
	const char *host_ip; /* NULL: every address */
	uint16_t host, container;
	const char *protocol; /* "tcp", "udp", "sctp" */
};

struct cni_attachment {
	const struct cni_network *network;
	const char *const *plugin_dirs; /* absolute, NULL-terminated */
	const char *path;		/* PATH for what plugins run; NULL: none */
	const char *container_id;	/* letters, digits, "_.-", beginning with one of the former */
	const char *netns;		/* the namespace's file, absolute */
	const char *ifname;		/* of the interface in it */
	const struct cni_port *ports;
	size_t n_ports;
};

struct cni_address {
	const char *cidr;    /* "10.1.0.5/16" */
	const char *gateway; /* NULL: none */
};

struct cni_interface {
	const char *name;
	const char *mac;     /* NULL: none */
	const char *sandbox; /* the namespace's file; NULL: the host's */
};

/* What the plugins made of it. Strings are borrowed from json. */
struct cni_result {
	json_t *json; /* owned, as the lists */
	struct cni_address *addresses; /* of the container, not of the host's end */
	size_t n_addresses;
	struct cni_interface *interfaces;
	size_t n_interfaces;
	const char **nameservers, **searches, **options; /* NULL-terminated; NULL: nothing is said */
	const char *domain;				 /* NULL: nothing is said */
};

/* Accepts NULL and a zeroed one. */
void cni_result_finish(struct cni_result *result);
DEFINE_FINISH(cni_result, cni_result_finish);

/*
 * What the last of the plugins said (SPEC.md 1.0.0, section 5), with types and references checked.
 * Keeps a reference to json; the caller finishes *ret. -EINVAL with what is wrong, -ENOMEM.
 */
int cni_result_read(json_t *json, struct cni_result *ret, struct err *err);

/*
 * Connects a container, whose directory is dirfd: ADD of every plugin, in order,
 * each with the result of the one before. After a failure what was done is undone
 * (within CNI_UNDO_MS); where that fails, too, the sentence says so, and the record stays. The caller
 * finishes *ret. -EEXIST: it is connected. -EINVAL: an id or name that is none, a result
 * that is none. -ENOTSUP: there are ports, and no plugin takes portMappings. -ENOENT: a
 * plugin is in none of the directories, and none was run. -EIO with the plugin's own words. -ETIMEDOUT,
 * -ECANCELED, -ENOMEM.
 */
int cni_attach(int dirfd, const struct cni_attachment *attachment, deadline_t deadline,
	       const struct cancel *cancel, struct cni_result *ret, struct err *err);

/*
 * Asks all plugins whether the connection is as they made it. 0 also where they
 * may not be asked. -ENOENT: it is not connected. -EIO with a plugin's words.
 */
int cni_check(int dirfd, deadline_t deadline, const struct cancel *cancel, struct err *err);

/*
 * Disconnects a container: DEL of every plugin, the last one first, up to one that
 * fails; then the record goes. It may be called again, and after the namespace is
 * gone; 0 when the container is not connected. Errors as those of cni_attach().
 */
int cni_detach(int dirfd, deadline_t deadline, const struct cancel *cancel, struct err *err);

/* Removes the record of a connection that plugins refuse to undo. 0: there is none. */
int cni_forget(int dirfd, struct err *err);
