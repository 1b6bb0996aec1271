/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/bundle.h"

#include <stdio.h>
#include <sys/mman.h>

#include <zstd.h>

#include "base/file.h"
#include "base/le.h"
#include "base/num.h"
#include "tests/unit/layers.h"

enum { TREE_BYTES = 3000, HEAD = 12, LAYER_BYTES = 2500000 };

static const char tree_text[] = "not an image, only bytes ";

struct kit {
	struct digest image;
	struct indexed layers[2]; /* gzip with windows, tar without */
	struct bundle_layer heads[2];
	struct buf bytes;
};

static int setup(void **state)
{
	struct err err = {0};
	struct kit *kit = calloc(1, sizeof(*kit));
	AUTO_FINISH(buf) struct buf content = buf_make(LAYER_MAX);
	AUTO_FINISH(buf) struct buf gzip = buf_make(LAYER_MAX);
	assert_non_null(kit);
	layer_mixed(&content, LAYER_BYTES, 4);
	layer_gzip(&gzip, content.data, content.len, 1, Z_NO_FLUSH);
	assert_ok(layer_index(gzip.data, gzip.len, 65536, &kit->layers[0], &err), &err);
	assert_ok(layer_index(content.data, content.len, 65536, &kit->layers[1], &err), &err);
	for (size_t i = 0; i < 2; i++) {
		kit->heads[i].digest = *seek_layer(kit->layers[i].seek);
		kit->heads[i].seek = kit->layers[i].seek;
	}
	kit->heads[0].windows_size = seek_windows_size(kit->layers[0].seek);
	assert_int_equal(digest_of(DIGEST_SHA256, "w", 1, &kit->heads[0].windows_digest), 0);
	assert_int_equal(digest_of(DIGEST_SHA256, "i", 1, &kit->image), 0);

	AUTO_CLOSE int fd = memfd_create("tree", MFD_CLOEXEC);
	for (size_t i = 0; i < TREE_BYTES; i++)
		assert_int_equal(file_write(fd, &tree_text[i % (sizeof(tree_text) - 1)], 1), 0);
	kit->bytes = buf_make(BUNDLE_MAX);
	assert_ok(bundle_make(&kit->image, fd, kit->heads, 2, &kit->bytes, &err), &err);
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	indexed_finish(&kit->layers[0]);
	indexed_finish(&kit->layers[1]);
	buf_finish(&kit->bytes);
	free(kit);
	return 0;
}

static void test_round_trip(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO(bundle) struct bundle *b = NULL;
	assert_ok(bundle_parse(&kit->image, kit->bytes.data, kit->bytes.len, &b, &err), &err);
	assert_int_equal(bundle_layer_count(b), 2);
	for (size_t i = 0; i < 2; i++) {
		AUTO(seek) struct seek *seek = NULL;
		struct bundle_layer head;
		size_t n, want;
		bundle_layer(b, i, &head);
		assert_true(digest_equal(&head.digest, &kit->heads[i].digest));
		assert_true(digest_equal(&head.windows_digest, &kit->heads[i].windows_digest));
		assert_int_equal(head.windows_size, kit->heads[i].windows_size);
		assert_ok(bundle_layer_seek(b, i, &seek, &err), &err);
		const void *bytes = seek_bytes(seek, &n);
		const void *same = seek_bytes(kit->layers[i].seek, &want);
		assert_int_equal(n, want);
		assert_memory_equal(bytes, same, n);
	}
	AUTO_CLOSE int fd = memfd_create("out", MFD_CLOEXEC);
	AUTO_FINISH(buf) struct buf tree = buf_make(KIB(64));
	assert_ok(bundle_write_tree(b, fd, &err), &err);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(file_slurp_fd(fd, &tree), 0);
	assert_int_equal(tree.len, TREE_BYTES);
	for (size_t i = 0; i < TREE_BYTES; i++)
		assert_int_equal(tree.data[i], tree_text[i % (sizeof(tree_text) - 1)]);
}

