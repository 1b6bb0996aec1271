/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Makes EROFS images of tars, for comparison with what others make of them:
 *
 *   mktree layer OUT TAR       the layer's tree, whiteouts and all
 *   mktree merge OUT TAR...    the layers over each other, the lowest first
 *   mktree rebuild OUT IMAGE   an image, read and written again
 *
 * With -t first, says how fast each step was.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
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

int main(int argc, char **argv)
{
	struct err err = {0};
	timed = argc > 1 && strcmp(argv[1], "-t") == 0;
	if (timed) {
		argv++;
		argc--;
	}
	if (argc < 4) {
		(void)fprintf(stderr, "usage: mktree [-t] layer|merge|rebuild OUT IN...\n");
		return 2;
	}
	AUTO_CLOSE int out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct tree_device device;
	int r = out < 0 ? -errno : 0;
	if (r == 0 && strcmp(argv[1], "layer") == 0)
		r = make_layer(argv[3], out, &device, &err);
	else if (r == 0 && strcmp(argv[1], "merge") == 0)
		r = merge(argv + 3, (uint32_t)(argc - 3), out, &err);
	else if (r == 0)
		r = rebuild(argv[3], out, &err);
	if (r < 0)
		(void)fprintf(stderr, "%d: %s\n", -r, err_text(&err));
	return r < 0 ? 1 : 0;
}
