/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/tree.h"

#include "tests/unit/treekit.h"

#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The image of one layer, as text. */
static void assert_layer(const char *const *lines, const char *want)
{
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	kit_add_all(tree, lines);
	AUTO_CLOSE int fd = kit_write(tree, 1);
	AUTO(erofs) struct erofs *image = kit_open(fd);
	kit_assert_image(image, want);
}

/* Lays a layer over a tree. */
static int apply(struct tree *tree, const char *const *lines, uint32_t device, struct err *err)
{
	AUTO(tree) struct tree *layer = NULL;
	assert_int_equal(tree_create(&layer), 0);
	kit_add_all(layer, lines);
	AUTO_CLOSE int fd = kit_write(layer, 1);
	AUTO(erofs) struct erofs *image = kit_open(fd);
	return tree_apply(tree, image, device, err);
}

/* The image of two layers, as text. */
static void assert_merged(const char *const *lower, const char *const *upper, const char *want)
{
	struct err err = {0};
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	assert_ok(apply(tree, lower, 1, &err), &err);
	assert_ok(apply(tree, upper, 2, &err), &err);
	AUTO_CLOSE int fd = kit_write(tree, 2);
	AUTO(erofs) struct erofs *image = kit_open(fd);
	struct erofs_stats stats;
	erofs_stats(image, &stats);
	assert_int_equal(stats.inodes, tree_inodes(tree));
	kit_assert_image(image, want);
}

static void test_layer_keeps_marks(void **state)
{
	(void)state;
	assert_layer(LINES("f a/b", "f a/.wh.c", "d o", "f o/.wh..wh..opq", "f o/x"),
		     "d a 755 2 trusted.sluice.implied=y\n"
		     "f a/b 644 1\n"
		     "c a/c 0 1 whiteout\n"
		     "d o 755 2 trusted.overlay.opaque=y\n"
		     "f o/x 644 1\n");
	/* aufs leftovers mean nothing. */
	assert_layer(LINES("d .wh..wh.plnk", "f .wh..wh.plnk/1.2", "f .wh..wh.aufs", "f a"),
		     "f a 644 1\n");
}

/* A whiteout speaks of the layers below, whatever its place in the layer. */
static void test_order_in_a_layer(void **state)
{
	(void)state;
	assert_layer(LINES("f .wh.x", "f x"), "f x 644 1\n");
	assert_layer(LINES("f x", "f .wh.x"), "f x 644 1\n");
	assert_layer(LINES("f .wh.x", "d x", "f x/y"), "d x 755 2 trusted.overlay.opaque=y\n"
						       "f x/y 644 1\n");
	assert_layer(LINES("d x", "f x/y", "f .wh.x"), "d x 755 2 trusted.overlay.opaque=y\n"
						       "f x/y 644 1\n");
	assert_layer(LINES("f .wh.x", "f x/y"), "d x 755 2 trusted.overlay.opaque=y\n"
						"f x/y 644 1\n");
	assert_layer(LINES("f x/y", "f .wh.x"), "d x 755 2 trusted.overlay.opaque=y\n"
						"f x/y 644 1\n");
	assert_layer(LINES("f x", "d x"), "d x 755 2 trusted.overlay.opaque=y\n");
	assert_layer(LINES("f x/y", "f x"), "f x 644 1\n");
	assert_layer(LINES("f x/y", "d x"), "d x 755 2\nf x/y 644 1\n");
	assert_layer(LINES("f o/.wh..wh..opq", "d o"), "d o 755 2 trusted.overlay.opaque=y\n");
}

