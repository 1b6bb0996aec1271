/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/tree_priv.h"

/*
 * Entries become nodes. Whiteouts speak of lower layers only, wherever in the
 * layer they stand (OCI image-spec, layer.md), so a name that is also told of
 * in this layer keeps what was told, marked NODE_CUT.
 */

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_META	".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

enum { SCRATCH_FIRST = 16 };

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The words for what a walk or an attachment could not do with a path. */
static int path_error(struct err *err, int r, const char *path)
{
	switch (r) {
	case -ENOTDIR:
		return err_say(err, -EBADMSG, "layer entry %s lies below a file that is no directory",
			       path);
	case -ELOOP:
		return err_say(err, -EBADMSG, "layer entry %s lies below a loop of symlinks", path);
	case -ENAMETOOLONG:
		return err_say(err, -EBADMSG, "layer entry %s lies below a symlink with too long a name",
			       path);
	case -E2BIG:
		return err_say(err, r, "layer entry %s is past a limit", path);
	default:
		return err_set(err, r, "add layer entry %s", path);
	}
}

void tree_extents_start(struct tree *tree)
{
	tree->n_scratch = 0;
}

static int scratch_grow(struct tree *tree)
{
	if (tree->n_scratch < tree->room_scratch)
		return 0;
	if (tree->n_scratch >= ENTRY_EXTENTS_MAX)
		return -E2BIG;
	uint32_t room = tree->room_scratch ? tree->room_scratch * 2 : SCRATCH_FIRST;
	struct tree_extent *grown = reallocarray(tree->scratch, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	tree->scratch = grown;
	tree->room_scratch = room;
	return 0;
}

int tree_extents_add(struct tree *tree, uint64_t file_off, uint64_t dev_off, uint64_t len,
		     struct err *err)
{
	if (len == 0)
		return 0;
	if ((file_off | dev_off) % TREE_BLOCK != 0)
		return err_say(err, -EOPNOTSUPP, "data of a sparse file at %llu is not aligned to %d bytes",
			       (unsigned long long)(file_off % TREE_BLOCK ? file_off : dev_off),
			       TREE_BLOCK);
	uint64_t limit = (uint64_t)EROFS_NULL_BLOCK << TREE_BLOCK_BITS;
	if (!range_within(file_off, len, limit) || !range_within(dev_off, len, limit))
		return err_say(err, -EFBIG, "data of a file lies past 2 TiB");
	struct tree_extent e = {
		.file_block = (uint32_t)(file_off >> TREE_BLOCK_BITS),
		.n_blocks = (uint32_t)((len + TREE_BLOCK - 1) >> TREE_BLOCK_BITS),
		.dev_block = (uint32_t)(dev_off >> TREE_BLOCK_BITS),
	};
	if (tree->n_scratch > 0) {
		struct tree_extent *last = &tree->scratch[tree->n_scratch - 1];
		uint64_t end = (uint64_t)last->file_block + last->n_blocks;
		if (e.file_block < end)
			return err_say(err, -EBADMSG, "extents of a file overlap or are out of order");
		if (e.file_block == end && e.dev_block == (uint64_t)last->dev_block + last->n_blocks) {
			last->n_blocks += e.n_blocks;
			return 0;
		}
	}
	int r = scratch_grow(tree);
	if (r == -E2BIG)
		return err_say(err, r, "a file has more than %d extents", ENTRY_EXTENTS_MAX);
	if (r < 0)
		return err_set(err, r, "keep the extents of a file");
	tree->scratch[tree->n_scratch++] = e;
	return 0;
}

int tree_extents_finish(struct tree *tree, struct tree_inode *inode, uint32_t device)
{
	inode->file.device = device;
	inode->file.n_extents = tree->n_scratch;
	if (tree->n_scratch == 0)
		return 0;
	size_t bytes = tree->n_scratch * sizeof(*tree->scratch);
	struct tree_extent *copy = arena_alloc(&tree->arena, bytes);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, tree->scratch, bytes);
	inode->file.extents = copy;
	return 0;
}

static int add_extents(struct tree *tree, const struct entry *entry, struct tree_inode *inode,
		       struct err *err)
{
	if (entry->size > (uint64_t)EROFS_NULL_BLOCK << TREE_BLOCK_BITS)
		return err_say(err, -EFBIG, "%s is larger than 2 TiB", entry->path);
	inode->size = entry->size;
	tree_extents_start(tree);
	for (size_t i = 0; i < entry->n_extents; i++) {
		const struct entry_extent *e = &entry->extents[i];
		if (!range_within(e->file_off, e->len, entry->size))
			return err_say(err, -EBADMSG, "%s has data past its end", entry->path);
		int r = tree_extents_add(tree, e->file_off, e->dev_off, e->len, err);
		if (r < 0)
			return err_prefix(err, r, "%s", entry->path);
	}
	int r = tree_extents_finish(tree, inode, 1);
	return r < 0 ? err_set(err, r, "add layer entry %s", entry->path) : 0;
}

