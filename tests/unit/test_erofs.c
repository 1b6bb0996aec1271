/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/erofs.h"

#include <dirent.h>

#include "base/le.h"
#include "fs/erofs_check.h"
#include "fs/erofs_format.h"
#include "tests/unit/treekit.h"

/* An image in memory that a test may break. */
struct broken {
	uint8_t *data; /* owned */
	size_t size;
};

static void add(struct tree *tree, const struct entry *e)
{
	struct err err = {0};
	assert_ok(tree_add(tree, e, &err), &err);
}

/* One of each kind, at paths that say which. */
static struct tree *sample_tree(void)
{
	struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	struct entry_xattr xattrs[] = {{"user.only", "here", 4}, {"security.both", "shared", 6}};
	struct entry_extent extents[] = {{0, 1024, 1024}, {8192, 2048, 512}};
	struct entry e = kit_entry(ENTRY_DIR, "", NULL);
	add(tree, &e);
	e = kit_entry(ENTRY_REG, "plain", NULL);
	e.size = 1000;
	e.extents = extents;
	e.n_extents = 1;
	extents[0].len = 1000;
	e.xattrs = xattrs;
	e.n_xattrs = 2;
	add(tree, &e);
	e.path = "sparse";
	e.size = 8704;
	extents[0].len = 1024;
	e.n_extents = 2;
	e.xattrs = xattrs + 1;
	e.n_xattrs = 1;
	add(tree, &e);
	e = kit_entry(ENTRY_REG, "big", NULL);
	e.size = GIB(5);
	e.uid = 1 << 20;
	e.gid = UINT32_MAX - 1;
	e.mtime_sec = -5;
	e.mtime_nsec = 999999999;
	add(tree, &e);
	e = kit_entry(ENTRY_SYMLINK, "link", "some/target");
	add(tree, &e);
	e = kit_entry(ENTRY_BLOCK, "dev", NULL);
	e.major = 4095;
	e.minor = 0xabcde;
	add(tree, &e);
	kit_add_all(tree, (const char *const[]){"d dir", "p dir/fifo", "s dir/socket", "f dir/empty",
						"h again>plain", NULL});
	return tree;
}

static void sample(struct broken *b)
{
	AUTO(tree) struct tree *tree = sample_tree();
	AUTO_CLOSE int fd = kit_write(tree, 1);
	AUTO_FINISH(buf) struct buf bytes = buf_make(KIT_TEXT_MAX);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(file_slurp_fd(fd, &bytes), 0);
	b->size = bytes.len;
	b->data = (uint8_t *)buf_steal(&bytes);
}

/* Makes the checksum right again, so that the break itself is what is found. */
static void seal(struct broken *b)
{
	uint8_t *sb = b->data + EROFS_SUPER_OFFSET;
	le32_put(sb + SB_CHECKSUM_AT, erofs_super_checksum(sb, 512));
}

static struct erofs *open_sealed(struct broken *b)
{
	struct err err = {0};
	struct erofs *image = NULL;
	seal(b);
	assert_ok(erofs_open_memory(b->data, b->size, &image, &err), &err);
	return image;
}