static void test_merge(void **state)
{
	(void)state;
	const char *const *lower = LINES("d d", "f d/a", "f d/b", "f x", "l s>x", "d e", "f e/1");
	const char *rest = "l s 644 1 >x\nf x 644 1\n";
	char want[1024];

	assert_merged(lower, LINES("f d/.wh.a", "f .wh.nothing", "f .wh.e"),
		      "d d 755 2\nf d/b 644 1\nl s 644 1 >x\nf x 644 1\n");
	(void)snprintf(want, sizeof(want), "d d 755 2\nf d/c 644 1\nd e 755 2\nf e/1 644 1\n%s", rest);
	assert_merged(lower, LINES("f d/c", "f d/.wh..wh..opq"), want);
	(void)snprintf(want, sizeof(want), "d d 755 3\nd d/a 755 2\nf d/a/n 644 1\nf d/b 644 1\nf e 644 1\n%s",
		       rest);
	assert_merged(lower, LINES("f d/a/n", "f e"), want);
	(void)snprintf(want, sizeof(want), "c d 644 1\nd e 755 2\nf e/1 644 1\n%s", rest);
	assert_merged(lower, LINES("c d"), want);
	/* A whiteout as a device, as overlayfs has it. */
	(void)snprintf(want, sizeof(want), "d e 755 2\nf e/1 644 1\n%s", rest);
	assert_merged(lower, LINES("c d>"), want);
	/* A directory over a symlink of a lower layer replaces it. */
	assert_merged(lower, LINES("f s/n"), "d d 755 2\nf d/a 644 1\nf d/b 644 1\nd e 755 2\n"
					     "f e/1 644 1\nd s 755 2\nf s/n 644 1\nf x 644 1\n");
	/* A whiteout that was made good in its own layer leaves nothing of below. */
	(void)snprintf(want, sizeof(want), "d d 755 2\nf d/new 644 1\nd e 755 2\nf e/1 644 1\n%s", rest);
	assert_merged(lower, LINES("f d/new", "f .wh.d"), want);
}

/* A directory that the upper layer only implies keeps what the lower one says of it. */
static void test_implied_directories(void **state)
{
	(void)state;
	struct err err = {0};
	for (int told = 0; told < 2; told++) {
		AUTO(tree) struct tree *tree = NULL;
		AUTO(tree) struct tree *lower = NULL;
		assert_int_equal(tree_create(&tree), 0);
		assert_int_equal(tree_create(&lower), 0);
		struct entry_xattr x = {"user.k", "v", 1};
		struct entry e = kit_entry(ENTRY_DIR, "d", NULL);
		e.mode = 01777;
		e.uid = 100000;
		e.xattrs = &x;
		e.n_xattrs = 1;
		assert_ok(tree_add(lower, &e, &err), &err);
		e.path = "";
		e.mode = 0700;
		assert_ok(tree_add(lower, &e, &err), &err);
		AUTO_CLOSE int lower_fd = kit_write(lower, 1);
		AUTO(erofs) struct erofs *lower_image = kit_open(lower_fd);
		assert_ok(tree_apply(tree, lower_image, 1, &err), &err);
		assert_ok(apply(tree, told ? LINES("d d", "f d/x") : LINES("f d/x"), 2, &err), &err);
		AUTO_CLOSE int fd = kit_write(tree, 2);
		AUTO(erofs) struct erofs *image = kit_open(fd);
		kit_assert_image(image, told ? "d d 755 2\nf d/x 644 1\n"
					     : "d d 1777 2 user.k=v\nf d/x 644 1\n");
		assert_int_equal(kit_find(image, "d").uid, told ? 0 : 100000);
		assert_int_equal(kit_find(image, "").mode, S_IFDIR | 0700);
	}
}

static void test_hardlinks(void **state)
{
	(void)state;
	assert_layer(LINES("f a", "h b>a", "h c>b"), "f a 644 3\nf b 644 3\nf c 644 3\n");
	assert_layer(LINES("f a", "h b>a", "f a"), "f a 644 1\nf b 644 1\n");
	assert_layer(LINES("f a", "h a>a"), "f a 644 1\n");
	assert_layer(LINES("h b>a"), "f b 0 1 trusted.sluice.hardlink=a\n");

	const char *const *lower = LINES("f d/a", "h b>d/a", "h c>d/a");
	assert_merged(lower, LINES("f .wh.b"), "f c 644 2\nd d 755 2\nf d/a 644 2\n");
	assert_merged(lower, LINES("f b"), "f b 644 1\nf c 644 2\nd d 755 2\nf d/a 644 2\n");
	assert_merged(lower, LINES("h e>d/a", "h f>e"),
		      "f b 644 5\nf c 644 5\nd d 755 2\nf d/a 644 5\nf e 644 5\nf f 644 5\n");
	/* The target is the lower layer's even when this layer removes or replaces it. */
	assert_merged(lower, LINES("h e>d/a", "f .wh.d", "f .wh.b", "f .wh.c"), "f e 644 1\n");
	assert_merged(lower, LINES("h e>b", "f b", "f .wh.c", "f .wh.d"), "f b 644 1\nf e 644 1\n");
}