/* Every way to be cut short: the document, or the last section. */
static void test_truncated(void **state)
{
	struct kit *kit = *state;
	size_t json = le32_get((const uint8_t *)kit->bytes.data + 8);
	const struct {
		size_t n;
		const char *words;
	} cases[] = {
		{0, "not an index bundle"},
		{HEAD - 1, "not an index bundle"},
		{HEAD, "cut short"},
		{HEAD + json - 1, "cut short"},
		{HEAD + json, "outside the index"},
		{kit->bytes.len - 1, "outside the index"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		struct bundle *b = NULL;
		/* A copy of the exact size, so that a read past it is seen. */
		AUTO_FREE char *copy = malloc(cases[i].n + 1);
		memcpy(copy, kit->bytes.data, cases[i].n);
		assert_err(bundle_parse(&kit->image, copy, cases[i].n, &b, &err), -EBADMSG, &err,
			   cases[i].words);
		assert_null(b);
	}
}

static void test_another_image(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	struct bundle *b = NULL;
	struct digest other = kit->image;
	other.bytes[0] ^= 1;
	assert_err(bundle_parse(&other, kit->bytes.data, kit->bytes.len, &b, &err), -EBADMSG, &err,
		   "another image");
}

/* The kit's payload under another document. */
static int parse_json(const struct kit *kit, const char *json, struct bundle **ret,
		      struct buf *bytes, struct err *err)
{
	size_t old = le32_get((const uint8_t *)kit->bytes.data + 8);
	uint8_t len[4];
	le32_put(len, (uint32_t)strlen(json));
	*bytes = buf_make(BUNDLE_MAX);
	assert_int_equal(buf_append(bytes, kit->bytes.data, 8), 0);
	assert_int_equal(buf_append(bytes, len, sizeof(len)), 0);
	assert_int_equal(buf_puts(bytes, json), 0);
	assert_int_equal(buf_append(bytes, kit->bytes.data + HEAD + old,
				    kit->bytes.len - HEAD - old), 0);
	return bundle_parse(&kit->image, bytes->data, bytes->len, ret, err);
}

#define S   "{\"offset\":0,\"size\":40,\"raw\":100}"
#define L   "\"offset\":0,\"size\":40,\"raw\":100"
#define IM  "\"image\":\"@\""
#define T   "\"tree\":" S
#define DOC(layer) "{" IM "," T ",\"layers\":[" layer "]}"

static void test_wrong_fields(void **state)
{
	struct kit *kit = *state;
	static const struct {
		const char *json, *words;
	} cases[] = {
		{"[]", "not a JSON object"},
		{"{", "not valid JSON"},
		{"{" T ",\"layers\":[]}", "\"image\" is missing"},
		{"{\"image\":1," T ",\"layers\":[]}", "\"image\" is not a string"},
		{"{\"image\":\"sha256:1\"," T ",\"layers\":[]}", "\"image\""},
		{"{" IM "," IM "," T ",\"layers\":[]}", "not valid JSON"},
		{"{" IM ",\"layers\":[]}", "\"tree\" is missing"},
		{"{" IM ",\"tree\":[],\"layers\":[]}", "\"tree\" is not an object"},
		{"{" IM "," T "}", "\"layers\" is missing"},
		{"{" IM "," T ",\"layers\":{}}", "\"layers\" is not an array"},
		{"{" IM ",\"tree\":{\"size\":1,\"raw\":1},\"layers\":[]}", "\"offset\" is missing"},
		{"{" IM ",\"tree\":{\"offset\":1,\"raw\":1},\"layers\":[]}", "\"size\" is missing"},
		{"{" IM ",\"tree\":{\"offset\":1,\"size\":1},\"layers\":[]}", "\"raw\" is missing"},
		{"{" IM ",\"tree\":{\"offset\":-1,\"size\":1,\"raw\":1},\"layers\":[]}",
		 "negative"},
		{"{" IM ",\"tree\":{\"offset\":1.5,\"size\":1,\"raw\":1},\"layers\":[]}",
		 "whole number"},
		{"{" IM ",\"tree\":{\"offset\":9223372036854775807,\"size\":9223372036854775807,"
		 "\"raw\":1},\"layers\":[]}", "outside the index"},
		{"{" IM ",\"tree\":{\"offset\":0,\"size\":1000000000,\"raw\":1},\"layers\":[]}",
		 "outside the index"},
		{"{" IM ",\"tree\":{\"offset\":0,\"size\":1,\"raw\":65737},\"layers\":[]}",
		 "claims 65737 bytes"},
		{"{" IM ",\"tree\":{\"offset\":0,\"size\":1,\"raw\":4294967296},\"layers\":[]}",
		 "too many"},
		{DOC("1"), "not an object"},
		{DOC("{" L "}"), "\"digest\" is missing"},
		{DOC("{\"digest\":\"x\"," L "}"), "\"digest\""},
		{DOC("{\"digest\":\"@\"}"), "\"offset\" is missing"},
		{DOC("{\"digest\":\"@\"," L ",\"windows\":1}"), "\"windows\" is not an object"},
		{DOC("{\"digest\":\"@\"," L ",\"windows\":{\"size\":1}}"),
		 "\"digest\" is missing"},
		{DOC("{\"digest\":\"@\"," L ",\"windows\":{\"digest\":\"@\"}}"),
		 "\"size\" is missing"},
		{DOC("{\"digest\":\"@\"," L ",\"windows\":{\"digest\":\"@\",\"size\":-4}}"),
		 "negative"},
	};
	struct digest_text text;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_FINISH(buf) struct buf json = buf_make(KIB(64));
		AUTO_FINISH(buf) struct buf bytes = buf_make(0);
		struct err err = {0};
		struct bundle *b = NULL;
		for (const char *c = cases[i].json; *c; c++)
			assert_int_equal(*c != '@' ? buf_append(&json, c, 1) :
					 buf_puts(&json, digest_str(&kit->image, text.s)), 0);
		assert_err(parse_json(kit, json.data, &b, &bytes, &err), -EBADMSG, &err,
			   cases[i].words);
		assert_null(b);
	}
}

