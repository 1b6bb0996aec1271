/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/walk.h"

#include "tests/unit/treekit.h"

static const char *const lines[] = {
	"d a",
	"d a/b",
	"f a/b/file",
	"f top",
	"l a/up>../top",
	"l abs>/a/b",
	"l a/out>../../../../top",
	"l loop1>loop2",
	"l loop2>loop1",
	"l tofile>a/b/file",
	"l chain>abs/../up",
	"l dead>nowhere",
	"l slash>a/b/",
	"l a/b/root>/",
	NULL,
};

struct kit {
	struct tree *tree;
	struct erofs *image;
	int fd;
};

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	assert_non_null(kit);
	assert_int_equal(tree_create(&kit->tree), 0);
	kit_add_all(kit->tree, lines);
	kit->fd = kit_write(kit->tree, 1);
	kit->image = kit_open(kit->fd);
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	erofs_close(kit->image);
	tree_destroy(kit->tree);
	(void)close(kit->fd);
	free(kit);
	return 0;
}

/* Each path leads where that other leads that has no links in it. */
static void test_found(void **state)
{
	struct kit *kit = *state;
	static const struct {
		const char *path;
		bool follow;
		const char *same;
	} cases[] = {
		{"", true, ""},
		{"/", true, ""},
		{"///", true, ""},
		{".", true, ""},
		{"..", true, ""},
		{"/../../..", true, ""},
		{"a/../../a/./b//file", true, "a/b/file"},
		{"/a/b/file", true, "a/b/file"},
		{"a/b/", true, "a/b"},
		{"a/b/.", false, "a/b"},
		{"a/up", true, "top"},
		{"a/up", false, "a/up"},
		{"a/out", true, "top"},
		{"abs", true, "a/b"},
		{"abs", false, "abs"},
		{"abs/", false, "a/b"},
		{"abs/file", false, "a/b/file"},
		{"abs/..", true, "a"},
		{"tofile", true, "a/b/file"},
		{"chain", true, "top"},
		{"slash", true, "a/b"},
		{"slash/file", true, "a/b/file"},
		{"abs/root/abs/root/top", true, "top"},
		{"dead", false, "dead"},
		{"loop1", false, "loop1"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct erofs_inode inode;
		struct err err = {0};
		int r = walk_path(kit->image, cases[i].path, cases[i].follow, &inode, &err);
		assert_ok(r, &err);
		struct erofs_inode want = kit_find(kit->image, cases[i].same);
		if (inode.nid != want.nid)
			fail_msg("'%s' does not lead to '%s'", cases[i].path, cases[i].same);
	}
}

static void test_not_found(void **state)
{
	struct kit *kit = *state;
	char name[300], deep[3000], path[WALK_PATH_MAX + 2];
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < sizeof(deep); i += 2)
		memcpy(deep + i, "a/", 2);
	deep[sizeof(deep) - 1] = '\0';
	memset(path, '/', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	const struct {
		const char *path;
		int r;
	} cases[] = {
		{"nowhere", -ENOENT},	 {"a/nowhere/b", -ENOENT},   {"dead", -ENOENT},
		{"dead/", -ENOENT},	 {"top/x", -ENOTDIR},	     {"top/", -ENOTDIR},
		{"top/.", -ENOTDIR},	 {"top/..", -ENOTDIR},	     {"tofile/", -ENOTDIR},
		{"abs/file/x", -ENOTDIR}, {"loop1", -ELOOP},	     {"loop1/x", -ELOOP},
		{name, -ENAMETOOLONG},	 {path, -ENAMETOOLONG},	     {deep, -ENOENT},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct erofs_inode inode = {.nid = 12345};
		struct err err = {0};
		int r = walk_path(kit->image, cases[i].path, true, &inode, &err);
		assert_err(r, cases[i].r, &err, "in the image");
		assert_int_equal(inode.nid, 12345);
	}
}

/* Forty links are followed, one more is not, as in Linux. */
static void test_links_max(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(tree) struct tree *tree = NULL;
	struct erofs_inode inode;
	assert_int_equal(tree_create(&tree), 0);
	assert_ok(kit_add(tree, "f l0", &err), &err);
	for (int i = 1; i <= WALK_LINKS_MAX + 1; i++) {
		char line[40];
		(void)snprintf(line, sizeof(line), "l l%d>l%d", i, i - 1);
		assert_ok(kit_add(tree, line, &err), &err);
	}
	AUTO_CLOSE int fd = kit_write(tree, 1);
	AUTO(erofs) struct erofs *image = kit_open(fd);
	assert_ok(walk_path(image, "l40", true, &inode, &err), &err);
	assert_int_equal(inode.nid, kit_find(image, "l0").nid);
	assert_err(walk_path(image, "l41", true, &inode, &err), -ELOOP, &err, "l41");
}

/* ---- reading: a device whose byte at off is off modulo 251 ---- */

static uint64_t device_size(const struct source *source)
{
	(void)source;
	return MIB(1);
}

static ssize_t device_peek(struct source *source, void *data, size_t len, uint64_t off)
{
	(void)source;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)data)[i] = (uint8_t)((off + i) % 251);
	return (ssize_t)len;
}

static const struct source_ops device_ops = {.size = device_size, .peek = device_peek};

static void add_file(struct tree *tree, const char *path, uint64_t off, uint64_t size)
{
	struct err err = {0};
	struct entry_extent extent = {.len = size, .dev_off = off};
	struct entry e = kit_entry(ENTRY_REG, path, NULL);
	e.size = size;
	e.extents = &extent;
	e.n_extents = 1;
	assert_ok(tree_add(tree, &e, &err), &err);
}

static void test_read(void **state)
{
	(void)state;
	struct err err = {0};
	struct source device = {.ops = &device_ops};
	struct source *devices[] = {&device};
	uint8_t got[5000];
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	add_file(tree, "in", 5120, 3001);
	add_file(tree, "past", MIB(2), 1000);
	AUTO_CLOSE int fd = kit_write(tree, 1);
	AUTO(erofs) struct erofs *image = kit_open(fd);
	struct erofs_inode in = kit_find(image, "in");
	struct erofs_inode past = kit_find(image, "past");
	assert_int_equal(walk_read(image, devices, 1, &in, got, sizeof(got), 0, 0, &err), 3001);
	for (size_t i = 0; i < 3001; i++)
		assert_int_equal(got[i], (5120 + i) % 251);
	assert_int_equal(walk_read(image, devices, 1, &in, got, 100, 2990, 0, &err), 11);
	assert_int_equal(got[0], (5120 + 2990) % 251);
	assert_int_equal(walk_read(image, devices, 1, &in, got, 0, 5, 0, &err), 0);
	assert_int_equal(walk_read(image, devices, 1, &in, got, 10, 3001, 0, &err), 0);
	assert_int_equal(walk_read(image, devices, 1, &in, got, 10, UINT64_MAX, 0, &err), 0);
	assert_err(walk_read(image, devices, 0, &in, got, 10, 0, 0, &err), -EBADMSG, &err,
		   "device 1 of 0");
	assert_err(walk_read(image, devices, 1, &past, got, 10, 0, 0, &err), -EIO, &err,
		   "past the end");
	struct erofs_inode dir = kit_inode(image, erofs_root(image));
	assert_err(walk_read(image, devices, 1, &dir, got, 10, 0, 0, &err), -EINVAL, &err,
		   "find the bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_found, setup, teardown),
		cmocka_unit_test(test_links_max),
		cmocka_unit_test(test_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
