/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every allocation of every reader and writer fails once, alone and with all
 * after it. The answer must be -ENOMEM, with nothing leaked and nothing broken.
 * What they read are the inputs of tests/fuzz/corpus, whose path is the
 * argument: whatever the outcome is with memory, it is -ENOMEM without.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/spec/oci.h"
#include "exec/validate.h"
#include "fetcher/challenge.h"
#include "fetcher/hosts_priv.h"
#include "fetcher/indexer.h"
#include "fetcher/local.h"
#include "fetcher/manifest.h"
#include "fetcher/tar.h"
#include "fetcher/toc.h"
#include "fetcher/toml.h"
#include "fs/bundle.h"
#include "fs/tree.h"
#include "tests/unit/tarmake.h"
#include "tests/unit/torture.h"
#include "tests/unit/unit.h"

enum {
	INPUT_MAX = 16 << 10,	/* larger ones of the corpus are left out: each is read often */
	OUT_MAX = 4 << 20,
	ALLOCATIONS_MAX = 20000, /* of one scenario: more is one that never ends */
};

#define ID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct input {
	const char *name;
	const uint8_t *data; /* the test's: its allocation does not count */
	size_t n;
};

typedef int (*scenario_fn)(const struct input *in, struct err *err);

/* The path of the corpus; cmocka hands no argument on. */
static const char *corpus;

/* Of what a scenario makes; 0 while it made nothing. */
static uint64_t made;

static void made_bytes(const void *data, size_t n)
{
	const uint8_t *p = data;
	made++;
	for (size_t i = 0; i < n; i++)
		made = (made ^ p[i]) * UINT64_C(0x100000001b3);
}

static void made_file(int fd)
{
	static uint8_t bytes[1 << 20];
	ssize_t n = file_pread(fd, bytes, sizeof(bytes), 0);
	assert_true(n > 0 && (size_t)n < sizeof(bytes));
	made_bytes(bytes, (size_t)n);
}

/*
 * What may be the outcome when an allocation has failed. A larger hash table
 * or a smaller array can be done without, if the result is the same. When
 * jansson (2.14) cannot grow a buffer, it drops a byte and calls it a success,
 * or names it a wrong document: there only crashes and leaks count.
 */
static bool outcome_is_good(int r, int usual, uint64_t usually_made)
{
	switch (torture_hit()) {
	case TORTURE_NONE:
		return r == usual && made == usually_made;
	case TORTURE_OURS:
		return r == -ENOMEM || (r == usual && (r < 0 || (made && made == usually_made)));
	case TORTURE_JANSSON:
		return true;
	}
	return false;
}

static void torture_run(scenario_fn run, const struct input *in)
{
	struct err err = {0};
	long live = torture_live();
	/* Once with memory: what is made once and kept must be there already. */
	made = 0;
	int usual = run(in, &err);
	uint64_t usually_made = made;
	assert_true(usual != -ENOMEM);
	assert_int_equal(torture_live(), live);
	for (int on = 0; on < 2; on++) {
		for (size_t nth = 1;; nth++) {
			err = (struct err){0};
			made = 0;
			torture_arm(nth, on);
			int r = run(in, &err);
			bool good = outcome_is_good(r, usual, usually_made);
			bool hit = torture_hit() != TORTURE_NONE;
			torture_arm(0, false);
			if (torture_live() != live)
				fail_msg("%s: allocation %zu: %ld leaked", in->name, nth,
					 torture_live() - live);
			if (!good)
				fail_msg("%s: allocation %zu fails%s: %d: %s", in->name, nth,
					 on ? " and all after it" : "", r, err_text(&err));
			if (!hit)
				break;
			assert_true(nth < ALLOCATIONS_MAX);
		}
	}
}

