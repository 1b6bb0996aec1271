/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/le.h"
#include "fs/tree_plan.h"

enum { OUT_BUFFER = 64 * 1024 };

/* Bytes on their way to the file, in order; the first failure stays. */
struct out {
	int fd;
	int r;
	uint64_t pos;		   /* of the next byte */
	struct digest_ctx *digest; /* of everything but the superblock's late fields */
	size_t n;
	uint8_t buf[OUT_BUFFER];
};

static void out_flush(struct out *out)
{
	if (out->r == 0)
		out->r = digest_ctx_update(out->digest, out->buf, out->n);
	if (out->r == 0)
		out->r = file_write(out->fd, out->buf, out->n);
	out->n = 0;
}

static void out_put(struct out *out, const void *data, size_t n)
{
	const uint8_t *p = data;
	out->pos += n;
	while (n > 0) {
		if (out->n == sizeof(out->buf))
			out_flush(out);
		size_t part = (size_t)u64_min(n, sizeof(out->buf) - out->n);
		memcpy(out->buf + out->n, p, part);
		out->n += part;
		p += part;
		n -= part;
	}
}

/* Zeros up to pos. */
static void out_pad(struct out *out, uint64_t pos)
{
	static const uint8_t zeros[TREE_BLOCK];
	while (out->pos < pos)
		out_put(out, zeros, (size_t)u64_min(pos - out->pos, sizeof(zeros)));
}

/* The superblock and the device table, as they stand in the file from byte 1024 on. */
static void make_super(const struct plan *p, uint8_t *sb)
{
	uint64_t end = p->data_at + ((uint64_t)p->n_data_blocks << TREE_BLOCK_BITS);
	le32_put(sb + SB_MAGIC_AT, EROFS_MAGIC);
	le32_put(sb + SB_COMPAT_AT, EROFS_COMPAT_SB_CHKSUM | EROFS_COMPAT_MTIME);
	sb[SB_BLKBITS_AT] = TREE_BLOCK_BITS;
	le16_put(sb + SB_ROOT_NID_AT, (uint16_t)p->tree->root->inode->nid);
	le64_put(sb + SB_INOS_AT, p->n_order);
	le64_put(sb + SB_BUILD_TIME_AT, (uint64_t)p->build_sec);
	le32_put(sb + SB_BUILD_NSEC_AT, p->build_nsec);
	le32_put(sb + SB_BLOCKS_AT, (uint32_t)(end >> TREE_BLOCK_BITS));
	le32_put(sb + SB_XATTR_BLOCK_AT, (uint32_t)(p->xattrs_at >> TREE_BLOCK_BITS));
	uint32_t incompat = EROFS_INCOMPAT_CHUNKED_FILE;
	if (p->n_devices > 0) {
		incompat |= EROFS_INCOMPAT_DEVICE_TABLE;
		le16_put(sb + SB_EXTRA_DEVICES_AT, (uint16_t)p->n_devices);
		le16_put(sb + SB_DEVT_SLOT_AT,
			 (EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE) / DEVSLOT_SIZE);
	}
	le32_put(sb + SB_INCOMPAT_AT, incompat);
	for (uint32_t i = 0; i < p->n_devices; i++) {
		const struct tree_device *d = &p->devices[i];
		uint8_t *slot = sb + EROFS_SUPER_SIZE + (size_t)i * DEVSLOT_SIZE;
		memcpy(slot + DEVSLOT_TAG_AT, d->tag, DEVSLOT_TAG_SIZE);
		le32_put(slot + DEVSLOT_BLOCKS_AT,
			 (uint32_t)((d->size + TREE_BLOCK - 1) >> TREE_BLOCK_BITS));
	}
}