static void test_reads_what_was_written(void **state)
{
	(void)state;
	struct broken b;
	sample(&b);
	AUTO(erofs) struct erofs *image = open_sealed(&b);
	kit_assert_image(image, "f again 644 2 security.both=shared user.only=here\n"
				"f big 644 1\nb dev 644 1\nd dir 755 2\nf dir/empty 644 1\n"
				"p dir/fifo 644 1\ns dir/socket 644 1\nl link 644 1 >some/target\n"
				"f plain 644 2 security.both=shared user.only=here\n"
				"f sparse 644 1 security.both=shared\n");
	struct erofs_inode in = kit_find(image, "big");
	assert_int_equal(in.size, GIB(5));
	assert_int_equal(in.uid, 1 << 20);
	assert_int_equal(in.gid, UINT32_MAX - 1);
	assert_int_equal(in.mtime_sec, -5);
	assert_int_equal(in.mtime_nsec, 999999999);
	struct erofs_extent x;
	assert_int_equal(erofs_map(image, &in, GIB(4), &x), 0);
	assert_true(x.hole && x.off == 0 && x.len == GIB(5));
	assert_int_equal(erofs_map(image, &in, GIB(5), &x), -EINVAL);
	in = kit_find(image, "dev");
	assert_int_equal(in.major, 4095);
	assert_int_equal(in.minor, 0xabcde);
	in = kit_find(image, "plain");
	assert_int_equal(in.mtime_sec, KIT_TIME);
	assert_int_equal(erofs_map(image, &in, 999, &x), 0);
	assert_true(!x.hole && x.device == 1 && x.dev_off == 1024 && x.off == 0 && x.len == 1000);
	in = kit_find(image, "sparse");
	assert_int_equal(erofs_map(image, &in, 1024, &x), 0);
	assert_true(x.hole && x.off == 1024 && x.len == 8192 - 1024);
	assert_int_equal(erofs_map(image, &in, 8200, &x), 0);
	assert_true(!x.hole && x.dev_off == 2048 && x.off == 8192 && x.len == 512);
	free(b.data);
}

static void test_look_up_refusals(void **state)
{
	(void)state;
	struct broken b;
	sample(&b);
	AUTO(erofs) struct erofs *image = open_sealed(&b);
	struct erofs_inode root = kit_find(image, ""), file = kit_find(image, "plain"), in;
	struct erofs_dirent d;
	const char *target;
	const void *value;
	uint64_t nid = 0;
	assert_int_equal(erofs_lookup(image, &root, "nothing", 7, &nid), -ENOENT);
	assert_int_equal(erofs_lookup(image, &root, "", 0, &nid), -ENOENT);
	assert_int_equal(erofs_lookup(image, &root, "!", 1, &nid), -ENOENT);
	assert_int_equal(erofs_lookup(image, &file, "x", 1, &nid), -ENOTDIR);
	assert_int_equal(erofs_lookup(image, &root, "..", 2, &nid), 0);
	assert_int_equal(nid, erofs_root(image));
	assert_int_equal(erofs_readdir(image, &file, 0, &d), -ENOTDIR);
	assert_int_equal(erofs_readdir(image, &root, 5, &d), -EINVAL);
	assert_int_equal(erofs_readdir(image, &root, UINT64_MAX / 12 * 12, &d), -EINVAL);
	assert_int_equal(erofs_readdir(image, &root, 1 << 20, &d), 0);
	assert_int_equal(erofs_readlink(image, &file, &target), -EINVAL);
	assert_int_equal(erofs_getxattr(image, &file, "user.none", &value), -ENODATA);
	assert_int_equal(erofs_getxattr(image, &file, "user.only", &value), 4);
	assert_memory_equal(value, "here", 4);
	assert_int_equal(erofs_inode(image, UINT64_MAX, &in), -EBADMSG);
	assert_int_equal(erofs_inode(image, b.size / 32, &in), -EBADMSG);
	free(b.data);
}