static int add_target(struct tree *tree, const struct entry *entry, struct tree_inode *inode,
		      struct err *err)
{
	size_t n = entry->link ? strlen(entry->link) : 0;
	if (n == 0 || n >= ENTRY_PATH_MAX)
		return err_say(err, -EBADMSG, "symlink %s has a target of %zu bytes", entry->path, n);
	inode->target = arena_text(&tree->arena, entry->link, n);
	inode->size = n;
	return inode->target ? 0 : err_set(err, -ENOMEM, "add layer entry %s", entry->path);
}

/* What only this type of file has. */
static int add_content(struct tree *tree, const struct entry *entry, struct tree_inode *inode,
		       struct err *err)
{
	switch (entry->type) {
	case ENTRY_REG:
		return add_extents(tree, entry, inode, err);
	case ENTRY_SYMLINK:
		return add_target(tree, entry, inode, err);
	case ENTRY_CHAR:
	case ENTRY_BLOCK:
		if (entry->major > DEV_MAJOR_MAX || entry->minor > DEV_MINOR_MAX)
			return err_say(err, -EBADMSG, "device %s has no number Linux knows: %u:%u",
				       entry->path, entry->major, entry->minor);
		inode->rdev = erofs_dev_encode(entry->major, entry->minor);
		return 0;
	default:
		return 0;
	}
}

/* Xattrs of an entry, without those that mean something to us or to an overlay. */
static int add_xattrs(struct tree *tree, const struct entry *entry, struct tree_inode *inode,
		      struct err *err)
{
	inode->xattrs = NULL;
	if (entry->n_xattrs == 0)
		return 0;
	if (entry->n_xattrs > ENTRY_XATTRS_MAX)
		return err_say(err, -E2BIG, "%s has more than %d xattrs", entry->path,
			       ENTRY_XATTRS_MAX);
	AUTO_FREE struct entry_xattr *kept = calloc(entry->n_xattrs, sizeof(*kept));
	if (!kept)
		return err_set(err, -ENOMEM, "add layer entry %s", entry->path);
	size_t n = 0;
	for (size_t i = 0; i < entry->n_xattrs; i++) {
		const char *name = entry->xattrs[i].name;
		if (begins(name, "trusted."))
			return err_say(err, -EBADMSG, "%s has the xattr %s, which no layer may set",
				       entry->path, name);
		if (!begins(name, "user.overlay."))
			kept[n++] = entry->xattrs[i];
	}
	int r = tree_xattr_set(tree, kept, n, &inode->xattrs);
	if (r == -E2BIG)
		return err_say(err, r, "%s has more xattrs than an inode holds", entry->path);
	return r < 0 ? err_set(err, r, "add layer entry %s", entry->path) : 0;
}

static void add_attributes(const struct entry *entry, struct tree_inode *inode)
{
	inode->mode = (uint16_t)((inode->mode & S_IFMT) | (entry->mode & 07777));
	inode->uid = entry->uid;
	inode->gid = entry->gid;
	inode->mtime_sec = entry->mtime_sec;
	inode->mtime_nsec = entry->mtime_nsec;
}

static int entry_format(const struct entry *entry, uint16_t *ret, struct err *err)
{
	static const uint16_t formats[] = {
		[ENTRY_REG] = S_IFREG,	 [ENTRY_DIR] = S_IFDIR,	  [ENTRY_SYMLINK] = S_IFLNK,
		[ENTRY_CHAR] = S_IFCHR,	 [ENTRY_BLOCK] = S_IFBLK, [ENTRY_FIFO] = S_IFIFO,
		[ENTRY_SOCKET] = S_IFSOCK,
	};
	if ((size_t)entry->type >= ARRAY_LEN(formats) || formats[entry->type] == 0)
		return err_say(err, -EBADMSG, "%s is of no known type", entry->path);
	if (entry->mtime_nsec >= 1000000000)
		return err_say(err, -EBADMSG, "%s has a time of %u nanoseconds", entry->path,
			       entry->mtime_nsec);
	*ret = formats[entry->type];
	return 0;
}

