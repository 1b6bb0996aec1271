/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/ztoc.h"

#include <errno.h>

#include "base/num.h"
#include "fetcher/span_decoder.h"
#include "tests/unit/entrydump.h"
#include "tests/unit/layers.h"
#include "tests/unit/unit.h"
#include "tests/unit/ztocmake.h"

#define HASH "sha256:1111111111111111111111111111111111111111111111111111111111111111"

enum { IN_SIZE = 5000, OUT_SIZE = 20480 };

static const struct digest layer_id = {.algo = DIGEST_SHA256, .bytes = {1}};

/* One span of gzip in version 1, so that there is no window, and two files. */
static const uint8_t one_point[ZM_HEAD] = {1};
static const struct zm_spec small = {
	.version = "0.9",
	.in_size = IN_SIZE,
	.out_size = OUT_SIZE,
	.files = {{.name = "etc/", .type = "dir", .mode = 0755, .off = 512},
		  {.name = "etc/a", .type = "reg", .off = 1024, .size = 700, .mode = 0104755,
		   .uid = 7, .gid = 8, .time = "2021-03-04T05:06:07.5Z",
		   .records = {{.key = "SCHILY.xattr.user.x", .value = "\0y", .len = 2},
			       {.key = "mtime", .value = "1"}}}},
	.digests = {HASH},
	.checkpoints = one_point,
	.checkpoints_len = sizeof(one_point),
};