static void test_broken_superblock(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint32_t value;
		uint8_t width;
		int code;
		const char *words;
	} cases[] = {
		{SB_MAGIC_AT, 0, 4, -EBADMSG, "not an EROFS image: magic 00000000"},
		{SB_BLKBITS_AT, 8, 1, -EBADMSG, "blocks of 2^8"},
		{SB_BLKBITS_AT, 17, 1, -EBADMSG, "blocks of 2^17"},
		{SB_INCOMPAT_AT, 0x2c, 4, -EOPNOTSUPP, "fragments"},
		{SB_INCOMPAT_AT, 0x10c, 4, -EOPNOTSUPP, "unknown features 0x100"},
		{SB_DIRBLKBITS_AT, 1, 1, -EOPNOTSUPP, "directory blocks of their own size"},
		{SB_EXTSLOTS_AT, 1, 1, -EOPNOTSUPP, "superblock is extended"},
		{SB_BLOCKS_AT, 1 << 20, 4, -EBADMSG, "truncated"},
		{SB_BUILD_NSEC_AT, 1000000000, 4, -EBADMSG, "1000000000 nanoseconds"},
		{SB_EXTRA_DEVICES_AT, 60000, 2, -EBADMSG, "device table lies outside"},
		{SB_DEVT_SLOT_AT, 60000, 2, -EBADMSG, "device table lies outside"},
		{SB_ROOT_NID_AT, 60000, 2, -EBADMSG, "no root directory"},
		{SB_META_BLOCK_AT, UINT32_MAX, 4, -EBADMSG, "no root directory"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		struct broken b;
		sample(&b);
		uint8_t *p = b.data + EROFS_SUPER_OFFSET + cases[i].at;
		if (cases[i].width == 1)
			*p = (uint8_t)cases[i].value;
		else if (cases[i].width == 2)
			le16_put(p, (uint16_t)cases[i].value);
		else
			le32_put(p, cases[i].value);
		struct erofs *image = NULL;
		seal(&b);
		assert_err(erofs_open_memory(b.data, b.size, &image, &err), cases[i].code, &err,
			   cases[i].words);
		assert_null(image);
		free(b.data);
	}
	struct err err = {0};
	struct broken b;
	sample(&b);
	struct erofs *image = NULL;
	b.data[EROFS_SUPER_OFFSET + SB_UUID_AT]++;
	assert_err(erofs_open_memory(b.data, b.size, &image, &err), -EBADMSG, &err, "checksum");
	assert_err(erofs_open_memory(b.data, 1100, &image, &err), -EBADMSG, &err, "too few");
	free(b.data);
}

/* The bytes of the inode at a path. */
static uint8_t *raw_inode(struct broken *b, const struct erofs *image, const char *path)
{
	return b->data + kit_find(image, path).nid * INODE_SLOT;
}

static void test_broken_inodes(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint16_t value;
	} cases[] = {
		{INODE_FORMAT_AT, 0x10},	/* a bit nobody knows */
		{INODE_FORMAT_AT, 3 << 1},	/* compressed */
		{INODE_FORMAT_AT, 7 << 1},	/* no layout */
		{INODE_XATTR_COUNT_AT, 0xffff}, /* xattrs past the image */
		{INODE_MODE_AT, 0644},		/* no type */
		{INODE_MODE_AT, S_IFDIR | 0755}, /* chunks of a directory */
		{INODE_UNION_AT, 0x40},		/* a chunk format nobody knows */
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct broken b;
		sample(&b);
		AUTO(erofs) struct erofs *image = open_sealed(&b);
		struct erofs_inode in = kit_find(image, "plain");
		uint64_t nid = in.nid;
		le16_put(raw_inode(&b, image, "plain") + cases[i].at, cases[i].value);
		if (erofs_inode(image, nid, &in) != -EBADMSG)
			fail_msg("case %zu was not refused", i);
		free(b.data);
	}
}

static void test_broken_content(void **state)
{
	(void)state;
	struct broken b;
	sample(&b);
	AUTO(erofs) struct erofs *image = open_sealed(&b);
	struct erofs_inode in = kit_find(image, "plain");
	struct erofs_extent x;
	const char *target;
	const void *value;
	/* The index of the only chunk: behind the xattrs, aligned. */
	uint8_t *index = b.data + u64_align(in.body + erofs_xattr_area(in.xattr_count), 8);
	le32_put(index + CHUNK_BLOCK_AT, (uint32_t)(MIB(64) / 512 - 1));
	assert_int_equal(erofs_map(image, &in, 0, &x), -EBADMSG);
	le32_put(index + CHUNK_BLOCK_AT, (uint32_t)(MIB(64) / 512 - 2));
	assert_int_equal(erofs_map(image, &in, 0, &x), 0);
	le16_put(index + CHUNK_DEVICE_AT, 0);
	assert_int_equal(erofs_map(image, &in, 0, &x), -EBADMSG);
	in.size = INT64_MAX;
	assert_int_equal(erofs_map(image, &in, INT64_MAX - 1, &x), -EBADMSG);

	in = kit_find(image, "link");
	in.size = 4096;
	assert_int_equal(erofs_readlink(image, &in, &target), -EBADMSG);
	in.size = 0;
	assert_int_equal(erofs_readlink(image, &in, &target), -EBADMSG);
	in.size = 500; /* across the block's end */
	assert_int_equal(erofs_readlink(image, &in, &target), -EBADMSG);

	in = kit_find(image, "plain");
	b.data[in.body + XATTR_SHARED_COUNT_AT] = 200;
	assert_int_equal(erofs_getxattr(image, &in, "user.only", &value), -EBADMSG);
	b.data[in.body + XATTR_SHARED_COUNT_AT] = 1;
	le32_put(b.data + in.body + XATTR_HEADER_SIZE, UINT32_MAX);
	assert_int_equal(erofs_getxattr(image, &in, "user.only", &value), -EBADMSG);
	free(b.data);
}

