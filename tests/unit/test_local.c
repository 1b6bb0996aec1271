/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/spawn.h"
#include "fetcher/manifest.h"
#include "tests/unit/unit.h"

#define LAYER "a layer, as far as this test is concerned"

struct fixture {
	char dir[32];
	struct digest layer, config, manifest;
	size_t config_size, manifest_size;
};

static void put(const struct fixture *f, const char *name, const char *text)
{
	struct err err = {0};
	AUTO_FREE char *path = NULL;
	assert_true(asprintf(&path, "%s/%s", f->dir, name) > 0);
	char *slash = strrchr(path, '/');
	*slash = '\0';
	assert_ok(dir_make(path, 0700, &err), &err);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(file_commit(fd, slash + 1, text, strlen(text), COMMIT_REPLACE, &err), &err);
}

static void put_blob(const struct fixture *f, const char *text, struct digest *ret)
{
	char hex[DIGEST_STR_MAX];
	AUTO_FREE char *name = NULL;
	assert_int_equal(digest_of(DIGEST_SHA256, text, strlen(text), ret), 0);
	assert_true(asprintf(&name, "l/blobs/sha256/%s", digest_hex(ret, hex)) > 0);
	put(f, name, text);
}

/* sh -c in the fixture's directory. */
static void sh(const struct fixture *f, const char *script)
{
	struct err err = {0};
	int status = 0;
	AUTO_FREE char *text = NULL;
	assert_true(asprintf(&text, "set -e; cd %s; %s", f->dir, script) > 0);
	const char *const argv[] = {"sh", "-c", text, NULL};
	const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	struct spawn spawn = {.path = "/bin/sh", .argv = argv, .env = env};
	AUTO_FINISH(buf) struct buf out = buf_make(4096);
	assert_ok(spawn_run(&spawn, &out, &status, &err), &err);
	assert_int_equal(status, 0);
}

/* An OCI layout in l/ with one image under two names and another under a third. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	(void)strcpy(f->dir, "/tmp/sluice-local-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	struct digest_text layer, config, manifest;
	char text[1024], index[2048];
	put_blob(f, LAYER, &f->layer);
	(void)snprintf(text, sizeof(text),
		       "{\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
		       digest_str(&f->layer, layer.s));
	put_blob(f, text, &f->config);
	f->config_size = strlen(text);
	put(f, "d/config.json", text);
	(void)snprintf(text, sizeof(text),
		       "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG
		       "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"" MEDIA_OCI_LAYER
		       "\",\"digest\":\"%s\",\"size\":%zu}]}",
		       digest_str(&f->config, config.s), f->config_size, layer.s, strlen(LAYER));
	put_blob(f, text, &f->manifest);
	f->manifest_size = strlen(text);
#define ENTRY(name) "{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":%zu," \
		    "\"annotations\":{\"org.opencontainers.image.ref.name\":\"" name "\"}}"
	(void)snprintf(index, sizeof(index),
		       "{\"schemaVersion\":2,\"x\":1,\"manifests\":[" ENTRY("v1") "," ENTRY("v2") "]}",
		       digest_str(&f->manifest, manifest.s), f->manifest_size, manifest.s,
		       f->manifest_size);
	put(f, "l/index.json", index);
	put(f, "l/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	put(f, "d/abc/layer.tar", LAYER);
	sh(f, "mkdir d/def; ln -s ../abc/layer.tar d/def/layer.tar");
	put(f, "d/manifest.json", "[{\"Config\":\"config.json\",\"RepoTags\":[\"busybox:1\"],"
				  "\"Layers\":[\"def/layer.tar\"]}]");
	sh(f, "tar -C l -cf oci.tar .; tar -C d -cf docker.tar .; gzip -k oci.tar");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	assert_ok(tree_remove(AT_FDCWD, f->dir, &err), &err);
	free(f);
	return 0;
}

static int open_local(const struct fixture *f, const char *kind, const char *rest,
		      struct origin **ret, struct err *err)
{
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO_FREE char *text = NULL;
	assert_true(asprintf(&text, "%s:%s/%s", kind, f->dir, rest) > 0);
	assert_ok(ref_parse(text, &ref, err), err);
	return ref.kind == REF_OCI_DIR ? layout_open(&ref, ret, err) : archive_open(&ref, ret, err);
}

static int collect(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

/* Reads everything of the image, in every way there is. */
static void check_image(struct fixture *f, const char *kind, const char *rest)
{
	struct err err = {0};
	AUTO(origin) struct origin *o = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(buf) struct buf got = buf_make(4096);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	AUTO_FINISH(manifest) struct manifest m = {0};
	const struct byte_sink sink = {.write = collect, .data = &got};
	assert_ok(open_local(f, kind, rest, &o, &err), &err);
	assert_ok(origin_manifest(o, NULL, &text, &desc, 0, &err), &err);
	assert_int_equal(desc.size, text.len);
	assert_ok(manifest_parse(text.data, text.len, desc.media_type, &m, &err), &err);
	assert_true(digest_equal(&m.config.digest, &f->config));
	assert_int_equal(m.layers.count, 1);
	assert_true(digest_equal(&m.layers.items[0].digest, &f->layer));
	assert_ok(origin_blob(o, &m.config, &got, 0, &err), &err);
	assert_int_equal(got.len, f->config_size);
	buf_clear(&got);
	assert_ok(origin_stream(o, &m.layers.items[0], &sink, 0, &err), &err);
	assert_string_equal(buf_str(&got), LAYER);
	buf_clear(&got);
	assert_ok(origin_range(o, &m.layers.items[0], 2, 5, &sink, 0, &err), &err);
	assert_string_equal(buf_str(&got), "layer");
	assert_err(origin_range(o, &m.layers.items[0], 2, UINT64_MAX, &sink, 0, &err), -EINVAL, &err,
		   "past the end");
	m.layers.items[0].size++;
	assert_err(origin_stream(o, &m.layers.items[0], &sink, 0, &err), -EBADMSG, &err,
		   "its descriptor says");
}

