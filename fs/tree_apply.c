/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/tree_priv.h"

/* An inode of the layer that has, or may have, several names; or a resolved hardlink. */
struct seen {
	struct hnode hash;
	uint64_t nid;
	struct tree_inode *inode;
};

/* A directory of the layer being gone through. */
struct level {
	struct erofs_inode inode;
	struct tree_node *node; /* where it goes; NULL in the first pass */
	uint64_t cookie;
};

struct apply {
	struct tree *tree;
	const struct erofs *layer;
	uint32_t device;
	struct htab seen;    /* of struct seen */
	struct arena arena;  /* holds them */
	uint8_t *dirs_seen;  /* owned; a bit for each nid */
	uint64_t n_nids;
	uint64_t n_entries;
	struct level levels[ENTRY_DEPTH_MAX + 1];
	size_t n_levels;
	struct err *err;
};

static int apply_broken(struct apply *a, const char *what, uint64_t nid)
{
	return err_say(a->err, -EBADMSG, "the layer's metadata is corrupt: %s (inode %llu)", what,
		       (unsigned long long)nid);
}

static bool seen_match(const struct hnode *hash, const void *key)
{
	return container_of(hash, const struct seen, hash)->nid == *(const uint64_t *)key;
}

static struct tree_inode *seen_find(const struct apply *a, uint64_t nid)
{
	struct hnode *hash = htab_find(&a->seen, hash_u64(nid), seen_match, &nid);
	return hash ? container_of(hash, struct seen, hash)->inode : NULL;
}

