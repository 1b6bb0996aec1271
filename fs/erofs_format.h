/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The EROFS on-disk format as far as we read and write it, after Linux
 * fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. Everything is
 * little-endian; a name below that ends in _AT is a byte offset in its
 * structure, for the accessors of base/le.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/num.h"

/* The superblock. */
enum {
	EROFS_SUPER_OFFSET = 1024,
	EROFS_SUPER_SIZE = 128,
	EROFS_BLKBITS_MIN = 9,
	EROFS_BLKBITS_MAX = 16,

	SB_MAGIC_AT = 0,
	SB_CHECKSUM_AT = 4,
	SB_COMPAT_AT = 8,
	SB_BLKBITS_AT = 12,
	SB_EXTSLOTS_AT = 13,
	SB_ROOT_NID_AT = 14,
	SB_INOS_AT = 16,
	SB_BUILD_TIME_AT = 24,
	SB_BUILD_NSEC_AT = 32,
	SB_BLOCKS_AT = 36,
	SB_META_BLOCK_AT = 40,
	SB_XATTR_BLOCK_AT = 44,
	SB_UUID_AT = 48,
	SB_INCOMPAT_AT = 80,
	SB_EXTRA_DEVICES_AT = 86,
	SB_DEVT_SLOT_AT = 88,
	SB_DIRBLKBITS_AT = 90,
	SB_XATTR_PREFIXES_AT = 91,
};
#define EROFS_MAGIC UINT32_C(0xe0f5e1e2)

enum { EROFS_UUID_SIZE = 16, EROFS_UUID_VERSION = 8 /* RFC 9562: of our own making */ };

enum {
	EROFS_COMPAT_SB_CHKSUM = 0x1,
	EROFS_COMPAT_MTIME = 0x2,

	EROFS_INCOMPAT_ZERO_PADDING = 0x1, /* says something of compressed inodes only */
	EROFS_INCOMPAT_CHUNKED_FILE = 0x4,
	EROFS_INCOMPAT_DEVICE_TABLE = 0x8,
	EROFS_INCOMPAT_KNOWN = 0xd,
};

/* A slot of the device table. */
enum {
	DEVSLOT_SIZE = 128,
	DEVSLOT_TAG_AT = 0,
	DEVSLOT_TAG_SIZE = 64,
	DEVSLOT_BLOCKS_AT = 64,
};

/* Inodes: a nid counts slots of 32 bytes from the metadata's first block. */
enum {
	INODE_SLOT = 32,
	INODE_COMPACT_SIZE = 32,
	INODE_EXTENDED_SIZE = 64,

	INODE_FORMAT_AT = 0,
	INODE_XATTR_COUNT_AT = 2,
	INODE_MODE_AT = 4,
	INODE_UNION_AT = 16, /* raw block, device number or chunk format */
	INODE_INO_AT = 20,

	COMPACT_NLINK_AT = 6,
	COMPACT_SIZE_AT = 8,
	COMPACT_UID_AT = 24,
	COMPACT_GID_AT = 26,

	EXTENDED_SIZE_AT = 8,
	EXTENDED_UID_AT = 24,
	EXTENDED_GID_AT = 28,
	EXTENDED_MTIME_AT = 32,
	EXTENDED_NSEC_AT = 40,
	EXTENDED_NLINK_AT = 44,

	INODE_FORMAT_EXTENDED = 0x1,
	INODE_FORMAT_LAYOUT_SHIFT = 1,
	INODE_FORMAT_LAYOUT_MASK = 0x7,
	INODE_FORMAT_KNOWN = 0xf,
};

enum erofs_layout {
	EROFS_FLAT_PLAIN = 0,
	EROFS_FLAT_INLINE = 2, /* the last, partial block follows the inode and its xattrs */
	EROFS_CHUNK_BASED = 4,
};

/* Chunk-based inodes: an array of indexes follows, aligned to its item's size. */
enum {
	CHUNK_BITS_MASK = 0x1f, /* log2 of the blocks of a chunk */
	CHUNK_INDEXES = 0x20,	/* items of 8 bytes with a device; else 4-byte block numbers */
	CHUNK_KNOWN = 0x3f,
	CHUNK_BITS_MAX = 31,
	CHUNK_INDEX_SIZE = 8,
	CHUNK_DEVICE_AT = 2,
	CHUNK_BLOCK_AT = 4,
	CHUNK_BLOCK_SIZE = 4,
};
#define EROFS_NULL_BLOCK UINT32_C(0xffffffff)

/* A directory block: entries, then their names; the first entry's name offset tells their count. */
enum {
	DIRENT_SIZE = 12,
	DIRENT_NID_AT = 0,
	DIRENT_NAMEOFF_AT = 8,
	DIRENT_TYPE_AT = 10,
	EROFS_NAME_MAX = 255,
};

enum erofs_file_type {
	EROFS_FT_UNKNOWN,
	EROFS_FT_REG,
	EROFS_FT_DIR,
	EROFS_FT_CHAR,
	EROFS_FT_BLOCK,
	EROFS_FT_FIFO,
	EROFS_FT_SOCKET,
	EROFS_FT_SYMLINK,
};

/* Xattrs: a header, ids of shared entries, inline entries; each entry is aligned to 4. */
enum {
	XATTR_HEADER_SIZE = 12,
	XATTR_SHARED_COUNT_AT = 4,
	XATTR_SHARED_MAX = 255,
	XATTR_UNIT = 4,

	XATTR_ENTRY_SIZE = 4,
	XATTR_NAME_LEN_AT = 0,
	XATTR_PREFIX_AT = 1,
	XATTR_VALUE_LEN_AT = 2,
};

/* What an xattr's name begins with, by index; the entry holds the rest. */
struct erofs_prefix {
	uint8_t index;
	const char *text;
};
enum { EROFS_PREFIXES = 5, EROFS_PREFIX_TEXT_MAX = 32 };
extern const struct erofs_prefix erofs_prefixes[EROFS_PREFIXES];

/* The prefix of a full name and what follows it; NULL when the format cannot say the name. */
const struct erofs_prefix *erofs_prefix_of(const char *name, const char **ret_rest);

/* Bytes of the inline xattr area of an inode with this count field. */
static inline uint32_t erofs_xattr_area(uint16_t count)
{
	return count == 0 ? 0 : XATTR_HEADER_SIZE + XATTR_UNIT * (count - UINT32_C(1));
}

/* Bytes of an xattr entry with its padding. */
static inline uint32_t erofs_xattr_entry_size(uint32_t name_len, uint32_t value_len)
{
	return (uint32_t)u64_align(XATTR_ENTRY_SIZE + name_len + value_len, XATTR_UNIT);
}

/* The checksum of the superblock's block, its checksum field taken as 0. */
uint32_t erofs_super_checksum(const uint8_t *super, size_t n);

/* The UUID of an image whose bytes, without checksum and UUID, have this SHA-256. 16 bytes. */
void erofs_uuid(const struct digest *digest, uint8_t *ret);

/* Device numbers as in new_encode_dev() of Linux: 12 bits of major, 20 of minor. */
enum { DEV_MAJOR_MAX = 0xfff, DEV_MINOR_MAX = 0xfffff };
static inline uint32_t erofs_dev_encode(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~UINT32_C(0xff)) << 12;
}
