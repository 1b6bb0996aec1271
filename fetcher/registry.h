/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A repository of a registry, with its mirrors, as an origin: the OCI
 * distribution-spec 1.1, and what registries do besides. Credentials go to
 * the servers they are for and nowhere else; every byte count, range and
 * whole-object digest is checked. One origin may be used by any number of
 * threads at once.
 */

#include <stdbool.h>

#include "base/err.h"
#include "fetcher/cred.h"
#include "fetcher/hosts.h"
#include "fetcher/http.h"
#include "fetcher/origin.h"
#include "fetcher/ref.h"
#include "fetcher/token.h"

enum {
	REGISTRY_BLOBS_MAX = 8192,	   /* whose addresses and faults one origin remembers */
	REGISTRY_SPOOLS_MAX = 2,	   /* blobs fetched whole at a time, for want of ranges */
	REGISTRY_SPOOL_IDLE_MS = 60000,	   /* a spool that gets nothing for so long gives up */
	REGISTRY_DOWN_MS = 30000,	   /* a server that did not answer is passed over */
	REGISTRY_RANGELESS_MS = 600000,	   /* so is asking a server for ranges that ignored one */
	REGISTRY_MIRROR_TRIES = 2,	   /* of one request, where another server can be asked */
	REGISTRY_PROGRESS_MIN = 64 << 10,  /* bytes after which a break counts as a new one */
	REGISTRY_WRONG_RANGE_MAX = 3,	   /* false answers to one range read */
	REGISTRY_REFERRERS_MAX = 64,	   /* pages of one listing */
	REGISTRY_CHUNK_BYTES = 8 << 20,	   /* of a chunked upload, unless the server wants more */
	REGISTRY_CHUNK_MAX = 256 << 20,    /* the largest minimum a server may ask for */
};

struct registry_config {
	struct http_engine *engine; /* borrowed, as everything here, for the origin's life */
	struct hosts *hosts;
	struct tokens *tokens;
	int spool_dirfd;	 /* for unlinked temporary files; -1: see registry_spool_in() */
	bool allow_downgrade;	 /* follow a redirect from https to http */
	const char *mount_from;	 /* a repository of the same registry that likely has the blobs
				    pushed; copied; NULL: none */
};

/*
 * Opens the repository of ref (REF_REGISTRY). Sends nothing yet, but
 * registry_warm() may. -EINVAL and others of hosts_resolve(), -ENOMEM.
 */
int registry_open(const struct registry_config *config, const struct ref *ref,
		  struct origin **ret, struct err *err);

/*
 * Says where temporary files are, before anything but connections is asked of an origin that was
 * opened without. The descriptor is duplicated. Nothing for an origin that is no registry.
 */
int registry_spool_in(struct origin *origin, int dirfd, struct err *err);

/* Opens n connections to the first server ahead of their use, without waiting. */
void registry_warm(struct origin *origin, unsigned int n);

/*
 * For fetcher/handover.h: where servers send for blobs, and which of them do not answer. Nothing
 * for an origin that is no registry. Taking over opens connections to the host of the first such
 * address, and is for one thread. -ENOENT: a record of somebody else's kind; -EBADMSG, -ENOMEM.
 */
struct handover;
int registry_hand_over(struct origin *origin, struct handover *to);
int registry_take_over(struct origin *origin, char kind, struct handover *from);
