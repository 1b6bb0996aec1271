/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/tree_plan.h"

enum { SLOT_TRIES = TREE_BLOCK / INODE_SLOT };

static int child_order(const void *a, const void *b)
{
	const struct tree_node *const *x = a;
	const struct tree_node *const *y = b;
	size_t n = (*x)->name_len < (*y)->name_len ? (*x)->name_len : (*y)->name_len;
	int r = memcmp((*x)->name, (*y)->name, n);
	return r != 0 ? r : (int)(*x)->name_len - (int)(*y)->name_len;
}

/* Puts the children of a directory in order, using `room` for n pointers. */
static void dir_sort(struct tree_inode *dir, struct tree_node **room, size_t n)
{
	size_t i = 0;
	struct tree_node *node;
	list_for_each(node, &dir->dir.children, link)
		room[i++] = node;
	qsort(room, n, sizeof(struct tree_node *), child_order);
	list_init(&dir->dir.children);
	for (i = 0; i < n; i++)
		list_append(&dir->dir.children, &room[i]->link);
}

void dir_iter_start(struct dir_iter *it, const struct tree_node *dir)
{
	*it = (struct dir_iter){.dir = dir, .at = dir->inode->dir.children.next};
}

bool dir_iter_next(struct dir_iter *it, struct dir_item *ret)
{
	static const char dots[] = "..";
	const struct tree_node *next = NULL;
	if (it->at != &it->dir->inode->dir.children)
		next = container_of(it->at, const struct tree_node, link);
	/* A name like "!" or ".-" sorts before "..", so the dots are merged in. */
	if (it->n_dots < 2 && (!next || strcmp(dots + 1 - it->n_dots, next->name) < 0)) {
		it->n_dots++;
		*ret = (struct dir_item){
			.name = dots,
			.len = it->n_dots,
			.inode = it->n_dots == 1 ? it->dir->inode : it->dir->parent->inode,
		};
		return true;
	}
	if (!next)
		return false;
	it->at = next->link.next;
	*ret = (struct dir_item){.name = next->name, .len = next->name_len, .inode = next->inode};
	return true;
}

struct xattr_plan plan_xattrs(const struct xattr_set *set)
{
	struct xattr_plan p = {0};
	if (!set)
		return p;
	p.area = XATTR_HEADER_SIZE;
	for (uint32_t i = 0; i < set->n; i++) {
		const struct xattr *x = set->items[i];
		if (xattr_is_shared(x, p.n_shared)) {
			p.n_shared++;
			p.area += XATTR_UNIT;
		} else {
			uint32_t rest = (uint32_t)(strlen(x->name) - strlen(x->prefix->text));
			p.area += erofs_xattr_entry_size(rest, x->value_len);
		}
	}
	return p;
}

uint32_t plan_chunk_bits(const struct tree_inode *inode)
{
	uint64_t blocks = plan_blocks(inode);
	uint32_t bits = 0;
	while (bits < CHUNK_BITS_MAX && UINT64_C(1) << bits < blocks)
		bits++;
	/* Every seam between data and hole, or data and data elsewhere, starts a chunk. */
	for (uint32_t i = 0; i < inode->file.n_extents; i++) {
		const struct tree_extent *e = &inode->file.extents[i];
		uint64_t seams[] = {e->file_block, (uint64_t)e->file_block + e->n_blocks};
		for (size_t k = 0; k < ARRAY_LEN(seams); k++)
			if (seams[k] != 0 && seams[k] < blocks)
				while (seams[k] & ((UINT64_C(1) << bits) - 1))
					bits--;
	}
	return bits;
}

/* A name's inode enters the order the first time it is met; its xattrs are counted. */
static void plan_visit(struct plan *p, struct tree_node *node)
{
	struct tree_inode *inode = node->inode;
	if (inode->nid != 0)
		return;
	inode->nid = 1; /* met; the place comes later */
	p->order[p->n_order++] = node;
	for (uint32_t i = 0; inode->xattrs && i < inode->xattrs->n; i++)
		inode->xattrs->items[i]->uses++;
}

static int plan_order(struct plan *p)
{
	struct tree_node **room = NULL;
	size_t n_room = 0;
	plan_visit(p, p->tree->root);
	for (uint32_t at = 0; at < p->n_order; at++) {
		struct tree_inode *dir = p->order[at]->inode;
		if (!S_ISDIR(dir->mode))
			continue;
		size_t n = 0;
		struct tree_node *node;
		list_for_each(node, &dir->dir.children, link)
			n++;
		if (n > n_room) {
			struct tree_node **grown = reallocarray(room, n, sizeof(*grown));
			if (!grown) {
				free(room);
				return -ENOMEM;
			}
			room = grown;
			n_room = n;
		}
		if (n > 1)
			dir_sort(dir, room, n);
		dir->dir.n_dirs = 0;
		list_for_each(node, &dir->dir.children, link) {
			dir->dir.n_dirs += S_ISDIR(node->inode->mode) ? 1 : 0;
			plan_visit(p, node);
		}
	}
	free(room);
	return 0;
}

