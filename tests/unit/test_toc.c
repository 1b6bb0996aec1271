/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/toc.h"

#include <errno.h>

#include "base/le.h"
#include "base/num.h"
#include "fetcher/toc_priv.h"
#include "tests/unit/entrydump.h"
#include "tests/unit/unit.h"

enum { BLOB = 1000 };
#define HASH	"1111111111111111111111111111111111111111111111111111111111111111"
#define SUM	"\"sha256:" HASH "\""

static int read_toc(const char *entries, enum toc_kind kind, struct buf *out, struct toc **ret,
		    struct err *err)
{
	AUTO_FINISH(buf) struct buf json = buf_make(1 << 20);
	AUTO(toc) struct toc *toc = NULL;
	(void)buf_printf(&json, "{\"version\":1,\"entries\":[%s]}", entries);
	int r = toc_parse(json.data, json.len, kind, BLOB, &toc, err);
	r = r < 0 ? r : toc_entries(toc, dump_entry, out, err);
	if (r == 0 && ret)
		*ret = steal_ptr(&toc);
	return r;
}

/* A footer of eStargz: bytes up to the end of the extra field, then an empty block. */
static size_t stargz_footer(uint8_t *out, const char *extra, size_t n)
{
	static const uint8_t start[] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff};
	static const uint8_t end[] = {1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0};
	memcpy(out, start, sizeof(start));
	memcpy(out + sizeof(start), extra, n);
	memcpy(out + sizeof(start) + n, end, sizeof(end));
	return sizeof(start) + n + sizeof(end);
}

static void test_stargz_footers(void **state)
{
	(void)state;
	static const struct {
		const char *extra;
		size_t n, footer;
		int code;
		uint64_t off;
		bool external;
	} kinds[] = {
		{"\x1a\0SG\x16\0" "00000000000001f4STARGZ", 28, 51, 0, 500, false},
		{"\x16\0" "00000000000001F4STARGZ", 24, 47, 0, 500, false},
		{"\x15\0SG\x11\0STARGZEXTERNALTOC", 23, 46, 0, BLOB - 46, true},
		{"\x1a\0SG\x16\0" "0000000000000fffSTARGZ", 28, 51, -EBADMSG, 0, false},
		{"\x1a\0SG\x16\0" "000000000000zzzzSTARGZ", 28, 51, -EBADMSG, 0, false},
		{"\x1a\0SG\x16\0" "00000000000001f4STARGX", 28, 51, -ENOENT, 0, false},
		{"\x1a\0SX\x16\0" "00000000000001f4STARGZ", 28, 51, -ENOENT, 0, false},
	};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct err err = {0};
		struct toc_place place = {0};
		uint8_t tail[TOC_FOOTER_MAX] = {0};
		uint8_t footer[TOC_FOOTER_MAX];
		size_t n = stargz_footer(footer, kinds[i].extra, kinds[i].n);
		assert_int_equal(n, kinds[i].footer);
		memcpy(tail + sizeof(tail) - n, footer, n);
		int r = toc_find(tail, sizeof(tail), BLOB, &place, &err);
		if (kinds[i].code < 0) {
			assert_err(r, kinds[i].code, &err,
				   kinds[i].code == -ENOENT ? "has no TOC"
							    : "does not point into the layer");
			continue;
		}
		assert_ok(r, &err);
		assert_int_equal(place.kind, TOC_ESTARGZ);
		assert_int_equal(place.off, kinds[i].off);
		assert_int_equal(place.external, kinds[i].external);
		assert_int_equal(place.len, kinds[i].external ? 0 : BLOB - n - 500);
		/* A tail that is too short to hold it holds nothing. */
		for (size_t less = 0; less < n; less++)
			assert_int_equal(toc_find(tail + sizeof(tail) - less, less, BLOB, &place,
						  NULL), -ENOENT);
	}
}

static void test_zstd_footers(void **state)
{
	(void)state;
	struct err err = {0};
	struct toc_place place = {0};
	uint8_t tail[64] = {0};
	for (int old = 0; old < 2; old++) {
		uint8_t *f = tail + (old ? 24 : 0);
		memset(tail, 0, sizeof(tail));
		le64_put(f, 600);
		le64_put(f + 8, 100);
		le64_put(f + 16, 4000);
		le64_put(f + 24, 1);
		memcpy(tail + 56, "GNUlInUx", 8);
		assert_ok(toc_find(tail, 64, BLOB, &place, &err), &err);
		assert_int_equal(place.kind, TOC_ZSTD_CHUNKED);
		assert_int_equal(place.off, 600);
		assert_int_equal(place.len, 100);
		assert_int_equal(place.raw_len, 4000);
		le64_put(f + 8, 401);
		assert_err(toc_find(tail, 64, BLOB, &place, &err), -EBADMSG, &err,
			   "is not in the layer");
	}
}

