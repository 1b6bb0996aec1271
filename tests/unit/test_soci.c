/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/soci.h"
#include "fetcher/soci_prefetch.h"

#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "tests/unit/manifest_mock.h"

#define V1 "application/vnd.amazon.soci.index.v1+json"
#define V2 "application/vnd.amazon.soci.index.v2+json"
#define LAYER_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ZTOC(layer)                                                                         \
	"{\"mediaType\":\"application/octet-stream\",\"digest\":\"" SHELF_ABC                \
	"\",\"size\":7,\"annotations\":{\"com.amazon.soci.image-layer-digest\":\"" layer "\"}}"
#define PREFETCH_OF(layer)                                                                  \
	"{\"mediaType\":\"" SOCI_PREFETCH_TYPE "\",\"digest\":\"" SHELF_ABC                   \
	"\",\"size\":9,\"annotations\":{\"com.amazon.soci.image-layer-digest\":\"" layer "\"}}"
#define PREFETCH                                                                            \
	"{\"mediaType\":\"application/vnd.amazon.soci.prefetch.v1+json\",\"digest\":\"" SHELF_ABC \
	"\",\"size\":9}"
#define INDEX(type, layers)                                                                 \
	"{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":"          \
	SHELF_DESC(type) ",\"layers\":[" layers "]}"

struct kit {
	struct shelf shelf;
	struct manifest image;
	struct descriptors referrers;
};

static int setup(void **state)
{
	struct kit *kit = calloc(1, sizeof(*kit));
	assert_non_null(kit);
	shelf_init(&kit->shelf);
	*state = kit;
	return 0;
}

static int teardown(void **state)
{
	struct kit *kit = *state;
	shelf_finish(&kit->shelf);
	manifest_finish(&kit->image);
	descriptors_finish(&kit->referrers);
	free(kit);
	return 0;
}

static void refer(struct kit *kit, const char *type, const struct digest *digest)
{
	struct descriptor desc = {.media_type = strdup(MEDIA_OCI_MANIFEST), .digest = *digest};
	desc.artifact_type = type ? strdup(type) : NULL;
	assert_int_equal(descriptors_add(&kit->referrers, &desc), 0);
}

static void annotate(struct kit *kit, const char *value)
{
	json_decref(kit->image.annotations);
	kit->image.annotations = json_pack("{s:s}", "com.amazon.soci.index-digest", value);
}

static int find(struct kit *kit, struct soci_index **ret, struct err *err)
{
	return soci_index_find(&kit->shelf.origin, &kit->image, &kit->referrers, 0, ret, err);
}

static void test_none(void **state)
{
	struct kit *kit = *state;
	struct soci_index *soci = NULL;
	struct err err = {0};
	struct digest other = shelf_add(&kit->shelf, MEDIA_OCI_MANIFEST, SHELF_IMAGE);
	refer(kit, NULL, &other);
	refer(kit, "application/x", &other);
	/* A referrer of type 2 is none: that one only the annotation names. */
	refer(kit, V2, &other);
	assert_int_equal(find(kit, &soci, &err), -ENOENT);
	assert_int_equal(kit->shelf.asked, 0);
	assert_null(soci);
}

static void test_versions(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	struct digest layer, other;
	struct digest_text text;
	struct digest v1 = shelf_add(&kit->shelf, MEDIA_OCI_MANIFEST,
				     INDEX(V1, PREFETCH "," PREFETCH_OF(LAYER_A) "," ZTOC(LAYER_A)));
	struct digest v2 = shelf_add(&kit->shelf, MEDIA_OCI_MANIFEST, INDEX(V2, ZTOC(LAYER_A)));
	assert_int_equal(digest_parse(LAYER_A, &layer, NULL), 0);
	assert_int_equal(digest_of(DIGEST_SHA256, "x", 1, &other), 0);
	refer(kit, V1, &v1);
	for (int version = 1; version <= 2; version++) {
		AUTO(soci_index) struct soci_index *soci = NULL;
		if (version == 2)
			annotate(kit, digest_str(&v2, text.s));
		assert_ok(find(kit, &soci, &err), &err);
		assert_int_equal(soci_index_version(soci), version);
		const struct descriptor *ztoc = soci_index_ztoc(soci, &layer);
		assert_non_null(ztoc);
		assert_int_equal(ztoc->size, 7);
		assert_null(soci_index_ztoc(soci, &other));
		const struct descriptor *list = soci_index_prefetch(soci, &layer);
		assert_int_equal(list ? list->size : 0, version == 1 ? 9 : 0);
		assert_null(soci_index_prefetch(soci, &other));
	}
}

