/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/tar.h"

#include <errno.h>

#include "base/num.h"
#include "tests/unit/entrydump.h"
#include "tests/unit/tarmake.h"
#include "tests/unit/unit.h"

enum { ARCHIVE_MAX = 8 << 20 };

/* Reads an archive in pieces of `step`; out gets the entries as text. */
static int read_tar(const struct buf *in, size_t step, struct buf *out, struct err *err)
{
	AUTO(tar_reader) struct tar_reader *t = NULL;
	int r = tar_reader_create(dump_entry, out, &t);
	for (size_t at = 0; r == 0 && at < in->len; at += step)
		r = tar_reader_push(t, in->data + at, (size_t)u64_min(step, in->len - at), err);
	if (r < 0)
		return r;
	assert_int_equal(tar_reader_offset(t), in->len);
	return tar_reader_finish(t, err);
}

static void expect(const struct buf *in, const char *want)
{
	static const size_t steps[] = {1, 7, 511, 512, 513, ARCHIVE_MAX};
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct err err = {0};
		AUTO_FINISH(buf) struct buf out = buf_make(ARCHIVE_MAX);
		assert_ok(read_tar(in, steps[i], &out, &err), &err);
		assert_string_equal(buf_str(&out), want);
	}
}

static void expect_err(const struct buf *in, int code, const char *words)
{
	static const size_t steps[] = {1, 512, ARCHIVE_MAX};
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct err err = {0};
		AUTO_FINISH(buf) struct buf out = buf_make(ARCHIVE_MAX);
		assert_err(read_tar(in, steps[i], &out, &err), code, &err, words);
	}
}

/* Appends a pax record with its length. */
static void record_n(struct buf *to, const char *key, const void *value, size_t n)
{
	size_t body = strlen(key) + n + 3;
	size_t len = body + 1;
	for (size_t i = 0; i < 3; i++) {
		char digits[24];
		len = body + (size_t)snprintf(digits, sizeof(digits), "%zu", len);
	}
	(void)buf_printf(to, "%zu %s=", len, key);
	(void)buf_append(to, value, n);
	(void)buf_puts(to, "\n");
}

static void record(struct buf *to, const char *key, const char *value)
{
	record_n(to, key, value, strlen(value));
}

/* A pax header of one record and a file of three bytes. */
static struct buf one_record(char type, const char *key, const char *value)
{
	struct buf in = buf_make(ARCHIVE_MAX);
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	record(&pax, key, value);
	tar_member(&in, "pax", type, pax.data, pax.len);
	tar_member(&in, "f", '0', "abc", 3);
	return in;
}

/* A small archive with something of everything. */
static struct buf mixed(void)
{
	struct buf in = buf_make(ARCHIVE_MAX);
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	struct tar_block h = tar_head("dir/", '5', 0);
	tar_put(&in, &h);
	record(&pax, "path", "dir/from pax");
	record(&pax, "mtime", "-1.25");
	record(&pax, "uid", "3000000000");
	record(&pax, "SCHILY.xattr.user.a", "b=c");
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "dir/short", '0', "hello", 5);
	tar_member(&in, "././@LongLink", 'L', "dir/from gnu", 13);
	h = tar_head("x", '2', 0);
	memcpy(h.b + 157, "../target", 9);
	tar_seal(&h);
	tar_put(&in, &h);
	h = tar_head("dir/null", '3', 0);
	tar_octal(&h, 329, 8, 1);
	tar_octal(&h, 337, 8, 3);
	tar_seal(&h);
	tar_put(&in, &h);
	h = tar_head("dir/hard", '1', 0);
	memcpy(h.b + 157, "/dir/from pax", 13);
	tar_seal(&h);
	tar_put(&in, &h);
	return in;
}

#define MIXED                                                                          \
	"d dir 644 0:0 0.000000000\n"                                                  \
	"- dir/from%20pax 644 3000000000:0 -2.750000000 5 user.a=b%3dc [0@2048+5]\n"   \
	"l dir/from%20gnu 644 0:0 0.000000000 > ../target\n"                           \
	"c dir/null 644 0:0 0.000000000 1,3\n"                                         \
	"h dir/hard 644 0:0 0.000000000 > dir/from%20pax\n"