/* Runs the scenario over each file of a corpus. */
static void torture_corpus(scenario_fn run, const char *name)
{
	char path[4096];
	size_t files = 0;
	(void)snprintf(path, sizeof(path), "%s/%s", corpus, name);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	const struct dirent *entry;
	while ((entry = readdir(dir))) {
		static uint8_t bytes[INPUT_MAX];
		if (entry->d_name[0] == '.')
			continue;
		AUTO_CLOSE int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		uint64_t size = 0;
		assert_int_equal(file_size(fd, &size), 0);
		if (size == 0 || size > INPUT_MAX)
			continue;
		/* An exact allocation, so that a read past the end is seen by the sanitizer. */
		AUTO_FREE uint8_t *data = malloc(size);
		assert_non_null(data);
		assert_int_equal(file_read(fd, bytes, size), size);
		memcpy(data, bytes, size);
		torture_run(run, &(struct input){.name = entry->d_name, .data = data, .n = size});
		files++;
	}
	(void)closedir(dir);
	assert_true(files > 0);
}

/* ---- text ---- */

static int run_ref(const struct input *in, struct err *err)
{
	AUTO_FINISH(ref) struct ref ref = {0};
	AUTO_FREE char *text = NULL;
	int r = ref_parse(in->name, &ref, err);
	return r < 0 ? r : ref_text(&ref, &text);
}

