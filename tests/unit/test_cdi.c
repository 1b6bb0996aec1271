/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cdi.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/unit/unit.h"

/* Two directories of files. */
struct rig {
	char root[32];
	char low[48], high[48];
	const char *dirs[4];
};

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	assert_non_null(rig);
	(void)snprintf(rig->root, sizeof(rig->root), "/tmp/cdi.XXXXXX");
	assert_non_null(mkdtemp(rig->root));
	(void)snprintf(rig->low, sizeof(rig->low), "%s/etc", rig->root);
	(void)snprintf(rig->high, sizeof(rig->high), "%s/run", rig->root);
	assert_int_equal(mkdir(rig->low, 0755), 0);
	assert_int_equal(mkdir(rig->high, 0755), 0);
	rig->dirs[0] = rig->low;
	rig->dirs[1] = rig->high;
	rig->dirs[2] = "/nowhere/at/all";
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	assert_int_equal(tree_remove(AT_FDCWD, rig->root, NULL), 0);
	free(rig);
	return 0;
}

static void put(const char *dir, const char *name, const char *text)
{
	struct err err = {0};
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(file_commit(fd, name, text, strlen(text), COMMIT_REPLACE, &err), &err);
}

/* A file of one kind: edits for all, and devices as JSON. */
static void put_spec(const char *dir, const char *name, const char *kind, const char *edits,
		     const char *devices)
{
	AUTO_FINISH(buf) struct buf text = buf_make(8192);
	assert_int_equal(buf_printf(&text,
				    "{\"cdiVersion\":\"1.1.0\",\"kind\":\"%s\","
				    "\"containerEdits\":{%s},\"devices\":[%s]}",
				    kind, edits, devices),
			 0);
	put(dir, name, buf_str(&text));
}

/* Applies names to a configuration, both given as text, and gives the result as text. */
static int apply(struct rig *rig, const char *const *names, const char *config, char **ret,
		 struct err *err)
{
	AUTO(cdi) struct cdi *cdi = NULL;
	AUTO(oci_config) struct oci_config *parsed = NULL;
	AUTO_FINISH(buf) struct buf out = buf_make(8192);
	assert_ok(oci_config_parse(config, strlen(config), &parsed, err), err);
	assert_ok(cdi_create(rig->dirs, &cdi, err), err);
	int r = cdi_apply(cdi, names, parsed, err);
	assert_ok(oci_config_emit(parsed, &out, NULL), err);
	/* All or none. */
	if (r < 0)
		assert_string_equal(buf_str(&out), config);
	*ret = buf_steal(&out);
	return r;
}

static void check(struct rig *rig, const char *const *names, const char *config, const char *want)
{
	AUTO_FREE char *got = NULL;
	struct err err = {0};
	assert_ok(apply(rig, names, config, &got, &err), &err);
	assert_string_equal(got, want);
}