static void test_mixed(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = mixed();
	/* The end of the stream, one zero block, two, and rubbish after them. */
	expect(&in, MIXED);
	tar_zeros(&in, 1);
	expect(&in, MIXED);
	tar_zeros(&in, 1);
	expect(&in, MIXED);
	(void)buf_puts(&in, "rubbish");
	expect(&in, MIXED);
}

static void test_empty(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	(void)buf_reserve(&in, 1);
	expect(&in, "");
	tar_zeros(&in, 2);
	expect(&in, "");
}

static void test_truncated(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = mixed();
	/* The ends of entries, where the stream may end. */
	static const size_t good[] = {0, 512, 2560, 4096, 4608, 5120};
	/* … and the end of a content whose padding a careless writer left out. */
	enum { CONTENT_END = 2048 + 5, PADDING_END = 2560 };
	size_t whole = in.len;
	assert_int_equal(whole, good[ARRAY_LEN(good) - 1]);
	for (size_t n = 0, next = 0; n <= whole; n++) {
		struct err err = {0};
		AUTO_FINISH(buf) struct buf out = buf_make(ARCHIVE_MAX);
		in.len = n;
		int r = read_tar(&in, 512, &out, &err);
		if (n == good[next]) {
			assert_ok(r, &err);
			next++;
			continue;
		}
		if (n >= CONTENT_END && n < PADDING_END) {
			assert_ok(r, &err);
			continue;
		}
		char words[64];
		(void)snprintf(words, sizeof(words), "the tar ends at byte %zu, ", n);
		assert_err(r, -EBADMSG, &err, words);
	}
}

static void test_broken_fields(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		const char *bytes;
		char type;
		const char *words;
	} bad[] = {
		{0, "\0", '0', "has no name"},
		{0, "..", '0', "\"..\""},
		{0, ".wh.", '0', "a whiteout must hide a name"},
		{0, ".wh...", '0', "a whiteout must hide a name"},
		{0, "a/.wh../b", '0', "a whiteout must hide a name"},
		{0, "/", '6', "the root of a layer can only be a directory"},
		{100, "9", '0', "the mode in the header is not a number"},
		{108, "x", '0', "the uid in the header is not a number"},
		{108, "\x81", '0', "the uid in the header is out of range"},
		{108, "\xff", '0', "the uid in the header is out of range"},
		{116, "-1", '0', "the gid in the header is not a number"},
		{124, "1z", '0', "the size in the header is not a number"},
		{124, "\xff", '0', "the size in the header is out of range"},
		{124, "\x80\1\1\1\1\1\1\1\1\1\1\1", '0', "the size in the header is out of range"},
		{136, "q", '0', "the mtime in the header is not a number"},
		{329, "8", '3', "the major device number in the header is not a number"},
		{337, "\x88", '4', "the minor device number in the header is out of range"},
		{157, "\0", '2', "a link without a target"},
		{157, "\0", '1', "a link without a target"},
		{157, "a/../b", '1', "\"..\""},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		struct tar_block h = tar_head("name", bad[i].type, 0);
		size_t n = strlen(bad[i].bytes);
		memcpy(h.b + bad[i].at, bad[i].bytes, n ? n : 1);
		if (bad[i].at == 0)
			h.b[n] = 0;
		tar_seal(&h);
		tar_put(&in, &h);
		expect_err(&in, -EBADMSG, bad[i].words);
		expect_err(&in, -EBADMSG, "\" at byte 0: ");
	}
}

/* Any single bit of a header that is flipped is caught by the checksum. */
static void test_flipped_bits(void **state)
{
	(void)state;
	for (size_t bit = 0; bit < TAR_BLOCK * 8; bit++) {
		struct err err = {0};
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		AUTO_FINISH(buf) struct buf out = buf_make(ARCHIVE_MAX);
		struct tar_block h = tar_head("name", '0', 0);
		h.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		tar_put(&in, &h);
		/*
		 * The checksum itself may be written in several ways: a space for its
		 * leading zero or its final NUL, and anything after that.
		 */
		if (bit == 148 * 8 + 4 || bit == 154 * 8 + 5 || bit / 8 == 155)
			continue;
		assert_err(read_tar(&in, 512, &out, &err), -EBADMSG, &err,
			   "tar entry \"");
		assert_non_null(strstr(err_text(&err), "the checksum of the header is wrong"));
	}
}

