/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reads an EROFS image (Linux fs/erofs, erofs_fs.h): uncompressed, flat-plain,
 * flat-inline and chunk-based inodes, external devices. The image is mapped;
 * an inode number (nid) is its place in it, so nothing is cached and nothing
 * is looked up. An image is immutable and may be read by any thread.
 *
 * The bytes are not trusted: every offset is checked before it is used, and a
 * broken image gives -EBADMSG (EUCLEAN in the kernel's words), never a fault.
 * The file is opened from a private store and never truncated while mapped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"

struct erofs;

/* Maps the image in an open file (fd is borrowed). -EBADMSG, -EOPNOTSUPP with the feature's name. */
int erofs_open(int fd, struct erofs **ret, struct err *err);
/* The same over bytes in memory, borrowed until the close. */
int erofs_open_memory(const void *data, size_t n, struct erofs **ret, struct err *err);
void erofs_close(struct erofs *image);
DEFINE_CLEANUP(erofs, erofs_close);

/*
 * Reads the whole file and compares it with the SHA-256 that its UUID is made of: fs/README.md.
 * -EBADMSG, also for what erofs_open() refuses. An image with another kind of UUID is not ours, and
 * right as far as its superblock goes.
 */
int erofs_verify(int fd, struct err *err);

struct erofs_stats {
	uint64_t inodes;
	uint32_t n_devices; /* device 1 … n_devices; 0 is the image itself */
	uint8_t uuid[16];
	uint64_t bytes;	    /* of the image */
};
void erofs_stats(const struct erofs *image, struct erofs_stats *ret);

/* An inode, decoded. Plain values; may be copied. */
struct erofs_inode {
	uint64_t nid;
	uint32_t mode; /* type and permissions, as st_mode */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t size;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t major, minor; /* of a device */
	/* The reader's own. */
	uint8_t layout;
	uint8_t chunk_bits;
	bool chunk_indexes;
	uint32_t raw_block;
	uint16_t xattr_count;
	uint64_t body; /* offset in the image of what follows the inode */
};

/* A slot of the device table. */
struct erofs_device {
	char tag[64];  /* NUL-padded, not terminated when full */
	uint64_t size; /* in bytes, rounded up to a block */
};
/* Device 1 … n_devices; -EINVAL for another. */
int erofs_device(const struct erofs *image, uint32_t device, struct erofs_device *ret);

uint64_t erofs_root(const struct erofs *image);
/* -EBADMSG when nid is not an inode, or one of a kind that we do not read (compressed). */
int erofs_inode(const struct erofs *image, uint64_t nid, struct erofs_inode *ret);

/* The entry `name` (n bytes) of a directory: its nid, by binary search. -ENOENT, -ENOTDIR. */
int erofs_lookup(const struct erofs *image, const struct erofs_inode *dir, const char *name,
		 size_t n, uint64_t *ret_nid);

/* A directory entry. The name is borrowed from the image and not terminated. */
struct erofs_dirent {
	const char *name;
	size_t name_len;
	uint64_t nid;
	uint8_t type;	 /* DT_* of dirent.h */
	uint64_t cookie; /* where to go on after this entry */
};

/*
 * The entry at a cookie (0: the first, "." and ".." included): 1, or 0 at the
 * end. Cookies stay valid for ever: they are positions in the image.
 */
int erofs_readdir(const struct erofs *image, const struct erofs_inode *dir, uint64_t cookie,
		  struct erofs_dirent *ret);

/* The symlink target: its length; borrowed from the image, not terminated. -EINVAL: no symlink. */
ssize_t erofs_readlink(const struct erofs *image, const struct erofs_inode *inode,
		       const char **ret);

/* Where a run of a file's bytes is. */
struct erofs_extent {
	uint64_t off, len;   /* of the file; neighbouring chunks that are contiguous are one run */
	uint32_t device;     /* 0: in the image; else external */
	bool hole;	     /* zeros; device and dev_off mean nothing */
	uint64_t dev_off;
	const void *inlined; /* device 0: the bytes, borrowed; else NULL */
};

/*
 * The run that holds byte off of a regular file, from the start of off's chunk on. A run of very
 * many chunks comes in pieces. -EINVAL: no regular file, or off is not below its size. -EBADMSG.
 */
int erofs_map(const struct erofs *image, const struct erofs_inode *inode, uint64_t off,
	      struct erofs_extent *ret);

/* The value of an xattr, borrowed: its length. -ENODATA. */
ssize_t erofs_getxattr(const struct erofs *image, const struct erofs_inode *inode,
		       const char *name, const void **ret);

/* Calls fn for each xattr with its full name; a negative result ends and is returned. */
typedef int (*erofs_xattr_fn)(void *data, const char *name, const void *value, size_t len);
int erofs_listxattr(const struct erofs *image, const struct erofs_inode *inode,
		    erofs_xattr_fn fn, void *data);
