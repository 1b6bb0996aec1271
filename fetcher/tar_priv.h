/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the tar reader share: see tar.h. */

#include <stdbool.h>

#include "base/buf.h"
#include "fetcher/tar.h"

/* Far above any file, far below what could overflow an offset. */
#define TAR_SIZE_MAX (UINT64_C(1) << 60)

enum tar_magic { TAR_V7, TAR_USTAR, TAR_GNU };

/* A header block, decoded. Strings are borrowed from the block and not terminated. */
struct tar_header {
	enum tar_magic magic;
	char type;
	uint32_t mode, uid, gid, major, minor;
	uint64_t size;
	int64_t mtime;
	const char *name, *link, *prefix;
	size_t name_len, link_len, prefix_len;
};

/*
 * A number of n bytes: octal text, or base-256 when the top bit is set; blank is 0.
 * -EBADMSG, -ERANGE.
 */
int tar_number(const uint8_t *field, size_t n, int64_t *ret);

/* A number that is not negative and at most max; what names it in the error. -EBADMSG. */
int tar_field(const uint8_t *field, size_t n, uint64_t max, const char *what, uint64_t *ret,
	      struct err *err);

/* -EBADMSG with the field that is wrong, the checksum first of all. */
int tar_header_parse(const uint8_t block[static TAR_BLOCK], struct tar_header *ret,
		     struct err *err);

/* The pieces of a sparse file while they are being read. */
struct tar_sparse {
	struct entry_extent *items; /* owned; dev_off is relative to the first data byte */
	size_t n, room;
	uint64_t stored;	    /* sum of the lengths */
	/* Of a 1.0 map, which is text at the head of the content. */
	uint64_t number, numbers_left, off;
	unsigned int digits;
	bool counted; /* the first number, the count of pieces, was read */
};

void tar_sparse_reset(struct tar_sparse *sparse);
void tar_sparse_finish(struct tar_sparse *sparse);

/* Adds a piece; pieces of length 0 only mark the end and are left out. -EBADMSG, -ENOMEM. */
int tar_sparse_add(struct tar_sparse *sparse, uint64_t off, uint64_t len, struct err *err);

/* Adds up to n pieces of an old GNU header or of its extension block. -EBADMSG, -ENOMEM. */
int tar_sparse_add_old(struct tar_sparse *sparse, const uint8_t *slots, size_t n,
		       struct err *err);

/* Adds "off,len,off,len…", GNU.sparse.map of format 0.1. -EBADMSG, -ENOMEM. */
int tar_sparse_add_map(struct tar_sparse *sparse, const char *text, size_t n, struct err *err);

/* Takes a block of a 1.0 map: 1 when the map ends in it, 0 when more follows. -EBADMSG, -ENOMEM. */
int tar_sparse_add_block(struct tar_sparse *sparse, const uint8_t block[static TAR_BLOCK],
			 struct err *err);

/* What extended headers have said of the next entry. */
enum {
	PAX_PATH = 1 << 0,
	PAX_LINK = 1 << 1,
	PAX_SIZE = 1 << 2,
	PAX_UID = 1 << 3,
	PAX_GID = 1 << 4,
	PAX_MTIME = 1 << 5,
	PAX_SPARSE_NAME = 1 << 6,
	PAX_SPARSE_SIZE = 1 << 7,
	PAX_SPARSE_COUNT = 1 << 8,
	PAX_SPARSE_MAP = 1 << 9,
	PAX_SPARSE_MAJOR = 1 << 10,
	PAX_SPARSE_MINOR = 1 << 11,
	PAX_SPARSE_OFFSET = 1 << 12, /* an offset waits for its length (0.0) */
	PAX_SPARSE_ANY = PAX_SPARSE_NAME | PAX_SPARSE_SIZE | PAX_SPARSE_COUNT | PAX_SPARSE_MAP |
			 PAX_SPARSE_MAJOR | PAX_SPARSE_MINOR | PAX_SPARSE_OFFSET,
	PAX_GLOBAL = PAX_UID | PAX_GID | PAX_MTIME,
};

struct tar_xattr {
	size_t name, value, len; /* places in tar_pax.xattr_bytes; the name ends with a NUL */
};

struct tar_pax {
	unsigned int has; /* PAX_ bits of what is set */
	uint32_t uid, gid;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint64_t size;
	struct buf path, link, sparse_name;
	uint64_t sparse_size, sparse_count, sparse_major, sparse_minor, sparse_offset;
	struct tar_sparse sparse;
	struct tar_xattr *xattrs; /* owned */
	size_t n_xattrs, xattrs_room;
	struct buf xattr_bytes;
};

void tar_pax_init(struct tar_pax *pax);
void tar_pax_finish(struct tar_pax *pax);

/* Forgets everything but the allocations, then takes the values that g headers set. */
void tar_pax_reset(struct tar_pax *pax, const struct tar_pax *global);

/* Takes the records of an extended header. global: it is of type g. -EBADMSG, -ENOMEM. */
int tar_pax_parse(struct tar_pax *pax, const char *data, size_t n, bool global,
		  struct err *err);