static void test_signed_checksum(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	struct tar_block h = tar_head("\xc3\xa9", '0', 0);
	int sum = 0;
	for (size_t i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? ' ' : (int8_t)h.b[i];
	assert_true(sum > 0);
	tar_octal(&h, 148, 7, (uint64_t)sum);
	tar_put(&in, &h);
	expect(&in, "- %c3%a9 644 0:0 0.000000000 0\n");
}

static void test_types(void **state)
{
	(void)state;
	static const struct {
		char type;
		const char *want;
	} kinds[] = {
		{'\0', "- a 644 0:0 0.000000000 600 [0@512+600]\n"},
		{'0', "- a 644 0:0 0.000000000 600 [0@512+600]\n"},
		{'7', "- a 644 0:0 0.000000000 600 [0@512+600]\n"},
		{'D', "d a 644 0:0 0.000000000\n"},
		{'V', ""},
	};
	char data[600] = {1};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		tar_member(&in, "a", kinds[i].type, data, sizeof(data));
		expect(&in, kinds[i].want);
	}
	/* These have no content, whatever their size says. */
	for (const char *type = "56"; *type; type++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		struct tar_block h = tar_head("a", *type, 600);
		tar_put(&in, &h);
		h = tar_head("b", '0', 0);
		tar_put(&in, &h);
		expect(&in, *type == '5' ? "d a 644 0:0 0.000000000\n- b 644 0:0 0.000000000 0\n"
					 : "p a 644 0:0 0.000000000\n- b 644 0:0 0.000000000 0\n");
	}
	for (const char *type = "89ABCEFGHIJMNOPQRTUWXYZabz"; *type; type++) {
		char words[64];
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		tar_member(&in, "a", *type, data, sizeof(data));
		(void)snprintf(words, sizeof(words),
			       "tar entry \"a\" at byte 0: files of type 0x%02x are not", *type);
		expect_err(&in, -EOPNOTSUPP, words);
	}
}

static void test_v7_directory(void **state)
{
	(void)state;
	for (size_t size = 0; size < 2; size++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		struct tar_block h = tar_head("old/", '\0', size);
		memset(h.b + 257, 0, 255);
		tar_seal(&h);
		tar_put(&in, &h);
		if (size == 0)
			expect(&in, "d old 644 0:0 0.000000000\n");
		else
			expect_err(&in, -EBADMSG, "\"old\" at byte 0: a directory has content");
	}
}

static void test_hardlink_content(void **state)
{
	(void)state;
	/* Without an x header the size means nothing, with one the content follows. */
	for (int pax = 0; pax < 2; pax++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		AUTO_FINISH(buf) struct buf rec = buf_make(ARCHIVE_MAX);
		record(&rec, "linkpath", "to");
		if (pax)
			tar_member(&in, "pax", 'x', rec.data, rec.len);
		struct tar_block h = tar_head("a", '1', 3);
		memcpy(h.b + 157, "to", 2);
		tar_seal(&h);
		tar_put(&in, &h);
		if (pax)
			tar_data(&in, "abc", 3);
		h = tar_head("b", '0', 0);
		tar_put(&in, &h);
		expect(&in, "h a 644 0:0 0.000000000 > to\n- b 644 0:0 0.000000000 0\n");
	}
}

static void test_base256(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	struct tar_block h = tar_head("a", '0', 0);
	memcpy(h.b + 108, "\x80\0\0\0\xff\xff\xff\xfe", 8);
	memcpy(h.b + 116, "\x80\0\0\0\0\x20\0\0", 8);
	memcpy(h.b + 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
	tar_seal(&h);
	tar_put(&in, &h);
	expect(&in, "- a 644 4294967294:2097152 -2.000000000 0\n");
}

static void test_pax_wins(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	char data[1024] = {1};
	record(&pax, "path", "pax");
	record(&pax, "size", "1024");
	record(&pax, "gid", "7");
	/* The x header is meant for the file, not for the long name after it. */
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "././@LongLink", 'L', "gnu", 4);
	struct tar_block h = tar_head("header", '0', 0);
	tar_put(&in, &h);
	tar_data(&in, data, sizeof(data));
	tar_member(&in, "next", '0', "x", 1);
	expect(&in, "- pax 644 0:7 0.000000000 1024 [0@2560+1024]\n"
		    "- next 644 0:0 0.000000000 1 [0@4096+1]\n");
}

