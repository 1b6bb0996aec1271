/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One file of a layer, as every layer format tells it: tar, the TOC of eStargz
 * and zstd:chunked, SOCI's zTOC. The readers of these formats emit entries in
 * the order of the layer, whiteouts still under their tar names (`.wh.x`,
 * `.wh..wh..opq`); what a sequence of entries means as a tree is fs/tree.h's
 * business.
 *
 * A device is the address space that extents point into: the uncompressed tar
 * of the layer, or, where tar offsets are not known, a synthetic space that
 * the layer's seek table maps to chunks. Every device offset of an extent is a
 * multiple of ENTRY_ALIGN.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	ENTRY_ALIGN = 512,	      /* tar's block, and the block of our EROFS images */
	ENTRY_NAME_MAX = 255,	      /* one component, as in Linux */
	ENTRY_PATH_MAX = 4096,	      /* a whole path or link target */
	ENTRY_DEPTH_MAX = 1024,	      /* components of a path */
	ENTRY_XATTR_NAME_MAX = 255,
	ENTRY_XATTR_VALUE_MAX = 65535,
	ENTRY_XATTRS_MAX = 1024,      /* of one file */
	ENTRY_XATTR_BYTES_MAX = 60000, /* names and values of one file: what EROFS holds inline */
	ENTRY_EXTENTS_MAX = 1 << 20,  /* of one sparse file */
	ENTRIES_MAX = 1 << 24,	      /* of one layer */
};

enum entry_type {
	ENTRY_REG,
	ENTRY_DIR,
	ENTRY_SYMLINK,
	ENTRY_HARDLINK, /* link names the path it is a second name of */
	ENTRY_CHAR,
	ENTRY_BLOCK,
	ENTRY_FIFO,
	ENTRY_SOCKET,
};

struct entry_xattr {
	const char *name; /* as getxattr(2) takes it, "user.x" */
	const void *value;
	size_t len;
};

/* len bytes of the file at file_off stand at dev_off of the device; what no extent covers is zero. */
struct entry_extent {
	uint64_t file_off;
	uint64_t dev_off;
	uint64_t len;
};

/* Everything here is borrowed from the reader and valid during the callback only. */
struct entry {
	const char *path; /* relative and clean: no "", ".", "..", NUL; "" is the root itself */
	enum entry_type type;
	uint32_t mode; /* permission, setuid, setgid and sticky bits: 07777 */
	uint32_t uid, gid;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint64_t size;	      /* of a regular file */
	uint32_t major, minor; /* of a device */
	const char *link;     /* symlink: the target as it stands; hardlink: a clean path; else NULL */
	const struct entry_xattr *xattrs;
	size_t n_xattrs;
	const struct entry_extent *extents; /* sorted, not overlapping */
	size_t n_extents;
};

/* Takes one entry. A negative result ends the reading, which returns it. */
typedef int (*entry_fn)(void *data, const struct entry *entry, struct err *err);

/*
 * Cleans a path from a layer into out: leading "/", "." components, doubled
 * and trailing slashes go away; the root gives "". -EBADMSG for a "..", a NUL,
 * or a path, name or depth past the limits above.
 */
int entry_clean_path(const char *raw, size_t n, char out[static ENTRY_PATH_MAX], struct err *err);

/*
 * What every reader makes sure of before it emits an entry: only a directory
 * may be the root; no component is a whiteout of nothing (".wh.") or of "." or
 * ".."; links have targets within the limits; xattrs and extents are within
 * theirs, extents aligned, in order and inside the file. -EBADMSG, or
 * -EOPNOTSUPP for extents that blocks of ENTRY_ALIGN cannot express: one that
 * starts inside a block, or ends inside one before the end of the file.
 */
int entry_check(const struct entry *entry, struct err *err);

enum { ENTRY_LABEL_MAX = 128 };
/*
 * Bytes from a layer made fit for an error message: cut to the room, and
 * without control characters. Returns out.
 */
char *entry_label(const char *raw, size_t n, char out[static ENTRY_LABEL_MAX]);

/* Appends what base64 text stands for (RFC 4648; padding may be left out). -EBADMSG, -E2BIG, -ENOMEM. */
int entry_base64(const char *text, size_t n, struct buf *to);

/* RFC 3339, as seconds and nanoseconds since 1970. -EBADMSG. */
int entry_time_parse(const char *s, int64_t *ret_sec, uint32_t *ret_nsec);
