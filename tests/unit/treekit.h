/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Small trees from lists of entries, and images as text, for the tests of trees and images. */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"
#include "fs/tree.h"
#include "tests/unit/unit.h"

enum { KIT_TEXT_MAX = 1 << 20, KIT_TIME = 1000 };

/* An entry with the attributes most of them have. */
static inline struct entry kit_entry(enum entry_type type, const char *path, const char *link)
{
	return (struct entry){
		.path = path,
		.type = type,
		.mode = type == ENTRY_DIR ? 0755 : 0644,
		.mtime_sec = KIT_TIME,
		.link = link,
	};
}

/* One letter a type and its path: "d a", "f a/b", "l a/c>target", "h b>a/b", "w …" is any file. */
static inline int kit_add(struct tree *tree, const char *line, struct err *err)
{
	char text[ENTRY_PATH_MAX * 2];
	(void)snprintf(text, sizeof(text), "%s", line + 2);
	char *link = strchr(text, '>');
	if (link)
		*link++ = '\0';
	static const char letters[] = "fdlhcbps";
	const char *at = strchr(letters, line[0]);
	assert_non_null(at);
	struct entry e = kit_entry((enum entry_type)(at - letters), text, link);
	if (e.type == ENTRY_CHAR)
		e.major = e.minor = link ? 0 : 7; /* "c x>" is 0:0 */
	return tree_add(tree, &e, err);
}

/* Adds every line up to NULL; each must succeed. */
static inline void kit_add_all(struct tree *tree, const char *const *lines)
{
	struct err err = {0};
	for (; *lines; lines++)
		assert_ok(kit_add(tree, *lines, &err), &err);
}

/* Writes the tree to memory; the caller closes the descriptor. */
static inline int kit_write(struct tree *tree, uint32_t n_devices)
{
	struct err err = {0};
	struct tree_device devices[4] = {{.size = MIB(64), .tag = "one"},
					 {.size = MIB(64), .tag = "two"},
					 {.size = MIB(64), .tag = "three"},
					 {.size = MIB(64), .tag = "four"}};
	int fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(n_devices <= ARRAY_LEN(devices));
	assert_ok(tree_write(tree, devices, n_devices, fd, &err), &err);
	return fd;
}

static inline struct erofs *kit_open(int fd)
{
	struct err err = {0};
	struct erofs *image = NULL;
	assert_ok(erofs_open(fd, &image, &err), &err);
	return image;
}

static inline struct erofs_inode kit_inode(const struct erofs *image, uint64_t nid)
{
	struct erofs_inode inode;
	assert_int_equal(erofs_inode(image, nid, &inode), 0);
	return inode;
}

/* The inode at a path, which must be there. */
static inline struct erofs_inode kit_find(const struct erofs *image, const char *path)
{
	struct erofs_inode inode = kit_inode(image, erofs_root(image));
	for (const char *name = path; *name;) {
		const char *end = strchrnul(name, '/');
		uint64_t nid = 0;
		int r = erofs_lookup(image, &inode, name, (size_t)(end - name), &nid);
		if (r < 0)
			fail_msg("%s: %d at %s", path, r, name);
		inode = kit_inode(image, nid);
		name = *end ? end + 1 : end;
	}
	return inode;
}

static inline int kit_list_xattr(void *data, const char *name, const void *value, size_t len)
{
	return buf_printf(data, " %s=%.*s", name, (int)len, (const char *)value);
}

static inline void kit_list_dir(const struct erofs *image, const struct erofs_inode *dir,
				const char *path, struct buf *to)
{
	struct erofs_dirent d;
	uint64_t cookie = 0;
	int r;
	while ((r = erofs_readdir(image, dir, cookie, &d)) > 0) {
		cookie = d.cookie;
		if (d.name_len <= 2 && memcmp(d.name, "..", d.name_len) == 0)
			continue;
		struct erofs_inode inode = kit_inode(image, d.nid);
		char full[ENTRY_PATH_MAX];
		(void)snprintf(full, sizeof(full), "%s%s%.*s", path, *path ? "/" : "",
			       (int)d.name_len, d.name);
		static const char letters[] = "?pc?d?b?f?l?s???";
		assert_int_equal(buf_printf(to, "%c %s %o %u", letters[d.type], full,
					    inode.mode & 07777, inode.nlink), 0);
		const char *target = NULL;
		ssize_t n = erofs_readlink(image, &inode, &target);
		if (n > 0)
			assert_int_equal(buf_printf(to, " >%.*s", (int)n, target), 0);
		if (S_ISCHR(inode.mode) && inode.major == 0 && inode.minor == 0)
			assert_int_equal(buf_puts(to, " whiteout"), 0);
		assert_int_equal(erofs_listxattr(image, &inode, kit_list_xattr, to), 0);
		assert_int_equal(buf_puts(to, "\n"), 0);
		if (S_ISDIR(inode.mode))
			kit_list_dir(image, &inode, full, to);
	}
	assert_int_equal(r, 0);
}

/* The image is exactly this: a line a file, depth first, sorted. */
#define kit_assert_image(image, text) kit_assert_image_(image, text, __FILE__, __LINE__)
static inline void kit_assert_image_(const struct erofs *image, const char *want, const char *file,
				     int line)
{
	AUTO_FINISH(buf) struct buf got = buf_make(KIT_TEXT_MAX);
	struct erofs_inode root = kit_inode(image, erofs_root(image));
	kit_list_dir(image, &root, "", &got);
	if (strcmp(buf_str(&got), want) != 0) {
		print_error("%s:%d: want\n%sgot\n%s", file, line, want, buf_str(&got));
		_fail(file, line);
	}
}