static void emit_xattr(struct out *out, const struct xattr *x)
{
	size_t prefix = strlen(x->prefix->text);
	size_t rest = strlen(x->name) - prefix;
	uint8_t entry[XATTR_ENTRY_SIZE] = {0};
	entry[XATTR_NAME_LEN_AT] = (uint8_t)rest;
	entry[XATTR_PREFIX_AT] = x->prefix->index;
	le16_put(entry + XATTR_VALUE_LEN_AT, (uint16_t)x->value_len);
	out_put(out, entry, sizeof(entry));
	out_put(out, x->name + prefix, rest);
	out_put(out, x->value, x->value_len);
	out_pad(out, u64_align(out->pos, XATTR_UNIT));
}

/* Shared ids come first, then the entries that only this inode has. */
static void emit_xattr_set(struct out *out, const struct xattr_set *set)
{
	if (!set)
		return;
	uint8_t header[XATTR_HEADER_SIZE] = {0};
	header[XATTR_SHARED_COUNT_AT] = (uint8_t)plan_xattrs(set).n_shared;
	out_put(out, header, sizeof(header));
	uint32_t n_shared = 0;
	for (uint32_t i = 0; i < set->n; i++) {
		if (!xattr_is_shared(set->items[i], n_shared))
			continue;
		uint8_t id[XATTR_UNIT];
		le32_put(id, set->items[i]->shared_id);
		out_put(out, id, sizeof(id));
		n_shared++;
	}
	n_shared = 0;
	for (uint32_t i = 0; i < set->n; i++) {
		if (xattr_is_shared(set->items[i], n_shared))
			n_shared++;
		else
			emit_xattr(out, set->items[i]);
	}
}

static void emit_chunks(struct out *out, const struct tree_inode *inode)
{
	uint32_t bits = plan_chunk_bits(inode);
	uint64_t chunks = plan_chunks(inode, bits);
	uint32_t at = 0;
	for (uint64_t c = 0; c < chunks; c++) {
		uint64_t block = c << bits;
		const struct tree_extent *e = NULL;
		while (at < inode->file.n_extents) {
			e = &inode->file.extents[at];
			if (block < (uint64_t)e->file_block + e->n_blocks)
				break;
			at++;
			e = NULL;
		}
		uint8_t index[CHUNK_INDEX_SIZE] = {0};
		if (e && block >= e->file_block) {
			le16_put(index + CHUNK_DEVICE_AT, (uint16_t)inode->file.device);
			le32_put(index + CHUNK_BLOCK_AT,
				 e->dev_block + (uint32_t)(block - e->file_block));
		} else {
			le32_put(index + CHUNK_BLOCK_AT, EROFS_NULL_BLOCK);
		}
		out_put(out, index, sizeof(index));
	}
}

static uint8_t file_type(const struct tree_inode *inode)
{
	switch (inode->mode & S_IFMT) {
	case S_IFREG:
		return EROFS_FT_REG;
	case S_IFDIR:
		return EROFS_FT_DIR;
	case S_IFCHR:
		return EROFS_FT_CHAR;
	case S_IFBLK:
		return EROFS_FT_BLOCK;
	case S_IFIFO:
		return EROFS_FT_FIFO;
	case S_IFSOCK:
		return EROFS_FT_SOCKET;
	default:
		return EROFS_FT_SYMLINK;
	}
}

/* The next block of a directory: its entries, then their names. The bytes in use. */
static size_t make_dir_block(struct dir_iter *it, uint8_t block[static TREE_BLOCK])
{
	struct dir_iter ahead = *it;
	struct dir_item item;
	size_t size = 0;
	uint32_t count = 0;
	while (dir_iter_next(&ahead, &item) && size + DIRENT_SIZE + item.len <= TREE_BLOCK) {
		size += DIRENT_SIZE + item.len;
		count++;
	}
	memset(block, 0, TREE_BLOCK);
	size_t name_at = (size_t)count * DIRENT_SIZE;
	for (uint32_t i = 0; i < count; i++) {
		(void)dir_iter_next(it, &item);
		uint8_t *entry = block + (size_t)i * DIRENT_SIZE;
		le64_put(entry + DIRENT_NID_AT, item.inode->nid);
		le16_put(entry + DIRENT_NAMEOFF_AT, (uint16_t)name_at);
		entry[DIRENT_TYPE_AT] = file_type(item.inode);
		memcpy(block + name_at, item.name, item.len);
		name_at += item.len;
	}
	return size;
}