struct moment {
	int64_t sec;
	uint32_t nsec;
};

static int moment_order(const void *a, const void *b)
{
	const struct moment *x = a;
	const struct moment *y = b;
	if (x->sec != y->sec)
		return x->sec < y->sec ? -1 : 1;
	return x->nsec < y->nsec ? -1 : x->nsec > y->nsec;
}

static uint32_t plan_nlink(const struct tree_inode *inode)
{
	return S_ISDIR(inode->mode) ? inode->dir.n_dirs + 2 : inode->nlink;
}

/* Whether a compact inode can say everything but the time. */
static bool fits_compact(const struct tree_inode *inode)
{
	return inode->uid <= UINT16_MAX && inode->gid <= UINT16_MAX &&
	       plan_nlink(inode) <= UINT16_MAX && inode->size <= UINT32_MAX;
}

/* Compact inodes have the build time, so that is the time most of them have. */
static int plan_build_time(struct plan *p)
{
	AUTO_FREE struct moment *all = calloc(p->n_order + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	size_t n = 0;
	for (uint32_t i = 0; i < p->n_order; i++) {
		const struct tree_inode *inode = p->order[i]->inode;
		if (fits_compact(inode))
			all[n++] = (struct moment){inode->mtime_sec, inode->mtime_nsec};
	}
	qsort(all, n, sizeof(*all), moment_order);
	size_t best = 0;
	for (size_t i = 0; i < n;) {
		size_t same = i + 1;
		while (same < n && moment_order(&all[i], &all[same]) == 0)
			same++;
		if (same - i > best) {
			best = same - i;
			p->build_sec = all[i].sec;
			p->build_nsec = all[i].nsec;
		}
		i = same;
	}
	return 0;
}

static void plan_shared_xattrs(struct plan *p)
{
	uint64_t at = 0;
	struct xattr *x;
	for (uint32_t i = 0; i < p->n_order; i++) {
		const struct xattr_set *set = p->order[i]->inode->xattrs;
		for (uint32_t k = 0; set && k < set->n; k++) {
			x = set->items[k];
			if (x->uses < 2 || x->shared_id != UINT32_MAX)
				continue;
			uint32_t rest = (uint32_t)(strlen(x->name) - strlen(x->prefix->text));
			x->shared_id = (uint32_t)(at / XATTR_UNIT);
			at += erofs_xattr_entry_size(rest, x->value_len);
		}
	}
	p->xattrs_end = at; /* from the start of the area, until that is known */
}

static uint64_t dir_size(const struct tree_node *dir)
{
	struct dir_iter it;
	struct dir_item item;
	uint64_t size = 0;
	dir_iter_start(&it, dir);
	while (dir_iter_next(&it, &item)) {
		uint64_t used = size % TREE_BLOCK;
		if (used + DIRENT_SIZE + item.len > TREE_BLOCK)
			size += TREE_BLOCK - used;
		size += DIRENT_SIZE + item.len;
	}
	return size;
}

/* The inode's data beyond the inode: moves *at to where a tail fits, or claims data blocks. */
static void plan_flat(struct plan *p, struct tree_inode *inode, uint32_t header, uint64_t *at)
{
	uint64_t blocks = inode->size / TREE_BLOCK;
	uint64_t tail = inode->size % TREE_BLOCK;
	/* The kernel reads a symlink in one piece, so one of several blocks has no tail. */
	bool may = tail > 0 && (S_ISDIR(inode->mode) || blocks == 0);
	uint64_t start = *at;
	inode->tail = false;
	for (int i = 0; may && i < SLOT_TRIES; i++, start += INODE_SLOT) {
		if (start - *at > TREE_BLOCK - tail)
			break; /* a block of its own wastes less */
		if ((start + header) % TREE_BLOCK + tail <= TREE_BLOCK) {
			inode->tail = true;
			*at = start;
			break;
		}
	}
	if (tail > 0 && !inode->tail)
		blocks++;
	inode->data_block = p->n_data_blocks;
	p->n_data_blocks += (uint32_t)blocks;
}

static int plan_check_file(const struct plan *p, const struct tree_node *node, struct err *err)
{
	const struct tree_inode *inode = node->inode;
	uint32_t device = inode->file.device;
	if (inode->file.n_extents == 0)
		return 0;
	if (device == 0 || device > p->n_devices)
		return err_say(err, -EINVAL, "%s is on device %u of %u", node->name, device,
			       p->n_devices);
	uint64_t blocks = (p->devices[device - 1].size + TREE_BLOCK - 1) >> TREE_BLOCK_BITS;
	for (uint32_t i = 0; i < inode->file.n_extents; i++) {
		const struct tree_extent *e = &inode->file.extents[i];
		if (!range_within(e->dev_block, e->n_blocks, blocks))
			return err_say(err, -EBADMSG, "%s has data past the end of its layer",
				       node->name);
	}
	return 0;
}

/* Places one inode at *at, and moves *at past it. */
static int plan_place(struct plan *p, struct tree_node *node, uint64_t *at, struct err *err)
{
	struct tree_inode *inode = node->inode;
	if (S_ISDIR(inode->mode))
		inode->size = dir_size(node);
	inode->extended = !fits_compact(inode) || inode->mtime_sec != p->build_sec ||
			  inode->mtime_nsec != p->build_nsec;
	uint32_t header = (inode->extended ? INODE_EXTENDED_SIZE : INODE_COMPACT_SIZE) +
			  plan_xattrs(inode->xattrs).area;
	uint64_t body = 0;
	if (plan_is_chunked(inode)) {
		int r = plan_check_file(p, node, err);
		if (r < 0)
			return r;
		uint64_t chunks = plan_chunks(inode, plan_chunk_bits(inode));
		if (chunks > PLAN_CHUNKS_MAX)
			return err_say(err, -EFBIG, "%s is too large for how sparse it is: %llu chunks",
				       node->name, (unsigned long long)chunks);
		header = (uint32_t)u64_align(header, CHUNK_INDEX_SIZE);
		body = chunks * CHUNK_INDEX_SIZE;
	} else if (S_ISDIR(inode->mode) || S_ISLNK(inode->mode)) {
		plan_flat(p, inode, header, at);
		body = inode->tail ? inode->size % TREE_BLOCK : 0;
	}
	inode->nid = (uint32_t)(*at / INODE_SLOT);
	*at = u64_align(*at + header + body, INODE_SLOT);
	if (*at + ((uint64_t)p->n_data_blocks << TREE_BLOCK_BITS) > PLAN_BYTES_MAX)
		return err_say(err, -EFBIG, "the metadata of the image would be larger than 4 GiB");
	return 0;
}

static int plan_make(struct plan *p, struct err *err)
{
	int r = plan_order(p);
	if (r == 0)
		r = plan_build_time(p);
	if (r < 0)
		return err_set(err, r, "plan an EROFS image");
	plan_shared_xattrs(p);
	p->inodes_at = u64_align(EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE +
					 (uint64_t)p->n_devices * DEVSLOT_SIZE,
				 TREE_BLOCK);
	uint64_t at = p->inodes_at;
	for (uint32_t i = 0; i < p->n_order; i++) {
		r = plan_place(p, p->order[i], &at, err);
		if (r < 0)
			return r;
	}
	p->inodes_end = at;
	p->xattrs_at = u64_align(at, TREE_BLOCK);
	p->xattrs_end += p->xattrs_at;
	p->data_at = u64_align(p->xattrs_end, TREE_BLOCK);
	if (p->data_at + ((uint64_t)p->n_data_blocks << TREE_BLOCK_BITS) > PLAN_BYTES_MAX)
		return err_say(err, -EFBIG, "the metadata of the image would be larger than 4 GiB");
	return 0;
}

int tree_write(struct tree *tree, const struct tree_device *devices, uint32_t n_devices, int fd,
	       struct err *err)
{
	if (n_devices > TREE_DEVICES_MAX)
		return err_say(err, -EFBIG, "an image of %u layers is more than %d", n_devices,
			       TREE_DEVICES_MAX);
	for (uint32_t i = 0; i < n_devices; i++)
		if (devices[i].size > (uint64_t)EROFS_NULL_BLOCK << TREE_BLOCK_BITS)
			return err_say(err, -EFBIG, "layer %u is larger than 2 TiB", i + 1);
	if (tree->n_inodes > UINT32_MAX)
		return err_say(err, -EFBIG, "the image has too many files");
	struct plan plan = {.tree = tree, .devices = devices, .n_devices = n_devices};
	plan.order = calloc((size_t)tree->n_inodes, sizeof(struct tree_node *));
	if (!plan.order)
		return err_set(err, -ENOMEM, "plan an EROFS image");
	struct xattr *x;
	list_for_each(x, &tree->all_xattrs, link) {
		x->uses = 0;
		x->shared_id = UINT32_MAX;
	}
	int r = plan_make(&plan, err);
	if (r == 0)
		r = plan_emit(&plan, fd, err);
	for (uint32_t i = 0; i < plan.n_order; i++)
		plan.order[i]->inode->nid = 0;
	free(plan.order);
	return r;
}