static void test_positions(void **state)
{
	(void)state;
	struct err err = {0};
	struct toc_place place = {0};
	assert_ok(toc_parse_position("600:100:4000:1", BLOB, &place, &err), &err);
	assert_int_equal(place.off, 600);
	assert_int_equal(place.len, 100);
	assert_int_equal(place.raw_len, 4000);
	static const char *const bad[] = {
		"", "600", "600:100:4000", "600:100:4000:1:", "600:100:4000:1 ", ":100:4000:1",
		"-1:100:4000:1", "600:0x1:4000:1", "99999999999999999999:1:1:1",
		"000000000000000000000000000600:100:4000:1",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_err(toc_parse_position(bad[i], BLOB, &place, &err), -EBADMSG, &err,
			   "is not the place of a TOC");
	static const char *const outside[] = {"600:401:1:1", "1000:1:1:1", "600:0:1:1",
					      "600:100:1:2", "9223372036854775807:1:1:1"};
	for (size_t i = 0; i < ARRAY_LEN(outside); i++)
		assert_err(toc_parse_position(outside[i], BLOB, &place, &err), -EBADMSG, &err,
			   "is not in the layer");
}

static void test_times(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t sec;
		uint32_t nsec;
	} good[] = {
		{"1970-01-01T00:00:00Z", 0, 0},
		{"2000-02-29T12:34:56.789Z", 951827696, 789000000},
		{"1969-12-31T23:59:59.999999999Z", -1, 999999999},
		{"2021-05-06T07:08:09+05:30", 1620265089, 0},
		{"0001-01-01T00:00:00Z", -62135596800, 0},
		{"9999-12-31T23:59:59-00:01", 253402300859, 0},
	};
	static const char *const bad[] = {
		"", "1970", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z",
		"1970-01-01T24:00:00Z", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00Z ",
		"1970-01-01T00:00:00+0100", "1970-00-01T00:00:00Z", "197O-01-01T00:00:00Z",
	};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		int64_t sec = 0;
		uint32_t nsec = 0;
		assert_int_equal(entry_time_parse(good[i].text, &sec, &nsec), 0);
		assert_int_equal(sec, good[i].sec);
		assert_int_equal(nsec, good[i].nsec);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int64_t sec;
		uint32_t nsec;
		assert_int_equal(entry_time_parse(bad[i], &sec, &nsec), -EBADMSG);
	}
}

static void test_bad_entries(void **state)
{
	(void)state;
	static const struct {
		const char *entries;
		int code;
		const char *words;
	} bad[] = {
		{"5", -EBADMSG, "TOC entry 0: it is not an object"},
		{"{\"name\":\"a\"}", -EBADMSG, "TOC entry 0: \"type\" is missing"},
		{"{\"type\":\"reg\"}", -EBADMSG, "TOC entry 0: \"name\" is missing"},
		{"{\"name\":\"a\",\"type\":\"chunk\"}", -EBADMSG, "a chunk without a file"},
		{"{\"name\":\"a\",\"type\":\"door\"}", -EBADMSG, "type \"door\" is unknown"},
		{"{\"name\":\"../a\",\"type\":\"dir\"}", -EBADMSG, "TOC entry 0, \"../a\": a path has"},
		{"{\"name\":\".wh.\",\"type\":\"fifo\"}", -EBADMSG, "a whiteout must hide"},
		{"{\"name\":\"a\",\"type\":\"symlink\"}", -EBADMSG, "a link without a target"},
		{"{\"name\":\"a\",\"type\":\"dir\",\"uid\":-1}", -EBADMSG, "\"uid\" is negative"},
		{"{\"name\":\"a\",\"type\":\"dir\",\"gid\":4294967296}", -EBADMSG, "\"gid\" is out of"},
		{"{\"name\":\"a\",\"type\":\"dir\",\"modtime\":\"now\"}", -EBADMSG, "is not a time"},
		{"{\"name\":\"a\",\"type\":\"dir\",\"xattrs\":{\"user.a\":\"*\"}}", -EBADMSG, "base64"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":1,\"offset\":1}", -EBADMSG, "no SHA-256"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":1,\"offset\":1,\"digest\":\"sha512:" HASH
		 HASH "\"}", -EBADMSG, "no SHA-256"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":1,\"offset\":1000,\"digest\":" SUM "}",
		 -EBADMSG, "is outside the layer"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":67108865,\"offset\":1,\"digest\":" SUM "}",
		 -EFBIG, "longer than 67108864"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":2,\"offset\":1,\"chunkSize\":1,"
		 "\"chunkDigest\":" SUM "}", -EBADMSG, "chunks of 1 bytes in all, not 2"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":2,\"offset\":1,\"chunkSize\":3,"
		 "\"chunkDigest\":" SUM "}", -EBADMSG, "goes past its end"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":2,\"offset\":1,\"chunkOffset\":1,"
		 "\"chunkDigest\":" SUM "}", -EBADMSG, "its chunk at 1 should be at 0"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":2000000000000000000}", -EBADMSG,
		 "its size is out of range"},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":1,\"offset\":1,\"chunkType\":\"new\"}",
		 -EBADMSG, "unknown type \"new\""},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		AUTO_FINISH(buf) struct buf out = buf_make(1 << 20);
		assert_err(read_toc(bad[i].entries, TOC_ESTARGZ, &out, NULL, &err), bad[i].code,
			   &err, bad[i].words);
	}
	static const struct {
		const char *json, *words;
	} docs[] = {
		{"{", "the TOC is broken: the TOC is not valid JSON"},
		{"[]", "is not a JSON object"},
		{"{\"entries\":[]}", "\"version\" is missing"},
		{"{\"version\":2,\"entries\":[]}", "version 2 of the TOC is not known"},
		{"{\"version\":1,\"entries\":{}}", "\"entries\" is not an array"},
	};
	for (size_t i = 0; i < ARRAY_LEN(docs); i++) {
		struct err err = {0};
		struct toc *toc = NULL;
		assert_err(toc_parse(docs[i].json, strlen(docs[i].json), TOC_ESTARGZ, BLOB, &toc,
				     &err), -EBADMSG, &err, docs[i].words);
		assert_null(toc);
	}
}

