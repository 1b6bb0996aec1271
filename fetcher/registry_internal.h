/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the parts of the registry origin share:
 *   registry.c            opening, one authorized request, its errors
 *   registry_pull.c       manifests and whole blobs, server after server
 *   registry_range.c      parts of blobs, and streams
 *   registry_spool.c      whole blobs on disk, for servers without ranges
 *   registry_referrers.c  who refers to a manifest
 *   registry_push.c       uploads
 *   registry_known.c      what another process may go on with
 */

#include <pthread.h>

#include "base/htab.h"
#include "base/workers.h"
#include "fetcher/http_url.h"
#include "fetcher/registry.h"
#include "fetcher/retry.h"

enum referrers_way { REFERRERS_UNKNOWN, REFERRERS_API, REFERRERS_TAG };

/* One server of the registry. */
struct server {
	struct endpoint *at;	/* borrowed from the registry's list */
	struct http_url where;	/* of at->url_base */
	char *cred_host;	/* owned: whose credentials it gets */
	_Atomic deadline_t down_until;
	_Atomic deadline_t rangeless_until;
	_Atomic bool ranges_seen; /* it has answered a range with a range */
	_Atomic enum referrers_way referrers_way;
};

enum spool_state { SPOOL_NONE, SPOOL_BUSY, SPOOL_DONE };

/* What is remembered of a blob. Lives as long as the registry. */
struct blob {
	struct hnode node;
	struct descriptor desc; /* owned copy */
	/* Under the registry's lock. */
	char *url;	     /* owned: where a server sent us for it; NULL: nowhere yet */
	size_t url_server;   /* which server that was */
	uint32_t missing;    /* bit n: server n does not have it */
	enum spool_state spool;
	int spool_fd;	     /* -1: none */
	uint64_t spooled;    /* bytes in it that may be read */
	unsigned int spools; /* attempts ended so far: what waiters watch */
	struct err failure;  /* of the last attempt */
	struct work work;    /* of the pool of spoolers */
	struct registry *registry;
};

struct registry {
	struct origin origin; /* must be first */
	struct http_engine *engine;
	struct tokens *tokens;
	int spool_dirfd; /* owned duplicate */
	bool allow_downgrade;
	char *mount_from;
	char *repository;
	char *host;
	struct ref ref;
	struct endpoints endpoints;
	struct server *servers; /* one for each endpoint */
	size_t n_servers;

	pthread_mutex_t lock;
	pthread_cond_t spool_moved;
	struct htab blobs;	 /* of struct blob */
	struct workers *workers; /* made when first needed */
	_Atomic bool closing;
	bool store_warmed; /* by registry_take_over(), which one thread calls */
};

static inline struct registry *registry_of(struct origin *o)
{
	return container_of(o, struct registry, origin);
}

/* Whether an origin is one of these. */
bool registry_is(const struct origin *o);

/* One request to one server. Zero means none. */
struct reg_call {
	const char *method;  /* NULL: GET */
	const char *path;    /* below the repository: "/manifests/latest" */
	const char *url;     /* absolute, in place of path */
	const char *const *headers;
	const void *body;
	size_t body_len;
	bool has_range;
	uint64_t range_off, range_len;
	bool push;	     /* the scope is pull,push */
	const char *from;    /* a repository whose pull scope is wanted too */
	bool keep_redirect;
	bool fresh;	     /* see struct http_request */
	int (*head)(void *data, const struct http_response *resp, struct err *err);
	void *head_data;
	const struct byte_sink *sink;
	struct buf *collect; /* takes the body, in place of sink; emptied for each try */
	uint64_t max_body;
	unsigned int tries;  /* of registry_call(); 0: the default */
	deadline_t deadline;
	uint64_t idle_ms;
};

/*
 * Sends one request, logging in when the server wants that (once), and says
 * nothing of other statuses. As http_perform(); -EACCES when a log-in failed.
 */
int registry_try(struct registry *reg, struct server *server, const struct reg_call *call,
		 struct http_response *resp, struct err *err);

/* The same, again and again while the failure may pass. Not for bodies given to a sink. */
int registry_call(struct registry *reg, struct server *server, const struct reg_call *call,
		  struct http_response *resp, struct err *err);

/* The errno a final status stands for, with a sentence: -ENOENT, -EACCES, -EREMOTEIO. */
int registry_refusal(const struct http_response *resp, const char *method, struct err *err);

/* What servers are asked for: see struct endpoint. */
enum capability { CAN_RESOLVE, CAN_PULL, CAN_PUSH };

/* A walk over the servers; starts zeroed. */
struct walk {
	size_t pos;
	uint32_t asked; /* bit n: server n has been returned */
};

/* The next server with a capability, in order but those that are down last; NULL at the end. */
struct server *registry_next(struct registry *reg, enum capability can, struct walk *walk);

/* Whether another server is worth asking after this failure. Marks one that is down. */
bool registry_passes_on(struct server *server, int r);

/* How often to try a request of the server that registry_next() just gave. */
unsigned int registry_tries(struct registry *reg, enum capability can, struct walk walk);

/* The entry of a blob, made when it is new. -ENOMEM, -E2BIG. */
int registry_blob(struct registry *reg, const struct descriptor *desc, struct blob **ret,
		  struct err *err);

/* Remembers where a server sent us for a blob, as far as there is room. */
void registry_note_url(struct registry *reg, const struct server *server,
		       const struct descriptor *desc, const char *url);

/* The pool for work beside the caller's. -ENOMEM. */
int registry_workers(struct registry *reg, struct workers **ret, struct err *err);

/* registry_pull.c */
int registry_manifest(struct origin *o, const struct digest *want, struct buf *ret,
		      struct descriptor *ret_desc, deadline_t deadline, struct err *err);
int registry_get_blob(struct origin *o, const struct descriptor *desc, struct buf *ret,
		      deadline_t deadline, struct err *err);
/* One manifest by tag or digest text, from one server, digest checked when want is given. */
int registry_fetch_manifest(struct registry *reg, struct server *server, const char *name,
			    const struct digest *want, unsigned int tries, struct buf *ret,
			    struct descriptor *ret_desc, deadline_t deadline, struct err *err);

/* registry_range.c, registry_spool.c, registry_referrers.c, registry_push.c */
int registry_range(struct origin *o, const struct descriptor *desc, uint64_t off, uint64_t len,
		   const struct byte_sink *sink, deadline_t deadline, struct err *err);
int registry_stream(struct origin *o, const struct descriptor *desc,
		    const struct byte_sink *sink, deadline_t deadline, struct err *err);
int registry_stream_idle(struct registry *reg, const struct descriptor *desc,
			 const struct byte_sink *sink, uint64_t idle_ms, struct err *err);
int spool_read(struct registry *reg, struct blob *blob, uint64_t off, uint64_t len,
	       const struct byte_sink *sink, deadline_t deadline, struct err *err);
/* The tag that stands in for the referrers API: distribution-spec, "Referrers Tag Schema". */
enum { REFERRERS_TAG_MAX = 8 + 64 };
char *referrers_tag(const struct digest *subject, char out[static REFERRERS_TAG_MAX]);
int registry_referrers(struct origin *o, const struct digest *subject,
		       const char *artifact_type, struct descriptors *ret, deadline_t deadline,
		       struct err *err);
int registry_push_blob(struct origin *o, const struct descriptor *desc, const void *data,
		       size_t n, deadline_t deadline, struct err *err);
int registry_push_manifest(struct origin *o, const struct descriptor *desc, const void *data,
			   size_t n, const struct digest *subject, deadline_t deadline,
			   struct err *err);