static void test_pax_times(void **state)
{
	(void)state;
	static const struct {
		const char *value, *want;
	} times[] = {
		{"0", "0.000000000"},		      {"1.5", "1.500000000"},
		{"-0.5", "-1.500000000"},	      {"-3", "-3.000000000"},
		{"1.1234567899", "1.123456789"},      {"5000000000.000000001", "5000000000.000000001"},
		{"-1.0000000001", "-1.000000000"},    {"7.", "7.000000000"},
	};
	static const char *const bad[] = {"-", ".5", "1e3", "+1", "1.2.3", " 1",
					  "99999999999999999999"};
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		char want[96];
		AUTO_FINISH(buf) struct buf in = one_record('x', "mtime", times[i].value);
		(void)snprintf(want, sizeof(want), "- f 644 0:0 %s 3 [0@1536+3]\n", times[i].want);
		expect(&in, want);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FINISH(buf) struct buf in = one_record('x', "mtime", bad[i]);
		expect_err(&in, -EBADMSG, "\"pax\" at byte 0: pax mtime is not a time");
	}
}

static void test_pax_bad_values(void **state)
{
	(void)state;
	static const struct {
		char type;
		const char *key, *value, *words;
	} bad[] = {
		{'x', "uid", "4294967296", "pax uid is out of range"},
		{'x', "gid", "-1", "pax gid is not a number"},
		{'x', "size", "1 ", "pax size is not a number"},
		{'x', "size", "18446744073709551616", "pax size is out of range"},
		{'x', "path", "../x", "\"..\""},
		{'x', "LIBARCHIVE.xattr.user.%4", "YQ==", "is not URL-encoded"},
		{'x', "LIBARCHIVE.xattr.user.%00", "YQ==", "holds a NUL"},
		{'x', "LIBARCHIVE.xattr.user.a", "Y", "is not base64"},
		{'x', "LIBARCHIVE.xattr.user.a", "Y*==", "is not base64"},
		{'x', "SCHILY.xattr.", "v", "a name of 0 bytes"},
		{'x', "GNU.sparse.map", "0,1,2", "ends with an offset"},
		{'x', "GNU.sparse.map", "0,,2", "is not a list of numbers"},
		{'x', "GNU.sparse.map", "", "GNU.sparse.map is empty"},
		{'x', "GNU.sparse.offset", "1", "ends with an offset"},
		{'x', "GNU.sparse.numbytes", "1", "a length without an offset"},
		{'x', "GNU.sparse.major", "1", "its size is not told"},
		{'g', "path", "all", "a global header sets the path of every file"},
		{'g', "size", "0", "a global header sets the size of every file"},
		{'g', "SCHILY.xattr.user.x", "0", "sets the SCHILY.xattr.user.x of every file"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FINISH(buf) struct buf in = one_record(bad[i].type, bad[i].key, bad[i].value);
		expect_err(&in, -EBADMSG, bad[i].words);
	}
}

static void test_pax_records(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"x",	 "5",	     "5 ",	   "6 a=b",	  "7 a=b\n",
		"5 a=b\n", "6 a=bX",	 "6  a=b\n", "6 abc\n",	   "5 =b\n",	  "-6 a=b\n",
		"+6 a=b\n", "0 a=b\n",	 "6 a=b\n6", "6 a=b\n9 path=", "99999999999999999999 a=b\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		tar_member(&in, "pax", 'x', bad[i], strlen(bad[i]));
		tar_member(&in, "f", '0', "abc", 3);
		expect_err(&in, -EBADMSG, "\"pax\" at byte 0: its pax header has a broken record");
	}
	/* Unknown keywords say nothing; an empty value takes back. */
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	record(&pax, "a", "b");
	record(&pax, "uid", "5");
	record(&pax, "uid", "");
	record(&pax, "gid", "1");
	record(&pax, "gid", "2");
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "f", '0', "abc", 3);
	expect(&in, "- f 644 0:2 0.000000000 3 [0@1536+3]\n");
}