static int seen_add(struct apply *a, uint64_t nid, struct tree_inode *inode)
{
	struct seen *s = arena_alloc(&a->arena, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->nid = nid;
	s->inode = inode;
	return htab_insert(&a->seen, &s->hash, hash_u64(nid));
}

/* Enters a directory. One that was entered before is a loop, or a way to make much of little. */
static int level_enter(struct apply *a, const struct erofs_inode *inode, struct tree_node *node)
{
	if (a->n_levels >= ARRAY_LEN(a->levels))
		return err_say(a->err, -E2BIG, "the layer's directories are deeper than %d",
			       ENTRY_DEPTH_MAX);
	if (inode->nid >= a->n_nids)
		return apply_broken(a, "no such inode", inode->nid);
	uint8_t *byte = &a->dirs_seen[inode->nid / 8];
	uint8_t bit = (uint8_t)(1 << inode->nid % 8);
	if (*byte & bit)
		return apply_broken(a, "a directory has two names", inode->nid);
	*byte |= bit;
	a->levels[a->n_levels++] = (struct level){.inode = *inode, .node = node};
	return 0;
}

static bool is_dots(const struct erofs_dirent *d)
{
	return d->name[0] == '.' && (d->name_len == 1 || (d->name_len == 2 && d->name[1] == '.'));
}

/* The next entry of the innermost directory, going up at its end: 1, or 0 when all is done. */
static int level_next(struct apply *a, struct erofs_dirent *ret, struct erofs_inode *ret_inode,
		      struct tree_node **ret_dir)
{
	while (a->n_levels > 0) {
		struct level *level = &a->levels[a->n_levels - 1];
		int r = erofs_readdir(a->layer, &level->inode, level->cookie, ret);
		if (r < 0)
			return apply_broken(a, "a directory", level->inode.nid);
		if (r == 0) {
			a->n_levels--;
			continue;
		}
		level->cookie = ret->cookie;
		if (is_dots(ret))
			continue;
		if (++a->n_entries > ENTRIES_MAX)
			return err_say(a->err, -E2BIG, "the layer has more than %d entries", ENTRIES_MAX);
		r = erofs_inode(a->layer, ret->nid, ret_inode);
		if (r < 0)
			return apply_broken(a, "an inode", ret->nid);
		*ret_dir = level->node;
		return 1;
	}
	return 0;
}

static int apply_start(struct apply *a, struct tree_node *root)
{
	struct erofs_inode inode;
	if (erofs_inode(a->layer, erofs_root(a->layer), &inode) < 0)
		return apply_broken(a, "the root", erofs_root(a->layer));
	memset(a->dirs_seen, 0, a->n_nids / 8 + 1);
	a->n_entries = 0;
	a->n_levels = 0;
	return level_enter(a, &inode, root);
}

/* The file in the lower layers that a hardlink's target path means. */
static int resolve_target(struct apply *a, const char *path, struct tree_inode **ret)
{
	struct tree_node *dir = NULL;
	const char *name = NULL;
	int r = tree_walk(a->tree, path, false, &dir, &name);
	if (r == -ENOMEM)
		return err_set(a->err, r, "merge a layer");
	struct tree_node *node = r == 0 ? tree_child(a->tree, dir, name, strlen(name)) : NULL;
	if (!node)
		return err_say(a->err, -EBADMSG, "a hardlink's target %s is in no lower layer", path);
	if (S_ISDIR(node->inode->mode))
		return err_say(a->err, -EBADMSG, "a hardlink's target %s is a directory", path);
	*ret = node->inode;
	return 0;
}

static int resolve_one(struct apply *a, const struct erofs_inode *inode)
{
	const void *value = NULL;
	ssize_t n = erofs_getxattr(a->layer, inode, XATTR_HARDLINK, &value);
	if (n == -ENODATA)
		return 0;
	if (n < 0)
		return apply_broken(a, "an xattr", inode->nid);
	char raw[ENTRY_PATH_MAX], path[ENTRY_PATH_MAX];
	if ((size_t)n >= sizeof(raw))
		return apply_broken(a, "a hardlink's target", inode->nid);
	memcpy(raw, value, (size_t)n);
	int r = entry_clean_path(raw, (size_t)n, path, a->err);
	if (r < 0)
		return r;
	if (seen_find(a, inode->nid))
		return 0;
	struct tree_inode *target = NULL;
	r = resolve_target(a, path, &target);
	if (r < 0)
		return r;
	r = seen_add(a, inode->nid, target);
	return r < 0 ? err_set(a->err, r, "merge a layer") : 0;
}

/*
 * The first pass: hardlinks into lower layers are resolved before anything
 * changes, since the layer may also remove or replace their targets.
 */
static int apply_resolve(struct apply *a)
{
	int r = apply_start(a, NULL);
	if (r < 0)
		return r;
	struct erofs_dirent d;
	struct erofs_inode inode;
	struct tree_node *dir = NULL;
	while ((r = level_next(a, &d, &inode, &dir)) > 0) {
		if (S_ISDIR(inode.mode))
			r = level_enter(a, &inode, NULL);
		else if (S_ISREG(inode.mode) && inode.xattr_count > 0)
			r = resolve_one(a, &inode);
		if (r < 0)
			return r;
	}
	return r;
}

/* The xattrs of an inode of the layer, on their way into a set. */
struct collect {
	struct entry_xattr *items; /* owned, with the names */
	size_t n, room;
	bool opaque, implied;
};

static int collect_xattr(void *data, const char *name, const void *value, size_t len)
{
	struct collect *c = data;
	if (strcmp(name, XATTR_OPAQUE) == 0)
		c->opaque = len == 1 && *(const char *)value == 'y';
	if (strcmp(name, XATTR_IMPLIED) == 0)
		c->implied = true;
	if (strncmp(name, XATTR_OVL_PREFIX, strlen(XATTR_OVL_PREFIX)) == 0 ||
	    strncmp(name, XATTR_OUR_PREFIX, strlen(XATTR_OUR_PREFIX)) == 0)
		return 0;
	if (c->n >= ENTRY_XATTRS_MAX)
		return -E2BIG;
	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 8;
		struct entry_xattr *grown = reallocarray(c->items, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		c->items = grown;
		c->room = room;
	}
	char *copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	c->items[c->n++] = (struct entry_xattr){copy, value, len};
	return 0;
}

static void collect_finish(struct collect *c)
{
	for (size_t i = 0; i < c->n; i++)
		free((void *)(uintptr_t)c->items[i].name);
	free(c->items);
}

/* Reads the inode's xattrs: the set for the merged tree, and the marks. */
static int apply_xattrs(struct apply *a, const struct erofs_inode *inode,
			const struct xattr_set **ret, bool *ret_opaque, bool *ret_implied)
{
	struct collect c = {0};
	int r = erofs_listxattr(a->layer, inode, collect_xattr, &c);
	if (r == 0)
		r = tree_xattr_set(a->tree, c.items, c.n, ret);
	*ret_opaque = c.opaque;
	*ret_implied = c.implied;
	collect_finish(&c);
	if (r == -EBADMSG)
		return apply_broken(a, "an xattr", inode->nid);
	return r < 0 ? err_set(a->err, r, "merge the xattrs of inode %llu",
			       (unsigned long long)inode->nid)
		     : 0;
}

static void apply_attributes(const struct erofs_inode *from, struct tree_inode *to)
{
	to->mode = (uint16_t)from->mode;
	to->uid = from->uid;
	to->gid = from->gid;
	to->mtime_sec = from->mtime_sec;
	to->mtime_nsec = from->mtime_nsec;
}

static int apply_extents(struct apply *a, const struct erofs_inode *from, struct tree_inode *to)
{
	uint32_t device = 0;
	if (from->size > (uint64_t)EROFS_NULL_BLOCK << TREE_BLOCK_BITS)
		return err_say(a->err, -EFBIG, "a file is larger than 2 TiB");
	to->size = from->size;
	tree_extents_start(a->tree);
	for (uint64_t off = 0; off < from->size;) {
		struct erofs_extent e;
		int r = erofs_map(a->layer, from, off, &e);
		if (r < 0)
			return apply_broken(a, "the chunks of a file", from->nid);
		off = e.off + e.len;
		if (e.hole)
			continue;
		if (e.device == 0 || (device != 0 && e.device != device))
			return apply_broken(a, "data that is not in the layer's device", from->nid);
		device = e.device;
		r = tree_extents_add(a->tree, e.off, e.dev_off, e.len, a->err);
		if (r < 0)
			return r;
	}
	int r = tree_extents_finish(a->tree, to, device == 0 ? 0 : a->device + device - 1);
	return r < 0 ? err_set(a->err, r, "merge a layer") : 0;
}

static int apply_content(struct apply *a, const struct erofs_inode *from, struct tree_inode *to)
{
	switch (from->mode & S_IFMT) {
	case S_IFREG:
		return apply_extents(a, from, to);
	case S_IFCHR:
	case S_IFBLK:
		to->rdev = erofs_dev_encode(from->major, from->minor);
		return 0;
	case S_IFLNK: {
		const char *target = NULL;
		ssize_t n = erofs_readlink(a->layer, from, &target);
		if (n < 0)
			return apply_broken(a, "a symlink", from->nid);
		to->target = arena_text(&a->tree->arena, target, (size_t)n);
		to->size = (uint64_t)n;
		return to->target ? 0 : err_set(a->err, -ENOMEM, "merge a layer");
	}
	default:
		return 0;
	}
}

/* Puts an inode at a name, whatever is there. */
static int apply_put(struct apply *a, struct tree_node *dir, const struct erofs_dirent *d,
		     struct tree_inode *inode, struct tree_node **ret)
{
	struct tree_node *node = tree_child(a->tree, dir, d->name, d->name_len);
	int r;
	if (!node)
		r = tree_attach(a->tree, dir, d->name, d->name_len, inode, &node);
	else
		r = tree_replace(a->tree, node, inode);
	if (r < 0)
		return err_set(a->err, r, "merge a layer");
	*ret = node;
	return 0;
}

static int apply_file(struct apply *a, struct tree_node *dir, const struct erofs_dirent *d,
		      const struct erofs_inode *from)
{
	struct tree_node *node = NULL;
	struct tree_inode *known = seen_find(a, from->nid);
	if (known)
		return apply_put(a, dir, d, known, &node);
	struct tree_inode *inode = tree_inode_new(a->tree, (uint16_t)from->mode);
	if (!inode)
		return err_set(a->err, -ENOMEM, "merge a layer");
	bool opaque, implied;
	apply_attributes(from, inode);
	int r = apply_xattrs(a, from, &inode->xattrs, &opaque, &implied);
	if (r == 0)
		r = apply_content(a, from, inode);
	if (r < 0)
		return r;
	if (from->nlink > 1) {
		r = seen_add(a, from->nid, inode);
		if (r < 0)
			return err_set(a->err, r, "merge a layer");
	}
	return apply_put(a, dir, d, inode, &node);
}

/* Lays a directory of the layer over a directory of the tree. */
static int apply_onto_dir(struct apply *a, const struct erofs_inode *from, struct tree_node *node,
			  bool fresh)
{
	const struct xattr_set *xattrs = NULL;
	bool opaque = false;
	bool implied = false;
	int r = apply_xattrs(a, from, &xattrs, &opaque, &implied);
	if (r < 0)
		return r;
	if (opaque)
		tree_empty(a->tree, node->inode);
	if (fresh || !implied) {
		apply_attributes(from, node->inode);
		node->inode->xattrs = xattrs;
	}
	return level_enter(a, from, node);
}

static int apply_dir(struct apply *a, struct tree_node *dir, const struct erofs_dirent *d,
		     const struct erofs_inode *from)
{
	struct tree_node *node = tree_child(a->tree, dir, d->name, d->name_len);
	bool fresh = !node || !S_ISDIR(node->inode->mode);
	if (fresh) {
		struct tree_inode *inode = tree_inode_new(a->tree, S_IFDIR);
		if (!inode)
			return err_set(a->err, -ENOMEM, "merge a layer");
		int r = apply_put(a, dir, d, inode, &node);
		if (r < 0)
			return r;
	}
	return apply_onto_dir(a, from, node, fresh);
}

static int apply_entry(struct apply *a, struct tree_node *dir, const struct erofs_dirent *d,
		       const struct erofs_inode *from)
{
	if (S_ISDIR(from->mode))
		return apply_dir(a, dir, d, from);
	if (S_ISCHR(from->mode) && from->major == 0 && from->minor == 0) {
		struct tree_node *node = tree_child(a->tree, dir, d->name, d->name_len);
		if (node)
			tree_detach(a->tree, node);
		return 0;
	}
	return apply_file(a, dir, d, from);
}

static int apply_all(struct apply *a)
{
	int r = apply_resolve(a);
	if (r < 0)
		return r;
	r = apply_start(a, a->tree->root);
	if (r < 0)
		return r;
	/* The root is laid over like any directory, and entered anew. */
	struct erofs_inode root = a->levels[0].inode;
	a->n_levels = 0;
	a->dirs_seen[root.nid / 8] = 0;
	r = apply_onto_dir(a, &root, a->tree->root, false);
	if (r < 0)
		return r;
	struct erofs_dirent d;
	struct erofs_inode inode;
	struct tree_node *dir = NULL;
	while ((r = level_next(a, &d, &inode, &dir)) > 0) {
		r = apply_entry(a, dir, &d, &inode);
		if (r < 0)
			return r;
	}
	return r;
}

int tree_apply(struct tree *tree, const struct erofs *layer, uint32_t device, struct err *err)
{
	struct erofs_stats stats;
	erofs_stats(layer, &stats);
	AUTO_FREE struct apply *a = calloc(1, sizeof(*a));
	if (!a)
		return err_set(err, -ENOMEM, "merge a layer");
	if (device == 0 || device > TREE_DEVICES_MAX)
		return err_say(err, -EINVAL, "merge a layer as device %u", device);
	a->tree = tree;
	a->layer = layer;
	a->device = device;
	a->err = err;
	a->n_nids = stats.bytes / INODE_SLOT + 1;
	a->dirs_seen = calloc(1, a->n_nids / 8 + 1);
	int r = a->dirs_seen ? apply_all(a) : err_set(err, -ENOMEM, "merge a layer");
	free(a->dirs_seen);
	htab_finish(&a->seen);
	arena_finish(&a->arena);
	return r;
}