static void test_read(void **state)
{
	check_image(*state, "oci", "l");
	check_image(*state, "oci", "l:v2");
	check_image(*state, "oci-archive", "oci.tar");
	check_image(*state, "oci-archive", "oci.tar:v1");
	check_image(*state, "docker-archive", "docker.tar");
	check_image(*state, "docker-archive", "docker.tar:1");
	check_image(*state, "docker-archive", "docker.tar:busybox:1");
	check_image(*state, "docker-archive", "docker.tar:docker.io/library/busybox:1");
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	struct origin *o = NULL;
	static const struct {
		const char *kind, *rest;
		int code;
		const char *words;
	} bad[] = {
		{"oci", "none", -ENOENT, "open OCI layout"},
		{"oci", "oci.tar", -ENOTDIR, "open OCI layout"},
		{"oci", "d", -EINVAL, "it has no index.json"},
		{"oci-archive", "none", -ENOENT, "open archive"},
		{"oci-archive", "l", -EINVAL, "is not a file"},
		{"oci-archive", "oci.tar.gz", -EOPNOTSUPP, "compressed with gzip"},
		{"oci-archive", "docker.tar", -EINVAL, "it has no index.json"},
		{"oci-archive", "l/index.json", -EBADMSG, "index.json"},
		{"docker-archive", "oci.tar", -EINVAL, "it has no manifest.json"},
		{"docker-archive", "docker.tar:other:1", -ENOENT, "holds no image called other:1"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_err(open_local(f, bad[i].kind, bad[i].rest, &o, &err), bad[i].code, &err,
			   bad[i].words);
		assert_null(o);
	}
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	struct descriptor desc = {0};
	assert_ok(open_local(f, "oci", "l:v9", &o, &err), &err);
	assert_err(origin_manifest(o, NULL, &text, &desc, 0, &err), -ENOENT, &err,
		   "holds no image called v9");
	origin_destroy(o);
}

/* What leads out of the layout, and what was changed, is not served. */
static void test_hostile(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	AUTO(origin) struct origin *o = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	struct descriptor desc = {.digest = f->layer, .size = strlen(LAYER)};
	char hex[DIGEST_STR_MAX];
	char script[512];
	(void)snprintf(script, sizeof(script),
		       "cp l/blobs/sha256/%s out; ln -sf $PWD/out l/blobs/sha256/%s",
		       digest_hex(&f->layer, hex), hex);
	sh(f, script);
	assert_ok(open_local(f, "oci", "l", &o, &err), &err);
	assert_err(origin_blob(o, &desc, &text, 0, &err), -EXDEV, &err, "blobs/sha256");
	(void)snprintf(script, sizeof(script), "rm l/blobs/sha256/%s; tr a b < out > l/blobs/sha256/%s",
		       hex, hex);
	sh(f, script);
	assert_err(origin_blob(o, &desc, &text, 0, &err), -EBADMSG, &err, "is corrupt");
	assert_int_equal(text.len, 0);
}

static void test_push(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	AUTO(origin) struct origin *o = NULL;
	AUTO(origin) struct origin *archive = NULL;
	AUTO_FINISH(descriptors) struct descriptors list = {0};
	AUTO_FINISH(buf) struct buf index = buf_make(1 << 16);
	struct digest_text config, subject;
	char text[1024];
	(void)snprintf(text, sizeof(text),
		       "{\"schemaVersion\":2,\"artifactType\":\"a/x\",\"config\":{\"mediaType\":"
		       "\"" MEDIA_OCI_EMPTY "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[],\"subject\":"
		       "{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":%zu},"
		       "\"annotations\":{\"k\":\"v\"}}",
		       digest_str(&f->config, config.s), f->config_size,
		       digest_str(&f->manifest, subject.s), f->manifest_size);
	char type[] = MEDIA_OCI_MANIFEST, artifact[] = "a/x";
	struct descriptor desc = {.media_type = type, .artifact_type = artifact, .size = strlen(text)};
	assert_int_equal(digest_of(DIGEST_SHA256, text, strlen(text), &desc.digest), 0);

	assert_ok(open_local(f, "oci", "l", &o, &err), &err);
	assert_ok(origin_referrers(o, &f->manifest, NULL, &list, 0, &err), &err);
	assert_int_equal(list.count, 0);
	for (int twice = 0; twice < 2; twice++)
		assert_ok(origin_push_manifest(o, &desc, text, strlen(text), &f->manifest, 0, &err),
			  &err);
	assert_ok(origin_referrers(o, &f->manifest, "a/y", &list, 0, &err), &err);
	assert_int_equal(list.count, 0);
	assert_ok(origin_referrers(o, &f->manifest, "a/x", &list, 0, &err), &err);
	assert_int_equal(list.count, 1);
	assert_true(digest_equal(&list.items[0].digest, &desc.digest));
	assert_string_equal(descriptor_annotation(&list.items[0], "k"), "v");

	/* What index.json held besides is still there, and the image is still the only one. */
	char path[64];
	(void)snprintf(path, sizeof(path), "%s/l/index.json", f->dir);
	assert_ok(file_slurp(AT_FDCWD, path, &index, &err), &err);
	assert_non_null(strstr(buf_str(&index), "\"x\":1"));
	check_image(f, "oci", "l");

	text[0] = ' ';
	assert_err(origin_push_manifest(o, &desc, text, strlen(text), NULL, 0, &err), -EBADMSG, &err,
		   "is corrupt");
	assert_ok(open_local(f, "oci-archive", "oci.tar", &archive, &err), &err);
	assert_err(origin_push_blob(archive, &desc, text, 1, 0, &err), -EOPNOTSUPP, &err,
		   "nothing can be added");
}