static int append(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

/* Everything that can be asked of a zTOC. out and windows may be NULL. */
static int read_ztoc(const void *data, size_t n, struct buf *out, struct buf *windows,
		     struct seek **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf ignored = buf_make(ZM_MAX);
	AUTO(ztoc) struct ztoc *ztoc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct byte_sink sink = {.write = append, .data = windows ? windows : &ignored};
	int r = ztoc_parse(data, n, IN_SIZE, &ztoc, err);
	r = r < 0 ? r : ztoc_entries(ztoc, dump_entry, out ? out : &ignored, err);
	r = r < 0 ? r : ztoc_seek(ztoc, &layer_id, NULL, 10, &sink, &seek, err);
	if (r == 0 && ret)
		*ret = steal_ptr(&seek);
	return r;
}

static int read_spec(const struct zm_spec *spec, struct buf *out, struct seek **ret,
		     struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(ZM_MAX);
	zm_ztoc(&bytes, spec);
	return read_ztoc(bytes.data, bytes.len, out, NULL, ret, err);
}

static void test_entries(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(1 << 20);
	AUTO(seek) struct seek *seek = NULL;
	struct zm_spec spec = small;
	spec.files[2] = (struct zm_file){.name = "etc/h", .type = "hardlink", .link = "/etc/a",
					 .size = 700, .off = 2048};
	spec.files[3] = (struct zm_file){.name = "l", .type = "symlink", .link = "../etc//a"};
	spec.files[4] = (struct zm_file){.name = "c", .type = "char", .major = 1, .minor = 3};
	spec.files[5] = (struct zm_file){.name = "b", .type = "block", .major = 259, .minor = 70000};
	spec.files[6] = (struct zm_file){.name = "f", .type = "fifo", .mode = 0600};
	spec.files[7] = (struct zm_file){.name = "etc/.wh.gone", .type = "reg", .off = 20480};
	assert_ok(read_spec(&spec, &out, &seek, &err), &err);
	assert_string_equal(buf_str(&out),
			    "d etc 755 0:0 0.000000000\n"
			    "- etc/a 4755 7:8 1614834367.500000000 700 user.x=%00y [0@1024+700]\n"
			    "h etc/h 0 0:0 0.000000000 > etc/a\n"
			    "l l 0 0:0 0.000000000 > ../etc//a\n"
			    "c c 0 0:0 0.000000000 1,3\n"
			    "b b 0 0:0 0.000000000 259,70000\n"
			    "p f 600 0:0 0.000000000\n"
			    "- etc/.wh.gone 0 0:0 0.000000000 0\n");
	struct span span;
	assert_int_equal(seek_count(seek), 1);
	seek_get(seek, 0, &span);
	assert_int_equal(span.in_off, 10);
	assert_int_equal(span.in_len, IN_SIZE - 10);
	assert_int_equal(span.out_len, OUT_SIZE);
	assert_int_equal(span.codec, SEEK_DEFLATE);
	assert_int_equal(span.sum, SEEK_SUM_IN);
	assert_int_equal(span.sha256[5], 0x11);
	assert_int_equal(seek_out_size(seek), OUT_SIZE);
	assert_true(seek_is_tar(seek));
}

static void test_wrong_fields(void **state)
{
	(void)state;
	static const struct {
		struct zm_spec change;
		const char *words;
	} cases[] = {
#define CASE(words_, ...) {.words = (words_), .change = {__VA_ARGS__}}
		CASE("version \"1.0\" of the zTOC", .version = "1.0"),
		CASE("version \"0.90\" of the zTOC", .version = "0.90"),
		CASE("compressed_archive_size of the zTOC is 5001, but", .in_size = IN_SIZE + 1),
		CASE("compressed_archive_size of the zTOC is negative", .in_size = -1),
		CASE("uncompressed_archive_size of the zTOC is negative", .out_size = INT64_MIN),
		CASE("lacks toc", .no_toc = true),
		CASE("lacks compression_info", .no_info = true),
		CASE("lacks span_digests", .no_digests = true),
		CASE("lacks checkpoints", .no_checkpoints = true),
		CASE("compression_algorithm 3", .algorithm = 3),
		CASE("compression_algorithm -1", .algorithm = -1),
		CASE("max_span_id is 1", .max_span_id = 1),
		CASE("max_span_id is -1", .max_span_id = -1),
		CASE("has 2 digests, max_span_id is 0", .digests = {HASH, HASH}),
		CASE("span_digests of the zTOC: number 0 is no SHA-256", .digests = {"sha256:11"}),
		CASE("span_digests of the zTOC: number 0 is no SHA-256", .digests = {""}),
		CASE("checkpoints of the zTOC are too short", .checkpoints_len = 11),
		CASE("there are 2, and 1 span_digests", .checkpoints = "\2\0\0\0\0\0\0\0\0\0\0"),
		CASE("there are 4294967295, and 1",
		     .checkpoints = "\xff\xff\xff\xff\0\0\0\0\0\0\0"),
		CASE("13 bytes do not hold 1", .checkpoints_len = 13,
		     .checkpoints = "\1\0\0\0\0\0\0\0\0\0\0\0"),
		CASE("not those of an uncompressed layer", .algorithm = 2),
		CASE("uncompressed_archive_size of the zTOC is 20480, more", .algorithm = 2,
		     .out_size = OUT_SIZE),
#undef CASE
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		const struct zm_spec *c = &cases[i].change;
		struct zm_spec spec = small;
		spec.version = c->version ? c->version : spec.version;
		spec.in_size = c->in_size ? c->in_size : spec.in_size;
		spec.out_size = c->out_size ? c->out_size : c->algorithm ? IN_SIZE : spec.out_size;
		spec.no_toc = c->no_toc;
		spec.no_info = c->no_info;
		spec.no_digests = c->no_digests;
		spec.no_checkpoints = c->no_checkpoints;
		spec.algorithm = c->algorithm;
		spec.max_span_id = c->max_span_id;
		if (c->digests[0])
			memcpy(spec.digests, c->digests, sizeof(spec.digests));
		if (c->checkpoints)
			spec.checkpoints = c->checkpoints;
		if (c->checkpoints_len)
			spec.checkpoints_len = c->checkpoints_len;
		assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, cases[i].words);
	}
	struct err err = {0};
	struct zm_spec spec = small;
	spec.version = NULL;
	assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, "the zTOC lacks version");
}

