/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/le.h"
#include "fetcher/entry.h"
#include "fs/erofs_image.h"

enum {
	MTIME_NSEC_END = 1000000000,
	/* erofs_map() looks at no more indexes in one call; a longer run comes in pieces. */
	MAP_CHUNKS_MAX = 4096,
};

static int erofs_check_features(uint32_t incompat, struct err *err)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{0x02, "compression configurations"},
		{0x10, "tail-packed compression"},
		{0x20, "fragments"},
		{0x40, "long xattr prefixes"},
		{0x80, "48-bit addresses"},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (incompat & names[i].bit)
			return err_say(err, -EOPNOTSUPP, "the EROFS image uses %s", names[i].name);
	if (incompat & ~(uint32_t)EROFS_INCOMPAT_KNOWN)
		return err_say(err, -EOPNOTSUPP, "the EROFS image uses unknown features %#x",
			       incompat & ~(uint32_t)EROFS_INCOMPAT_KNOWN);
	return 0;
}

static int erofs_check_checksum(const struct erofs *image, const uint8_t *sb, struct err *err)
{
	if (!(le32_get(sb + SB_COMPAT_AT) & EROFS_COMPAT_SB_CHKSUM))
		return 0;
	uint64_t n = erofs_block_size(image);
	if (n > EROFS_SUPER_OFFSET)
		n -= EROFS_SUPER_OFFSET;
	if (!erofs_bytes(image, EROFS_SUPER_OFFSET, n))
		return err_say(err, -EBADMSG, "the EROFS image is truncated");
	uint32_t want = le32_get(sb + SB_CHECKSUM_AT);
	uint32_t got = erofs_super_checksum(sb, (size_t)n);
	if (want != got)
		return err_say(err, -EBADMSG, "the EROFS superblock is corrupt: checksum %08x, not %08x",
			       got, want);
	return 0;
}

static int erofs_check_devices(struct erofs *image, const uint8_t *sb, struct err *err)
{
	if (!(le32_get(sb + SB_INCOMPAT_AT) & EROFS_INCOMPAT_DEVICE_TABLE))
		return 0;
	image->n_devices = le16_get(sb + SB_EXTRA_DEVICES_AT);
	image->devices = (uint64_t)le16_get(sb + SB_DEVT_SLOT_AT) * DEVSLOT_SIZE;
	if (!erofs_bytes(image, image->devices, (uint64_t)image->n_devices * DEVSLOT_SIZE))
		return err_say(err, -EBADMSG, "the EROFS device table lies outside of the image");
	/* As the kernel masks device ids: the least 2^k - 1 that holds them all. */
	uint32_t mask = 0;
	while (mask < image->n_devices)
		mask = mask << 1 | 1;
	image->device_mask = (uint16_t)mask;
	return 0;
}

static int erofs_read_super(struct erofs *image, struct err *err)
{
	const uint8_t *sb = erofs_bytes(image, EROFS_SUPER_OFFSET, EROFS_SUPER_SIZE);
	if (!sb)
		return err_say(err, -EBADMSG, "%llu bytes are too few for an EROFS image",
			       (unsigned long long)image->size);
	if (le32_get(sb + SB_MAGIC_AT) != EROFS_MAGIC)
		return err_say(err, -EBADMSG, "not an EROFS image: magic %08x",
			       le32_get(sb + SB_MAGIC_AT));
	image->block_bits = sb[SB_BLKBITS_AT];
	if (image->block_bits < EROFS_BLKBITS_MIN || image->block_bits > EROFS_BLKBITS_MAX)
		return err_say(err, -EBADMSG, "the EROFS image has blocks of 2^%u bytes",
			       image->block_bits);
	int r = erofs_check_checksum(image, sb, err);
	if (r == 0)
		r = erofs_check_features(le32_get(sb + SB_INCOMPAT_AT), err);
	if (r < 0)
		return r;
	if (sb[SB_DIRBLKBITS_AT] != 0)
		return err_say(err, -EOPNOTSUPP, "the EROFS image has directory blocks of their own size");
	if (sb[SB_EXTSLOTS_AT] != 0)
		return err_say(err, -EOPNOTSUPP, "the EROFS superblock is extended");
	if ((uint64_t)le32_get(sb + SB_BLOCKS_AT) << image->block_bits > image->size)
		return err_say(err, -EBADMSG, "the EROFS image is truncated: %llu bytes of %llu",
			       (unsigned long long)image->size,
			       (unsigned long long)le32_get(sb + SB_BLOCKS_AT) << image->block_bits);
	image->root = le16_get(sb + SB_ROOT_NID_AT);
	image->meta = (uint64_t)le32_get(sb + SB_META_BLOCK_AT) << image->block_bits;
	image->xattrs = (uint64_t)le32_get(sb + SB_XATTR_BLOCK_AT) << image->block_bits;
	image->inodes = le64_get(sb + SB_INOS_AT);
	image->build_sec = (int64_t)le64_get(sb + SB_BUILD_TIME_AT);
	image->build_nsec = le32_get(sb + SB_BUILD_NSEC_AT);
	if (image->build_nsec >= MTIME_NSEC_END)
		return err_say(err, -EBADMSG, "the EROFS build time has %u nanoseconds",
			       image->build_nsec);
	r = erofs_check_devices(image, sb, err);
	if (r < 0)
		return r;
	struct erofs_inode root;
	r = erofs_inode(image, image->root, &root);
	if (r < 0 || !S_ISDIR(root.mode))
		return err_say(err, -EBADMSG, "the EROFS image has no root directory");
	return 0;
}

