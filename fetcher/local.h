/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Images in local files as origins: OCI layouts in a directory or a tar (OCI
 * image-spec image-layout.md), and archives of `docker save`. Archives are
 * read in place: one pass finds where each member stands, nothing is unpacked.
 */

#include "fetcher/origin.h"
#include "fetcher/ref.h"

enum {
	LOCAL_INDEX_MAX = 16 << 20,	/* bytes of index.json, manifest.json, repositories */
	LOCAL_READ_BYTES = 256 << 10,	/* of one read */
	ARCHIVE_MEMBERS_MAX = 1 << 17,	/* files of an archive */
	ARCHIVE_LINKS_MAX = 8,		/* symlinks followed to a member */
};

/*
 * Opens what a ref of one of the local kinds names. -ENOENT, -ENOTDIR and the
 * like for the path; -EINVAL when it is not what the ref says; -EOPNOTSUPP for
 * a compressed archive. Layers whose digest nothing in the archive tells (those
 * of Docker before 1.10, and compressed ones) are read for it. Which image of several is meant shows only when the
 * manifest is asked for. Pushing works for layout directories.
 */
int layout_open(const struct ref *ref, struct origin **ret, struct err *err);
int archive_open(const struct ref *ref, struct origin **ret, struct err *err);