static void test_device(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf out = buf_make(1 << 20);
	AUTO(toc) struct toc *toc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct digest layer;
	struct span span;
	uint64_t end = 0;
	const char *entries =
		"{\"name\":\"a\",\"type\":\"reg\",\"size\":700,\"offset\":10,\"chunkSize\":600,"
		"\"chunkDigest\":" SUM "},"
		"{\"name\":\"a\",\"type\":\"chunk\",\"offset\":200,\"chunkOffset\":600,"
		"\"chunkDigest\":" SUM "},"
		"{\"name\":\".prefetch.landmark\",\"type\":\"reg\",\"size\":1,\"offset\":300,"
		"\"digest\":" SUM "},"
		"{\"name\":\"b\",\"type\":\"reg\",\"size\":5,\"offset\":400,\"innerOffset\":512,"
		"\"digest\":" SUM "}";
	assert_ok(read_toc(entries, TOC_ESTARGZ, &out, &toc, &err), &err);
	assert_string_equal(buf_str(&out), "- a 0 0:0 0.000000000 700 [0@0+700]\n"
					   "- b 0 0:0 0.000000000 5 [0@1024+5]\n");
	assert_true(toc_prefetch(toc, &end));
	assert_int_equal(end, 300);
	assert_ok(digest_parse("sha256:" HASH, &layer, &err), &err);
	assert_ok(toc_seek(toc, &layer, BLOB + 51, &seek, &err), &err);
	assert_int_equal(seek_count(seek), 3);
	assert_int_equal(seek_out_size(seek), 1536);
	seek_get(seek, 1, &span);
	assert_int_equal(span.in_off, 200);
	assert_int_equal(span.in_len, 100); /* the landmark's member begins there */
	assert_int_equal(span.out_off, 600);
	assert_int_equal(span.out_len, 100);
	seek_get(seek, 2, &span);
	assert_int_equal(span.in_len, BLOB - 400);
	assert_int_equal(span.skip, 512);
	/* Two chunks that are one place of one member cannot be. */
	toc_destroy(steal_ptr(&toc));
	assert_ok(read_toc("{\"name\":\"a\",\"type\":\"reg\",\"size\":5,\"offset\":4,\"digest\":" SUM
			   "},{\"name\":\"b\",\"type\":\"reg\",\"size\":5,\"offset\":4,\"digest\":" SUM
			   "}", TOC_ESTARGZ, &out, &toc, &err), &err);
	struct seek *none = NULL;
	assert_err(toc_seek(toc, &layer, BLOB, &none, &err), -EBADMSG, &err,
		   "the chunks of the TOC make no sense: ");
	assert_null(none);
}

static void test_unpack_refuses(void **state)
{
	(void)state;
	struct err err = {0};
	struct digest want;
	AUTO_FINISH(buf) struct buf out = buf_make(TOC_JSON_MAX);
	const struct toc_place zstd = {.kind = TOC_ZSTD_CHUNKED};
	const struct toc_place gzip = {.kind = TOC_ESTARGZ};
	assert_ok(digest_parse("sha256:" HASH, &want, &err), &err);
	assert_err(toc_unpack(&zstd, "rubbish", 7, &want, &out, &err), -EBADMSG, &err,
		   "the TOC is corrupt");
	assert_err(toc_unpack(&gzip, "rubbish", 7, &want, &out, &err), -EBADMSG, &err,
		   "the TOC is not whole gzip");
	assert_int_equal(digest_of(DIGEST_SHA256, "rubbish", 7, &want), 0);
	assert_err(toc_unpack(&zstd, "rubbish", 7, &want, &out, &err), -EBADMSG, &err,
		   "the TOC is not whole zstd");
	assert_err(toc_unpack(&zstd, "", (size_t)TOC_PACKED_MAX + 1, &want, &out, &err), -EFBIG,
		   &err, "is larger than");
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stargz_footers), cmocka_unit_test(test_zstd_footers),
		cmocka_unit_test(test_positions),      cmocka_unit_test(test_times),
		cmocka_unit_test(test_bad_entries),    cmocka_unit_test(test_device),
		cmocka_unit_test(test_unpack_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