static void test_wrong_entries(void **state)
{
	(void)state;
	static const struct {
		struct zm_file file;
		int code;
		const char *words;
	} cases[] = {
#define CASE(words_, name_, type_, ...) \
	{.words = (words_), .code = -EBADMSG, .file = {.name = (name_), .type = (type_), __VA_ARGS__}}
		CASE("zTOC entry 2, \"../x\": a path has the component \"..\"",
		     "../x", "reg", .mode = 0644),
		CASE("its type \"socket\" is unknown", "x", "socket", .mode = 0644),
		CASE("its type \"\" is unknown", "x", NULL, .mode = 0644),
		CASE("its mod_time is not a time", "x", "reg", .time = "yesterday"),
		CASE("its uncompressed_offset -1 is out of range", "x", "reg", .off = -1),
		CASE("its uncompressed_offset 20481 is out of range", "x", "reg", .off = OUT_SIZE + 1),
		CASE("its uncompressed_size -5 is out of range", "x", "reg", .size = -5),
		CASE("its uncompressed_size 9223372036854775807", "x", "reg", .size = INT64_MAX),
		CASE("goes past the end of the layer", "x", "reg", .off = 20480 - 512, .size = 513),
		CASE("its uncompressed_offset is not a multiple", "x", "reg", .off = 1000, .size = 1),
		CASE("its devmajor 4294967296 is out of range", "x", "reg", .major = INT64_C(1) << 32),
		CASE("its devminor -1 is out of range", "x", "reg", .minor = -1),
		CASE("a link without a target", "x", "symlink", .mode = 0644),
		CASE("a link without a target", "x", "hardlink", .mode = 0644),
		CASE("the root of a layer can only be a directory", "./", "reg", .mode = 0644),
		CASE("an xattr has a name of 0 bytes", "x", "reg",
		     .records = {{.key = "SCHILY.xattr.", .value = "x"}}),
		CASE("a whiteout must hide a name", ".wh.", "reg", .mode = 0644),
#undef CASE
		{.words = "it is sparse", .code = -EFBIG,
		 .file = {.name = "x", .type = "reg",
			  .records = {{.key = "GNU.sparse.major", .value = "1"}}}},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		struct zm_spec spec = small;
		spec.files[2] = cases[i].file;
		assert_err(read_spec(&spec, NULL, NULL, &err), cases[i].code, &err, cases[i].words);
		assert_non_null(strstr(err_text(&err), "zTOC entry 2, "));
	}
}

/* Three checkpoints, of which the test changes one. */
static void points_make(uint8_t *to)
{
	memset(to, 0, ZM_HEAD + 3 * ZM_POINT);
	le32_put(to, 3);
	for (size_t i = 0; i < 3; i++) {
		le64_put(to + ZM_HEAD + i * ZM_POINT, 20 + 1000 * i);
		le64_put(to + ZM_HEAD + i * ZM_POINT + 8, 4096 * i);
	}
}

static void test_wrong_checkpoints(void **state)
{
	(void)state;
	static const struct {
		size_t point, field;
		uint64_t value;
		const char *words;
	} cases[] = {
		{0, 0, 0, "checkpoint 0 of the zTOC is wrong: in is outside"},
		{0, 8, 1, "checkpoint 0 of the zTOC is wrong: out is not 0"},
		{1, 0, IN_SIZE, "checkpoint 1 of the zTOC is wrong: in is outside"},
		{1, 0, UINT64_MAX, "checkpoint 1 of the zTOC is wrong: in is outside"},
		{1, 0, 20, "checkpoint 0 of the zTOC is wrong: in is not before"},
		{1, 8, 0, "checkpoint 0 of the zTOC is wrong: out is not before"},
		{1, 8, 4096 * 2, "checkpoint 1 of the zTOC is wrong: out is not before"},
		{2, 8, OUT_SIZE, "checkpoint 2 of the zTOC is wrong: out is outside"},
		{2, 8, UINT64_MAX, "checkpoint 2 of the zTOC is wrong: out is outside"},
		{2, 16, 8, "checkpoint 2 of the zTOC is wrong: bits is above 7"},
		{1, 0, 22, "make no sense: span 0 of the seek table is wrong: out_len"},
	};
	AUTO_FREE uint8_t *points = malloc(ZM_HEAD + 3 * ZM_POINT);
	assert_non_null(points);
	struct zm_spec spec = small;
	spec.digests[1] = spec.digests[2] = HASH;
	spec.max_span_id = 2;
	spec.checkpoints = points;
	spec.checkpoints_len = ZM_HEAD + 3 * ZM_POINT;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		points_make(points);
		uint8_t *at = points + ZM_HEAD + cases[i].point * ZM_POINT + cases[i].field;
		if (cases[i].field == 16)
			*at = (uint8_t)cases[i].value;
		else
			le64_put(at, cases[i].value);
		assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, cases[i].words);
	}
}

