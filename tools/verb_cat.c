/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"
#include "fs/walk.h"
#include "tools/opened.h"
#include "tools/verb.h"

enum { CAT_STEP = 1 << 20 };

static int cat_file(struct ctx *ctx, struct opened *opened, const char *path, struct err *err)
{
	const struct erofs *tree = image_tree(opened->image);
	struct erofs_inode inode;
	size_t n = 0;
	struct source **sources = image_sources(opened->image, &n);
	int r = walk_path(tree, path, true, &inode, err);
	if (r < 0)
		return r;
	if (!S_ISREG(inode.mode))
		return err_set(err, S_ISDIR(inode.mode) ? -EISDIR : -EINVAL, "print %s", path);
	AUTO_FREE char *data = malloc(CAT_STEP);
	if (!data)
		return err_set(err, -ENOMEM, "print %s", path);
	for (uint64_t off = 0; off < inode.size;) {
		ssize_t got = walk_read(tree, sources, n, &inode, data, CAT_STEP, off,
					ctx->read_timeout_ms, err);
		if (got < 0)
			return err_prefix(err, (int)got, "read %s", path);
		r = file_write(STDOUT_FILENO, data, (size_t)got);
		if (r < 0)
			return err_set(err, r, "write %s to the output", path);
		off += (uint64_t)got;
		/* What follows will be asked for next. */
		struct erofs_extent next;
		if (off < inode.size && erofs_map(tree, &inode, off, &next) == 0 && next.device > 0 &&
		    !next.hole && next.device <= n)
			source_advise(sources[next.device - 1], next.dev_off + (off - next.off),
				      u64_min(next.len - (off - next.off), 8 * (uint64_t)CAT_STEP));
	}
	return 0;
}

static int cat_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	(void)state;
	AUTO_FINISH(opened) struct opened opened = {0};
	int r = opened_start(ctx, argv[0], &opened, err);
	for (int i = 1; i < argc && r == 0; i++)
		r = cat_file(ctx, &opened, argv[i], err);
	return r;
}

const struct verb verb_cat = {
	.name = "cat",
	.args = "IMAGE PATH…",
	.summary = "print files of an image without mounting it",
	.teach = "Prints files of an image. Only the parts of the layers that hold them are fetched.\n"
		 "Symlinks are followed inside the image.\n\n"
		 "  sluice cat python:3.12 /etc/os-release",
	.min_words = 2,
	.max_words = -1,
	.run = cat_run,
};
