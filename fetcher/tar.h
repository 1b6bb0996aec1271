/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A tar reader that is pushed: bytes go in as they arrive, in pieces of any
 * size, and each file comes out as a struct entry as soon as it is known where
 * its content stands in the stream. Content is passed over, never kept.
 *
 * Read are v7, ustar (POSIX.1-1988), pax (POSIX.1-2001, "pax Interchange
 * Format") and GNU tar: extended headers x and g, GNU long names (L, K) and
 * long links, base-256 numbers, sparse files of GNU's four kinds (old, 0.0,
 * 0.1, 1.0), xattrs as SCHILY.xattr.* and LIBARCHIVE.xattr.*. Where readers in
 * the wild differ, this one does the following:
 *
 * - What pax says wins over GNU's L and K, which win over the header; the size
 *   in pax always wins. Two x, two L or two K headers for one file are refused.
 * - A g header may set uid, gid and mtime. One that sets the name, the size or
 *   xattrs of every file is refused.
 * - Links, directories, devices and fifos have no content whatever their size
 *   says, but a hardlink with an x header has (POSIX pax).
 * - `V` (volume label) is passed over; `D` (GNU dump directory) is a directory;
 *   `M`, `N` and all types nobody here knows are refused, since leaving them
 *   out would lose files.
 * - The first zero block ends the archive; what follows is ignored. The end of
 *   the stream between two entries ends it as well.
 * - A sparse file whose pieces do not stand on blocks is refused.
 *
 * A reader belongs to one thread at a time. Its memory is bounded by the caps
 * below and in entry.h, whatever the size of the archive.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "fetcher/entry.h"

enum {
	TAR_BLOCK = 512,
	TAR_PAX_MAX = 1 << 20,	 /* bytes of one extended header */
	TAR_GLOBALS_MAX = 1024,	 /* global headers of one archive */
};

struct tar_reader;

/* fn gets each entry, with data, within tar_reader_push(). The caller destroys it. -ENOMEM. */
int tar_reader_create(entry_fn fn, void *data, struct tar_reader **ret);
void tar_reader_destroy(struct tar_reader *t);
DEFINE_CLEANUP(tar_reader, tar_reader_destroy);

/*
 * The next n bytes. -EBADMSG for what is not a tar, -EOPNOTSUPP for a kind of
 * tar we do not read, both with the entry and its byte offset; -ENOMEM; or
 * what fn returned. After an error every further push and finish fails.
 */
int tar_reader_push(struct tar_reader *t, const void *bytes, size_t n, struct err *err);

/* Says that there are no more bytes. -EBADMSG when something is missing. */
int tar_reader_finish(struct tar_reader *t, struct err *err);

/* Bytes taken so far. Within fn: the offset right after the headers of the entry. */
uint64_t tar_reader_offset(const struct tar_reader *t);