static void test_ref(void **state)
{
	(void)state;
	static const char *const names[] = {
		"busybox", "localhost:5000/a/b:1",
		("q.io/a@sha256:" ID),
		"oci:/tmp/x:tag", "oci-archive:x.tar", "docker-archive:x.tar:busybox:1", "a//b",
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		torture_run(run_ref, &(struct input){.name = names[i]});
}

static int run_challenge(const struct input *in, struct err *err)
{
	AUTO_FINISH(challenges) struct challenges list = {0};
	char line[INPUT_MAX + 1];
	int r = 0;
	for (size_t at = 0; at < in->n && r == 0;) {
		const uint8_t *end = memchr(in->data + at, '\n', in->n - at);
		size_t n = end ? (size_t)(end - in->data) - at : in->n - at;
		memcpy(line, in->data + at, n);
		line[n] = '\0';
		at += n + 1;
		r = challenges_parse(line, &list, err);
	}
	return r;
}

static void test_challenge(void **state)
{
	(void)state;
	torture_corpus(run_challenge, "challenge");
}

static int run_manifest(const struct input *in, struct err *err)
{
	AUTO_FINISH(manifest) struct manifest manifest = {0};
	AUTO_FINISH(descriptor) struct descriptor copy = {0};
	int r = manifest_parse(in->data, in->n, NULL, &manifest, err);
	if (r == 0 && manifest.layers.count > 0)
		r = descriptor_copy(&manifest.layers.items[0], &copy);
	return r;
}

static int run_config(const struct input *in, struct err *err)
{
	AUTO_FINISH(image_config) struct image_config config = {0};
	return image_config_parse(in->data, in->n, 1, &config, err);
}

static void test_manifest(void **state)
{
	(void)state;
	torture_corpus(run_manifest, "manifest");
	torture_corpus(run_config, "manifest");
}

static int run_toml(const struct input *in, struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	return toml_parse((const char *)in->data, in->n, "input", &root, err);
}

static int run_hosts(const struct input *in, struct err *err)
{
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	return hosts_toml_parse(-1, "/none", (const char *)in->data, in->n, "r.example", false,
				&list, err);
}

static void test_hosts(void **state)
{
	(void)state;
	torture_corpus(run_toml, "toml");
	torture_corpus(run_hosts, "hosts");
}

/* ---- layers ---- */

static int write_tree(struct tree *tree, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = memfd_create("image", MFD_CLOEXEC);
	const struct tree_device device = {.size = GIB(1024)};
	assert_true(fd >= 0);
	int r = tree_write(tree, &device, 1, fd, err);
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

/* A layer's way from the tar to the image, and from there into another. */
static int run_tar(const struct input *in, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO(tree) struct tree *merged = NULL;
	AUTO(tar_reader) struct tar_reader *t = NULL;
	AUTO(erofs) struct erofs *image = NULL;
	AUTO_CLOSE int fd = -1, again = -1;
	int r;
	if ((r = tree_create(&tree)) < 0 || (r = tree_create(&merged)) < 0 ||
	    (r = tar_reader_create(tree_add, tree, &t)) < 0 ||
	    (r = tar_reader_push(t, in->data + 1, in->n - 1, err)) < 0 ||
	    (r = tar_reader_finish(t, err)) < 0 || (r = write_tree(tree, &fd, err)) < 0 ||
	    (r = erofs_open(fd, &image, err)) < 0 || (r = tree_apply(merged, image, 1, err)) < 0)
		return r;
	r = write_tree(merged, &again, err);
	if (r == 0)
		made_file(again);
	return r;
}

static int run_erofs(const struct input *in, struct err *err)
{
	AUTO(tree) struct tree *tree = NULL;
	AUTO(erofs) struct erofs *image = NULL;
	AUTO_CLOSE int fd = -1;
	int r;
	if ((r = tree_create(&tree)) < 0 ||
	    (r = erofs_open_memory(in->data, in->n, &image, err)) < 0 ||
	    (r = tree_apply(tree, image, 1, err)) < 0)
		return r;
	r = write_tree(tree, &fd, err);
	if (r == 0)
		made_file(fd);
	return r;
}

static void test_tree(void **state)
{
	(void)state;
	torture_corpus(run_tar, "tar");
	torture_corpus(run_erofs, "tree");
}

static int keep(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

static int index_layer(const struct input *in, struct buf *windows, struct seek **ret,
		       struct err *err)
{
	const struct digest layer = {.algo = DIGEST_SHA256};
	const struct indexer_options options = {
		.windows = {.write = keep, .data = windows},
		.out_max = OUT_MAX,
	};
	AUTO(indexer) struct indexer *x = NULL;
	int r = indexer_create(&options, &x, err);
	if (r == 0)
		r = indexer_push(x, in->data + 1, in->n - 1, err);
	return r < 0 ? r : indexer_finish(x, &layer, ret, NULL, err);
}

static void made_seek(const struct seek *seek)
{
	size_t n;
	const void *bytes = seek_bytes(seek, &n);
	made_bytes(bytes, n);
}

static int run_index(const struct input *in, struct err *err)
{
	AUTO_FINISH(buf) struct buf windows = buf_make(OUT_MAX);
	AUTO(seek) struct seek *seek = NULL;
	AUTO(seek) struct seek *again = NULL;
	int r = index_layer(in, &windows, &seek, err);
	if (r < 0)
		return r;
	size_t n;
	const void *bytes = seek_bytes(seek, &n);
	r = seek_parse(bytes, n, &again, err);
	if (r == 0)
		made_seek(again);
	made_bytes(windows.data, windows.len);
	return r;
}

static int run_bundle(const struct input *in, struct err *err)
{
	AUTO_FINISH(buf) struct buf windows = buf_make(OUT_MAX);
	AUTO_FINISH(buf) struct buf bytes = buf_make(OUT_MAX);
	AUTO(tree) struct tree *tree = NULL;
	AUTO(seek) struct seek *seek = NULL;
	AUTO(seek) struct seek *again = NULL;
	AUTO(bundle) struct bundle *bundle = NULL;
	AUTO_CLOSE int fd = -1;
	const struct digest image = {.algo = DIGEST_SHA256};
	const struct entry entry = {.path = "a/b", .type = ENTRY_DIR, .mode = 0755};
	int r = index_layer(in, &windows, &seek, err);
	if (r < 0)
		return r;
	const struct bundle_layer layer = {.digest = *seek_layer(seek), .seek = seek};
	AUTO_CLOSE int out = memfd_create("tree", MFD_CLOEXEC);
	assert_true(out >= 0);
	if ((r = tree_create(&tree)) < 0 || (r = tree_add(tree, &entry, err)) < 0 ||
	    (r = write_tree(tree, &fd, err)) < 0 ||
	    (r = bundle_make(&image, fd, &layer, 1, &bytes, err)) < 0 ||
	    (r = bundle_parse(&image, bytes.data, bytes.len, &bundle, err)) < 0 ||
	    (r = bundle_write_tree(bundle, out, err)) < 0)
		return r;
	r = bundle_layer_seek(bundle, 0, &again, err);
	if (r == 0)
		made_seek(again);
	made_file(out);
	return r;
}

static int run_seek(const struct input *in, struct err *err)
{
	AUTO(seek) struct seek *seek = NULL;
	int r = seek_parse(in->data, in->n, &seek, err);
	if (r == 0)
		made_seek(seek);
	return r;
}

static void test_seek(void **state)
{
	(void)state;
	torture_corpus(run_index, "gzip_index");
	torture_corpus(run_bundle, "gzip_index");
	torture_corpus(run_seek, "seek");
}

static int run_toc(const struct input *in, struct err *err)
{
	const struct digest layer = {.algo = DIGEST_SHA256};
	AUTO(toc) struct toc *toc = NULL;
	AUTO(tree) struct tree *tree = NULL;
	AUTO(seek) struct seek *seek = NULL;
	AUTO_CLOSE int fd = -1;
	int r;
	if ((r = tree_create(&tree)) < 0 ||
	    (r = toc_parse(in->data + 1, in->n - 1, in->data[0] % 2, 1 << 30, &toc, err)) < 0 ||
	    (r = toc_entries(toc, tree_add, tree, err)) < 0 ||
	    (r = toc_seek(toc, &layer, 1 << 30, &seek, err)) < 0)
		return r;
	made_seek(seek);
	r = write_tree(tree, &fd, err);
	if (r == 0)
		made_file(fd);
	return r;
}

static void test_toc(void **state)
{
	(void)state;
	torture_corpus(run_toc, "toc");
}

/* ---- archives ---- */

static void member(struct buf *to, const char *name, const char *text)
{
	tar_member(to, name, '0', text, strlen(text));
}

static int run_archive(const struct input *in, struct err *err)
{
	struct ref ref = {.kind = REF_DOCKER_ARCHIVE, .path = (char *)(uintptr_t)in->name};
	AUTO(origin) struct origin *o = NULL;
	AUTO_FINISH(buf) struct buf text = buf_make(ORIGIN_MANIFEST_MAX);
	AUTO_FINISH(descriptor) struct descriptor desc = {0};
	int r = archive_open(&ref, &o, err);
	r = r < 0 ? r : origin_manifest(o, NULL, &text, &desc, 0, err);
	if (r == 0)
		made_bytes(text.data, text.len);
	return r;
}

static void test_archive(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf old = buf_make(OUT_MAX);
	AUTO_FINISH(buf) struct buf now = buf_make(OUT_MAX);
	member(&old, "repositories", "{\"a\":{\"1\":\"" ID "\"}}");
	member(&old, ID "/json", "{\"architecture\":\"arm64\"}");
	member(&old, ID "/layer.tar", "layer");
	member(&now, "manifest.json", "[{\"Config\":\"c\",\"RepoTags\":[\"a:1\"],\"Layers\":[\"l\"]}]");
	member(&now, "c", "{\"rootfs\":{\"diff_ids\":[\"sha256:" ID "\"]}}");
	member(&now, "l", "layer");
	const struct buf *both[] = {&old, &now};
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		char path[64];
		struct err err = {0};
		AUTO_CLOSE int fd = memfd_create("archive", MFD_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(file_write(fd, both[i]->data, both[i]->len), 0);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		assert_ok(run_archive(&(struct input){.name = path}, &err), &err);
		torture_run(run_archive, &(struct input){.name = path});
	}
}

/* ---- the runtime-spec ---- */

/* Whatever is read is copied, laid over another, and written. */
static int run_oci(const struct input *in, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(OUT_MAX);
	AUTO(oci_config) struct oci_config *config = NULL;
	AUTO(oci_config) struct oci_config *over = NULL;
	int r = oci_config_parse((const char *)in->data, in->n, &config, err);
	if (r < 0)
		return r;
	over = oci_config_clone(config);
	if (!over || oci_config_set_hostname(over, "over") < 0)
		return -ENOMEM;
	if ((r = oci_config_merge(config, over)) < 0 ||
	    (r = oci_config_emit(config, &text, err)) < 0)
		return r;
	made_bytes(text.data, text.len);
	return 0;
}

/* A change that fails leaves what was there: 0 while it holds. */
static int build_process(struct oci_process *process)
{
	int r = oci_process_add_args(process, "sh");
	if (r < 0)
		return r;
	r = oci_process_add_args(process, "-c");
	if (r < 0) {
		assert_int_equal(process->n_args, 1);
		assert_string_equal(process->args[0], "sh");
		return r;
	}
	r = oci_process_set_cwd(process, "/");
	if (r == 0 && (r = oci_process_set_cwd(process, "/home")) < 0)
		assert_string_equal(process->cwd, "/");
	return r;
}

static int build_maps(struct oci_config *config)
{
	int r = oci_config_put_annotations(config, "b", "1");
	if (r == 0 && (r = oci_config_put_annotations(config, "b", "2")) < 0)
		assert_string_equal(oci_config_get_annotations(config, "b"), "1");
	if (r == 0 && (r = oci_config_put_annotations(config, "a", "3")) < 0)
		assert_null(oci_config_get_annotations(config, "a"));
	if (r < 0)
		return r;
	struct oci_linux *linux = oci_config_need_linux(config);
	if (!linux || !oci_linux_put_net_devices(linux, "eth0"))
		return -ENOMEM;
	struct oci_linux_namespace *ns = oci_linux_add_namespaces(linux);
	if (!ns) {
		assert_int_equal(linux->n_namespaces, 0);
		return -ENOMEM;
	}
	return oci_linux_namespace_set_type(ns, "pid");
}

static int run_build(const struct input *in, struct err *err)
{
	(void)in;
	AUTO_FINISH(buf) struct buf text = buf_make(OUT_MAX);
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	struct oci_process *process = config ? oci_config_need_process(config) : NULL;
	struct oci_process_user *user = process ? oci_process_need_user(process) : NULL;
	int r;
	if (!user)
		return -ENOMEM;
	if ((r = build_process(process)) < 0 ||
	    (r = oci_process_user_add_additional_gids(user, 7)) < 0 ||
	    (r = oci_process_need_env(process)) < 0 || (r = build_maps(config)) < 0 ||
	    (r = oci_config_emit(config, &text, err)) < 0)
		return r;
	made_bytes(text.data, text.len);
	return 0;
}

static void test_oci(void **state)
{
	(void)state;
	static const char plain[] =
		"{\"process\":{\"args\":[\"sh\"],\"oomScoreAdj\":7},\"annotations\":{\"b\":\"2\",\"a\":\"1\"},"
		"\"linux\":{\"netDevices\":{\"a\":{}},\"x\":[1,{}]},\"hostname\":\"a name of some length\"}";
	/* Where a string has escapes and no memory is left, jansson (2.14) ends the process. */
	torture_spare_jansson(true);
	torture_corpus(run_oci, "oci");
	torture_spare_jansson(false);
	torture_run(run_oci, &(struct input){"plain", (const uint8_t *)plain, sizeof(plain) - 1});
	torture_run(run_build, &(struct input){.name = "built"});
}

/* ---- validation ---- */

static int run_validate(const struct input *in, struct err *err)
{
	AUTO_FINISH(findings) struct findings found = {0};
	enum validate_kind kind = in->data[0] == 's'   ? VALIDATE_STATE :
				  in->data[0] == 'f' ? VALIDATE_FEATURES :
						       VALIDATE_CONFIG;
	int r = validate_bytes(kind, in->data + 1, in->n - 1, &found, err);
	made_bytes("", 0);
	for (size_t i = 0; r == 0 && i < found.count; i++) {
		made_bytes(found.items[i].pointer, strlen(found.items[i].pointer));
		made_bytes(found.items[i].text, strlen(found.items[i].text));
	}
	return r;
}

static void test_validate(void **state)
{
	(void)state;
	torture_spare_jansson(true);
	torture_corpus(run_validate, "validate");
	torture_spare_jansson(false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ref),
		cmocka_unit_test(test_challenge),
		cmocka_unit_test(test_manifest),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_seek),
		cmocka_unit_test(test_toc),
		cmocka_unit_test(test_archive),
		cmocka_unit_test(test_oci),
		cmocka_unit_test(test_validate),
	};
	if (argc != 2)
		return 2;
	corpus = argv[1];
	torture_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
