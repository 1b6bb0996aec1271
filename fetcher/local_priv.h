/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the local origins share: content by name, and the operations over it. */

#include <stdbool.h>

#include "fetcher/local.h"

/* A file, or the part of one, that holds one blob. */
struct local_file {
	int fd;
	bool owned; /* fd is closed by local_file_finish() */
	uint64_t off, size;
};

void local_file_finish(struct local_file *file);
DEFINE_FINISH(local_file, local_file_finish);

struct local {
	struct origin origin; /* first */
	char *path;	      /* owned; for messages */
	char *tag;	      /* owned; NULL: none */
	struct digest digest; /* asked for; DIGEST_NONE: none */
	/* -ENOENT when there is no such name ("index.json", "blobs/sha256/…"). */
	int (*open)(struct local *local, const char *name, struct local_file *ret, struct err *err);
	/* Opens a blob by its digest. */
	int (*open_blob)(struct local *local, const struct digest *digest, struct local_file *ret,
			 struct err *err);
};

/* Copies the path, tag and digest of ref. -ENOMEM. */
int local_init(struct local *local, const struct ref *ref);
void local_finish(struct local *local);

/* "busybox:1" and "docker.io/library/busybox:1" are one image; a bare tag is compared as such. */
bool local_tag_matches(const char *have, const char *want);

/* The whole file, verified when want is not NULL. */
int local_slurp(const struct local_file *file, const struct digest *want, struct buf *ret,
		const char *what, struct err *err);

/* open_blob() of an OCI layout: blobs/<algo>/<hex>. */
int local_open_oci_blob(struct local *local, const struct digest *digest, struct local_file *ret,
			struct err *err);

/* Operations of struct origin_ops, by way of the two functions above. */
int local_manifest(struct origin *o, const struct digest *want, struct buf *ret,
		   struct descriptor *ret_desc, deadline_t deadline, struct err *err);
int local_blob(struct origin *o, const struct descriptor *desc, struct buf *ret,
	       deadline_t deadline, struct err *err);
int local_range(struct origin *o, const struct descriptor *desc, uint64_t off, uint64_t len,
		const struct byte_sink *sink, deadline_t deadline, struct err *err);
int local_stream(struct origin *o, const struct descriptor *desc, const struct byte_sink *sink,
		 deadline_t deadline, struct err *err);
int local_referrers(struct origin *o, const struct digest *subject, const char *artifact_type,
		    struct descriptors *ret, deadline_t deadline, struct err *err);
int local_no_push_blob(struct origin *o, const struct descriptor *desc, const void *data,
		       size_t n, deadline_t deadline, struct err *err);
int local_no_push_manifest(struct origin *o, const struct descriptor *desc, const void *data,
			   size_t n, const struct digest *subject, deadline_t deadline,
			   struct err *err);

/* A verified manifest by digest, whatever the index says. */
int local_manifest_by_digest(struct local *local, const struct digest *want, struct buf *ret,
			     struct err *err);
