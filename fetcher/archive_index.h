/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where each member of a tar file stands. */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

struct archive_member {
	char *path;   /* owned, clean */
	char *target; /* owned; of a symlink or hardlink; NULL: a file */
	size_t order; /* in the archive: the last of one name counts */
	uint64_t off, size;
};

struct archive_index {
	struct archive_member *items; /* owned, sorted by path */
	size_t count;
};

void archive_index_finish(struct archive_index *index);
DEFINE_FINISH(archive_index, archive_index_finish);

/*
 * Passes over the whole tar once. -EBADMSG for what is no tar, -EOPNOTSUPP
 * when it is compressed, -E2BIG past ARCHIVE_MEMBERS_MAX.
 */
int archive_index_read(int fd, const char *path, struct archive_index *ret, struct err *err);

/* The file of this name, through links inside the archive; NULL: none. Borrowed. */
const struct archive_member *archive_index_find(const struct archive_index *index,
						const char *path);