static void test_broken_xattr_entry(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = {
		{XATTR_NAME_LEN_AT, 255}, {XATTR_PREFIX_AT, 0},	   {XATTR_PREFIX_AT, 5},
		{XATTR_PREFIX_AT, 0x81},  {XATTR_VALUE_LEN_AT, 200}, {XATTR_ENTRY_SIZE, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct broken b;
		sample(&b);
		AUTO(erofs) struct erofs *image = open_sealed(&b);
		struct erofs_inode in = kit_find(image, "plain");
		AUTO_FINISH(buf) struct buf text = buf_make(KIT_TEXT_MAX);
		b.data[in.body + XATTR_HEADER_SIZE + XATTR_UNIT + cases[i].at] = cases[i].value;
		if (erofs_listxattr(image, &in, kit_list_xattr, &text) != -EBADMSG)
			fail_msg("case %zu was not refused", i);
		free(b.data);
	}
}

static void test_broken_directory(void **state)
{
	(void)state;
	/* The root's block: again, big, dev, dir, link, plain, sparse with "." and "..": 9 entries. */
	static const struct {
		size_t at;
		uint16_t value;
	} cases[] = {
		{DIRENT_NAMEOFF_AT, 0},		       {DIRENT_NAMEOFF_AT, 13},
		{DIRENT_NAMEOFF_AT, 0xfffc},	       {DIRENT_SIZE + DIRENT_NAMEOFF_AT, 0},
		{DIRENT_SIZE + DIRENT_NAMEOFF_AT, 600}, {2 * DIRENT_SIZE + DIRENT_NAMEOFF_AT, 109},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct broken b;
		sample(&b);
		AUTO(erofs) struct erofs *image = open_sealed(&b);
		struct erofs_inode in = kit_find(image, "");
		struct erofs_dirent d;
		uint8_t *block = b.data + in.body + erofs_xattr_area(in.xattr_count);
		le16_put(block + cases[i].at, cases[i].value);
		uint64_t cookie = 0;
		int r;
		while ((r = erofs_readdir(image, &in, cookie, &d)) > 0)
			cookie = d.cookie;
		if (r != -EBADMSG)
			fail_msg("case %zu gave %d", i, r);
		free(b.data);
	}
	struct broken b;
	sample(&b);
	AUTO(erofs) struct erofs *image = open_sealed(&b);
	struct erofs_inode in = kit_find(image, "");
	struct erofs_dirent d;
	uint8_t *block = b.data + in.body;
	block[le16_get(block + 2 * DIRENT_SIZE + DIRENT_NAMEOFF_AT)] = '/';
	assert_int_equal(erofs_readdir(image, &in, (uint64_t)2 * DIRENT_SIZE, &d), -EBADMSG);
	free(b.data);
}

static void test_same_tree_same_bytes(void **state)
{
	(void)state;
	struct err err = {0};
	struct broken one, two;
	sample(&one);
	sample(&two);
	assert_int_equal(one.size, two.size);
	assert_memory_equal(one.data, two.data, one.size);
	/* Read back and written again, it is the same once more. */
	AUTO(erofs) struct erofs *image = open_sealed(&one);
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	assert_ok(tree_apply(tree, image, 1, &err), &err);
	for (int i = 0; i < 2; i++) {
		AUTO_CLOSE int fd = kit_write(tree, 1);
		AUTO_FINISH(buf) struct buf bytes = buf_make(KIT_TEXT_MAX);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(file_slurp_fd(fd, &bytes), 0);
		assert_int_equal(bytes.len, one.size);
		assert_memory_equal(bytes.data, one.data, one.size);
	}
	free(one.data);
	free(two.data);
}

static void test_verify(void **state)
{
	(void)state;
	struct err err = {0};
	struct tree *tree = sample_tree();
	int fd = kit_write(tree, 2);
	assert_ok(erofs_verify(fd, &err), &err);
	uint64_t size;
	uint8_t was, other;
	assert_int_equal(file_size(fd, &size), 0);
	/* The first byte, what erofs_open() never looks at, the checksum's own bytes, the last one. */
	const uint64_t at[] = {0, size / 2, EROFS_SUPER_OFFSET + SB_UUID_AT, size - 1};
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		assert_int_equal(file_pread(fd, &was, 1, at[i]), 1);
		other = was ^ 1;
		assert_int_equal(file_pwrite(fd, &other, 1, at[i]), 0);
		assert_err(erofs_verify(fd, &err), -EBADMSG, &err, "corrupt");
		assert_int_equal(file_pwrite(fd, &was, 1, at[i]), 0);
	}
	assert_ok(erofs_verify(fd, &err), &err);
	assert_int_equal(ftruncate(fd, (off_t)size - 512), 0);
	assert_int_equal(erofs_verify(fd, &err), -EBADMSG);
	(void)close(fd);
	tree_destroy(tree);
}