/* In an archive of the old form, every layer has an ID: text with 64 times id for each '@'. */
static const char *v1_fill(const char *text, char id, char out[static 512])
{
	size_t n = 0;
	for (; *text; text++) {
		size_t len = *text == '@' ? 64 : 1;
		assert_true(n + len < 512);
		memset(out + n, *text == '@' ? id : *text, len);
		n += len;
	}
	out[n] = '\0';
	return out;
}

static void v1_put(const struct fixture *f, char id, const char *text, char parent)
{
	char name[512], json[512];
	put(f, v1_fill("v/@/json", id, name), v1_fill(text, parent, json));
}

static void v1_repositories(const struct fixture *f, const char *text, char id)
{
	char json[512];
	put(f, "v/repositories", v1_fill(text, id, json));
}

#define V1_TOP                                                                                   \
	"{\"id\":\"x\",\"parent\":\"@\",\"Size\":5,\"throwaway\":true,\"os\":\"linux\","    \
	"\"architecture\":\"arm64\",\"config\":{\"Cmd\":[\"sh\"]},\"author\":\"somebody\"}"
#define V1_REPOSITORIES "{\"busybox\":{\"1\":\"@\",\"latest\":\"@\"}}"

/* Three layers, a below b below c: b compressed by gzip, c by zstd. */
static void v1_setup(const struct fixture *f)
{
	v1_put(f, 'a', "{\"id\":\"\",\"ignored\":\"@\"}", 'a');
	v1_put(f, 'b', "{\"parent\":\"@\",\"config\":{\"Cmd\":[\"no\"]}}", 'a');
	v1_put(f, 'c', V1_TOP, 'b');
	v1_repositories(f, V1_REPOSITORIES, 'c');
	sh(f, "cd v; for i in a b c; do echo $i > f$i; tar -cf $i.tar f$i; rm f$i; done;"
	      "gzip -k b.tar; zstd -q c.tar; mv a.tar $(echo aa*)/layer.tar;"
	      "mv b.tar.gz $(echo bb*)/layer.tar; ln -s ../c.tar.zst $(echo cc*)/layer.tar;"
	      "mv b.tar c.tar ..; tar -cf ../v1.tar .");
}