static void test_xattrs(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	record_n(&pax, "SCHILY.xattr.user.nul", "a\0b\n", 4);
	record(&pax, "SCHILY.xattr.user.empty", "");
	record(&pax, "LIBARCHIVE.xattr.user.p%3Dq", "AAEC");
	record(&pax, "LIBARCHIVE.xattr.user.nul", "eg");
	record(&pax, "LIBARCHIVE.xattr.user.pad", "eHk=");
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "f", '0', "abc", 3);
	tar_member(&in, "g", '0', "", 0);
	expect(&in, "- f 644 0:0 0.000000000 3 user.nul=z user.empty= user.p%3dq=%00%01%02 "
		    "user.pad=xy [0@1536+3]\n- g 644 0:0 0.000000000 0\n");

	/* Too many, too large. */
	buf_clear(&pax);
	buf_clear(&in);
	for (int i = 0; i <= ENTRY_XATTRS_MAX; i++) {
		char key[64];
		(void)snprintf(key, sizeof(key), "SCHILY.xattr.user.%d", i);
		record(&pax, key, "v");
	}
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "f", '0', "abc", 3);
	expect_err(&in, -EBADMSG, "more than 1024 xattrs");
	char big[ENTRY_XATTR_VALUE_MAX];
	memset(big, 'x', sizeof(big));
	buf_clear(&pax);
	buf_clear(&in);
	record_n(&pax, "SCHILY.xattr.user.big", big, sizeof(big));
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "f", '0', "abc", 3);
	expect_err(&in, -EBADMSG, "its xattrs take more than 60000 bytes");
}

static void test_global(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = one_record('g', "uid", "42");
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	record(&pax, "uid", "43");
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	tar_member(&in, "own", '0', "", 0);
	tar_member(&in, "all", '0', "", 0);
	expect(&in, "- f 644 42:0 0.000000000 3 [0@1536+3]\n- own 644 43:0 0.000000000 0\n"
		    "- all 644 42:0 0.000000000 0\n");
	buf_clear(&in);
	for (int i = 0; i <= TAR_GLOBALS_MAX; i++)
		tar_member(&in, "pax", 'g', "", 0);
	expect_err(&in, -EBADMSG, "more than 1024 global headers");
}

static void test_extended_headers(void **state)
{
	(void)state;
	static const char *const doubled[] = {"x", "L", "K"};
	for (size_t i = 0; i < ARRAY_LEN(doubled); i++) {
		char words[64];
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		tar_member(&in, "e", doubled[i][0], "6 a=b\n", 6);
		tar_member(&in, "e", doubled[i][0], "6 a=b\n", 6);
		(void)snprintf(words, sizeof(words), "at byte 1024: two headers of type %s",
			       doubled[i]);
		expect_err(&in, -EBADMSG, words);
		in.len = 1024;
		expect_err(&in, -EBADMSG, "the tar ends at byte 1024, after an extended header");
		tar_zeros(&in, 2);
		expect_err(&in, -EBADMSG, "the archive ends after an extended header");
	}
	static const struct {
		char type;
		uint64_t size;
		const char *words;
	} sizes[] = {
		{'x', TAR_PAX_MAX + 1, "an extended header of 1048577 bytes is longer than 1048576"},
		{'g', 1 << 30, "an extended header of 1073741824 bytes"},
		{'L', ENTRY_PATH_MAX + 1, "an extended header of 4097 bytes is longer than 4096"},
		{'K', ENTRY_PATH_MAX + 1, "an extended header of 4097 bytes is longer than 4096"},
		{'L', 0, "a long name is empty"},
	};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
		struct tar_block h = tar_head("e", sizes[i].type, sizes[i].size);
		tar_put(&in, &h);
		expect_err(&in, -EBADMSG, sizes[i].words);
	}
}