static void test_check(void **state)
{
	(void)state;
	struct err err = {0};
	struct broken b;
	sample(&b);
	AUTO(erofs) struct erofs *image = open_sealed(&b);
	assert_ok(erofs_check(image, &err), &err);
	free(b.data);
}

/* Entries of the root: ".", "..", again, big, dev, dir, link, plain, sparse. */
enum { AGAIN = 2, DEV = 4, DIR_ENTRY = 5, LINK = 6 };

static uint8_t *root_entry(struct broken *b, const struct erofs *image, size_t i)
{
	struct erofs_inode in = kit_find(image, "");
	return b->data + in.body + erofs_xattr_area(in.xattr_count) + i * DIRENT_SIZE;
}

/* What each look at one inode would not see, or not before it is looked at. */
static void test_check_refusals(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		struct err err = {0};
		struct broken b;
		sample(&b);
		AUTO(erofs) struct erofs *image = open_sealed(&b);
		uint64_t root = erofs_root(image);
		const char *words = NULL;
		struct erofs_inode in;
		switch (i) {
		case 0:
			le64_put(root_entry(&b, image, DIR_ENTRY) + DIRENT_NID_AT, root);
			words = "the directory has two names";
			break;
		case 1:
			le64_put(root_entry(&b, image, 1) + DIRENT_NID_AT, root + 1);
			words = "leads elsewhere";
			break;
		case 2:
			root_entry(&b, image, DEV)[DIRENT_TYPE_AT] = EROFS_FT_REG;
			words = "its name says another type";
			break;
		case 3: /* "again" comes after "big" then */
			b.data[kit_find(image, "").body +
			       le16_get(root_entry(&b, image, AGAIN) + DIRENT_NAMEOFF_AT)] = 'z';
			words = "its names are not in order";
			break;
		case 4:
			in = kit_find(image, "link");
			b.data[in.body + 2] = '\0';
			words = "its target is none";
			break;
		case 5:
			in = kit_find(image, "plain");
			le32_put(b.data + u64_align(in.body + erofs_xattr_area(in.xattr_count), 8) +
					 CHUNK_BLOCK_AT, (uint32_t)(MIB(64) / 512 - 1));
			words = "its bytes are nowhere";
			break;
		case 6:
			le64_put(root_entry(&b, image, LINK) + DIRENT_NID_AT, b.size);
			words = "it is none";
			break;
		default:
			in = kit_find(image, "plain");
			b.data[in.body + XATTR_SHARED_COUNT_AT] = 200;
			words = "its xattrs are broken";
			break;
		}
		if (erofs_check(image, &err) != -EBADMSG)
			fail_msg("case %d was not refused", i);
		assert_non_null(strstr(err.text, words));
		free(b.data);
	}
}