/* A directory's whole blocks, or only its tail. */
static void emit_dir(struct out *out, const struct tree_node *dir, bool tail)
{
	const struct tree_inode *inode = dir->inode;
	uint64_t blocks = (inode->size + TREE_BLOCK - 1) / TREE_BLOCK;
	struct dir_iter it;
	uint8_t block[TREE_BLOCK];
	dir_iter_start(&it, dir);
	for (uint64_t i = 0; i < blocks; i++) {
		size_t used = make_dir_block(&it, block);
		bool is_tail = inode->tail && i + 1 == blocks;
		if (is_tail && tail)
			out_put(out, block, used);
		else if (!is_tail && !tail)
			out_put(out, block, sizeof(block));
	}
}

static void emit_body(struct out *out, const struct tree_node *node)
{
	const struct tree_inode *inode = node->inode;
	if (plan_is_chunked(inode)) {
		out_pad(out, u64_align(out->pos, CHUNK_INDEX_SIZE));
		emit_chunks(out, inode);
	} else if (S_ISDIR(inode->mode) && inode->tail) {
		emit_dir(out, node, true);
	} else if (S_ISLNK(inode->mode) && inode->tail) {
		out_put(out, inode->target, (size_t)inode->size);
	}
}

static uint32_t inode_union(const struct plan *p, const struct tree_inode *inode)
{
	switch (inode->mode & S_IFMT) {
	case S_IFCHR:
	case S_IFBLK:
		return inode->rdev;
	case S_IFREG:
		return inode->size > 0 ? CHUNK_INDEXES | plan_chunk_bits(inode) : 0;
	case S_IFDIR:
	case S_IFLNK:
		return (uint32_t)(p->data_at >> TREE_BLOCK_BITS) + inode->data_block;
	default:
		return 0;
	}
}

static void emit_inode(const struct plan *p, struct out *out, uint32_t i)
{
	const struct tree_inode *inode = p->order[i]->inode;
	enum erofs_layout layout = EROFS_FLAT_PLAIN;
	if (plan_is_chunked(inode))
		layout = EROFS_CHUNK_BASED;
	else if ((S_ISDIR(inode->mode) || S_ISLNK(inode->mode)) && inode->tail)
		layout = EROFS_FLAT_INLINE;
	uint32_t area = plan_xattrs(inode->xattrs).area;
	uint32_t count = area ? (area - XATTR_HEADER_SIZE) / XATTR_UNIT + 1 : 0;
	uint64_t size = S_ISREG(inode->mode) || S_ISDIR(inode->mode) || S_ISLNK(inode->mode)
				? inode->size
				: 0;
	uint32_t nlink = S_ISDIR(inode->mode) ? inode->dir.n_dirs + 2 : inode->nlink;

	uint8_t raw[INODE_EXTENDED_SIZE] = {0};
	le16_put(raw + INODE_FORMAT_AT, (uint16_t)(layout << INODE_FORMAT_LAYOUT_SHIFT |
						   (inode->extended ? INODE_FORMAT_EXTENDED : 0)));
	le16_put(raw + INODE_XATTR_COUNT_AT, (uint16_t)count);
	le16_put(raw + INODE_MODE_AT, inode->mode);
	le32_put(raw + INODE_UNION_AT, inode_union(p, inode));
	le32_put(raw + INODE_INO_AT, i + 1);
	if (inode->extended) {
		le64_put(raw + EXTENDED_SIZE_AT, size);
		le32_put(raw + EXTENDED_UID_AT, inode->uid);
		le32_put(raw + EXTENDED_GID_AT, inode->gid);
		le64_put(raw + EXTENDED_MTIME_AT, (uint64_t)inode->mtime_sec);
		le32_put(raw + EXTENDED_NSEC_AT, inode->mtime_nsec);
		le32_put(raw + EXTENDED_NLINK_AT, nlink);
	} else {
		le16_put(raw + COMPACT_NLINK_AT, (uint16_t)nlink);
		le32_put(raw + COMPACT_SIZE_AT, (uint32_t)size);
		le16_put(raw + COMPACT_UID_AT, (uint16_t)inode->uid);
		le16_put(raw + COMPACT_GID_AT, (uint16_t)inode->gid);
	}
	out_pad(out, (uint64_t)inode->nid * INODE_SLOT);
	out_put(out, raw, inode->extended ? INODE_EXTENDED_SIZE : INODE_COMPACT_SIZE);
	emit_xattr_set(out, inode->xattrs);
	emit_body(out, p->order[i]);
}

