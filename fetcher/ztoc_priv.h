/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the zTOC reader share: see ztoc.h. */

#include "fetcher/flat.h"
#include "fetcher/ztoc.h"

enum ztoc_codec { ZTOC_GZIP = 1, ZTOC_UNCOMPRESSED = 2 };

struct ztoc {
	struct flat flat;
	struct flat_vector files;   /* of tables */
	struct flat_vector digests; /* of strings; one a span */
	struct flat_bytes checkpoints;
	enum ztoc_codec codec;
	uint64_t in_size, out_size;
};

/* Room for what an entry borrows. */
struct ztoc_text {
	char path[ENTRY_PATH_MAX], link[ENTRY_PATH_MAX];
	struct buf xattr_names;	    /* with their NULs */
	struct entry_xattr *xattrs; /* owned */
	size_t xattrs_room;
};
void ztoc_text_finish(struct ztoc_text *text);
DEFINE_FINISH(ztoc_text, ztoc_text_finish);

/* The name of a file, for errors too. -EBADMSG. */
int ztoc_file_name(const struct flat_table *file, struct flat_bytes *ret, struct err *err);

/* Reads a file; ret borrows from text and the zTOC, its extents from extent. -EBADMSG, -EFBIG. */
int ztoc_file_read(const struct ztoc *ztoc, const struct flat_table *file, struct ztoc_text *text,
		   struct entry_extent *extent, struct entry *ret, struct err *err);
