/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/profile_names.h"

#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "fs/profile_priv.h"

enum { NAMES_PATH_MAX = 1 << 20 };

/* A walk through the tree. */
struct names_walk {
	const struct erofs *tree;
	const struct profile *p;
	struct profile_names names; /* owned */
	struct buf path;	    /* owned; of the directory or file at hand */
};

void profile_names_finish(struct profile_names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < names->n; i++)
		for (size_t k = 0; k < PROFILE_NAMES_MAX; k++)
			free(names->ranges[i].names[k]);
	free(names->ranges);
	*names = (struct profile_names){0};
}

/* The file at hand has bytes in range i. */
static int names_add(struct names_walk *walk, size_t i)
{
	struct profile_files *files = &walk->names.ranges[i];
	if (files->count < PROFILE_NAMES_MAX) {
		files->names[files->count] = strdup(buf_str(&walk->path));
		if (!files->names[files->count])
			return -ENOMEM;
	}
	files->count++;
	return 0;
}

/* Whether range i was the last that this file was added to: extents that follow each other. */
static bool names_has(const struct names_walk *walk, size_t i)
{
	const struct profile_files *files = &walk->names.ranges[i];
	size_t kept = (size_t)u64_min(files->count, PROFILE_NAMES_MAX);
	return kept > 0 && strcmp(files->names[kept - 1], buf_str(&walk->path)) == 0;
}

static int names_extent(struct names_walk *walk, const struct erofs_extent *extent, bool *touched)
{
	const struct profile *p = walk->p;
	uint32_t layer = extent->device - 1;
	uint64_t end = extent->dev_off + extent->len;
	for (size_t at = profile_seek(p, layer, extent->dev_off); at < p->n; at++) {
		size_t i = p->sorted[at];
		if (p->items[i].layer != layer || p->items[i].off >= end)
			break;
		*touched = true;
		int r = names_has(walk, i) ? 0 : names_add(walk, i);
		if (r < 0)
			return r;
	}
	return 0;
}

static int names_file(struct names_walk *walk, const struct erofs_inode *inode)
{
	bool touched = false;
	for (uint64_t off = 0; off < inode->size;) {
		struct erofs_extent extent;
		int r = erofs_map(walk->tree, inode, off, &extent);
		if (r == 0 && extent.device > 0 && !extent.hole)
			r = names_extent(walk, &extent, &touched);
		if (r < 0)
			return r;
		off = extent.off + extent.len;
	}
	walk->names.files += touched;
	return 0;
}

static int names_dir(struct names_walk *walk, const struct erofs_inode *dir, int depth)
{
	struct erofs_dirent entry;
	uint64_t cookie = 0;
	size_t len = walk->path.len;
	int r = depth > PROFILE_DEPTH_MAX ? -ELOOP : 0;
	while (r == 0 && (r = erofs_readdir(walk->tree, dir, cookie, &entry)) > 0) {
		struct erofs_inode inode;
		cookie = entry.cookie;
		r = 0;
		if (entry.name_len <= 2 && memcmp(entry.name, "..", entry.name_len) == 0)
			continue;
		r = buf_puts(&walk->path, "/");
		if (r == 0)
			r = buf_append(&walk->path, entry.name, entry.name_len);
		if (r == 0)
			r = erofs_inode(walk->tree, entry.nid, &inode);
		if (r == 0 && S_ISDIR(inode.mode))
			r = names_dir(walk, &inode, depth + 1);
		else if (r == 0 && S_ISREG(inode.mode))
			r = names_file(walk, &inode);
		buf_cut(&walk->path, len);
	}
	return r;
}

int profile_names_make(const struct erofs *tree, const struct profile *p, struct profile_names *ret,
		       struct err *err)
{
	struct names_walk walk = {.tree = tree, .p = p, .path = buf_make(NAMES_PATH_MAX)};
	struct erofs_inode root;
	walk.names.n = p->n;
	walk.names.ranges = calloc(p->n + 1, sizeof(*walk.names.ranges));
	int r = walk.names.ranges ? erofs_inode(tree, erofs_root(tree), &root) : -ENOMEM;
	if (r == 0)
		r = names_dir(&walk, &root, 0);
	buf_finish(&walk.path);
	if (r < 0) {
		walk.names.n = walk.names.ranges ? walk.names.n : 0;
		profile_names_finish(&walk.names);
		return err_set(err, r, "find the files of a startup profile");
	}
	*ret = walk.names;
	return 0;
}