/* Shared xattrs were numbered in the order of their first use. */
static void emit_shared_xattrs(const struct plan *p, struct out *out)
{
	out_pad(out, p->xattrs_at);
	for (uint32_t i = 0; i < p->n_order; i++) {
		const struct xattr_set *set = p->order[i]->inode->xattrs;
		for (uint32_t k = 0; set && k < set->n; k++) {
			const struct xattr *x = set->items[k];
			uint64_t at = p->xattrs_at + (uint64_t)x->shared_id * XATTR_UNIT;
			if (x->uses > 1 && at == out->pos)
				emit_xattr(out, x);
		}
	}
}

static void emit_data(const struct plan *p, struct out *out)
{
	out_pad(out, p->data_at);
	for (uint32_t i = 0; i < p->n_order; i++) {
		const struct tree_inode *inode = p->order[i]->inode;
		if (S_ISDIR(inode->mode)) {
			emit_dir(out, p->order[i], false);
		} else if (S_ISLNK(inode->mode) && !inode->tail) {
			out_put(out, inode->target, (size_t)inode->size);
			out_pad(out, u64_align(out->pos, TREE_BLOCK));
		}
	}
}

/* The identity of an image is what it holds. */
static int finish_super(struct out *out, uint8_t *head)
{
	struct digest digest;
	int r = digest_ctx_final(out->digest, &digest);
	if (r < 0)
		return r;
	uint8_t *sb = head + EROFS_SUPER_OFFSET;
	erofs_uuid(&digest, sb + SB_UUID_AT);
	le32_put(sb + SB_CHECKSUM_AT, erofs_super_checksum(sb, TREE_BLOCK));
	return file_pwrite(out->fd, sb, EROFS_SUPER_SIZE, EROFS_SUPER_OFFSET);
}

int plan_emit(const struct plan *plan, int fd, struct err *err)
{
	AUTO_FREE struct out *out = calloc(1, sizeof(*out));
	AUTO_FREE uint8_t *head = calloc(1, (size_t)plan->inodes_at);
	AUTO(digest_ctx) struct digest_ctx *digest = NULL;
	if (!out || !head)
		return err_set(err, -ENOMEM, "write an EROFS image");
	int r = digest_ctx_create(DIGEST_SHA256, &digest);
	if (r < 0)
		return err_set(err, r, "write an EROFS image");
	out->fd = fd;
	out->digest = digest;
	make_super(plan, head + EROFS_SUPER_OFFSET);
	out_put(out, head, (size_t)plan->inodes_at);
	for (uint32_t i = 0; i < plan->n_order && out->r == 0; i++)
		emit_inode(plan, out, i);
	emit_shared_xattrs(plan, out);
	emit_data(plan, out);
	out_flush(out);
	r = out->r;
	if (r == 0)
		r = finish_super(out, head);
	return r < 0 ? err_set(err, r, "write an EROFS image") : 0;
}