static void test_names(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	struct tar_block h = tar_head("file", '0', 0);
	memcpy(h.b + 345, "pre/fix", 7);
	tar_seal(&h);
	tar_put(&in, &h);
	/* GNU keeps other things there. */
	memcpy(h.b + 257, "ustar  ", 8);
	tar_seal(&h);
	tar_put(&in, &h);
	h = tar_head("./", '5', 0);
	tar_put(&in, &h);
	h = tar_head("./a//b/./c", '0', 0);
	tar_put(&in, &h);
	h = tar_head("d/.wh..wh..opq", '0', 0);
	tar_put(&in, &h);
	h = tar_head("d/.wh.gone", '0', 0);
	tar_put(&in, &h);
	expect(&in, "- pre/fix/file 644 0:0 0.000000000 0\n- file 644 0:0 0.000000000 0\n"
		    "d  644 0:0 0.000000000\n- a/b/c 644 0:0 0.000000000 0\n"
		    "- d/.wh..wh..opq 644 0:0 0.000000000 0\n- d/.wh.gone 644 0:0 0.000000000 0\n");

	buf_clear(&in);
	char name[ENTRY_NAME_MAX + 2];
	memset(name, 'n', sizeof(name));
	tar_member(&in, "././@LongLink", 'L', name, ENTRY_NAME_MAX + 1);
	tar_member(&in, "n", '0', "", 0);
	expect_err(&in, -EBADMSG, "a name of 256 bytes is longer than 255");
}

/* A GNU header of a sparse file: up to four pieces, and whether an extension follows. */
static struct tar_block old_sparse(const uint64_t (*map)[2], size_t n, uint64_t stored,
				   uint64_t real, bool more)
{
	struct tar_block h = tar_head("sparse", 'S', stored);
	memcpy(h.b + 257, "ustar  ", 8);
	for (size_t i = 0; i < n; i++) {
		tar_octal(&h, 386 + i * 24, 12, map[i][0]);
		tar_octal(&h, 398 + i * 24, 12, map[i][1]);
	}
	h.b[482] = more;
	tar_octal(&h, 483, 12, real);
	tar_seal(&h);
	return h;
}

