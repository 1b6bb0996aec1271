/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "fs/walk.h"
#include "tools/opened.h"
#include "tools/text.h"
#include "tools/verb.h"

enum { LS_DEPTH_MAX = 1100 };

struct ls_state {
	bool longer, recursive;
};

struct ls {
	const struct erofs *tree;
	const struct ls_state *opts;
	json_t *json; /* array; NULL: text */
	struct buf path;
};

static void ls_options(void *state, struct opt *table)
{
	struct ls_state *s = state;
	table[0] = (struct opt){"long", 'l', OPT_FLAG, NULL, "mode, links, owner, size and time, too",
				&s->longer};
	table[1] = (struct opt){"recursive", 'R', OPT_FLAG, NULL, "everything below, each with its path",
				&s->recursive};
}

static int ls_link(const struct ls *ls, const struct erofs_inode *inode, struct buf *ret)
{
	const char *target = NULL;
	if (!S_ISLNK(inode->mode))
		return 0;
	ssize_t n = erofs_readlink(ls->tree, inode, &target);
	return n < 0 ? (int)n : buf_append(ret, target, (size_t)n);
}

static int ls_print_json(struct ls *ls, const struct erofs_inode *inode, const char *link)
{
	AUTO_FREE char *path = text_json(ls->path.data, ls->path.len);
	AUTO_FREE char *target = text_json(link, strlen(link));
	char mode[TEXT_MODE_MAX];
	if (!path || !target)
		return -ENOMEM;
	json_t *row = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "path", path, "mode",
				text_mode(inode->mode, mode), "inode", (json_int_t)inode->nid,
				"links", (json_int_t)inode->nlink, "uid", (json_int_t)inode->uid,
				"gid", (json_int_t)inode->gid, "size", (json_int_t)inode->size,
				"mtime", (json_int_t)inode->mtime_sec, "mtime_nsec",
				(json_int_t)inode->mtime_nsec);
	if (S_ISLNK(inode->mode) && json_object_set_new(row, "link", json_string(target)) < 0)
		return -ENOMEM;
	return json_array_append_new(ls->json, row) < 0 ? -ENOMEM : 0;
}

static void ls_print_text(const struct ls *ls, const struct erofs_inode *inode, const char *link)
{
	if (ls->opts->longer) {
		char mode[TEXT_MODE_MAX], when[32] = "?", what[32];
		struct tm tm;
		time_t sec = inode->mtime_sec;
		if (gmtime_r(&sec, &tm))
			(void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
		if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
			(void)snprintf(what, sizeof(what), "%u, %u", inode->major, inode->minor);
		else
			(void)snprintf(what, sizeof(what), "%llu", (unsigned long long)inode->size);
		(void)printf("%s %3u %5u %5u %10s %s ", text_mode(inode->mode, mode), inode->nlink,
			     inode->uid, inode->gid, what, when);
	}
	text_print_name(ls->path.data, ls->path.len);
	if (ls->opts->longer && S_ISLNK(inode->mode)) {
		(void)fputs(" -> ", stdout);
		text_print_name(link, strlen(link));
	}
	(void)putchar('\n');
}

static int ls_print(struct ls *ls, const struct erofs_inode *inode)
{
	AUTO_FINISH(buf) struct buf link = buf_make(65536);
	int r = ls_link(ls, inode, &link);
	if (r == 0 && ls->json)
		return ls_print_json(ls, inode, buf_str(&link));
	if (r == 0)
		ls_print_text(ls, inode, buf_str(&link));
	return r;
}

static int ls_dir(struct ls *ls, const struct erofs_inode *dir, int depth)
{
	struct erofs_dirent entry;
	uint64_t cookie = 0;
	int r;
	if (depth > LS_DEPTH_MAX)
		return -ELOOP;
	while ((r = erofs_readdir(ls->tree, dir, cookie, &entry)) > 0) {
		struct erofs_inode inode;
		size_t len = ls->path.len;
		cookie = entry.cookie;
		bool dots = entry.name_len <= 2 && memcmp(entry.name, "..", entry.name_len) == 0;
		if (dots)
			continue;
		r = len > 0 ? buf_puts(&ls->path, "/") : 0;
		if (r == 0)
			r = buf_append(&ls->path, entry.name, entry.name_len);
		if (r == 0)
			r = erofs_inode(ls->tree, entry.nid, &inode);
		if (r == 0)
			r = ls_print(ls, &inode);
		if (r == 0 && ls->opts->recursive && S_ISDIR(inode.mode))
			r = ls_dir(ls, &inode, depth + 1);
		if (r < 0)
			return r;
		ls->path.len = len;
	}
	return r;
}

static int ls_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_FINISH(opened) struct opened opened = {0};
	AUTO_JSON json_t *json = ctx->json ? json_array() : NULL;
	struct erofs_inode inode;
	const char *path = argc > 1 ? argv[1] : "/";
	int r = opened_start(ctx, argv[0], &opened, err);
	if (r == 0)
		r = walk_path(image_tree(opened.image), path, true, &inode, err);
	if (r != 0)
		return r;
	struct ls ls = {
		.tree = image_tree(opened.image),
		.opts = state,
		.json = json,
		.path = buf_make(65536),
	};
	if (S_ISDIR(inode.mode)) {
		r = ls_dir(&ls, &inode, 0);
	} else {
		r = buf_puts(&ls.path, path);
		if (r == 0)
			r = ls_print(&ls, &inode);
	}
	buf_finish(&ls.path);
	if (r < 0)
		return err_set(err, r, "list %s", path);
	return json ? text_print_json(json, err) : 0;
}

const struct verb verb_ls = {
	.name = "ls",
	.args = "IMAGE [PATH]",
	.summary = "list files of an image without mounting it",
	.teach = "Lists a directory of an image, or everything below it, from the image's metadata: no\n"
		 "layer is fetched when the image has an index. Times are UTC.\n\n"
		 "  sluice ls -l python:3.12 /usr/local/bin",
	.options = ls_options,
	.state_size = sizeof(struct ls_state),
	.min_words = 1,
	.max_words = 2,
	.run = ls_run,
};
