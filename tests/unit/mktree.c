/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes EROFS images of tars, for comparison with what others make of them:
 *
 *   mktree layer OUT TAR       the layer's tree, whiteouts and all
 *   mktree merge OUT TAR...    the layers over each other, the lowest first
 *   mktree rebuild OUT IMAGE   an image, read and written again
 *   mktree list OUT IMAGE      what our reader says of an image, whoever made it: a line a file
 *
 * With -t first, says how fast each step was.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/num.h"
#include "fetcher/tar.h"
#include "fs/tree.h"

enum { PIECE = 1 << 20, LAYERS_MAX = 128 };

static bool timed;

static void say_time(const char *what, const struct tree *tree, uint64_t since)
{
	if (!timed)
		return;
	double s = (double)(clock_now_ns() - since) / (double)NS_PER_SEC;
	printf("%s: %" PRIu64 " inodes in %.3f s, %.0f a second\n", what, tree_inodes(tree), s,
	       (double)tree_inodes(tree) / s);
}

static int read_tar(const char *path, struct tree *tree, struct tree_device *device,
		    struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO(tar_reader) struct tar_reader *tar = NULL;
	AUTO_FREE char *piece = malloc(PIECE);
	if (fd < 0 || !piece)
		return err_set(err, -errno, "open %s", path);
	*device = (struct tree_device){0};
	int r = file_size(fd, &device->size);
	r = r < 0 ? r : tar_reader_create(tree_add, tree, &tar);
	while (r == 0) {
		ssize_t n = file_read(fd, piece, PIECE);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		r = tar_reader_push(tar, piece, (size_t)n, err);
	}
	return r < 0 ? r : tar_reader_finish(tar, err);
}

static int write_image(struct tree *tree, const struct tree_device *devices, uint32_t n, int fd,
		       struct err *err)
{
	uint64_t start = clock_now_ns();
	int r = tree_write(tree, devices, n, fd, err);
	say_time("write", tree, start);
	return r;
}

/* The layer of one tar, as an image in memory. */
static int make_layer(const char *path, int fd, struct tree_device *device, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	int r = tree_create(&tree);
	uint64_t start = clock_now_ns();
	r = r < 0 ? r : read_tar(path, tree, device, err);
	if (r < 0)
		return r;
	say_time("add", tree, start);
	return write_image(tree, device, 1, fd, err);
}

static int apply_image(struct tree *tree, int fd, uint32_t device, struct err *err)
{
	AUTO(erofs) struct erofs *image = NULL;
	int r = erofs_open(fd, &image, err);
	if (r < 0)
		return r;
	uint64_t start = clock_now_ns();
	r = tree_apply(tree, image, device, err);
	say_time("apply", tree, start);
	return r;
}

static int merge(char **tars, uint32_t n, int out, struct err *err)
{
	struct tree_device devices[LAYERS_MAX];
	AUTO(tree) struct tree *tree = NULL;
	int r = n <= LAYERS_MAX ? tree_create(&tree) : -E2BIG;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		AUTO_CLOSE int fd = memfd_create("layer", MFD_CLOEXEC);
		r = fd < 0 ? -errno : make_layer(tars[i], fd, &devices[i], err);
		r = r < 0 ? r : apply_image(tree, fd, i + 1, err);
	}
	return r < 0 ? r : write_image(tree, devices, n, out, err);
}

static int rebuild(const char *path, int out, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO(erofs) struct erofs *image = NULL;
	AUTO(tree) struct tree *tree = NULL;
	struct tree_device devices[LAYERS_MAX];
	struct erofs_stats stats;
	int r = fd < 0 ? -errno : tree_create(&tree);
	r = r < 0 ? r : erofs_open(fd, &image, err);
	r = r < 0 ? r : tree_apply(tree, image, 1, err);
	if (r < 0)
		return r;
	erofs_stats(image, &stats);
	for (uint32_t i = 0; i < stats.n_devices && i < LAYERS_MAX; i++) {
		struct erofs_device d;
		r = erofs_device(image, i + 1, &d);
		if (r < 0)
			return r;
		devices[i].size = d.size;
		memcpy(devices[i].tag, d.tag, sizeof(d.tag));
	}
	return write_image(tree, devices, stats.n_devices, out, err);
}

