/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/erofs_check.h"

#include <dirent.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/erofs_format.h"
#include "fs/erofs_image.h"

enum { DIRS_FIRST = 64 };

struct dir_item {
	uint64_t nid, parent;
};

struct check {
	const struct erofs *image;
	struct err *err;
	uint64_t n_slots;
	uint64_t steps; /* left: entries and runs; an honest image says no byte twice */
	uint8_t *seen;	/* owned; a bit for each slot */
	struct dir_item *dirs; /* owned; to be read */
	size_t n_dirs, room;
};

static void check_finish(struct check *c)
{
	free(c->seen);
	free(c->dirs);
}
DEFINE_FINISH(check, check_finish);

static int wrong(const struct check *c, uint64_t nid, const char *what)
{
	return err_say(c->err, -EBADMSG, "the metadata is broken: inode %llu: %s",
		       (unsigned long long)nid, what);
}

static int step(struct check *c, uint64_t nid)
{
	if (c->steps == 0)
		return wrong(c, nid, "there is more in it than it has bytes");
	c->steps--;
	return 0;
}

static int check_file(struct check *c, const struct erofs_inode *inode)
{
	struct erofs_extent x;
	for (uint64_t off = 0; off < inode->size; off = x.off + x.len) {
		int r = step(c, inode->nid);
		if (r == 0 && erofs_map(c->image, inode, off, &x) < 0)
			r = wrong(c, inode->nid, "its bytes are nowhere");
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_symlink(const struct check *c, const struct erofs_inode *inode)
{
	const char *target;
	ssize_t n = erofs_readlink(c->image, inode, &target);
	if (n <= 0 || n >= PATH_MAX || memchr(target, '\0', (size_t)n))
		return wrong(c, inode->nid, "its target is none");
	return 0;
}

static int check_xattr(void *data, const char *name, const void *value, size_t len)
{
	(void)value;
	(void)len;
	if (strlen(name) > XATTR_NAME_MAX)
		return -EBADMSG;
	struct check *c = data;
	return step(c, 0);
}

static int queue_dir(struct check *c, uint64_t nid, uint64_t parent)
{
	if (c->n_dirs == c->room) {
		size_t room = c->room ? c->room * 2 : DIRS_FIRST;
		struct dir_item *dirs = reallocarray(c->dirs, room, sizeof(*dirs));
		if (!dirs)
			return err_set(c->err, -ENOMEM, "check the metadata");
		c->dirs = dirs;
		c->room = room;
	}
	c->dirs[c->n_dirs++] = (struct dir_item){.nid = nid, .parent = parent};
	return 0;
}

/* An inode where an entry of that type (DT_UNKNOWN: any) leads to it. */
static int check_inode(struct check *c, uint64_t nid, uint64_t parent, uint8_t type)
{
	struct erofs_inode inode;
	if (nid >= c->n_slots || erofs_inode(c->image, nid, &inode) < 0)
		return wrong(c, nid, "it is none");
	if (type != DT_UNKNOWN && type != IFTODT(inode.mode))
		return wrong(c, nid, "its name says another type");
	bool again = c->seen[nid / 8] & 1U << nid % 8;
	if (again)
		return S_ISDIR(inode.mode) ? wrong(c, nid, "the directory has two names") : 0;
	c->seen[nid / 8] |= (uint8_t)(1U << nid % 8);
	int r = erofs_listxattr(c->image, &inode, check_xattr, c);
	if (r < 0)
		return r == -EBADMSG ? wrong(c, nid, "its xattrs are broken") : r;
	switch (inode.mode & S_IFMT) {
	case S_IFDIR:
		return queue_dir(c, nid, parent);
	case S_IFREG:
		return check_file(c, &inode);
	case S_IFLNK:
		return check_symlink(c, &inode);
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	default:
		return wrong(c, nid, "it has no type");
	}
}

/* 1 for an entry that leads down. */
static int check_name(const struct check *c, const struct dir_item *dir,
		      const struct erofs_dirent *d, unsigned int *dots)
{
	bool self = d->name_len == 1 && d->name[0] == '.';
	bool up = d->name_len == 2 && memcmp(d->name, "..", 2) == 0;
	if (!self && !up)
		return 1;
	if (d->nid != (self ? dir->nid : dir->parent))
		return wrong(c, dir->nid, "\".\" or \"..\" leads elsewhere");
	(*dots)++;
	return 0;
}

static int check_dir(struct check *c, const struct dir_item *dir)
{
	struct erofs_inode inode;
	struct erofs_dirent d, before = {0};
	unsigned int dots = 0;
	int r = erofs_inode(c->image, dir->nid, &inode);
	for (uint64_t cookie = 0; r == 0; cookie = d.cookie, before = d) {
		r = erofs_readdir(c->image, &inode, cookie, &d);
		if (r < 0)
			return wrong(c, dir->nid, "the directory cannot be read");
		if (r == 0)
			break;
		if (before.name && erofs_name_compare(before.name, before.name_len, d.name,
						      d.name_len) >= 0)
			return wrong(c, dir->nid, "its names are not in order");
		r = check_name(c, dir, &d, &dots);
		if (r > 0)
			r = check_inode(c, d.nid, dir->nid, d.type);
		if (r == 0)
			r = step(c, dir->nid);
	}
	if (r == 0 && dots != 2)
		return wrong(c, dir->nid, "it lacks \".\" or \"..\"");
	return r;
}

int erofs_check(const struct erofs *image, struct err *err)
{
	AUTO_FINISH(check) struct check c = {.image = image, .err = err};
	struct erofs_stats stats;
	erofs_stats(image, &stats);
	c.n_slots = stats.bytes / INODE_SLOT + 1;
	c.steps = stats.bytes;
	c.seen = calloc(c.n_slots / 8 + 1, 1);
	if (!c.seen)
		return err_set(err, -ENOMEM, "check the metadata");
	uint64_t root = erofs_root(image);
	int r = check_inode(&c, root, root, DT_DIR);
	while (r == 0 && c.n_dirs > 0) {
		struct dir_item dir = c.dirs[--c.n_dirs];
		r = check_dir(&c, &dir);
	}
	return r;
}