static void check_wrong(struct rig *rig, const char *name, int code, const char *words)
{
	AUTO_FREE char *got = NULL;
	struct err err = {0};
	assert_err(apply(rig, (const char *const[]){name, NULL}, "{}", &got, &err), code, &err,
		   words);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- finding ---- */

static void test_none(void **state)
{
	check(*state, (const char *const[]){NULL}, "{}", "{}");
	check_wrong(*state, "v/c=d", -ENOENT,
		    "there is no CDI device v/c=d: no file is of the kind v/c; searched /tmp/cdi.");
	check_wrong(*state, "v/c=d", -ENOENT, "/etc and /tmp/cdi.");
	check_wrong(*state, "v/c=d", -ENOENT, "/run and /nowhere/at/all");
	check_wrong(*state, "v/c", -EINVAL,
		    "\"v/c\" is not a CDI device of the form vendor/class=name");
	check_wrong(*state, "v/c=", -EINVAL, "is not a CDI device");
	check_wrong(*state, "/dev/fuse", -EINVAL, "is not a CDI device");
}

static void test_priority(void **state)
{
	struct rig *rig = *state;
	put_spec(rig->low, "a.json", "v/c", "\"env\":[\"FILE=low\"]",
		 "{\"name\":\"one\",\"containerEdits\":{\"env\":[\"D=low\"]}},{\"name\":\"two\"}");
	put_spec(rig->high, "a.json", "v/c", "\"env\":[\"FILE=high\"]",
		 "{\"name\":\"one\",\"containerEdits\":{\"env\":[\"D=high\"]}}");
	check(rig, NAMES("v/c=one"), "{}", "{\"process\":{\"env\":[\"FILE=high\",\"D=high\"]}}");
	check(rig, NAMES("v/c=two"), "{}", "{\"process\":{\"env\":[\"FILE=low\"]}}");
	check_wrong(rig, "v/c=three", -ENOENT,
		    "there is no CDI device v/c=three: no file of its kind has it; searched /tmp");
}

static void test_conflict(void **state)
{
	struct rig *rig = *state;
	put_spec(rig->low, "a.json", "v/c", "", "{\"name\":\"one\"},{\"name\":\"two\"}");
	put_spec(rig->low, "b.json", "v/c", "", "{\"name\":\"one\"},{\"name\":\"three\"}");
	/* Of no concern to who asks for others, and settled by a later directory. */
	check(rig, NAMES("v/c=two", "v/c=three"), "{}", "{}");
	check_wrong(rig, "v/c=one", -EEXIST, "the CDI device v/c=one is in both /tmp/cdi.");
	check_wrong(rig, "v/c=one", -EEXIST, "/etc/a.json and /tmp/cdi.");
	put_spec(rig->high, "c.json", "v/c", "", "{\"name\":\"one\"}");
	check(rig, NAMES("v/c=one"), "{}", "{}");
}

static void test_broken(void **state)
{
	struct rig *rig = *state;
	put(rig->low, "a.json", "{");
	put(rig->low, "b.json", "{\"kind\":1}");
	put(rig->low, "c.json", "");
	put(rig->low, ".json", "{");
	put(rig->low, "ignored.txt", "{");
	put_spec(rig->low, "z.json", "v/c", "", "{\"name\":\"one\"}");
	check(rig, NAMES("v/c=one"), "{}", "{}");
	check_wrong(rig, "v/c=two", -ENOENT, "; unusable there: /tmp/cdi.");
	check_wrong(rig, "v/c=two", -ENOENT, "/etc/a.json is not valid JSON: line 1, column 1");
	check_wrong(rig, "v/c=two", -ENOENT, "/kind: is a number");
	check_wrong(rig, "v/c=two", -ENOENT, "; and 1 files more");
}

static void test_large(void **state)
{
	struct rig *rig = *state;
	char path[64];
	put(rig->low, "a.json", "{}");
	(void)snprintf(path, sizeof(path), "%s/a.json", rig->low);
	assert_int_equal(truncate(path, (1 << 20) + 1), 0);
	check_wrong(rig, "v/c=d", -ENOENT, "a.json: ");
}

static void test_yaml_file(void **state)
{
	struct rig *rig = *state;
	AUTO_FREE char *got = NULL;
	struct err err = {0};
	put(rig->low, "a.yaml", "cdiVersion: 0.5.0\nkind: v/c\ndevices:\n- name: all\n"
				"  containerEdits: {env: [A=1]}\n");
	int r = apply(rig, NAMES("v/c=all"), "{}", &got, &err);
	if (r == 0)
		assert_string_equal(got, "{\"process\":{\"env\":[\"A=1\"]}}");
	else
		assert_err(r, -ENOENT, &err,
			   "a.yaml is YAML, and this program was built without libyaml");
}

/* ---- edits ---- */

static void test_env(void **state)
{
	struct rig *rig = *state;
	put_spec(rig->low, "a.json", "v/c", "\"env\":[\"A=file\",\"AB=file\"]",
		 "{\"name\":\"one\",\"containerEdits\":{\"env\":[\"A=one\",\"N=1\"]}},"
		 "{\"name\":\"two\",\"containerEdits\":{\"env\":[\"N=2\"]}}");
	put_spec(rig->low, "b.json", "w/c", "\"env\":[\"W=\"]", "{\"name\":\"one\"}");
	/* The file's once, before the first device; one device once. */
	check(rig, NAMES("v/c=two", "v/c=one", "w/c=one", "v/c=two"),
	      "{\"process\":{\"env\":[\"AB=image\",\"Z=\"]}}",
	      "{\"process\":{\"env\":[\"AB=file\",\"Z=\",\"A=one\",\"N=1\",\"W=\"]}}");
}

/* Real nodes of this host: what the file does not say is found there. */
static void test_nodes(void **state)
{
	struct rig *rig = *state;
	struct stat st;
	char want[512];
	assert_int_equal(lstat("/dev/null", &st), 0);
	put_spec(rig->low, "a.json", "v/c", "",
		 "{\"name\":\"bare\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/null\"}]}},"
		 "{\"name\":\"moved\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/x\","
		 "\"hostPath\":\"/dev/null\",\"fileMode\":384,\"permissions\":\"r\",\"uid\":0}]}}");
	(void)snprintf(want, sizeof(want),
		       "{\"linux\":{\"devices\":[{\"fileMode\":%u,\"major\":1,\"minor\":3,"
		       "\"path\":\"/dev/null\",\"type\":\"c\"}],\"resources\":{\"devices\":["
		       "{\"access\":\"rwm\",\"allow\":true,\"major\":1,\"minor\":3,\"type\":\"c\"}]}}}",
		       st.st_mode & 0777);
	check(rig, NAMES("v/c=bare"), "{}", want);
	/* The same path is replaced; the rules of the cgroup are appended; the user's by default. */
	check(rig, NAMES("v/c=moved"),
	      "{\"linux\":{\"devices\":[{\"path\":\"/dev/x\",\"type\":\"p\"},"
	      "{\"path\":\"/dev/y\",\"type\":\"p\"}],\"resources\":{\"devices\":["
	      "{\"allow\":false}]}},\"process\":{\"user\":{\"gid\":7,\"uid\":5}}}",
	      "{\"linux\":{\"devices\":[{\"path\":\"/dev/y\",\"type\":\"p\"},"
	      "{\"fileMode\":384,\"gid\":7,\"major\":1,\"minor\":3,\"path\":\"/dev/x\","
	      "\"type\":\"c\",\"uid\":0}],\"resources\":{\"devices\":[{\"allow\":false},"
	      "{\"access\":\"r\",\"allow\":true,\"major\":1,\"minor\":3,\"type\":\"c\"}]}},"
	      "\"process\":{\"user\":{\"gid\":7,\"uid\":5}}}");
}

static void test_fuse_node(void **state)
{
	struct rig *rig = *state;
	AUTO_FREE char *got = NULL;
	struct err err = {0};
	struct stat st;
	char want[128];
	if (lstat("/dev/fuse", &st) < 0)
		skip();
	put_spec(rig->low, "a.json", "v/c", "",
		 "{\"name\":\"fuse\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/fuse\"}]}}");
	assert_ok(apply(rig, NAMES("v/c=fuse"), "{}", &got, &err), &err);
	(void)snprintf(want, sizeof(want), "\"fileMode\":%u,\"major\":%u,\"minor\":%u,",
		       st.st_mode & 0777, major(st.st_rdev), minor(st.st_rdev));
	assert_non_null(strstr(got, want));
}

/* Those that need not be there, and the types that are not character devices. */
static void test_nodes_stated(void **state)
{
	struct rig *rig = *state;
	char device[1024];
	put_spec(rig->low, "a.json", "v/c", "",
		 "{\"name\":\"all\",\"containerEdits\":{\"deviceNodes\":["
		 "{\"path\":\"/dev/not-here\",\"type\":\"b\",\"major\":8},"
		 "{\"path\":\"/dev/not-here-2\",\"type\":\"u\",\"major\":9,\"minor\":1,"
		 "\"permissions\":\"none\"},"
		 "{\"path\":\"/dev/not-here-3\",\"type\":\"p\"}]}}");
	check(rig, NAMES("v/c=all"), "{}",
	      "{\"linux\":{\"devices\":["
	      "{\"major\":8,\"minor\":0,\"path\":\"/dev/not-here\",\"type\":\"b\"},"
	      "{\"major\":9,\"minor\":1,\"path\":\"/dev/not-here-2\",\"type\":\"u\"},"
	      "{\"path\":\"/dev/not-here-3\",\"type\":\"p\"}],\"resources\":{\"devices\":["
	      "{\"access\":\"rwm\",\"allow\":true,\"major\":8,\"minor\":0,\"type\":\"b\"}]}}}");

	/* A symlink is not followed, and leads to no device. */
	(void)snprintf(device, sizeof(device), "%s/link", rig->root);
	assert_int_equal(symlink("/dev/null", device), 0);
	(void)snprintf(device, sizeof(device),
		       "{\"name\":\"gone\",\"containerEdits\":{\"deviceNodes\":[{\"path\":"
		       "\"/dev/not-here\"}]}},{\"name\":\"link\",\"containerEdits\":{"
		       "\"deviceNodes\":[{\"path\":\"/x\",\"hostPath\":\"%s/link\"}]}},"
		       "{\"name\":\"block\",\"containerEdits\":{\"deviceNodes\":[{\"path\":"
		       "\"/dev/null\",\"type\":\"b\"}]}}",
		       rig->root);
	put_spec(rig->low, "b.json", "w/c", "\"env\":[\"A=1\"]", device);
	check_wrong(rig, "w/c=gone", -ENOENT, "look at the device /dev/not-here: No such file");
	check_wrong(rig, "w/c=link", -EINVAL, "/link is not a device");
	check_wrong(rig, "w/c=block", -EINVAL,
		    "/dev/null is a device of type c, and should be b");
}

static void test_mounts(void **state)
{
	struct rig *rig = *state;
	put_spec(rig->low, "a.json", "v/c",
		 "\"mounts\":[{\"hostPath\":\"/h1\",\"containerPath\":\"/a/b/c\"},"
		 "{\"hostPath\":\"/h2\",\"containerPath\":\"/a\",\"options\":[\"ro\",\"bind\"]},"
		 "{\"hostPath\":\"tmpfs\",\"containerPath\":\"/t/\",\"type\":\"tmpfs\"}]",
		 "{\"name\":\"one\"}");
	check(rig, NAMES("v/c=one"),
	      "{\"mounts\":[{\"destination\":\"/z/y\"},{\"destination\":\"/a\",\"source\":\"old\"},"
	      "{\"destination\":\"/proc\"},{\"destination\":\"/\"},{\"destination\":\"/b/y\"},"
	      "{\"destination\":\"/a\",\"source\":\"older\"}]}",
	      "{\"mounts\":[{\"destination\":\"/\"},{\"destination\":\"/proc\"},"
	      "{\"destination\":\"/a\",\"options\":[\"ro\",\"bind\"],\"source\":\"/h2\","
	      "\"type\":\"bind\"},"
	      "{\"destination\":\"/t/\",\"source\":\"tmpfs\",\"type\":\"tmpfs\"},"
	      "{\"destination\":\"/z/y\"},{\"destination\":\"/b/y\"},"
	      "{\"destination\":\"/a/b/c\",\"options\":[\"rbind\"],\"source\":\"/h1\","
	      "\"type\":\"bind\"}]}");
}

static void test_hooks(void **state)
{
	struct rig *rig = *state;
	put_spec(rig->low, "a.json", "v/c",
		 "\"hooks\":[{\"hookName\":\"prestart\",\"path\":\"/1\",\"timeout\":3},"
		 "{\"hookName\":\"createRuntime\",\"path\":\"/2\",\"args\":[\"2\",\"\"]},"
		 "{\"hookName\":\"createContainer\",\"path\":\"/3\",\"env\":[\"A=b\"]},"
		 "{\"hookName\":\"startContainer\",\"path\":\"/4\"},"
		 "{\"hookName\":\"poststart\",\"path\":\"/5\"},"
		 "{\"hookName\":\"poststop\",\"path\":\"/6\"}]",
		 "{\"name\":\"one\",\"containerEdits\":{\"hooks\":["
		 "{\"hookName\":\"poststop\",\"path\":\"/7\"}]}}");
	check(rig, NAMES("v/c=one"), "{\"hooks\":{\"poststop\":[{\"path\":\"/0\"}]}}",
	      "{\"hooks\":{\"createContainer\":[{\"env\":[\"A=b\"],\"path\":\"/3\"}],"
	      "\"createRuntime\":[{\"args\":[\"2\",\"\"],\"path\":\"/2\"}],"
	      "\"poststart\":[{\"path\":\"/5\"}],"
	      "\"poststop\":[{\"path\":\"/0\"},{\"path\":\"/6\"},{\"path\":\"/7\"}],"
	      "\"prestart\":[{\"path\":\"/1\",\"timeout\":3}],"
	      "\"startContainer\":[{\"path\":\"/4\"}]}}");
}

static void test_rest(void **state)
{
	struct rig *rig = *state;
	put_spec(rig->low, "a.json", "v/c",
		 "\"intelRdt\":{\"closID\":\"gone\"},\"additionalGids\":[0,5,6],"
		 "\"additionalGIDs\":[7,5],"
		 "\"netDevices\":[{\"hostInterfaceName\":\"eth1\",\"name\":\"net0\"}]",
		 "{\"name\":\"one\",\"containerEdits\":{\"intelRdt\":{\"l3CacheSchema\":\"L3:0=f\","
		 "\"memBwSchema\":\"MB:0=10\",\"schemata\":[\"a\",\"b\"],"
		 "\"enableMonitoring\":true}}}");
	check(rig, NAMES("v/c=one"),
	      "{\"linux\":{\"intelRdt\":{\"closID\":\"old\"}},"
	      "\"process\":{\"user\":{\"additionalGids\":[6]}}}",
	      "{\"linux\":{\"intelRdt\":{\"enableMonitoring\":true,\"l3CacheSchema\":\"L3:0=f\","
	      "\"memBwSchema\":\"MB:0=10\",\"schemata\":[\"a\",\"b\"]},"
	      "\"netDevices\":{\"eth1\":{\"name\":\"net0\"}}},"
	      "\"process\":{\"user\":{\"additionalGids\":[6,5,7]}}}");
}

/* ---- GPUs ---- */

static int gpus(struct rig *rig, const char *value, char out[static 256], struct err *err)
{
	AUTO(cdi) struct cdi *cdi = NULL;
	char **names = NULL;
	assert_ok(cdi_create(rig->dirs, &cdi, err), err);
	int r = cdi_gpus(cdi, value, &names, err);
	*out = '\0';
	for (size_t i = 0; r == 0 && names[i]; i++)
		(void)snprintf(out + strlen(out), 256 - strlen(out), "%s ", names[i]);
	cdi_names_free(names);
	return r;
}

static void check_gpus(struct rig *rig, const char *value, const char *want)
{
	char got[256];
	struct err err = {0};
	assert_ok(gpus(rig, value, got, &err), &err);
	assert_string_equal(got, want);
}

static void test_gpus(void **state)
{
	struct rig *rig = *state;
	static const char *const wrong[] = {"",	      "0",	"-1",	     "1025",	 "some",
					    "device", "device=", "device=a,", "device=a/b", "count="};
	char got[256];
	struct err err = {0};
	assert_err(gpus(rig, "all", got, &err), -ENOENT, &err,
		   "--gpus all: no CDI file is of the kind nvidia.com/gpu or of another that ends "
		   "in /gpu; searched /tmp/cdi.");
	put_spec(rig->low, "a.json", "z.example/gpu", "", "{\"name\":\"all\"}");
	put_spec(rig->low, "b.json", "b.example/gpu", "", "{\"name\":\"all\"}");
	put_spec(rig->low, "c.json", "a.example/notgpu", "", "{\"name\":\"all\"}");
	check_gpus(rig, "all", "b.example/gpu=all ");
	put_spec(rig->low, "d.json", "nvidia.com/gpu", "", "{\"name\":\"all\"}");
	check_gpus(rig, "all", "nvidia.com/gpu=all ");
	check_gpus(rig, "count=all", "nvidia.com/gpu=all ");
	check_gpus(rig, "2", "nvidia.com/gpu=0 nvidia.com/gpu=1 ");
	check_gpus(rig, "count=1", "nvidia.com/gpu=0 ");
	check_gpus(rig, "device=3", "nvidia.com/gpu=3 ");
	check_gpus(rig, "\"device=0,GPU-1:2\"", "nvidia.com/gpu=0 nvidia.com/gpu=GPU-1:2 ");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_err(gpus(rig, wrong[i], got, &err), -EINVAL, &err,
			   "it wants all, a number from 1 to 1024, or device=");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),  TEST(test_priority),	TEST(test_conflict),
		TEST(test_broken), TEST(test_large),	TEST(test_yaml_file),
		TEST(test_env),	  TEST(test_nodes),	TEST(test_fuse_node),
		TEST(test_nodes_stated), TEST(test_mounts), TEST(test_hooks),
		TEST(test_rest),  TEST(test_gpus),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