static void test_truncated(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf bytes = buf_make(ZM_MAX);
	struct err err = {0};
	zm_ztoc(&bytes, &small);
	assert_ok(read_ztoc(bytes.data, bytes.len, NULL, NULL, NULL, &err), &err);
	for (size_t n = 0; n < bytes.len; n++) {
		/* Of its exact size, so that a sanitizer sees a read past it. */
		AUTO_FREE void *copy = malloc(n ? n : 1);
		assert_non_null(copy);
		memcpy(copy, bytes.data, n);
		assert_int_equal(read_ztoc(copy, n, NULL, NULL, NULL, &err), -EBADMSG);
	}
}

/* No byte may lead out of the buffer, whatever it is. */
static void test_spoiled(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf bytes = buf_make(ZM_MAX);
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
	zm_ztoc(&bytes, &small);
	AUTO_FREE char *copy = malloc(bytes.len);
	assert_non_null(copy);
	for (size_t i = 0; i < bytes.len * ARRAY_LEN(values); i++) {
		struct err err = {0};
		memcpy(copy, bytes.data, bytes.len);
		copy[i / ARRAY_LEN(values)] = (char)values[i % ARRAY_LEN(values)];
		int r = read_ztoc(copy, bytes.len, NULL, NULL, NULL, &err);
		if (r != 0 && r != -EFBIG)
			assert_int_equal(r, -EBADMSG);
		if (r < 0)
			assert_true(err_text(&err)[0] != '\0');
	}
}

/* What SOCI notes of a gzip stream: the ends of deflate blocks, `span` bytes apart. */
struct checkpoints {
	struct buf points; /* without the head */
	struct buf digests; /* DIGEST_STR_MAX each */
	size_t count;
};

static void checkpoint_add(struct checkpoints *c, const z_stream *z, const uint8_t *out)
{
	uint8_t point[ZM_POINT] = {0};
	size_t n = u64_min(z->total_out, SEEK_WINDOW_BYTES);
	le64_put(point, z->total_in);
	le64_put(point + 8, z->total_out);
	point[16] = z->data_type & 7;
	memcpy(point + ZM_POINT - n, out + z->total_out - n, n);
	assert_int_equal(buf_append(&c->points, point, sizeof(point)), 0);
	c->count++;
}

/* Of the first member of gz, as the first writers did it. */
static void checkpoints_make(struct checkpoints *c, const struct buf *gz, uint8_t *out,
			     size_t room, size_t span)
{
	z_stream z = {.next_in = (uint8_t *)gz->data, .avail_in = (uInt)gz->len,
		      .next_out = out, .avail_out = (uInt)room};
	size_t last = 0;
	int r = inflateInit2(&z, 47);
	while (r == Z_OK) {
		r = inflate(&z, Z_BLOCK);
		bool at_block = (z.data_type & 128) && !(z.data_type & 64);
		if (r != Z_OK || !at_block || (z.total_out != 0 && z.total_out - last <= span))
			continue;
		checkpoint_add(c, &z, out);
		last = z.total_out;
	}
	assert_int_equal(r, Z_STREAM_END);
	assert_int_equal(inflateEnd(&z), Z_OK);
	for (size_t i = 0; i < c->count; i++) {
		const char *p = c->points.data + i * ZM_POINT;
		size_t start = le64_get(p) - (p[16] ? 1 : 0);
		size_t end = i + 1 < c->count ? le64_get(p + ZM_POINT) : gz->len;
		struct digest digest;
		char text[DIGEST_STR_MAX] = "";
		assert_int_equal(digest_of(DIGEST_SHA256, gz->data + start, end - start, &digest), 0);
		digest_str(&digest, text);
		assert_int_equal(buf_append(&c->digests, text, sizeof(text)), 0);
	}
}

