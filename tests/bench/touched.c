/* SPDX-License-Identifier: Apache-2.0 */

/*
 * touched DIR TREE
 *
 * What has been read of the image that is mounted on DIR: the pages of its
 * files that the kernel holds, as ranges of the layers' devices, "layer offset
 * length" a line, the bottom layer 0. TREE is the image's EROFS metadata. With
 * the kernel's read-ahead off, and nothing cached before, these are exactly
 * the pages that somebody asked for.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fs/erofs.h"

enum {
	DEPTH_MAX = 256,
	PAGE = 4096,
};

struct touched {
	struct erofs *tree;
	char path[4096]; /* PATH_MAX */
	unsigned char *pages;
	size_t pages_max;
};

static _Noreturn void die(const char *what, const char *path, int error)
{
	(void)fprintf(stderr, "touched: %s %s: %s\n", what, path, strerror(error));
	exit(1);
}

/* One run of pages of a file, in the pieces that its device has it in. */
static void tell(const struct touched *t, const struct erofs_inode *inode, uint64_t off,
		 uint64_t end)
{
	if (end > inode->size)
		end = inode->size;
	while (off < end) {
		struct erofs_extent e;
		int r = erofs_map(t->tree, inode, off, &e);
		if (r < 0)
			die("map", t->path, -r);
		uint64_t stop = e.off + e.len < end ? e.off + e.len : end;
		if (!e.hole && e.device > 0)
			(void)printf("%u %llu %llu\n", e.device - 1,
				     (unsigned long long)(e.dev_off + (off - e.off)),
				     (unsigned long long)(stop - off));
		off = stop;
	}
}

static void look_at_file(struct touched *t, const struct erofs_inode *inode)
{
	size_t n = (inode->size + PAGE - 1) / PAGE;
	if (n == 0)
		return;
	AUTO_CLOSE int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
	if (fd < 0)
		die("open", t->path, errno);
	void *map = mmap(NULL, n * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("map", t->path, errno);
	if (n > t->pages_max) {
		free(t->pages);
		t->pages = malloc(n);
		t->pages_max = n;
	}
	if (!t->pages || mincore(map, n * PAGE, t->pages) < 0)
		die("look at", t->path, errno);
	for (size_t i = 0, end; i < n; i = end + 1) {
		end = i;
		while (end < n && (t->pages[end] & 1))
			end++;
		if (end > i)
			tell(t, inode, (uint64_t)i * PAGE, (uint64_t)end * PAGE);
	}
	(void)munmap(map, n * PAGE);
}

static void look_at(struct touched *t, uint64_t nid, size_t path_len, int depth)
{
	struct erofs_inode inode;
	struct erofs_dirent d = {0};
	int r = erofs_inode(t->tree, nid, &inode);
	if (r < 0)
		die("read", t->path, -r);
	if (S_ISREG(inode.mode))
		look_at_file(t, &inode);
	if (!S_ISDIR(inode.mode) || depth == DEPTH_MAX)
		return;
	while ((r = erofs_readdir(t->tree, &inode, d.cookie, &d)) > 0) {
		if (d.name[0] == '.' && (d.name_len == 1 || (d.name_len == 2 && d.name[1] == '.')))
			continue;
		if (path_len + d.name_len + 2 > sizeof(t->path))
			die("path below", t->path, ENAMETOOLONG);
		t->path[path_len] = '/';
		memcpy(t->path + path_len + 1, d.name, d.name_len);
		t->path[path_len + 1 + d.name_len] = '\0';
		look_at(t, d.nid, path_len + 1 + d.name_len, depth + 1);
		t->path[path_len] = '\0';
	}
	if (r < 0)
		die("read", t->path, -r);
}

int main(int argc, char **argv)
{
	static struct touched t;
	struct err err = {0};
	if (argc != 3 || strlen(argv[1]) >= sizeof(t.path)) {
		(void)fprintf(stderr, "touched DIR TREE\n");
		return 2;
	}
	AUTO_CLOSE int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("open", argv[2], errno);
	if (erofs_open(fd, &t.tree, &err) < 0) {
		(void)fprintf(stderr, "touched: %s\n", err_text(&err));
		return 1;
	}
	memcpy(t.path, argv[1], strlen(argv[1]) + 1);
	look_at(&t, erofs_root(t.tree), strlen(argv[1]), 0);
	free(t.pages);
	erofs_close(t.tree);
	return 0;
}
