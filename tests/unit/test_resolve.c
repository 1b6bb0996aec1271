/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/resolve.h"

#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "tests/unit/manifest_mock.h"

static const struct platform amd64 = {.os = "linux", .arch = "amd64"};

/* An index of one entry. */
static struct digest add_index(struct shelf *shelf, const struct digest *entry, const char *type,
			       const char *arch)
{
	char text[1024];
	struct digest_text d;
	(void)snprintf(text, sizeof(text),
		       "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"manifests\":"
		       "[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":5,\"platform\":"
		       "{\"os\":\"linux\",\"architecture\":\"%s\"}}]}",
		       type, digest_str(entry, d.s), arch);
	return shelf_add(shelf, MEDIA_OCI_INDEX, text);
}

static void test_image(void **state)
{
	(void)state;
	struct shelf shelf;
	struct err err = {0};
	AUTO_FINISH(resolved) struct resolved got = {0};
	shelf_init(&shelf);
	struct digest image = shelf_add(&shelf, MEDIA_OCI_MANIFEST, SHELF_IMAGE);
	assert_ok(image_resolve(&shelf.origin, &amd64, NULL, 0, &got, &err), &err);
	assert_true(digest_equal(&got.top, &image));
	assert_true(digest_equal(&got.desc.digest, &image));
	assert_int_equal(got.manifest.layers.count, 1);
	assert_string_equal(got.bytes.data, SHELF_IMAGE);
	assert_int_equal(shelf.asked, 1);
	shelf_finish(&shelf);
}

static void test_index(void **state)
{
	(void)state;
	struct shelf shelf;
	struct err err = {0};
	AUTO_FINISH(resolved) struct resolved got = {0};
	shelf_init(&shelf);
	struct digest image = shelf_add(&shelf, MEDIA_OCI_MANIFEST, SHELF_IMAGE);
	struct digest inner = add_index(&shelf, &image, MEDIA_OCI_MANIFEST, "amd64");
	struct digest outer = add_index(&shelf, &inner, MEDIA_OCI_INDEX, "amd64");
	assert_ok(image_resolve(&shelf.origin, &amd64, &outer, 0, &got, &err), &err);
	assert_true(digest_equal(&got.top, &outer));
	assert_true(digest_equal(&got.desc.digest, &image));
	assert_int_equal(got.manifest.kind, MANIFEST_IMAGE);
	assert_int_equal(shelf.asked, 3);
	shelf_finish(&shelf);
}

static void test_failures(void **state)
{
	(void)state;
	struct shelf shelf;
	struct digest nothing;
	AUTO_FINISH(resolved) struct resolved got = {0};
	struct err err = {0};
	shelf_init(&shelf);
	assert_int_equal(digest_of(DIGEST_SHA256, "no", 2, &nothing), 0);
	struct digest image = shelf_add(&shelf, MEDIA_OCI_MANIFEST, SHELF_IMAGE);
	struct digest arm = add_index(&shelf, &image, MEDIA_OCI_MANIFEST, "arm64");
	struct digest gone = add_index(&shelf, &nothing, MEDIA_OCI_MANIFEST, "amd64");
	struct digest bad = shelf_add(&shelf, MEDIA_OCI_MANIFEST, "{}");
	struct digest to_bad = add_index(&shelf, &bad, MEDIA_OCI_MANIFEST, "amd64");
	assert_err(image_resolve(&shelf.origin, &amd64, &arm, 0, &got, &err), -ENOENT, &err,
		   "no image for linux/amd64; there is: linux/arm64");
	assert_err(image_resolve(&shelf.origin, &amd64, &gone, 0, &got, &err), -ENOENT, &err,
		   "no such manifest");
	assert_err(image_resolve(&shelf.origin, &amd64, &nothing, 0, &got, &err), -ENOENT, &err,
		   "no such manifest");
	assert_int_equal(image_resolve(&shelf.origin, &amd64, &bad, 0, &got, &err), -EINVAL);
	assert_int_equal(image_resolve(&shelf.origin, &amd64, &to_bad, 0, &got, &err), -EINVAL);
	assert_null(got.bytes.data);
	shelf_finish(&shelf);
}

static void test_too_deep(void **state)
{
	(void)state;
	struct shelf shelf;
	struct err err = {0};
	AUTO_FINISH(resolved) struct resolved got = {0};
	shelf_init(&shelf);
	struct digest at = shelf_add(&shelf, MEDIA_OCI_MANIFEST, SHELF_IMAGE);
	at = add_index(&shelf, &at, MEDIA_OCI_MANIFEST, "amd64");
	for (int i = 1; i < RESOLVE_DEPTH_MAX; i++)
		at = add_index(&shelf, &at, MEDIA_OCI_INDEX, "amd64");
	assert_ok(image_resolve(&shelf.origin, &amd64, &at, 0, &got, &err), &err);
	resolved_finish(&got);
	at = add_index(&shelf, &at, MEDIA_OCI_INDEX, "amd64");
	assert_err(image_resolve(&shelf.origin, &amd64, &at, 0, &got, &err), -ELOOP, &err,
		   "nested deeper than");
	shelf_finish(&shelf);
}

/* Only an origin that does not check digests can do this; it ends all the same. */
static void test_loop(void **state)
{
	(void)state;
	struct shelf shelf;
	struct digest self;
	struct err err = {0};
	AUTO_FINISH(resolved) struct resolved got = {0};
	shelf_init(&shelf);
	assert_int_equal(digest_of(DIGEST_SHA256, "self", 4, &self), 0);
	(void)add_index(&shelf, &self, MEDIA_OCI_INDEX, "amd64");
	shelf.items[0].digest = self;
	assert_err(image_resolve(&shelf.origin, &amd64, NULL, 0, &got, &err), -ELOOP, &err,
		   "name each other");
	shelf_finish(&shelf);
}

static void test_from_bytes(void **state)
{
	(void)state;
	struct digest digest;
	struct err err = {0};
	AUTO_FINISH(resolved) struct resolved got = {0};
	AUTO_FINISH(buf) struct buf bytes = buf_make(KIB(64));
	assert_int_equal(digest_of(DIGEST_SHA256, SHELF_IMAGE, strlen(SHELF_IMAGE), &digest), 0);
	assert_int_equal(buf_puts(&bytes, SHELF_IMAGE), 0);
	assert_ok(resolved_from_bytes(&bytes, MEDIA_OCI_MANIFEST, &digest, &got, &err), &err);
	assert_null(bytes.data);
	assert_string_equal(got.bytes.data, SHELF_IMAGE);
	assert_int_equal(got.desc.size, strlen(SHELF_IMAGE));
	assert_string_equal(got.desc.media_type, MEDIA_OCI_MANIFEST);
	assert_int_equal(buf_puts(&bytes, "{\"schemaVersion\":2,\"manifests\":[]}"), 0);
	resolved_finish(&got);
	assert_err(resolved_from_bytes(&bytes, MEDIA_OCI_INDEX, &digest, &got, &err), -EINVAL, &err,
		   "this is an index");
	assert_non_null(bytes.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image),	 cmocka_unit_test(test_index),
		cmocka_unit_test(test_failures), cmocka_unit_test(test_too_deep),
		cmocka_unit_test(test_loop),	 cmocka_unit_test(test_from_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