/* Of several the newest; those that do not say when they were made are the oldest. */
static void test_newest(void **state)
{
	struct kit *kit = *state;
	struct err err = {0};
	static const char *const created[] = {NULL, "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z",
					      "2025-12-31T00:00:00Z", NULL};
	static const char *const texts[] = {
		INDEX(V1, ZTOC(LAYER_A)), INDEX(V1, ZTOC(LAYER_A) "," PREFETCH),
		INDEX(V1, PREFETCH "," ZTOC(LAYER_A)), INDEX(V1, PREFETCH), INDEX(V1, ""),
	};
	struct digest digests[ARRAY_LEN(texts)];
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		digests[i] = shelf_add(&kit->shelf, MEDIA_OCI_MANIFEST, texts[i]);
		refer(kit, V1, &digests[i]);
		struct descriptor *desc = &kit->referrers.items[i];
		desc->annotations = created[i] ? json_pack("{s:s}", SOCI_CREATED, created[i]) : NULL;
		AUTO(soci_index) struct soci_index *soci = NULL;
		assert_ok(find(kit, &soci, &err), &err);
		size_t want = i < 2 ? i : 2;
		assert_true(digest_equal(&soci_index_self(soci)->digest, &digests[want]));
		assert_string_equal(buf_str(soci_index_bytes(soci)), texts[want]);
	}
}

static void test_prefetch_list_round_trip(void **state)
{
	(void)state;
	static const char text[] =
		"{\"version\":\"1.0\",\"prefetch_spans\":[{\"start_span\":10,\"end_span\":15},"
		"{\"start_span\":3,\"end_span\":3,\"priority\":-2},"
		"{\"start_span\":0,\"end_span\":2147483647,\"priority\":7}]}";
	struct err err = {0};
	AUTO_FINISH(soci_runs) struct soci_runs runs = {0};
	AUTO_FINISH(buf) struct buf again = buf_make(SOCI_PREFETCH_MAX);
	assert_ok(soci_prefetch_parse(text, strlen(text), &runs, &err), &err);
	assert_int_equal(runs.n, 3);
	assert_int_equal(runs.items[0].first, 10);
	assert_int_equal(runs.items[0].last, 15);
	assert_int_equal(runs.items[0].priority, 0);
	assert_int_equal(runs.items[1].priority, -2);
	assert_ok(soci_prefetch_emit(&runs, &again, &err), &err);
	assert_string_equal(again.data, text);
}

static void test_prefetch_list_is_bounded(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(soci_runs) struct soci_runs runs = {0};
	AUTO_FINISH(soci_runs) struct soci_runs got = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(SOCI_PREFETCH_MAX + 4096);
	for (uint64_t i = 0; i < SOCI_PREFETCH_RUNS_MAX; i++)
		assert_int_equal(soci_runs_add(&runs, &(struct soci_run){2 * i, 2 * i, 0}), 0);
	assert_int_equal(soci_runs_add(&runs, &(struct soci_run){0}), -E2BIG);
	assert_ok(soci_prefetch_emit(&runs, &text, &err), &err);
	assert_true(text.len <= SOCI_PREFETCH_MAX);
	assert_ok(soci_prefetch_parse(text.data, text.len, &got, &err), &err);
	assert_int_equal(got.n, SOCI_PREFETCH_RUNS_MAX);
	buf_cut(&text, text.len - 2);
	assert_int_equal(buf_puts(&text, ",{\"start_span\":1,\"end_span\":1}]}"), 0);
	struct soci_runs none = {0};
	assert_err(soci_prefetch_parse(text.data, text.len, &none, &err), -EBADMSG, &err,
		   "the prefetch list has 65537 entries, and 65536 is the most");
	AUTO_FREE char *big = calloc(1, SOCI_PREFETCH_MAX + 1);
	assert_non_null(big);
	assert_err(soci_prefetch_parse(big, SOCI_PREFETCH_MAX + 1, &none, &err), -EBADMSG, &err,
		   "the prefetch list has 8388609 bytes, and 8388608 is the most");
	assert_null(none.items);
}

static void test_broken(void **state)
{
	struct kit *kit = *state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"{}", ""},
		{"[", "JSON"},
		{"{\"schemaVersion\":2,\"manifests\":[]}", "contradicts its media type"},
		{INDEX(V1, ZTOC(LAYER_A)), "of type " V1 " instead of " V2},
		{INDEX(V2, ZTOC("sha256:12")), "sha256:12"},
		{INDEX(V2, ZTOC("")), ""},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct soci_index *soci = NULL;
		struct err err = {0};
		struct digest_text text;
		struct digest at = shelf_add(&kit->shelf, MEDIA_OCI_MANIFEST, cases[i].text);
		annotate(kit, digest_str(&at, text.s));
		assert_err(find(kit, &soci, &err), -EBADMSG, &err, cases[i].words);
		assert_null(soci);
	}
	struct soci_index *soci = NULL;
	struct err err = {0};
	annotate(kit, "rubbish");
	assert_err(find(kit, &soci, &err), -EBADMSG, &err, "rubbish");
	annotate(kit, LAYER_A);
	assert_err(find(kit, &soci, &err), -ENOENT, &err, "no such manifest");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_newest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
		cmocka_unit_test(test_prefetch_list_round_trip),
		cmocka_unit_test(test_prefetch_list_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