/* A directory of many blocks: each name is found, each cookie goes on where it should. */
static void test_large_directory(void **state)
{
	(void)state;
	enum { COUNT = 20000 };
	AUTO(tree) struct tree *tree = NULL;
	assert_int_equal(tree_create(&tree), 0);
	struct entry e = kit_entry(ENTRY_REG, NULL, NULL);
	char name[EROFS_NAME_MAX + 1];
	for (unsigned int i = 0; i < COUNT; i++) {
		(void)snprintf(name, sizeof(name), "%u%.*s", i, (int)(i % 250), "");
		e.path = name;
		add(tree, &e);
	}
	AUTO_CLOSE int fd = kit_write(tree, 1);
	AUTO(erofs) struct erofs *image = kit_open(fd);
	struct erofs_inode root = kit_find(image, "");
	struct erofs_dirent d;
	uint64_t nid = 0, cookie = 0;
	uint32_t seen = 0;
	char before[EROFS_NAME_MAX + 1] = "";
	while (erofs_readdir(image, &root, cookie, &d) > 0) {
		cookie = d.cookie;
		(void)snprintf(name, sizeof(name), "%.*s", (int)d.name_len, d.name);
		assert_true(strcmp(before, name) < 0);
		(void)strcpy(before, name);
		assert_int_equal(erofs_lookup(image, &root, name, d.name_len, &nid), 0);
		assert_int_equal(nid, d.nid);
		assert_true(nid > 1);
		seen++;
	}
	assert_int_equal(seen, COUNT + 2);
}

static void test_write_refusals(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(tree) struct tree *tree = sample_tree();
	AUTO_CLOSE int fd = memfd_create("image", MFD_CLOEXEC);
	struct tree_device device = {.size = 2048};
	assert_err(tree_write(tree, &device, 1, fd, &err), -EBADMSG, &err,
		   "sparse has data past the end of its layer");
	assert_err(tree_write(tree, &device, 0, fd, &err), -EINVAL, &err, "on device 1 of 0");
	device.size = UINT64_C(1) << 42;
	assert_err(tree_write(tree, &device, 1, fd, &err), -EFBIG, &err, "larger than 2 TiB");
	/* One block of data in a terabyte of holes, at an odd place. */
	struct entry_extent x = {512, 0, 512};
	struct entry e = kit_entry(ENTRY_REG, "holes", NULL);
	e.size = UINT64_C(1) << 40;
	e.extents = &x;
	e.n_extents = 1;
	add(tree, &e);
	device.size = 1 << 20;
	assert_err(tree_write(tree, &device, 1, fd, &err), -EFBIG, &err, "too large for how sparse");
	AUTO_CLOSE int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	kit_add_all(tree, (const char *const[]){"f holes", NULL});
	assert_err(tree_write(tree, &device, 1, full, &err), -ENOSPC, &err, "write an EROFS image");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_what_was_written),
		cmocka_unit_test(test_look_up_refusals),
		cmocka_unit_test(test_broken_superblock),
		cmocka_unit_test(test_broken_inodes),
		cmocka_unit_test(test_broken_content),
		cmocka_unit_test(test_broken_xattr_entry),
		cmocka_unit_test(test_broken_directory),
		cmocka_unit_test(test_same_tree_same_bytes),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_check_refusals),
		cmocka_unit_test(test_large_directory),
		cmocka_unit_test(test_write_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
