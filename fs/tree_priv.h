/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The tree's insides, shared by the files tree*.c; fs/tree.h is the interface.
 *
 * A node is a name in a directory, an inode what the name stands for; names
 * that are hardlinks of each other share an inode. Both live in the tree's
 * arena until the tree goes. A removed node is only unlinked: what a tree ever
 * held is bounded by what was read, and few layers remove much.
 */

#include <stdbool.h>
#include <sys/stat.h>

#include "base/htab.h"
#include "base/list.h"
#include "fs/arena.h"
#include "fs/erofs_format.h"
#include "fs/tree.h"

enum {
	TREE_BLOCK_BITS = 9,
	TREE_BLOCK = 1 << TREE_BLOCK_BITS,
	TREE_SYMLINKS_MAX = 40, /* followed in one path, as Linux */
	TREE_DEVICES_MAX = 1024, /* the root inode must start within 2 MiB */
};
_Static_assert((int)TREE_BLOCK == (int)ENTRY_ALIGN, "tar offsets are block numbers");

#define XATTR_OPAQUE	 "trusted.overlay.opaque"
#define XATTR_HARDLINK	 "trusted.sluice.hardlink"
#define XATTR_IMPLIED	 "trusted.sluice.implied"
#define XATTR_OUR_PREFIX "trusted.sluice."
#define XATTR_OVL_PREFIX "trusted.overlay."

/* One name and value, stored once however many files have it. */
struct xattr {
	struct hnode hash;
	struct list link; /* of all xattrs of the tree */
	const struct erofs_prefix *prefix;
	const char *name; /* in full */
	const uint8_t *value;
	uint32_t value_len;
	/* The writer's own: inodes that have it, and its place in the shared area. */
	uint32_t uses;
	uint32_t shared_id;
};

/* All xattrs of a file, sorted by name, stored once however many files have the same. */
struct xattr_set {
	struct hnode hash;
	uint32_t n;
	struct xattr *items[];
};

/* n_blocks of a file from file_block on stand at dev_block of its device. */
struct tree_extent {
	uint32_t file_block, n_blocks, dev_block;
};

struct tree_inode {
	uint64_t size; /* of a file, a symlink's target; of a directory while writing */
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t uid, gid;
	uint32_t nlink; /* names; of a directory 1 */
	uint16_t mode;
	/* The writer's own; nid is 0 while nothing is written. */
	bool extended;
	bool tail; /* the last block follows the inode */
	uint32_t nid;
	uint32_t data_block; /* from the start of the data area */
	const struct xattr_set *xattrs; /* NULL: none */
	union {
		struct {
			struct list children; /* of nodes */
			uint32_t n_dirs;      /* the writer's: how many of them are directories */
		} dir;
		struct {
			const struct tree_extent *extents; /* sorted, neighbours joined */
			uint32_t n_extents;
			uint32_t device;
		} file;
		const char *target; /* of a symlink */
		uint32_t rdev;	    /* as on disk */
	};
};

enum node_flags {
	NODE_CUT = 1 << 0,     /* what lower layers have under this name does not show through */
	NODE_IMPLIED = 1 << 1, /* a directory that only its children tell of */
};

struct tree_node {
	struct hnode hash;
	struct list link; /* of the parent's children */
	struct tree_node *parent; /* of the root: itself */
	struct tree_inode *inode;
	uint16_t depth;
	uint8_t flags;
	uint8_t name_len;
	char name[]; /* terminated */
};

struct tree {
	struct arena arena;
	struct htab names;  /* of nodes, by parent and name */
	struct htab xattrs, sets;
	struct list all_xattrs;
	struct tree_node *root;
	uint64_t n_inodes;
	uint64_t n_added; /* entries of tree_add() */
	uint64_t key[2];  /* of the hash */
	int64_t first_sec;  /* the time of the first entry */
	uint32_t first_nsec;
	struct tree_extent *scratch; /* owned; the extents of the file at hand */
	uint32_t n_scratch, room_scratch;
};

/* A keyed hash: names come from images, and must not choose their buckets. */
uint64_t tree_hash(const struct tree *tree, uint64_t seed, const void *data, size_t n);

/* A new inode of this type, without names. NULL: -ENOMEM. */
struct tree_inode *tree_inode_new(struct tree *tree, uint16_t mode);

/* The child of a directory node, or NULL. */
struct tree_node *tree_child(const struct tree *tree, const struct tree_node *dir,
			     const char *name, size_t n);

/* Adds a name (1 to 255 bytes, not there yet) for the inode. -ENOMEM, -E2BIG (depth, links). */
int tree_attach(struct tree *tree, struct tree_node *dir, const char *name, size_t n,
		struct tree_inode *inode, struct tree_node **ret);

/* Gives a node another inode; what the old one held below itself goes. */
int tree_replace(struct tree *tree, struct tree_node *node, struct tree_inode *inode);

/* Removes a name and what is below it. */
void tree_detach(struct tree *tree, struct tree_node *node);

/* Removes what is below a directory inode. */
void tree_empty(struct tree *tree, struct tree_inode *dir);

static inline bool inode_is_whiteout(const struct tree_inode *inode)
{
	return S_ISCHR(inode->mode) && inode->rdev == 0;
}

/*
 * Finds the directory that holds the last component of a clean path, following
 * symlinks inside the tree as a process chrooted there would. With `make`,
 * missing directories are made. *ret_name points into path. -ENOENT, -ENOTDIR,
 * -ELOOP, -E2BIG, -ENOMEM.
 */
int tree_walk(struct tree *tree, const char *path, bool make, struct tree_node **ret_dir,
	      const char **ret_name);

/*
 * Interns a set of xattrs: those the format cannot name are left out; NULL for
 * none. -E2BIG past what an inode holds.
 */
int tree_xattr_set(struct tree *tree, const struct entry_xattr *xattrs, size_t n,
		   const struct xattr_set **ret);

/* The same set with the marks of a layer (trusted.*) as the node's flags say. */
int tree_mark_dir(struct tree *tree, struct tree_node *node);

/* Extents of the file at hand: start anew, add one (in order), and give all to the inode. */
void tree_extents_start(struct tree *tree);
int tree_extents_add(struct tree *tree, uint64_t file_off, uint64_t dev_off, uint64_t len,
		     struct err *err);
int tree_extents_finish(struct tree *tree, struct tree_inode *inode, uint32_t device);