static void test_sparse_old(void **state)
{
	(void)state;
	static const uint64_t map[][2] = {{512, 512}, {4096, 1024}, {10000, 0}};
	char data[1536] = {0};
	AUTO_FINISH(buf) struct buf in = buf_make(ARCHIVE_MAX);
	struct tar_block h = old_sparse(map, 3, 1536, 10000, false);
	tar_put(&in, &h);
	tar_data(&in, data, sizeof(data));
	tar_member(&in, "next", '0', "", 0);
	expect(&in, "- sparse 644 0:0 0.000000000 10000 [512@512+512] [4096@1024+1024]\n"
		    "- next 644 0:0 0.000000000 0\n");

	buf_clear(&in);
	h = old_sparse(map, 1, 1536, 10000, true);
	tar_put(&in, &h);
	struct tar_block ext = {0};
	tar_octal(&ext, 0, 12, 4096);
	tar_octal(&ext, 12, 12, 1024);
	tar_put(&in, &ext);
	tar_data(&in, data, sizeof(data));
	expect(&in, "- sparse 644 0:0 0.000000000 10000 [512@1024+512] [4096@1536+1024]\n");

	static const struct {
		uint64_t map[2][2], stored, real;
		int code;
		const char *words;
	} bad[] = {
		{{{0, 512}, {4096, 512}}, 512, 8192, -EBADMSG, "tells of 1024 bytes, its size of 512"},
		{{{4096, 512}, {0, 512}}, 1024, 8192, -EBADMSG, "out of order"},
		{{{0, 512}, {256, 512}}, 1024, 8192, -EBADMSG, "out of order"},
		{{{0, 512}, {8192, 512}}, 1024, 8192, -EBADMSG, "outside the file"},
		{{{0, 100}, {4096, 512}}, 612, 8192, -EOPNOTSUPP, "multiples of 512"},
		{{{100, 512}, {4096, 512}}, 1024, 8192, -EOPNOTSUPP, "multiples of 512"},
		{{{0, 512}, {4096, 100}}, 612, 8192, -EOPNOTSUPP, "multiples of 512"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_clear(&in);
		h = old_sparse(bad[i].map, 2, bad[i].stored, bad[i].real, false);
		tar_put(&in, &h);
		expect_err(&in, bad[i].code, bad[i].words);
		expect_err(&in, bad[i].code, "tar entry \"sparse\" at byte 0: ");
	}
}

/* A file in format 1.0 whose map is this text. */
static struct buf sparse_10(const char *map, uint64_t stored)
{
	struct buf in = buf_make(ARCHIVE_MAX);
	AUTO_FINISH(buf) struct buf pax = buf_make(ARCHIVE_MAX);
	record(&pax, "GNU.sparse.major", "1");
	record(&pax, "GNU.sparse.minor", "0");
	record(&pax, "GNU.sparse.name", "dir/real");
	record(&pax, "GNU.sparse.realsize", "9000");
	tar_member(&in, "pax", 'x', pax.data, pax.len);
	struct tar_block h = tar_head("GNUSparseFile.0/real", '0', stored);
	tar_put(&in, &h);
	tar_data(&in, map, strlen(map));
	return in;
}

static void test_sparse_10(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf in = sparse_10("2\n1024\n512\n8704\n296\n", 512 + 808);
	tar_zeros(&in, 2);
	expect(&in, "- dir/real 644 0:0 0.000000000 9000 [1024@2048+512] [8704@2560+296]\n");

	static const struct {
		const char *map;
		uint64_t stored;
		const char *words;
	} bad[] = {
		{"2\n1024\n512\n8704\n296\n", 512, "tells of 808 bytes, its size of 0"},
		{"2\n1024\n512\n8704\n", 512, "is not a list of numbers"},
		{"", 0, "its sparse map is missing"},
		{"1048577\n", 512, "more than 1048576 pieces"},
		{"1\n99999999999999999999\n1\n", 512, "out of range"},
		{"-1\n", 512, "is not a list of numbers"},
		{"\n", 512, "is not a list of numbers"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FINISH(buf) struct buf b = sparse_10(bad[i].map, bad[i].stored);
		expect_err(&b, -EBADMSG, bad[i].words);
	}
	/* A map that fills its block exactly and goes on, where the content ends. */
	AUTO_FINISH(buf) struct buf text = buf_make(ARCHIVE_MAX);
	(void)buf_puts(&text, "200\n");
	for (uint64_t i = 0; text.len < 512; i++)
		(void)buf_printf(&text, "%" PRIu64 "\n", i % 2 ? 512 : i * 512);
	text.data[512] = '\0';
	AUTO_FINISH(buf) struct buf b = sparse_10(text.data, 512);
	expect_err(&b, -EBADMSG, "its sparse map does not end");
}

static int refuse(void *data, const struct entry *entry, struct err *err)
{
	(void)data;
	return err_say(err, -ESTALE, "I do not want %s", entry->path);
}

static void test_callback_refuses(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf in = mixed();
	AUTO(tar_reader) struct tar_reader *t = NULL;
	assert_int_equal(tar_reader_create(refuse, NULL, &t), 0);
	assert_int_equal(tar_reader_push(t, in.data, in.len, &err), -ESTALE);
	assert_string_equal(err_text(&err), "I do not want dir");
	assert_int_equal(tar_reader_offset(t), 512);
	assert_err(tar_reader_push(t, in.data, 1, &err), -ESTALE, &err, "broken before");
	assert_err(tar_reader_finish(t, &err), -ESTALE, &err, "broken before");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_broken_fields),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_signed_checksum),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_v7_directory),
		cmocka_unit_test(test_hardlink_content),
		cmocka_unit_test(test_base256),
		cmocka_unit_test(test_pax_wins),
		cmocka_unit_test(test_pax_times),
		cmocka_unit_test(test_pax_bad_values),
		cmocka_unit_test(test_pax_records),
		cmocka_unit_test(test_xattrs),
		cmocka_unit_test(test_global),
		cmocka_unit_test(test_extended_headers),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_sparse_old),
		cmocka_unit_test(test_sparse_10),
		cmocka_unit_test(test_callback_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