static struct digest file_digest(const struct fixture *f, const char *name)
{
	struct err err = {0};
	struct digest digest;
	char path[256];
	AUTO_FINISH(buf) struct buf text = buf_make(1 << 16);
	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_ok(file_slurp(AT_FDCWD, path, &text, &err), &err);
	assert_int_equal(digest_of(DIGEST_SHA256, text.data, text.len, &digest), 0);
	return digest;
}

static void check_v1(const struct fixture *f, const char *rest)
{
	struct err err = {0};
	AUTO(origin) struct origin *o = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(buf) struct buf got = buf_make(1 << 16);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	AUTO_FINISH(manifest) struct manifest m = {0};
	AUTO_FINISH(image_config) struct image_config config = {0};
	static const struct {
		const char *type, *stored, *tar;
	} want[] = {
		{MEDIA_OCI_LAYER, "v/@/layer.tar", "v/@/layer.tar"},
		{MEDIA_OCI_LAYER_GZIP, "v/@/layer.tar", "b.tar"},
		{MEDIA_OCI_LAYER_ZSTD, "v/c.tar.zst", "c.tar"},
	};
	const struct byte_sink sink = {.write = collect, .data = &got};
	assert_ok(open_local(f, "docker-archive", rest, &o, &err), &err);
	assert_ok(origin_manifest(o, NULL, &text, &desc, 0, &err), &err);
	assert_ok(manifest_parse(text.data, text.len, desc.media_type, &m, &err), &err);
	assert_ok(origin_blob(o, &m.config, &got, 0, &err), &err);
	assert_ok(image_config_parse(got.data, got.len, 3, &config, &err), &err);
	assert_string_equal(config.architecture, "arm64");
	static const char tail[] = "{\"os\":\"linux\",\"architecture\":\"arm64\",\"config\":{\"Cmd\":"
				   "[\"sh\"]},\"author\":\"somebody\",\"rootfs\":{\"type\":\"layers\"";
	assert_memory_equal(got.data, tail, sizeof(tail) - 1);
	assert_int_equal(m.layers.count, 3);
	for (size_t i = 0; i < 3; i++) {
		char stored[512], tar[512], id = (char)('a' + i);
		struct digest blob = file_digest(f, v1_fill(want[i].stored, id, stored));
		struct digest diff_id = file_digest(f, v1_fill(want[i].tar, id, tar));
		assert_string_equal(m.layers.items[i].media_type, want[i].type);
		assert_true(digest_equal(&m.layers.items[i].digest, &blob));
		assert_true(digest_equal(&config.diff_ids[i], &diff_id));
		buf_clear(&got);
		assert_ok(origin_stream(o, &m.layers.items[i], &sink, 0, &err), &err);
	}
}

static void test_v1(void **state)
{
	const struct fixture *f = *state;
	v1_setup(f);
	check_v1(f, "v1.tar");
	check_v1(f, "v1.tar:1");
	check_v1(f, "v1.tar:busybox:latest");
	check_v1(f, "v1.tar:docker.io/library/busybox:1");
}

