/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/le.h"
#include "fs/tree_priv.h"

enum { ROOT_MODE = 0755 };

static uint64_t rotate(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein) over the seed and the bytes. */
uint64_t tree_hash(const struct tree *tree, uint64_t seed, const void *data, size_t n)
{
	uint64_t v[4] = {
		tree->key[0] ^ UINT64_C(0x736f6d6570736575),
		tree->key[1] ^ UINT64_C(0x646f72616e646f6d),
		tree->key[0] ^ UINT64_C(0x6c7967656e657261),
		tree->key[1] ^ UINT64_C(0x7465646279746573),
	};
	sip_word(v, seed);
	const uint8_t *p = data;
	size_t left = n;
	for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), p += sizeof(uint64_t))
		sip_word(v, le64_get(p));
	uint8_t last[sizeof(uint64_t)] = {0};
	memcpy(last, p, left);
	last[7] = (uint8_t)n;
	sip_word(v, le64_get(last));
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct name_key {
	const struct tree_node *dir;
	const char *name;
	size_t n;
};

static bool name_match(const struct hnode *hash, const void *key)
{
	const struct tree_node *node = container_of(hash, const struct tree_node, hash);
	const struct name_key *want = key;
	return node->parent == want->dir && node->name_len == want->n &&
	       memcmp(node->name, want->name, want->n) == 0;
}

static uint64_t name_hash(const struct tree *tree, const struct tree_node *dir, const char *name,
			  size_t n)
{
	return tree_hash(tree, (uint64_t)(uintptr_t)dir, name, n);
}

struct tree_inode *tree_inode_new(struct tree *tree, uint16_t mode)
{
	struct tree_inode *inode = arena_alloc(&tree->arena, sizeof(*inode));
	if (!inode)
		return NULL;
	inode->mode = mode;
	if (S_ISDIR(mode))
		list_init(&inode->dir.children);
	return inode;
}

struct tree_node *tree_child(const struct tree *tree, const struct tree_node *dir,
			     const char *name, size_t n)
{
	struct name_key key = {.dir = dir, .name = name, .n = n};
	struct hnode *hash = htab_find(&tree->names, name_hash(tree, dir, name, n), name_match, &key);
	return hash ? container_of(hash, struct tree_node, hash) : NULL;
}

static int inode_get(struct tree *tree, struct tree_inode *inode)
{
	if (inode->nlink == UINT32_MAX)
		return -EMLINK;
	if (inode->nlink++ == 0)
		tree->n_inodes++;
	return 0;
}

/* Drops a name of the inode; what a directory held goes to `orphans`. */
static void inode_put(struct tree *tree, struct tree_inode *inode, struct list *orphans)
{
	if (--inode->nlink > 0)
		return;
	tree->n_inodes--;
	if (S_ISDIR(inode->mode))
		list_splice(orphans, &inode->dir.children);
}

static void tree_drop(struct tree *tree, struct list *orphans)
{
	while (!list_empty(orphans)) {
		struct tree_node *node = list_first(orphans, struct tree_node, link);
		list_remove(&node->link);
		htab_remove(&tree->names, &node->hash);
		inode_put(tree, node->inode, orphans);
	}
}

int tree_attach(struct tree *tree, struct tree_node *dir, const char *name, size_t n,
		struct tree_inode *inode, struct tree_node **ret)
{
	if (dir->depth >= ENTRY_DEPTH_MAX)
		return -E2BIG;
	struct tree_node *node = arena_alloc(&tree->arena, sizeof(*node) + n + 1);
	if (!node)
		return -ENOMEM;
	node->parent = dir;
	node->inode = inode;
	node->depth = (uint16_t)(dir->depth + 1);
	node->name_len = (uint8_t)n;
	memcpy(node->name, name, n);
	int r = inode_get(tree, inode);
	if (r < 0)
		return r;
	r = htab_insert(&tree->names, &node->hash, name_hash(tree, dir, name, n));
	if (r < 0) {
		struct list none;
		list_init(&none);
		inode_put(tree, inode, &none);
		return r;
	}
	list_append(&dir->inode->dir.children, &node->link);
	*ret = node;
	return 0;
}

int tree_replace(struct tree *tree, struct tree_node *node, struct tree_inode *inode)
{
	int r = inode_get(tree, inode);
	if (r < 0)
		return r;
	struct list orphans;
	list_init(&orphans);
	inode_put(tree, node->inode, &orphans);
	node->inode = inode;
	tree_drop(tree, &orphans);
	return 0;
}

void tree_detach(struct tree *tree, struct tree_node *node)
{
	struct list orphans;
	list_init(&orphans);
	list_remove(&node->link);
	list_append(&orphans, &node->link);
	tree_drop(tree, &orphans);
}