static void test_too_many_layers(void **state)
{
	struct kit *kit = *state;
	AUTO_FINISH(buf) struct buf json = buf_make(BUNDLE_JSON_MAX);
	AUTO_FINISH(buf) struct buf bytes = buf_make(0);
	struct err err = {0};
	struct bundle *b = NULL;
	struct digest_text text;
	assert_int_equal(buf_printf(&json, "{\"image\":\"%s\"," T ",\"layers\":[0",
				    digest_str(&kit->image, text.s)), 0);
	for (size_t i = 0; i < BUNDLE_LAYERS_MAX; i++)
		assert_int_equal(buf_puts(&json, ",0"), 0);
	assert_int_equal(buf_puts(&json, "]}"), 0);
	assert_err(parse_json(kit, json.data, &b, &bytes, &err), -EBADMSG, &err, "1025 layers");
}

/* Replaces what follows `key` in the kit's document by another number of the same length. */
static void patch(struct buf *bytes, const char *key, size_t nth, const char *value)
{
	char *at = bytes->data + HEAD;
	for (;; at++) {
		at = strstr(at, key);
		assert_non_null(at);
		if (nth-- == 0)
			break;
	}
	memcpy(at + strlen(key), value, strlen(value));
}

/* Sections that are not what the document says of them. Keys are sorted: layers, then tree. */
static void test_wrong_sections(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(BUNDLE_MAX);
	AUTO(bundle) struct bundle *b = NULL;
	assert_int_equal(buf_append(&bytes, kit->bytes.data, kit->bytes.len), 0);
	patch(&bytes, "\"raw\":", 2, "2999");
	patch(&bytes, "\"windows\":{\"digest\":\"sha256:", 0, "00");
	char size[8];
	(void)snprintf(size, sizeof(size), "%llu",
		       (unsigned long long)kit->heads[0].windows_size);
	size[0] = size[0] == '9' ? '8' : (char)(size[0] + 1);
	assert_true(kit->heads[0].windows_size > 0);
	char *windows = strstr(bytes.data + HEAD, "\"windows\"");
	memcpy(strstr(windows, "\"size\":") + 7, size, 1);
	/* One digit of the second layer's digest. */
	char *second = strstr(windows, "{\"digest\":\"sha256:");
	second = strstr(second + 1, "{\"digest\":\"sha256:");
	second[18] = second[18] == '0' ? '1' : '0';

	assert_ok(bundle_parse(&kit->image, bytes.data, bytes.len, &b, &err), &err);
	struct seek *seek = NULL;
	assert_err(bundle_write_tree(b, -1, &err), -EBADMSG, &err, "unpack a section");
	assert_err(bundle_layer_seek(b, 0, &seek, &err), -EBADMSG, &err, "bytes of windows");
	assert_err(bundle_layer_seek(b, 1, &seek, &err), -EBADMSG, &err, "another layer's");
	assert_null(seek);
}