static void test_v1_refused(void **state)
{
	const struct fixture *f = *state;
	struct err err = {0};
	struct origin *o = NULL;
	v1_setup(f);
	static const struct {
		const char *what, *json; /* a repositories for c, or the json of b with its parent */
		char id;
		int code;
		const char *words;
	} bad[] = {
		{"repositories", "[\"@\"]", 'c', -EINVAL, "repositories is not a JSON object"},
		{"repositories", "{\"@\":1}", 'c', -EINVAL, "\" is not an object"},
		{"repositories", "{\"x\":{\"1\":\"../@\"}}", 'c', -EINVAL, "\"x:1\" is no layer ID"},
		{"repositories", "{\"x\":{\"1\":[\"@\"]}}", 'c', -EINVAL, "\"x:1\" is no layer ID"},
		{"repositories", "{\"x@\":{}}", 'c', -ENOENT, "it holds no image"},
		{"repositories", V1_REPOSITORIES, 'd', -EINVAL, "dddd is missing"},
		{"json", "{\"parent\":\"@\"}", 'd', -EINVAL, "dddd is missing"},
		{"json", "{\"parent\":\"@\"}", 'b', -EINVAL, "bbbb is its own ancestor"},
		{"json", "{\"parent\":\"@\"}", 'c', -EINVAL, "cccc is its own ancestor"},
		{"json", "{\"parent\":\"@\"}", 'A', -EINVAL, "bbbb is no layer ID"},
		{"json", "{\"parent\":{\"@\":1}}", 'a', -EINVAL, "\"parent\" is not a string"},
		{"json", "[\"@\"]", 'a', -EINVAL, "/json is not a JSON object"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (strcmp(bad[i].what, "json") == 0)
			v1_put(f, 'b', bad[i].json, bad[i].id);
		else
			v1_repositories(f, bad[i].json, bad[i].id);
		sh(f, "tar -C v -cf bad.tar .");
		assert_err(open_local(f, "docker-archive", "bad.tar", &o, &err), bad[i].code, &err,
			   bad[i].words);
		assert_null(o);
		v1_put(f, 'b', "{\"parent\":\"@\"}", 'a');
		v1_repositories(f, V1_REPOSITORIES, 'c');
	}
	assert_err(open_local(f, "docker-archive", "v1.tar:other:1", &o, &err), -ENOENT, &err,
		   "holds no image called other:1");
	char a[512], b[512];
	(void)v1_fill("{\"x\":{\"1\":\"@\"},", 'c', a);
	put(f, "v/repositories", strcat(a, v1_fill("\"y\":{\"1\":\"@\"}}", 'b', b)));
	sh(f, "tar -C v -cf bad.tar .");
	assert_err(open_local(f, "docker-archive", "bad.tar", &o, &err), -EINVAL, &err,
		   "it holds several images; name one with");
	assert_null(o);
}

/* A layer that cannot be read to its end has no digest. */
static void test_v1_layers(void **state)
{
	const struct fixture *f = *state;
	struct err err = {0};
	struct origin *o = NULL;
	static const struct {
		const char *script;
		int code;
		const char *words;
	} bad[] = {
		{"rm v/bb*/layer.tar", -EINVAL, "/layer.tar is missing"},
		{"truncate -s -9 v/bb*/layer.tar", -EBADMSG, "/layer.tar: the gzip stream is truncated"},
		{"xz -c b.tar > $(echo v/bb*)/layer.tar", -EOPNOTSUPP, "compressed with xz"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		v1_setup(f);
		sh(f, bad[i].script);
		sh(f, "tar -C v -cf bad.tar .");
		assert_err(open_local(f, "docker-archive", "bad.tar", &o, &err), bad[i].code, &err,
			   bad[i].words);
		assert_null(o);
		sh(f, "rm -r v");
	}
}

/* With a manifest.json, a compressed layer's name need not be its digest. */
static void test_compressed(void **state)
{
	const struct fixture *f = *state;
	struct err err = {0};
	AUTO(origin) struct origin *o = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(buf) struct buf got = buf_make(4096);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	AUTO_FINISH(manifest) struct manifest m = {0};
	const struct byte_sink sink = {.write = collect, .data = &got};
	sh(f, "gzip -n d/abc/layer.tar; mv d/abc/layer.tar.gz d/abc/layer.tar; tar -C d -cf docker.tar .");
	struct digest stored = file_digest(f, "d/abc/layer.tar");
	assert_ok(open_local(f, "docker-archive", "docker.tar", &o, &err), &err);
	assert_ok(origin_manifest(o, NULL, &text, &desc, 0, &err), &err);
	assert_ok(manifest_parse(text.data, text.len, desc.media_type, &m, &err), &err);
	assert_true(digest_equal(&m.config.digest, &f->config));
	assert_int_equal(m.layers.count, 1);
	assert_string_equal(m.layers.items[0].media_type, MEDIA_OCI_LAYER_GZIP);
	assert_true(digest_equal(&m.layers.items[0].digest, &stored));
	assert_ok(origin_stream(o, &m.layers.items[0], &sink, 0, &err), &err);
	assert_int_equal(got.len, m.layers.items[0].size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_push, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v1_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v1_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_compressed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
