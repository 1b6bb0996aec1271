/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the content of one image comes from: a registry repository with its
 * mirrors, an OCI layout, an archive. Calls block the calling thread until
 * they are done or the deadline is past, and are safe from many threads at
 * once; what an origin returns as a whole is verified against its descriptor,
 * what it returns as a range is not (the span's checksum decides).
 *
 * Errors common to all: -ENOENT (no such content), -EACCES (credentials
 * wrong, missing or refused), -ETIMEDOUT (deadline), -EHOSTUNREACH and other
 * network errors, -EBADMSG (content is not what its digest says), -EFBIG
 * (larger than its cap), -ECANCELED (the sink or the shutdown ended it),
 * -EOPNOTSUPP (this origin cannot do that).
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "fetcher/descriptor.h"

enum {
	ORIGIN_MANIFEST_MAX = 4 << 20, /* the limit of the OCI distribution-spec */
};

struct origin;

/*
 * Takes bytes in order, on the thread that made the call. A negative result
 * ends the transfer, which returns it.
 */
struct byte_sink {
	int (*write)(void *data, const void *bytes, size_t n);
	void *data;
	size_t queue; /* about the bytes that may wait for it; 0: what the origin thinks is fast */
};

struct origin_ops {
	int (*manifest)(struct origin *o, const struct digest *want, struct buf *ret,
			struct descriptor *ret_desc, deadline_t deadline, struct err *err);
	int (*blob)(struct origin *o, const struct descriptor *desc, struct buf *ret,
		    deadline_t deadline, struct err *err);
	int (*range)(struct origin *o, const struct descriptor *desc, uint64_t off, uint64_t len,
		     const struct byte_sink *sink, deadline_t deadline, struct err *err);
	int (*stream)(struct origin *o, const struct descriptor *desc,
		      const struct byte_sink *sink, deadline_t deadline, struct err *err);
	int (*referrers)(struct origin *o, const struct digest *subject,
			 const char *artifact_type, struct descriptors *ret,
			 deadline_t deadline, struct err *err);
	int (*push_blob)(struct origin *o, const struct descriptor *desc, const void *data,
			 size_t n, deadline_t deadline, struct err *err);
	int (*push_manifest)(struct origin *o, const struct descriptor *desc, const void *data,
			     size_t n, const struct digest *subject, deadline_t deadline,
			     struct err *err);
	void (*destroy)(struct origin *o);
};

/* First member of every implementation. */
struct origin {
	const struct origin_ops *ops;
};

/*
 * The manifest or index with digest `want`, or, when want is NULL, the one the
 * image reference names. Fills ret (whose maximum should be
 * ORIGIN_MANIFEST_MAX) with the exact bytes and ret_desc with media type,
 * digest and size.
 */
static inline int origin_manifest(struct origin *o, const struct digest *want, struct buf *ret,
				  struct descriptor *ret_desc, deadline_t deadline,
				  struct err *err)
{
	return o->ops->manifest(o, want, ret, ret_desc, deadline, err);
}

/* A whole small blob, verified; ret's maximum is the cap. */
static inline int origin_blob(struct origin *o, const struct descriptor *desc, struct buf *ret,
			      deadline_t deadline, struct err *err)
{
	return o->ops->blob(o, desc, ret, deadline, err);
}

/*
 * [off, off + len) of a blob, exactly, into the sink. A transfer that breaks
 * is taken up where it stopped; bytes never reach the sink twice. Unverified.
 */
static inline int origin_range(struct origin *o, const struct descriptor *desc, uint64_t off,
			       uint64_t len, const struct byte_sink *sink, deadline_t deadline,
			       struct err *err)
{
	return o->ops->range(o, desc, off, len, sink, deadline, err);
}

/*
 * A whole blob in order, for a reader of unlimited patience: the deadline
 * bounds the time without any progress rather than the whole. The bytes reach
 * the sink before the digest is known; a result of 0 means that they had it.
 */
static inline int origin_stream(struct origin *o, const struct descriptor *desc,
				const struct byte_sink *sink, deadline_t deadline,
				struct err *err)
{
	return o->ops->stream(o, desc, sink, deadline, err);
}

/*
 * The manifests that have `subject` as subject: referrers API, else the tag
 * `sha256-<hex>` (OCI distribution-spec, "Listing Referrers"). artifact_type
 * NULL: all. Nothing found is 0 with an empty list.
 */
static inline int origin_referrers(struct origin *o, const struct digest *subject,
				   const char *artifact_type, struct descriptors *ret,
				   deadline_t deadline, struct err *err)
{
	return o->ops->referrers(o, subject, artifact_type, ret, deadline, err);
}

/* Uploads a blob unless it is there. */
static inline int origin_push_blob(struct origin *o, const struct descriptor *desc,
				   const void *data, size_t n, deadline_t deadline,
				   struct err *err)
{
	return o->ops->push_blob(o, desc, data, n, deadline, err);
}

/*
 * Uploads a manifest by its digest. With a subject, and where the registry
 * does not keep referrers itself, also enters it into the fallback tag.
 */
static inline int origin_push_manifest(struct origin *o, const struct descriptor *desc,
				       const void *data, size_t n, const struct digest *subject,
				       deadline_t deadline, struct err *err)
{
	return o->ops->push_manifest(o, desc, data, n, subject, deadline, err);
}

/* Accepts NULL. Nobody else may be inside a call. */
static inline void origin_destroy(struct origin *o)
{
	if (o)
		o->ops->destroy(o);
}
DEFINE_CLEANUP(origin, origin_destroy);