static void test_bad_hardlinks(void **state)
{
	(void)state;
	struct err err = {0};
	static const struct {
		const char *first, *link, *words;
	} bad[] = {
		{"d a", "h b>a", "is a directory"},
		{"f .wh.a", "h b>a", "was removed by this layer"},
		{"f a/.wh..wh..opq", "h b>a/x", "was removed by this layer"},
		{"f .wh.a", "h b>a/x", "was removed by this layer"},
		{"f a", "h b>a/x", "below a file"},
		{"f a", "h b>", "no target"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(tree) struct tree *tree = NULL;
		assert_int_equal(tree_create(&tree), 0);
		assert_ok(kit_add(tree, bad[i].first, &err), &err);
		assert_err(kit_add(tree, bad[i].link, &err), -EBADMSG, &err, bad[i].words);
	}
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	assert_ok(apply(tree, LINES("d d"), 1, &err), &err);
	assert_err(apply(tree, LINES("h x>a/b"), 2, &err), -EBADMSG, &err, "in no lower layer");
	assert_err(apply(tree, LINES("h x>d"), 2, &err), -EBADMSG, &err, "is a directory");
}

/* Symlinks in a path lead where they would for a process chrooted into the layer. */
static void test_symlinks_in_paths(void **state)
{
	(void)state;
	assert_layer(LINES("d usr/lib", "l lib>usr/lib", "f lib/x"),
		     "l lib 644 1 >usr/lib\nd usr 755 3 trusted.sluice.implied=y\n"
		     "d usr/lib 755 2\nf usr/lib/x 644 1\n");
	assert_layer(LINES("l a>/../../b", "f a/x", "h y>a/x"),
		     "l a 644 1 >/../../b\nd b 755 2 trusted.sluice.implied=y\n"
		     "f b/x 644 2\nf y 644 2\n");
	assert_layer(LINES("d d", "l d/up>..", "f d/up/d/up/x", "f d/up/.wh.y"),
		     "d d 755 2\nl d/up 644 1 >..\nf x 644 1\nc y 0 1 whiteout\n");
	struct err err = {0};
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	kit_add_all(tree, LINES("l a>b", "l b>a", "f f"));
	assert_err(kit_add(tree, "f a/x", &err), -EBADMSG, &err, "loop of symlinks");
	assert_err(kit_add(tree, "f f/x", &err), -EBADMSG, &err, "below a file that is no directory");
}

static void test_refused(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	assert_err(kit_add(tree, "f .wh.a/b", &err), -EBADMSG, &err, "below a whiteout");
	assert_err(kit_add(tree, "f a/.wh..", &err), -EBADMSG, &err, "names no file");
	assert_err(kit_add(tree, "f .wh.", &err), -EBADMSG, &err, "names no file");
	struct entry e = kit_entry(ENTRY_REG, "", NULL);
	assert_err(tree_add(tree, &e, &err), -EBADMSG, &err, "root is no directory");
	e.path = "x";
	struct entry_xattr x = {"trusted.overlay.redirect", "/etc", 4};
	e.xattrs = &x;
	e.n_xattrs = 1;
	assert_err(tree_add(tree, &e, &err), -EBADMSG, &err, "no layer may set");
	x.name = "user.overlay.redirect";
	assert_ok(tree_add(tree, &e, &err), &err);
	e = kit_entry(ENTRY_CHAR, "x", NULL);
	e.major = 4096;
	assert_err(tree_add(tree, &e, &err), -EBADMSG, &err, "no number Linux knows: 4096:0");
	e = kit_entry(ENTRY_REG, "x", NULL);
	e.size = UINT64_C(1) << 42;
	assert_err(tree_add(tree, &e, &err), -EFBIG, &err, "larger than 2 TiB");
	struct entry_extent extents[] = {{0, 512, 512}, {0, 1024, 512}};
	e.size = 1024;
	e.extents = extents;
	e.n_extents = 2;
	assert_err(tree_add(tree, &e, &err), -EBADMSG, &err, "overlap");
	extents[1].file_off = 513;
	extents[1].len = 511;
	assert_err(tree_add(tree, &e, &err), -EOPNOTSUPP, &err, "not aligned");
	extents[1].file_off = 512;
	extents[1].len = 513;
	assert_err(tree_add(tree, &e, &err), -EBADMSG, &err, "past its end");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layer_keeps_marks),
		cmocka_unit_test(test_order_in_a_layer),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_implied_directories),
		cmocka_unit_test(test_hardlinks),
		cmocka_unit_test(test_bad_hardlinks),
		cmocka_unit_test(test_symlinks_in_paths),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
