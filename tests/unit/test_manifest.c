/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/manifest.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/num.h"
#include "tests/unit/unit.h"

#define D_ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define DESC(type) "{\"mediaType\":\"" type "\",\"digest\":\"" D_ABC "\",\"size\":3}"
#define CONFIG	   "\"config\":" DESC(MEDIA_OCI_CONFIG)
#define IMAGE	   CONFIG ",\"layers\":[" DESC(MEDIA_OCI_LAYER_GZIP) "]"
#define V2	   "{\"schemaVersion\":2,"

static int parse(const char *text, const char *type, struct manifest *ret, struct err *err)
{
	return manifest_parse(text, strlen(text), type, ret, err);
}

static void test_image(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(manifest) struct manifest m = {0};
	assert_ok(parse(V2 "\"mediaType\":\"" MEDIA_OCI_MANIFEST "\"," IMAGE
			   ",\"artifactType\":\"a/b\",\"subject\":" DESC(MEDIA_OCI_MANIFEST)
			   ",\"annotations\":{\"k\":\"v\"}}", NULL, &m, &err), &err);
	assert_int_equal(m.kind, MANIFEST_IMAGE);
	assert_string_equal(m.media_type, MEDIA_OCI_MANIFEST);
	assert_int_equal(m.layers.count, 1);
	assert_int_equal(m.layers.items[0].size, 3);
	assert_string_equal(m.config.media_type, MEDIA_OCI_CONFIG);
	assert_string_equal(m.artifact_type, "a/b");
	assert_false(digest_is_none(&m.subject));
	assert_string_equal(json_string_value(json_object_get(m.annotations, "k")), "v");
}

/* The document's own word first, then the header's, then the shape. */
static void test_media_type(void **state)
{
	(void)state;
	static const struct {
		const char *text, *header, *want;
	} cases[] = {
		{V2 IMAGE "}", NULL, MEDIA_OCI_MANIFEST},
		{V2 IMAGE "}", "text/plain", MEDIA_OCI_MANIFEST},
		{V2 IMAGE "}", MEDIA_DOCKER_MANIFEST "; charset=utf-8", MEDIA_DOCKER_MANIFEST},
		{V2 "\"mediaType\":\"" MEDIA_DOCKER_MANIFEST "\"," IMAGE "}", MEDIA_OCI_INDEX,
		 MEDIA_DOCKER_MANIFEST},
		{V2 "\"manifests\":[]}", NULL, MEDIA_OCI_INDEX},
		{V2 "\"manifests\":[]}", MEDIA_DOCKER_LIST, MEDIA_DOCKER_LIST},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		AUTO_FINISH(manifest) struct manifest m = {0};
		assert_ok(parse(cases[i].text, cases[i].header, &m, &err), &err);
		assert_string_equal(m.media_type, cases[i].want);
	}
}

static void test_index(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(manifest) struct manifest m = {0};
	assert_ok(parse(V2 "\"manifests\":[{\"mediaType\":\"x/unknown\",\"digest\":5},"
			   "{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"" D_ABC
			   "\",\"size\":9,\"platform\":{\"os\":\"linux\"}}]}", NULL, &m, &err), &err);
	assert_int_equal(m.kind, MANIFEST_INDEX);
	assert_int_equal(m.manifests.count, 1);
	assert_int_equal(m.manifests.items[0].size, 9);
	assert_non_null(m.manifests.items[0].platform);
}

