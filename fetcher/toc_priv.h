/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the TOC reader share: see toc.h. */

#include <jansson.h>

#include "base/buf.h"
#include "fetcher/entry.h"

/* Room for what an entry borrows. */
struct toc_text {
	char path[ENTRY_PATH_MAX], link[ENTRY_PATH_MAX];
	struct buf xattr_bytes;	    /* values, decoded */
	struct entry_xattr *xattrs; /* owned */
	size_t xattrs_room;
};
void toc_text_finish(struct toc_text *text);
DEFINE_FINISH(toc_text, toc_text_finish);

/* Fills in everything but the extents; ret borrows from text and e. -EBADMSG, -ENOMEM. */
int toc_entry_read(const json_t *e, struct toc_text *text, struct entry *ret, struct err *err);