/* The content of a file that is inside the image. */
static int list_content(const struct erofs *image, const struct erofs_inode *inode, FILE *out)
{
	AUTO(digest_ctx) struct digest_ctx *digest = NULL;
	struct digest sum;
	char text[DIGEST_STR_MAX];
	int r = digest_ctx_create(DIGEST_SHA256, &digest);
	for (uint64_t off = 0; r == 0 && off < inode->size;) {
		struct erofs_extent x;
		r = erofs_map(image, inode, off, &x);
		if (r == 0 && (!x.inlined || x.off != off))
			r = -EOPNOTSUPP;
		if (r == 0)
			r = digest_ctx_update(digest, x.inlined, (size_t)x.len);
		off += r == 0 ? x.len : 0;
	}
	r = r < 0 ? r : digest_ctx_final(digest, &sum);
	if (r == 0)
		(void)fprintf(out, " %s", digest_hex(&sum, text));
	return r;
}

static int list_xattr(void *data, const char *name, const void *value, size_t len)
{
	(void)fprintf(data, " %s=%.*s", name, (int)len, (const char *)value);
	return 0;
}

static int list_dir(const struct erofs *image, uint64_t nid, const char *path, FILE *out)
{
	struct erofs_inode dir, inode;
	struct erofs_dirent d;
	uint64_t cookie = 0;
	int r = erofs_inode(image, nid, &dir);
	while (r == 0 && (r = erofs_readdir(image, &dir, cookie, &d)) > 0) {
		cookie = d.cookie;
		uint64_t found = 0;
		char full[ENTRY_PATH_MAX];
		const char *target = NULL;
		(void)snprintf(full, sizeof(full), "%s/%.*s", path, (int)d.name_len, d.name);
		r = erofs_lookup(image, &dir, d.name, d.name_len, &found);
		if (r < 0 || found != d.nid)
			return r < 0 ? r : -ENOTRECOVERABLE;
		r = erofs_inode(image, d.nid, &inode);
		if (r < 0 || (d.name_len <= 2 && memcmp(d.name, "..", d.name_len) == 0))
			continue;
		ssize_t n = S_ISLNK(inode.mode) ? erofs_readlink(image, &inode, &target) : 0;
		(void)fprintf(out, "%s %o %u:%u %u %" PRIi64 ".%09u %u,%u >%.*s", full + 1, inode.mode,
			      inode.uid, inode.gid, inode.nlink, inode.mtime_sec, inode.mtime_nsec,
			      inode.major, inode.minor, (int)n, target ? target : "");
		r = n < 0 ? (int)n : erofs_listxattr(image, &inode, list_xattr, out);
		if (r == 0 && S_ISREG(inode.mode))
			r = list_content(image, &inode, out);
		(void)fprintf(out, "\n");
		if (r == 0 && S_ISDIR(inode.mode))
			r = list_dir(image, d.nid, full, out);
	}
	return r;
}

static int list(const char *path, int out_fd, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO(erofs) struct erofs *image = NULL;
	AUTO_FCLOSE FILE *out = fdopen(dup(out_fd), "w");
	int r = fd < 0 || !out ? -errno : erofs_open(fd, &image, err);
	return r < 0 ? r : list_dir(image, erofs_root(image), "", out);
}

int main(int argc, char **argv)
{
	struct err err = {0};
	timed = argc > 1 && strcmp(argv[1], "-t") == 0;
	if (timed) {
		argv++;
		argc--;
	}
	if (argc < 4) {
		(void)fprintf(stderr, "usage: mktree [-t] layer|merge|rebuild|list OUT IN...\n");
		return 2;
	}
	AUTO_CLOSE int out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct tree_device device;
	int r = out < 0 ? -errno : 0;
	if (r == 0 && strcmp(argv[1], "layer") == 0)
		r = make_layer(argv[3], out, &device, &err);
	else if (r == 0 && strcmp(argv[1], "merge") == 0)
		r = merge(argv + 3, (uint32_t)(argc - 3), out, &err);
	else if (r == 0 && strcmp(argv[1], "list") == 0)
		r = list(argv[3], out, &err);
	else if (r == 0)
		r = rebuild(argv[3], out, &err);
	if (r < 0)
		(void)fprintf(stderr, "%d: %s\n", -r, err_text(&err));
	return r < 0 ? 1 : 0;
}