/* Each byte of the payload flipped: an error or, never, other content. */
static void test_flipped_payload(void **state)
{
	struct kit *kit = *state;
	size_t from = HEAD + le32_get((const uint8_t *)kit->bytes.data + 8);
	AUTO_FINISH(buf) struct buf bytes = buf_make(BUNDLE_MAX);
	assert_int_equal(buf_append(&bytes, kit->bytes.data, kit->bytes.len), 0);
	for (size_t i = from; i < bytes.len; i += 7) {
		AUTO(bundle) struct bundle *b = NULL;
		struct err err = {0};
		bytes.data[i] ^= 0x20;
		assert_ok(bundle_parse(&kit->image, bytes.data, bytes.len, &b, &err), &err);
		for (size_t k = 0; k < 2; k++) {
			AUTO(seek) struct seek *seek = NULL;
			int r = bundle_layer_seek(b, k, &seek, &err);
			size_t n, want;
			assert_true(r == 0 || r == -EBADMSG);
			if (r < 0)
				continue;
			const void *got = seek_bytes(seek, &n);
			const void *right = seek_bytes(kit->layers[k].seek, &want);
			assert_true(n == want && memcmp(got, right, n) == 0);
		}
		bytes.data[i] ^= 0x20;
	}
}

static void test_make_fails(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	AUTO_FINISH(buf) struct buf small = buf_make(100);
	AUTO_CLOSE int fd = memfd_create("tree", MFD_CLOEXEC);
	assert_int_equal(buf_puts(&small, "before"), 0);
	assert_err(bundle_make(&kit->image, fd, kit->heads, 2, &small, &err), -E2BIG, &err,
		   "make an index");
	assert_string_equal(small.data, "before");
	assert_int_equal(ftruncate(fd, (off_t)BUNDLE_TREE_MAX + 1), 0);
	assert_err(bundle_make(&kit->image, fd, kit->heads, 2, &small, &err), -E2BIG, &err,
		   "make an index");
	assert_err(bundle_make(&kit->image, -1, kit->heads, 2, &small, &err), -EBADF, &err,
		   "make an index");
}

/* What packs tighter than a reader believes is made such that it does. */
static void test_all_alike(void **state)
{
	struct kit *kit = *state;
	static const uint64_t sizes[] = {1, 64 << 10, (64 << 10) + 1, 1 << 20, 50 << 20};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct err err = {0};
		AUTO(bundle) struct bundle *b = NULL;
		AUTO_FINISH(buf) struct buf bytes = buf_make(BUNDLE_MAX);
		AUTO_CLOSE int fd = memfd_create("tree", MFD_CLOEXEC);
		AUTO_CLOSE int copy = memfd_create("copy", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
		assert_ok(bundle_make(&kit->image, fd, kit->heads, 2, &bytes, &err), &err);
		assert_ok(bundle_parse(&kit->image, bytes.data, bytes.len, &b, &err), &err);
		assert_ok(bundle_write_tree(b, copy, &err), &err);
		uint64_t size = 0;
		assert_int_equal(file_size(copy, &size), 0);
		assert_int_equal(size, sizes[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_image, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_sections, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flipped_payload, setup, teardown),
		cmocka_unit_test_setup_teardown(test_make_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_alike, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