int erofs_open_memory(const void *data, size_t n, struct erofs **ret, struct err *err)
{
	struct erofs *image = calloc(1, sizeof(*image));
	if (!image)
		return err_set(err, -ENOMEM, "open an EROFS image");
	image->data = data;
	image->size = n;
	int r = erofs_read_super(image, err);
	if (r < 0) {
		free(image);
		return r;
	}
	*ret = image;
	return 0;
}

int erofs_open(int fd, struct erofs **ret, struct err *err)
{
	uint64_t size = 0;
	int r = file_size(fd, &size);
	if (r < 0)
		return err_set(err, r, "open an EROFS image");
	if (size < EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE || size > SIZE_MAX)
		return err_say(err, -EBADMSG, "%llu bytes are no size of an EROFS image",
			       (unsigned long long)size);
	void *data = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return err_set(err, -errno, "map an EROFS image");
	struct erofs *image = NULL;
	r = erofs_open_memory(data, (size_t)size, &image, err);
	if (r < 0) {
		(void)munmap(data, (size_t)size);
		return r;
	}
	image->mapped = true;
	*ret = image;
	return 0;
}

void erofs_close(struct erofs *image)
{
	if (!image)
		return;
	if (image->mapped)
		(void)munmap((void *)(uintptr_t)image->data, (size_t)image->size);
	free(image);
}

void erofs_stats(const struct erofs *image, struct erofs_stats *ret)
{
	*ret = (struct erofs_stats){
		.inodes = image->inodes,
		.n_devices = image->n_devices,
		.bytes = image->size,
	};
	memcpy(ret->uuid, image->data + EROFS_SUPER_OFFSET + SB_UUID_AT, sizeof(ret->uuid));
}

uint64_t erofs_root(const struct erofs *image)
{
	return image->root;
}

int erofs_device(const struct erofs *image, uint32_t device, struct erofs_device *ret)
{
	if (device == 0 || device > image->n_devices)
		return -EINVAL;
	const uint8_t *slot = image->data + image->devices + (uint64_t)(device - 1) * DEVSLOT_SIZE;
	memcpy(ret->tag, slot + DEVSLOT_TAG_AT, sizeof(ret->tag));
	ret->size = (uint64_t)le32_get(slot + DEVSLOT_BLOCKS_AT) << image->block_bits;
	return 0;
}

static void inode_read_compact(const struct erofs *image, const uint8_t *p, struct erofs_inode *in)
{
	in->nlink = le16_get(p + COMPACT_NLINK_AT);
	in->size = le32_get(p + COMPACT_SIZE_AT);
	in->uid = le16_get(p + COMPACT_UID_AT);
	in->gid = le16_get(p + COMPACT_GID_AT);
	in->mtime_sec = image->build_sec;
	in->mtime_nsec = image->build_nsec;
}