/* A directory told of (again): its attributes change, its children stay. */
static int add_known_dir(struct tree *tree, const struct entry *entry, struct tree_node *node,
			 struct err *err)
{
	add_attributes(entry, node->inode);
	int r = add_xattrs(tree, entry, node->inode, err);
	if (r < 0)
		return r;
	node->flags &= (uint8_t)~NODE_IMPLIED;
	r = tree_mark_dir(tree, node);
	return r < 0 ? path_error(err, r, entry->path) : 0;
}

/* Puts an inode at a name, whatever is there. */
static int add_inode(struct tree *tree, const struct entry *entry, struct tree_node *dir,
		     const char *name, struct tree_inode *inode, struct err *err)
{
	struct tree_node *node = tree_child(tree, dir, name, strlen(name));
	int r;
	if (!node) {
		r = tree_attach(tree, dir, name, strlen(name), inode, &node);
	} else {
		r = tree_replace(tree, node, inode);
		/* Whatever this name was before, it hides what lower layers have there. */
		if (r == 0) {
			node->flags &= (uint8_t)~NODE_IMPLIED;
			node->flags |= NODE_CUT;
		}
	}
	if (r == 0 && S_ISDIR(inode->mode))
		r = tree_mark_dir(tree, node);
	return r < 0 ? path_error(err, r, entry->path) : 0;
}

static int add_plain(struct tree *tree, const struct entry *entry, struct tree_node *dir,
		     const char *name, struct err *err)
{
	uint16_t format = 0;
	int r = entry_format(entry, &format, err);
	if (r < 0)
		return r;
	struct tree_node *node = tree_child(tree, dir, name, strlen(name));
	if (format == S_IFDIR && node && S_ISDIR(node->inode->mode))
		return add_known_dir(tree, entry, node, err);
	struct tree_inode *inode = tree_inode_new(tree, format);
	if (!inode)
		return err_set(err, -ENOMEM, "add layer entry %s", entry->path);
	add_attributes(entry, inode);
	r = add_xattrs(tree, entry, inode, err);
	if (r == 0)
		r = add_content(tree, entry, inode, err);
	return r < 0 ? r : add_inode(tree, entry, dir, name, inode, err);
}

/* Whether some directory on the way to path, or the path itself, hides the lower layers' one. */
static bool lower_is_cut(const struct tree *tree, const char *path)
{
	const struct tree_node *node = tree->root;
	for (const char *name = path; *name;) {
		if (node->flags & NODE_CUT)
			return true;
		const char *end = strchrnul(name, '/');
		node = tree_child(tree, node, name, (size_t)(end - name));
		if (!node)
			return false;
		if (!S_ISDIR(node->inode->mode))
			return true;
		name = *end ? end + 1 : end;
	}
	return true; /* the path is there, as a directory */
}

/* The inode of a link's target, or a stand-in for one in a lower layer. */
static int add_find_target(struct tree *tree, const struct entry *entry,
			   struct tree_inode **ret, struct err *err)
{
	struct tree_node *dir = NULL;
	const char *name = NULL;
	int r = tree_walk(tree, entry->link, false, &dir, &name);
	if (r < 0 && r != -ENOENT)
		return path_error(err, r, entry->link);
	struct tree_node *node = r == 0 ? tree_child(tree, dir, name, strlen(name)) : NULL;
	if (node && S_ISDIR(node->inode->mode))
		return err_say(err, -EBADMSG, "hardlink %s: its target %s is a directory",
			       entry->path, entry->link);
	if (node && !inode_is_whiteout(node->inode)) {
		*ret = node->inode;
		return 0;
	}
	if (node || lower_is_cut(tree, entry->link))
		return err_say(err, -EBADMSG, "hardlink %s: its target %s was removed by this layer",
			       entry->path, entry->link);
	struct tree_inode *inode = tree_inode_new(tree, S_IFREG);
	if (!inode)
		return err_set(err, -ENOMEM, "add layer entry %s", entry->path);
	inode->mtime_sec = entry->mtime_sec;
	inode->mtime_nsec = entry->mtime_nsec;
	struct entry_xattr mark = {XATTR_HARDLINK, entry->link, strlen(entry->link)};
	r = tree_xattr_set(tree, &mark, 1, &inode->xattrs);
	if (r < 0)
		return path_error(err, r, entry->path);
	*ret = inode;
	return 0;
}