static void spans_check(const struct seek *seek, const struct buf *windows, const struct buf *gz,
			const struct buf *raw)
{
	struct err err = {0};
	AUTO(span_scratch) struct span_scratch *scratch = NULL;
	AUTO_FREE uint8_t *out = malloc(raw->len + 1);
	bool inside_byte = false;
	uint64_t done = 0;
	assert_non_null(out);
	assert_ok(span_scratch_create(SPAN_ENGINE_BEST, &scratch), &err);
	for (size_t i = 0; i < seek_count(seek); i++) {
		uint8_t window[SEEK_WINDOW_BYTES];
		struct span s;
		seek_get(seek, i, &s);
		inside_byte |= s.bits != 0;
		if (s.win_len)
			assert_ok(span_window_unpack(scratch, windows->data + s.win_off, s.win_len,
						     window, &err), &err);
		if (s.win_len) {
			/* A window that rots is noticed by itself. */
			uint8_t rubbish[SEEK_WINDOW_BYTES];
			windows->data[s.win_off + s.win_len / 2] ^= 1;
			assert_err(span_window_unpack(scratch, windows->data + s.win_off, s.win_len,
						      rubbish, &err),
				   -EBADMSG, &err, "a packed window is corrupt");
			windows->data[s.win_off + s.win_len / 2] ^= 1;
		}
		assert_ok(span_decode(scratch, seek, i, gz->data + s.in_off, s.in_len,
				      s.win_len ? window : NULL, out, &err), &err);
		assert_int_equal(s.out_off, done);
		assert_memory_equal(out, raw->data + s.out_off, s.out_len);
		done += s.out_len;
		/* A byte of the range that is wrong is seen before anything is decoded. */
		gz->data[s.in_off + s.in_len / 2] ^= 1;
		assert_err(span_decode(scratch, seek, i, gz->data + s.in_off, s.in_len,
				       s.win_len ? window : NULL, out, &err),
			   -EBADMSG, &err, "the compressed range");
		gz->data[s.in_off + s.in_len / 2] ^= 1;
	}
	assert_true(inside_byte);
	assert_int_equal(done, seek_out_size(seek));
}

/* Puts a name into the header of the first member, so that it has more than 10 bytes. */
static void gzip_name(struct buf *gz)
{
	static const char name[] = "layer.tar";
	assert_int_equal(buf_append(gz, name, sizeof(name)), 0);
	memmove(gz->data + 10 + sizeof(name), gz->data + 10, gz->len - 10 - sizeof(name));
	memcpy(gz->data + 10, name, sizeof(name));
	gz->data[3] = 8; /* FNAME, RFC 1952 */
}

static void whole_layer(bool v1, bool named, size_t members, size_t uncounted)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf raw = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf gz = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf packed = buf_make(ZM_MAX);
	AUTO_FINISH(buf) struct buf windows = buf_make(ZM_MAX);
	AUTO_FINISH(buf) struct buf bytes = buf_make(ZM_MAX);
	struct checkpoints c = {.points = buf_make(ZM_MAX), .digests = buf_make(ZM_MAX)};
	AUTO(ztoc) struct ztoc *ztoc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct byte_sink sink = {.write = append, .data = &windows};
	for (size_t i = 0; i < members; i++) {
		size_t before = raw.len;
		layer_mixed(&raw, 3 << 20, (uint32_t)i);
		layer_gzip(&gz, raw.data + before, raw.len - before, 6, Z_NO_FLUSH);
	}
	if (named)
		gzip_name(&gz);
	AUTO_FREE uint8_t *out = malloc(raw.len);
	assert_non_null(out);
	checkpoints_make(&c, &gz, out, raw.len, 256 << 10);
	assert_in_range(c.count, 5, 60);
	uint8_t head[ZM_HEAD] = {(uint8_t)c.count};
	zm_bytes(&packed, head, sizeof(head));
	size_t skip = v1 ? ZM_POINT : 0;
	zm_bytes(&packed, c.points.data + skip, c.points.len - skip);
	struct zm_spec spec = {
		.version = "0.9",
		.in_size = (int64_t)gz.len,
		.out_size = (int64_t)(raw.len - uncounted),
		.max_span_id = (int32_t)c.count - 1,
		.checkpoints = packed.data,
		.checkpoints_len = packed.len,
	};
	for (size_t i = 0; i < c.count; i++)
		spec.digests[i] = c.digests.data + i * DIGEST_STR_MAX;
	zm_ztoc(&bytes, &spec);
	assert_ok(ztoc_parse(bytes.data, bytes.len, gz.len, &ztoc, &err), &err);
	assert_ok(ztoc_seek(ztoc, &layer_id, &layer_id, named ? 20 : 10, &sink, &seek, &err), &err);
	assert_int_equal(ztoc_needs_start(ztoc), v1);
	assert_int_equal(seek_count(seek), c.count);
	assert_int_equal(seek_windows_size(seek), windows.len);
	assert_true(digest_equal(seek_diff_id(seek), &layer_id));
	spans_check(seek, &windows, &gz, &raw);
	buf_finish(&c.points);
	buf_finish(&c.digests);
}