static void inode_read_extended(const uint8_t *p, struct erofs_inode *in)
{
	in->nlink = le32_get(p + EXTENDED_NLINK_AT);
	in->size = le64_get(p + EXTENDED_SIZE_AT);
	in->uid = le32_get(p + EXTENDED_UID_AT);
	in->gid = le32_get(p + EXTENDED_GID_AT);
	in->mtime_sec = (int64_t)le64_get(p + EXTENDED_MTIME_AT);
	in->mtime_nsec = le32_get(p + EXTENDED_NSEC_AT);
}

/* The field whose meaning depends on the inode's type and layout. */
static int inode_read_union(const struct erofs *image, uint32_t value, struct erofs_inode *in)
{
	switch (in->mode & S_IFMT) {
	case S_IFCHR:
	case S_IFBLK:
		in->major = value >> 8 & DEV_MAJOR_MAX;
		in->minor = (value & 0xff) | (value >> 12 & 0xfff00);
		return 0;
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
		break;
	default:
		return -EBADMSG;
	}
	if (in->layout != EROFS_CHUNK_BASED) {
		in->raw_block = value;
		return 0;
	}
	if (!S_ISREG(in->mode) || value & ~(uint32_t)CHUNK_KNOWN)
		return -EBADMSG;
	in->chunk_bits = (uint8_t)(image->block_bits + (value & CHUNK_BITS_MASK));
	in->chunk_indexes = value & CHUNK_INDEXES;
	return 0;
}

int erofs_inode(const struct erofs *image, uint64_t nid, struct erofs_inode *ret)
{
	if (nid > image->size / INODE_SLOT)
		return -EBADMSG;
	uint64_t at = image->meta + nid * INODE_SLOT;
	const uint8_t *p = erofs_bytes(image, at, INODE_COMPACT_SIZE);
	if (!p)
		return -EBADMSG;
	uint16_t format = le16_get(p + INODE_FORMAT_AT);
	struct erofs_inode in = {
		.nid = nid,
		.mode = le16_get(p + INODE_MODE_AT),
		.xattr_count = le16_get(p + INODE_XATTR_COUNT_AT),
		.layout = format >> INODE_FORMAT_LAYOUT_SHIFT & INODE_FORMAT_LAYOUT_MASK,
		.body = at + INODE_COMPACT_SIZE,
	};
	if (format & ~INODE_FORMAT_KNOWN)
		return -EBADMSG;
	if (in.layout != EROFS_FLAT_PLAIN && in.layout != EROFS_FLAT_INLINE &&
	    in.layout != EROFS_CHUNK_BASED)
		return -EBADMSG;
	if (format & INODE_FORMAT_EXTENDED) {
		p = erofs_bytes(image, at, INODE_EXTENDED_SIZE);
		if (!p)
			return -EBADMSG;
		in.body = at + INODE_EXTENDED_SIZE;
		inode_read_extended(p, &in);
	} else {
		inode_read_compact(image, p, &in);
	}
	if (in.size > INT64_MAX || in.mtime_nsec >= MTIME_NSEC_END)
		return -EBADMSG;
	if (!erofs_bytes(image, in.body, erofs_xattr_area(in.xattr_count)))
		return -EBADMSG;
	int r = inode_read_union(image, le32_get(p + INODE_UNION_AT), &in);
	if (r < 0)
		return r;
	*ret = in;
	return 0;
}

const uint8_t *erofs_flat_data(const struct erofs *image, const struct erofs_inode *inode,
			       uint64_t off, uint64_t *ret_len)
{
	uint64_t block = erofs_block_size(image);
	uint64_t whole = inode->size;
	if (inode->layout == EROFS_FLAT_INLINE)
		whole &= ~(block - 1);
	else if (inode->layout != EROFS_FLAT_PLAIN)
		return NULL;

	uint64_t at, len;
	if (off < whole) {
		len = whole - off;
		at = ((uint64_t)inode->raw_block << image->block_bits) + off;
	} else {
		len = inode->size - off;
		at = inode->body + erofs_xattr_area(inode->xattr_count);
		/* The kernel refuses a tail that crosses a block, so nobody may write one. */
		if ((at & (block - 1)) + (inode->size - whole) > block)
			return NULL;
		at += off - whole;
	}
	const uint8_t *p = erofs_bytes(image, at, len);
	if (p)
		*ret_len = len;
	return p;
}

