/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/profile_soci.h"

#include <stdio.h>

#include "fetcher/soci_prefetch.h"
#include "tests/unit/manifest_mock.h"

enum { LAYERS = 9, PAST = 12345 };

#define V1 "application/vnd.amazon.soci.index.v1+json"
#define EMPTY_LIST "{\"version\":\"1.0\",\"prefetch_spans\":[]}"

struct kit {
	struct shelf shelf;
	struct descriptors layers;
	struct soci_index *soci;
	size_t fetched;
	deadline_t deadline; /* of the last blob */
};

static int kit_blob(struct origin *o, const struct descriptor *desc, struct buf *ret,
		    deadline_t deadline, struct err *err)
{
	struct kit *kit = container_of(o, struct kit, shelf.origin);
	(void)desc;
	(void)err;
	kit->fetched++;
	kit->deadline = deadline;
	return buf_puts(ret, EMPTY_LIST);
}

static const struct origin_ops kit_ops = {.manifest = shelf_manifest, .blob = kit_blob};

/* An index with a list of `size` bytes, as it says, for each of the layers. */
static struct kit *make(size_t size)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	struct manifest image = {0};
	struct descriptors referrers = {0};
	struct err err = {0};
	AUTO_FINISH(buf) struct buf index = buf_make(64 << 10);
	assert_non_null(kit);
	shelf_init(&kit->shelf);
	kit->shelf.origin.ops = &kit_ops;
	assert_int_equal(buf_puts(&index, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST
				  "\",\"config\":" SHELF_DESC(V1) ",\"layers\":["), 0);
	for (size_t i = 0; i < LAYERS; i++) {
		struct descriptor layer = {.media_type = strdup(MEDIA_OCI_LAYER), .size = 1};
		struct digest_text text;
		assert_int_equal(digest_of(DIGEST_SHA256, &i, sizeof(i), &layer.digest), 0);
		assert_int_equal(buf_printf(&index,
			"%s{\"mediaType\":\"" SOCI_PREFETCH_TYPE "\",\"digest\":\"" SHELF_ABC
			"\",\"size\":%zu,\"annotations\":{\"" SOCI_LAYER_DIGEST "\":\"%s\"}}",
			i > 0 ? "," : "", size, digest_str(&layer.digest, text.s)), 0);
		assert_int_equal(descriptors_add(&kit->layers, &layer), 0);
	}
	assert_int_equal(buf_puts(&index, "]}"), 0);
	struct descriptor referrer = {
		.media_type = strdup(MEDIA_OCI_MANIFEST), .artifact_type = strdup(V1),
		.digest = shelf_add(&kit->shelf, MEDIA_OCI_MANIFEST, index.data)};
	assert_int_equal(descriptors_add(&referrers, &referrer), 0);
	assert_ok(soci_index_find(&kit->shelf.origin, &image, &referrers, 0, &kit->soci, &err), &err);
	descriptors_finish(&referrers);
	return kit;
}

static void finish(struct kit *kit)
{
	soci_index_destroy(kit->soci);
	descriptors_finish(&kit->layers);
	shelf_finish(&kit->shelf);
	free(kit);
}

static struct profile_soci soci_of(struct kit *kit, deadline_t deadline)
{
	return (struct profile_soci){.origin = &kit->shelf.origin, .soci = kit->soci,
				     .layers = &kit->layers, .timeout_ms = 1000,
				     .deadline = deadline};
}

/* Many lists have no more time than one. */
static void test_one_deadline(void **state)
{
	(void)state;
	struct kit *kit = make(sizeof(EMPTY_LIST) - 1);
	struct err err = {0};
	const struct profile_soci hurried = soci_of(kit, PAST);
	AUTO_FINISH(profile_lists) struct profile_lists lists = {0};
	assert_true(profile_soci_is_there(&hurried));
	assert_ok(profile_soci_fetch(&hurried, &lists, &err), &err);
	assert_int_equal(kit->fetched, LAYERS);
	assert_int_equal(kit->deadline, PAST);
	assert_int_equal(lists.n, LAYERS);
	assert_string_equal(lists.items[LAYERS - 1].data, EMPTY_LIST);
	profile_lists_finish(&lists);
	/* Without one each request has its own. */
	const struct profile_soci patient = soci_of(kit, 0);
	assert_ok(profile_soci_fetch(&patient, &lists, &err), &err);
	assert_true(kit->deadline > PAST);
	finish(kit);
}

/* Each list may be as large as a list may be, but not all of them. */
static void test_all_lists_are_bounded(void **state)
{
	(void)state;
	struct kit *kit = make(SOCI_PREFETCH_MAX);
	struct err err = {0};
	const struct profile_soci soci = soci_of(kit, 0);
	AUTO_FINISH(profile_lists) struct profile_lists lists = {0};
	assert_err(profile_soci_fetch(&soci, &lists, &err), -EFBIG, &err, "prefetch lists");
	assert_int_equal(kit->fetched, 0);
	finish(kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_deadline),
		cmocka_unit_test(test_all_lists_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