void tree_empty(struct tree *tree, struct tree_inode *dir)
{
	struct list orphans;
	list_init(&orphans);
	list_splice(&orphans, &dir->dir.children);
	tree_drop(tree, &orphans);
}

int tree_create(struct tree **ret)
{
	AUTO(tree) struct tree *tree = calloc(1, sizeof(*tree));
	if (!tree)
		return -ENOMEM;
	list_init(&tree->all_xattrs);
	if (getrandom(tree->key, sizeof(tree->key), 0) != (ssize_t)sizeof(tree->key))
		return -errno;
	struct tree_node *root = arena_alloc(&tree->arena, sizeof(*root) + 1);
	struct tree_inode *inode = tree_inode_new(tree, S_IFDIR | ROOT_MODE);
	if (!root || !inode)
		return -ENOMEM;
	root->parent = root;
	root->inode = inode;
	list_init(&root->link);
	inode->nlink = 1;
	tree->n_inodes = 1;
	tree->root = root;
	*ret = steal_ptr(&tree);
	return 0;
}

void tree_destroy(struct tree *tree)
{
	if (!tree)
		return;
	htab_finish(&tree->names);
	htab_finish(&tree->xattrs);
	htab_finish(&tree->sets);
	arena_finish(&tree->arena);
	free(tree->scratch);
	free(tree);
}

uint64_t tree_inodes(const struct tree *tree)
{
	return tree->n_inodes;
}

/* A path being walked: the rest of it, which symlinks put their targets in front of. */
struct walk {
	struct tree_node *dir;
	const char *rest;
	int links;
	char *text; /* owned; what rest points into once a symlink was followed */
};

static int walk_symlink(struct walk *w, const struct tree *tree, const char *target)
{
	if (++w->links > TREE_SYMLINKS_MAX)
		return -ELOOP;
	size_t target_len = strlen(target);
	size_t rest_len = strlen(w->rest);
	if (target_len + rest_len + 2 > ENTRY_PATH_MAX)
		return -E2BIG;
	char *text = malloc(target_len + rest_len + 2);
	if (!text)
		return -ENOMEM;
	memcpy(text, target, target_len);
	text[target_len] = '/';
	memcpy(text + target_len + 1, w->rest, rest_len + 1);
	if (target[0] == '/')
		w->dir = tree->root;
	free(w->text);
	w->text = text;
	w->rest = text;
	return 0;
}

/* A directory nobody told of yet. What stood there as a whiteout makes it a new one. */
static int walk_make(struct tree *tree, struct tree_node *dir, const char *name, size_t n,
		     struct tree_node *whiteout, struct tree_node **ret)
{
	struct tree_inode *inode = tree_inode_new(tree, S_IFDIR | ROOT_MODE);
	if (!inode)
		return -ENOMEM;
	inode->mtime_sec = tree->first_sec;
	inode->mtime_nsec = tree->first_nsec;
	int r;
	struct tree_node *node = whiteout;
	if (node)
		r = tree_replace(tree, node, inode);
	else
		r = tree_attach(tree, dir, name, n, inode, &node);
	if (r < 0)
		return r;
	if (!whiteout)
		node->flags |= NODE_IMPLIED;
	*ret = node;
	return tree_mark_dir(tree, node);
}

static int walk_step(struct tree *tree, struct walk *w, const char *name, size_t n, bool make)
{
	if (n == 0 || (n == 1 && name[0] == '.'))
		return 0;
	if (n == 2 && name[0] == '.' && name[1] == '.') {
		w->dir = w->dir->parent;
		return 0;
	}
	if (n > ENTRY_NAME_MAX)
		return -ENAMETOOLONG;
	struct tree_node *child = tree_child(tree, w->dir, name, n);
	bool whiteout = child && inode_is_whiteout(child->inode);
	if (!child || whiteout) {
		if (!make)
			return -ENOENT;
		return walk_make(tree, w->dir, name, n, child, &w->dir);
	}
	if (S_ISLNK(child->inode->mode))
		return walk_symlink(w, tree, child->inode->target);
	if (!S_ISDIR(child->inode->mode))
		return -ENOTDIR;
	w->dir = child;
	return 0;
}

int tree_walk(struct tree *tree, const char *path, bool make, struct tree_node **ret_dir,
	      const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	struct walk w = {.dir = tree->root, .rest = path};
	int r = 0;
	/* The last component is what follows the last slash, also of a path with targets in front. */
	for (const char *end; r == 0 && (end = strchr(w.rest, '/'));) {
		const char *name = w.rest;
		w.rest = end + 1;
		r = walk_step(tree, &w, name, (size_t)(end - name), make);
	}
	free(w.text);
	if (r < 0)
		return r;
	*ret_dir = w.dir;
	*ret_name = slash ? slash + 1 : path;
	return 0;
}