static int add_hardlink(struct tree *tree, const struct entry *entry, struct tree_node *dir,
			const char *name, struct err *err)
{
	struct tree_inode *inode = NULL;
	if (!entry->link || entry->link[0] == '\0')
		return err_say(err, -EBADMSG, "hardlink %s has no target", entry->path);
	if (entry->mtime_nsec >= 1000000000)
		return err_say(err, -EBADMSG, "%s has a time of %u nanoseconds", entry->path,
			       entry->mtime_nsec);
	int r = add_find_target(tree, entry, &inode, err);
	if (r < 0)
		return r;
	struct tree_node *node = tree_child(tree, dir, name, strlen(name));
	if (node && node->inode == inode)
		return 0;
	return add_inode(tree, entry, dir, name, inode, err);
}

/* `.wh.x`: what lower layers have as x is gone. */
static int add_whiteout(struct tree *tree, const struct entry *entry, struct tree_node *dir,
			const char *name, struct err *err)
{
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_say(err, -EBADMSG, "whiteout %s names no file", entry->path);
	struct tree_node *node = tree_child(tree, dir, name, strlen(name));
	int r = 0;
	if (node) {
		node->flags |= NODE_CUT;
		node->flags &= (uint8_t)~NODE_IMPLIED;
		if (S_ISDIR(node->inode->mode))
			r = tree_mark_dir(tree, node);
	} else {
		struct tree_inode *inode = tree_inode_new(tree, S_IFCHR);
		if (!inode)
			return err_set(err, -ENOMEM, "add layer entry %s", entry->path);
		inode->mtime_sec = tree->first_sec;
		inode->mtime_nsec = tree->first_nsec;
		r = tree_attach(tree, dir, name, strlen(name), inode, &node);
		if (r == 0)
			node->flags |= NODE_CUT;
	}
	return r < 0 ? path_error(err, r, entry->path) : 0;
}

/* `.wh..wh..opq`: nothing that lower layers have in this directory shows. */
static int add_opaque(struct tree *tree, const struct entry *entry, struct tree_node *dir,
		      struct err *err)
{
	dir->flags |= NODE_CUT;
	int r = tree_mark_dir(tree, dir);
	return r < 0 ? path_error(err, r, entry->path) : 0;
}

static int add_root(struct tree *tree, const struct entry *entry, struct err *err)
{
	if (entry->type != ENTRY_DIR)
		return err_say(err, -EBADMSG, "the layer's root is no directory");
	uint16_t format = 0;
	int r = entry_format(entry, &format, err);
	return r < 0 ? r : add_known_dir(tree, entry, tree->root, err);
}

/* Whether some component of the path begins with the prefix; `parents`: leave out the last. */
static bool any_component_begins(const char *path, const char *prefix, bool parents)
{
	for (const char *name = path;;) {
		const char *slash = strchr(name, '/');
		if ((slash || !parents) && begins(name, prefix))
			return true;
		if (!slash)
			return false;
		name = slash + 1;
	}
}

int tree_add(void *data, const struct entry *entry, struct err *err)
{
	struct tree *tree = data;
	if (tree->n_added >= ENTRIES_MAX)
		return err_say(err, -E2BIG, "the layer has more than %d entries", ENTRIES_MAX);
	if (tree->n_added++ == 0) {
		tree->first_sec = entry->mtime_sec;
		tree->first_nsec = entry->mtime_nsec;
		/* Until the layer tells of its root, a lower layer's is the better one. */
		tree->root->flags |= NODE_IMPLIED;
		int r = tree_mark_dir(tree, tree->root);
		if (r < 0)
			return err_set(err, r, "add layer entry %s", entry->path);
	}
	if (entry->path[0] == '\0')
		return add_root(tree, entry, err);
	const char *base = last_component(entry->path);
	bool opaque = strcmp(base, WHITEOUT_OPAQUE) == 0;
	/* What aufs kept for itself means nothing to anybody else. */
	if (any_component_begins(entry->path, WHITEOUT_META, opaque))
		return 0;
	if (any_component_begins(entry->path, WHITEOUT_PREFIX, true))
		return err_say(err, -EBADMSG, "layer entry %s lies below a whiteout", entry->path);

	struct tree_node *dir = NULL;
	const char *name = NULL;
	int r = tree_walk(tree, entry->path, true, &dir, &name);
	if (r < 0)
		return path_error(err, r, entry->path);
	if (opaque)
		return add_opaque(tree, entry, dir, err);
	if (begins(name, WHITEOUT_PREFIX))
		return add_whiteout(tree, entry, dir, name + strlen(WHITEOUT_PREFIX), err);
	if (entry->type == ENTRY_HARDLINK)
		return add_hardlink(tree, entry, dir, name, err);
	return add_plain(tree, entry, dir, name, err);
}