static void test_whole_layers(void **state)
{
	(void)state;
	whole_layer(false, false, 1, 0);
	whole_layer(true, false, 1, 0);
	whole_layer(false, true, 1, 0);
	whole_layer(true, true, 1, 0);
	/* Members after the first are in the last span; so is padding that is not counted. */
	whole_layer(false, false, 2, 0);
	whole_layer(false, false, 1, 9 * 1024);
}

static void test_uncompressed(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(seek) struct seek *seek = NULL;
	uint8_t info[20] = {2};
	le64_put(info + 4, 2048);
	le64_put(info + 12, IN_SIZE);
	struct zm_spec spec = {.version = "0.9", .in_size = IN_SIZE, .out_size = IN_SIZE - 100,
			       .algorithm = 2, .max_span_id = 2, .digests = {HASH, HASH, HASH},
			       .checkpoints = info, .checkpoints_len = sizeof(info)};
	assert_ok(read_spec(&spec, NULL, &seek, &err), &err);
	assert_int_equal(seek_count(seek), 3);
	assert_int_equal(seek_out_size(seek), IN_SIZE);
	struct span s;
	seek_get(seek, 2, &s);
	assert_int_equal(s.codec, SEEK_COPY);
	assert_int_equal(s.in_off, 4096);
	assert_int_equal(s.out_off, 4096);
	assert_int_equal(s.in_len, IN_SIZE - 4096);

	le64_put(info + 4, 2500);
	assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, "do not make 3");
	le64_put(info + 4, 0);
	assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, "spans of 0 bytes");
	le64_put(info + 4, 2048);
	le64_put(info + 12, IN_SIZE - 1);
	assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, "size is 4999, but");
	le32_put(info, 1);
	assert_err(read_spec(&spec, NULL, NULL, &err), -EBADMSG, &err, "not those of an");
}

/* A span longer than memory allows is cut; one that cannot be is no seek table's. */
static void test_long_spans(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(ZM_MAX);
	AUTO(ztoc) struct ztoc *ztoc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct byte_sink sink = {0};
	struct zm_spec spec = small;
	const uint64_t in = 100 << 20;
	spec.in_size = (int64_t)in;
	spec.out_size = INT64_C(3) * SEEK_SPAN_OUT_MAX - 5;
	zm_ztoc(&bytes, &spec);
	assert_ok(ztoc_parse(bytes.data, bytes.len, in, &ztoc, &err), &err);
	assert_ok(ztoc_seek(ztoc, &layer_id, NULL, 10, &sink, &seek, &err), &err);
	size_t first, end;
	seek_unit(seek, 1, &first, &end);
	assert_int_equal(first, 0);
	assert_int_equal(end, 3);
	ztoc_destroy(steal_ptr(&ztoc));

	const uint64_t more = (uint64_t)SPAN_SUM_IN_BYTES_MAX + 11;
	spec.in_size = (int64_t)more;
	buf_clear(&bytes);
	zm_ztoc(&bytes, &spec);
	assert_ok(ztoc_parse(bytes.data, bytes.len, more, &ztoc, &err), &err);
	assert_err(ztoc_seek(ztoc, &layer_id, NULL, 10, &sink, &seek, &err), -EFBIG, &err,
		   "span 0 of the zTOC has 134217729 compressed bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_wrong_fields),
		cmocka_unit_test(test_wrong_entries),
		cmocka_unit_test(test_wrong_checkpoints),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_spoiled),
		cmocka_unit_test(test_whole_layers),
		cmocka_unit_test(test_uncompressed),
		cmocka_unit_test(test_long_spans),
	};
	return cmocka_run_group_tests_name("ztoc", tests, NULL, NULL);
}
