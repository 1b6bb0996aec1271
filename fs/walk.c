/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/walk.h"

#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "fetcher/source_wait.h"

/* The way down to where the walk is: ".." goes back up along it. */
struct walk {
	const struct erofs *image;
	struct erofs_inode way[1024];
	size_t depth; /* way[depth] is the current inode; way[0] the root */
	struct buf rest; /* what is still to be walked */
	int links;
};

/* Puts a symlink's target in front of what is left. */
static int walk_enter_link(struct walk *w, const struct erofs_inode *link)
{
	const char *target = NULL;
	if (++w->links > WALK_LINKS_MAX)
		return -ELOOP;
	ssize_t n = erofs_readlink(w->image, link, &target);
	if (n <= 0)
		return n < 0 ? (int)n : -ENOENT;
	AUTO_FINISH(buf) struct buf next = buf_make(WALK_PATH_MAX);
	int r = buf_append(&next, target, (size_t)n);
	/* What is left is empty or begins with a slash. */
	if (r == 0)
		r = buf_puts(&next, buf_str(&w->rest));
	if (r < 0)
		return r == -E2BIG ? -ENAMETOOLONG : r;
	if (target[0] == '/')
		w->depth = 0;
	buf_finish(&w->rest);
	w->rest = next;
	next = buf_make(0);
	return 0;
}

static int walk_step(struct walk *w, const char *name, size_t n, bool follow)
{
	const struct erofs_inode *dir = &w->way[w->depth];
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (n == 1 && name[0] == '.')
		return 0;
	if (n == 2 && name[0] == '.' && name[1] == '.') {
		w->depth -= w->depth > 0;
		return 0;
	}
	uint64_t nid;
	struct erofs_inode inode;
	int r = erofs_lookup(w->image, dir, name, n, &nid);
	if (r == 0)
		r = erofs_inode(w->image, nid, &inode);
	if (r != 0)
		return r;
	if (S_ISLNK(inode.mode) && follow)
		return walk_enter_link(w, &inode);
	if (w->depth + 1 == ARRAY_LEN(w->way))
		return -ENAMETOOLONG;
	w->way[++w->depth] = inode;
	return 0;
}

static int walk_all(struct walk *w, bool follow)
{
	for (;;) {
		size_t skip = strspn(buf_str(&w->rest), "/");
		buf_shift(&w->rest, skip);
		/* A slash at the end asks for a directory. */
		if (w->rest.len == 0)
			return skip > 0 && !S_ISDIR(w->way[w->depth].mode) ? -ENOTDIR : 0;
		char name[256];
		size_t n = strcspn(w->rest.data, "/");
		if (n >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, w->rest.data, n);
		buf_shift(&w->rest, n);
		bool last = w->rest.len == strspn(buf_str(&w->rest), "/");
		/* A trailing slash asks for the directory behind the link. */
		int r = walk_step(w, name, n, follow || !last || w->rest.len > 0);
		if (r < 0)
			return r;
	}
}

int walk_path(const struct erofs *image, const char *path, bool follow, struct erofs_inode *ret,
	      struct err *err)
{
	AUTO_FREE struct walk *w = calloc(1, sizeof(*w));
	if (!w)
		return err_set(err, -ENOMEM, "look up %s", path);
	w->image = image;
	w->rest = buf_make(WALK_PATH_MAX);
	int r = erofs_inode(image, erofs_root(image), &w->way[0]);
	if (r == 0)
		r = buf_puts(&w->rest, path);
	if (r == 0)
		r = walk_all(w, follow);
	buf_finish(&w->rest);
	if (r < 0)
		return err_set(err, r == -E2BIG ? -ENAMETOOLONG : r,
			       "look up %.200s in the image", path);
	*ret = w->way[w->depth];
	return 0;
}

static ssize_t walk_read_extent(const struct erofs_extent *extent, struct source **devices,
				size_t n_devices, void *data, size_t len, uint64_t off,
				uint64_t timeout_ms, struct err *err)
{
	uint64_t skip = off - extent->off;
	size_t n = (size_t)u64_min(len, extent->len - skip);
	if (extent->hole) {
		memset(data, 0, n);
		return (ssize_t)n;
	}
	if (extent->inlined) {
		memcpy(data, (const char *)extent->inlined + skip, n);
		return (ssize_t)n;
	}
	if (extent->device == 0 || extent->device > n_devices)
		return err_say(err, -EBADMSG, "a file points into device %u of %zu", extent->device,
			       n_devices);
	int r = source_read_wait(devices[extent->device - 1], data, n, extent->dev_off + skip,
				 timeout_ms, err);
	return r < 0 ? r : (ssize_t)n;
}

ssize_t walk_read(const struct erofs *image, struct source **devices, size_t n_devices,
		  const struct erofs_inode *inode, void *data, size_t len, uint64_t off,
		  uint64_t timeout_ms, struct err *err)
{
	size_t done = 0;
	if (off >= inode->size)
		return 0;
	len = (size_t)u64_min(len, inode->size - off);
	while (done < len) {
		struct erofs_extent extent;
		int r = erofs_map(image, inode, off + done, &extent);
		if (r < 0)
			return err_set(err, r, "find the bytes of a file");
		ssize_t n = walk_read_extent(&extent, devices, n_devices, (char *)data + done,
					     len - done, off + done, timeout_ms, err);
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}