static void test_inline_data(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(manifest) struct manifest m = {0};
#define WITH_DATA(d) V2 "\"layers\":[],\"config\":{\"mediaType\":\"a/b\",\"digest\":\"" D_ABC \
			"\",\"size\":3,\"data\":\"" d "\"}}"
	assert_ok(parse(WITH_DATA("YWJj"), NULL, &m, &err), &err);
	assert_string_equal(m.config.data, "abc");
	manifest_finish(&m);
	assert_err(parse(WITH_DATA("YWJk"), NULL, &m, &err), -EBADMSG, &err, "is corrupt");
	assert_err(parse(WITH_DATA("YWI="), NULL, &m, &err), -EBADMSG, &err, "has 2 bytes");
	assert_err(parse(WITH_DATA("YW Jj"), NULL, &m, &err), -EINVAL, &err, "not base64");
	assert_err(parse(WITH_DATA("Y=Jj"), NULL, &m, &err), -EINVAL, &err, "not base64");
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *header;
		int code;
		const char *words;
	} bad[] = {
		{"", NULL, -EINVAL, "not valid JSON"},
		{"[]", NULL, -EINVAL, "not a JSON object"},
		{"{}", NULL, -EINVAL, "\"schemaVersion\" is missing"},
		{"{\"schemaVersion\":3}", NULL, -EINVAL, "\"schemaVersion\" is not 2"},
		{"{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, -EOPNOTSUPP, "schema 1"},
		{V2 IMAGE "}", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		 -EOPNOTSUPP, "schema 1"},
		{V2 IMAGE ",\"manifests\":[]}", NULL, -EINVAL, "both a manifest and an index"},
		{V2 "\"mediaType\":\"" MEDIA_OCI_INDEX "\"," IMAGE "}", NULL, -EINVAL, "contradicts"},
		{V2 "\"manifests\":[]}", MEDIA_OCI_MANIFEST, -EINVAL, "contradicts"},
		{V2 "\"mediaType\":\"text/html\"}", NULL, -EINVAL, "that of no manifest"},
		{"{\"schemaVersion\":2}", NULL, -EINVAL, "neither a manifest nor an index"},
		{V2 "\"layers\":[]}", NULL, -EINVAL, "the config is missing"},
		{V2 CONFIG "}", NULL, -EINVAL, "\"layers\" is missing"},
		{V2 CONFIG ",\"layers\":[5]}", NULL, -EINVAL, "layer 0 is missing or not an object"},
		{V2 CONFIG ",\"layers\":[{\"digest\":\"" D_ABC "\",\"size\":1}]}", NULL, -EINVAL,
		 "layer 0: \"mediaType\" is missing"},
		{V2 CONFIG ",\"layers\":[{\"mediaType\":\"a\",\"digest\":\"sha256:x\",\"size\":1}]}",
		 NULL, -EINVAL, "takes 64 hex digits"},
		{V2 CONFIG ",\"layers\":[{\"mediaType\":\"a\",\"digest\":\"" D_ABC "\",\"size\":-1}]}",
		 NULL, -EINVAL, "\"size\" is negative"},
		{V2 IMAGE ",\"annotations\":{\"k\":1}}", NULL, -EINVAL, "annotation \"k\""},
		{V2 IMAGE ",\"subject\":{\"digest\":\"x\"}}", NULL, -EINVAL, "the subject"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct manifest m = {0};
		assert_err(parse(bad[i].text, bad[i].header, &m, &err), bad[i].code, &err,
			   bad[i].words);
		assert_non_null(strstr(err_text(&err), "bad manifest"));
		assert_null(m.media_type);
	}
}

static void test_too_many_layers(void **state)
{
	(void)state;
	struct err err = {0};
	struct manifest m = {0};
	AUTO_FINISH(buf) struct buf buf = buf_make(1 << 20);
	assert_int_equal(buf_puts(&buf, V2 CONFIG ",\"layers\":[0"), 0);
	for (int i = 0; i < MANIFEST_LAYERS_MAX; i++)
		assert_int_equal(buf_puts(&buf, ",0"), 0);
	assert_int_equal(buf_puts(&buf, "]}"), 0);
	assert_err(manifest_parse(buf.data, buf.len, NULL, &m, &err), -E2BIG, &err, "1025 layers");
}

static void test_layer_types(void **state)
{
	(void)state;
	struct err err = {0};
	struct layer_type type;
	assert_ok(layer_type_parse(MEDIA_OCI_LAYER_ZSTD, &type, &err), &err);
	assert_int_equal(type.compression, LAYER_ZSTD);
	assert_false(type.foreign);
	assert_ok(layer_type_parse("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &type,
				   &err), &err);
	assert_int_equal(type.compression, LAYER_GZIP);
	assert_true(type.foreign);
	assert_err(layer_type_parse("application/wasm", &type, &err), -EOPNOTSUPP, &err,
		   "'application/wasm' cannot be mounted");
}

/* What is no image is refused by its type; odd types of configurations alone are not held against it. */
static void test_check_layers(void **state)
{
	(void)state;
#define LAYERS(type) ",\"layers\":[" DESC(MEDIA_OCI_LAYER) "," DESC(type) "]}"
	static const struct {
		const char *text, *words;
	} cases[] = {
		{V2 CONFIG LAYERS(MEDIA_OCI_LAYER_ZSTD), NULL},
		{V2 CONFIG ",\"artifactType\":\"a/b\"" LAYERS(MEDIA_OCI_LAYER), NULL},
		{V2 "\"config\":" DESC("application/octet-stream") LAYERS(MEDIA_OCI_LAYER), NULL},
		{V2 CONFIG LAYERS("a/c"), "layer 2: layers of type 'a/c' cannot be mounted"},
		{V2 "\"config\":" DESC("a/d") LAYERS("a/c"), "an artifact of type 'a/d', not an image"},
		{V2 "\"config\":" DESC("a/d") ",\"artifactType\":\"a/b\"" LAYERS(MEDIA_OCI_LAYER),
		 "an artifact of type 'a/b', not an image"},
		{V2 "\"config\":" DESC(MEDIA_OCI_EMPTY) ",\"layers\":[]}",
		 "an artifact of type '" MEDIA_OCI_EMPTY "', not an image"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		AUTO_FINISH(manifest) struct manifest m = {0};
		assert_ok(parse(cases[i].text, NULL, &m, &err), &err);
		if (cases[i].words)
			assert_err(manifest_check_layers(&m, &err), -EOPNOTSUPP, &err,
				   cases[i].words);
		else
			assert_ok(manifest_check_layers(&m, &err), &err);
	}
}

static int parse_config(const char *text, size_t layers, struct image_config *c, struct err *err)
{
	return image_config_parse(text, strlen(text), layers, c, err);
}

static void test_config(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO_FINISH(image_config) struct image_config c = {0};
	static const char text[] = "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"\","
				   "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D_ABC "\"]}}";
	assert_ok(parse_config(text, 1, &c, &err), &err);
	assert_string_equal(c.os, "linux");
	assert_string_equal(c.architecture, "arm64");
	assert_null(c.variant);
	assert_int_equal(c.diff_ids[0].algo, DIGEST_SHA256);
	struct image_config d = {0};
	assert_err(parse_config(text, 2, &d, &err), -EINVAL, &err, "it has 1 diff_ids for 2 layers");
	assert_err(parse_config("{}", 0, &d, &err), -EINVAL, &err, "\"rootfs\" is missing");
	assert_err(parse_config("{\"rootfs\":{\"diff_ids\":[3]}}", 1, &d, &err), -EINVAL, &err,
		   "diff_id 0 is not a string");
	assert_err(parse_config("{\"rootfs\":{\"type\":\"x\"}}", 0, &d, &err), -EINVAL, &err, "'x'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image),	     cmocka_unit_test(test_media_type),
		cmocka_unit_test(test_index),	     cmocka_unit_test(test_inline_data),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_too_many_layers),
		cmocka_unit_test(test_layer_types),  cmocka_unit_test(test_check_layers),
		cmocka_unit_test(test_config),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