ssize_t erofs_readlink(const struct erofs *image, const struct erofs_inode *inode,
		       const char **ret)
{
	if (!S_ISLNK(inode->mode))
		return -EINVAL;
	uint64_t len = 0;
	if (inode->size == 0 || inode->size >= ENTRY_PATH_MAX)
		return -EBADMSG;
	const uint8_t *p = erofs_flat_data(image, inode, 0, &len);
	/* A tail apart from its whole blocks would not be one run. */
	if (!p || len != inode->size || memchr(p, '\0', (size_t)len))
		return -EBADMSG;
	*ret = (const char *)p;
	return (ssize_t)len;
}

/* One chunk's place. */
struct chunk {
	bool hole;
	uint32_t device;
	uint32_t block;
};

static int chunk_at(const struct erofs *image, const struct erofs_inode *inode, uint64_t n,
		    struct chunk *ret)
{
	uint64_t unit = inode->chunk_indexes ? CHUNK_INDEX_SIZE : CHUNK_BLOCK_SIZE;
	uint64_t base = u64_align(inode->body + erofs_xattr_area(inode->xattr_count), unit);
	if (n > image->size / unit)
		return -EBADMSG;
	const uint8_t *p = erofs_bytes(image, base + n * unit, unit);
	if (!p)
		return -EBADMSG;
	struct chunk c = {.block = le32_get(p)};
	if (inode->chunk_indexes) {
		c.device = le16_get(p + CHUNK_DEVICE_AT) & image->device_mask;
		c.block = le32_get(p + CHUNK_BLOCK_AT);
	}
	c.hole = c.block == EROFS_NULL_BLOCK;
	if (c.hole)
		c.device = 0;
	else if (c.device > image->n_devices)
		return -EBADMSG;
	*ret = c;
	return 0;
}

static int erofs_map_flat(const struct erofs *image, const struct erofs_inode *inode, uint64_t off,
			  struct erofs_extent *ret)
{
	uint64_t len = 0;
	const uint8_t *p = erofs_flat_data(image, inode, off, &len);
	if (!p)
		return -EBADMSG;
	*ret = (struct erofs_extent){
		.off = off,
		.len = len,
		.dev_off = (uint64_t)(p - image->data),
		.inlined = p,
	};
	return 0;
}

/* Whether the run lies within its device, and where it is when that is the image itself. */
static int erofs_check_extent(const struct erofs *image, struct erofs_extent *extent)
{
	if (extent->hole)
		return 0;
	if (extent->device == 0) {
		extent->inlined = erofs_bytes(image, extent->dev_off, extent->len);
		return extent->inlined ? 0 : -EBADMSG;
	}
	struct erofs_device device;
	int r = erofs_device(image, extent->device, &device);
	if (r < 0 || !range_within(extent->dev_off, extent->len, device.size))
		return -EBADMSG;
	return 0;
}

int erofs_map(const struct erofs *image, const struct erofs_inode *inode, uint64_t off,
	      struct erofs_extent *ret)
{
	if (!S_ISREG(inode->mode) || off >= inode->size)
		return -EINVAL;
	if (inode->layout != EROFS_CHUNK_BASED)
		return erofs_map_flat(image, inode, off, ret);

	uint64_t n = off >> inode->chunk_bits;
	uint64_t end = ((inode->size - 1) >> inode->chunk_bits) + 1;
	uint64_t blocks = UINT64_C(1) << (inode->chunk_bits - image->block_bits);
	struct chunk first;
	int r = chunk_at(image, inode, n, &first);
	if (r < 0)
		return r;
	end = u64_min(end, n + MAP_CHUNKS_MAX);
	uint64_t next = n + 1;
	for (; next < end; next++) {
		struct chunk c;
		r = chunk_at(image, inode, next, &c);
		if (r < 0)
			return r;
		if (c.hole != first.hole || c.device != first.device)
			break;
		if (!c.hole && c.block != first.block + (next - n) * blocks)
			break;
	}
	struct erofs_extent extent = {
		.off = n << inode->chunk_bits,
		.device = first.device,
		.hole = first.hole,
		.dev_off = first.hole ? 0 : (uint64_t)first.block << image->block_bits,
	};
	uint64_t stop = next << inode->chunk_bits;
	extent.len = u64_min(stop, inode->size) - extent.off;
	r = erofs_check_extent(image, &extent);
	if (r < 0)
		return r;
	*ret = extent;
	return 0;
}
