/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/convert.h"

#include "base/num.h"
#include "exec/defaults.h"
#include "exec/elf_file.h"
#include "tests/unit/unit.h"

/* The annotations as "key=value" lines, by key. */
static void check_annotations(const struct oci_config *config, const char *want)
{
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	for (size_t i = 0; i < config->n_annotations; i++)
		assert_int_equal(buf_printf(&text, "%s=%s\n", config->annotations[i].key,
					    (const char *)config->annotations[i].value), 0);
	assert_string_equal(buf_str(&text), want);
}

static void check_list(char *const *list, size_t n, const char *want)
{
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf_printf(&text, "%s|", list[i]), 0);
	assert_string_equal(buf_str(&text), want);
}

static int convert(const char *json, const struct convert_options *options,
		   struct oci_config **ret, struct err *err)
{
	AUTO_FINISH(image_spec) struct image_spec spec = {0};
	AUTO(oci_config) struct oci_config *config = NULL;
	assert_ok(image_spec_parse(json, strlen(json), &spec, err), err);
	assert_ok(defaults_create(&config, err), err);
	int r = convert_image(&spec, options, config, err);
	if (r == 0)
		*ret = steal_ptr(&config);
	return r;
}

static void test_whole(void **state)
{
	(void)state;
	static const struct convert_options options = {.architecture = "arm"};
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(convert("{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\","
			  "\"os.version\":\"1\",\"os.features\":[\"x\",\"y\"],\"author\":\"me\","
			  "\"created\":\"2020-01-01T00:00:00Z\",\"config\":{\"WorkingDir\":\"/srv\","
			  "\"Env\":[\"B=2\",\"A=1\",\"B=3\",\"C\"],\"Entrypoint\":[\"/e\",\"\"],"
			  "\"Cmd\":[\"c\",\"d\"],\"StopSignal\":\"SIGINT\","
			  "\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},\"Volumes\":{\"/v\":{}},"
			  "\"Labels\":{\"own\":\"label\",\"\":\"empty\","
			  "\"org.opencontainers.image.author\":\"label\"}}}",
			  &options, &config, &err), &err);
	check_annotations(config, "org.opencontainers.image.architecture=arm\n"
				  "org.opencontainers.image.author=label\n"
				  "org.opencontainers.image.created=2020-01-01T00:00:00Z\n"
				  "org.opencontainers.image.exposedPorts=80/tcp,53/udp\n"
				  "org.opencontainers.image.os=linux\n"
				  "org.opencontainers.image.os.features=x,y\n"
				  "org.opencontainers.image.os.version=1\n"
				  "org.opencontainers.image.stopSignal=SIGINT\n"
				  "org.opencontainers.image.variant=v7\n"
				  "own=label\n");
	const struct oci_process *process = config->process;
	check_list(process->env, process->n_env, "B=2|A=1|B=3|C|");
	check_list(process->args, process->n_args, "/e||c|d|");
	assert_string_equal(process->cwd, "/srv");
	assert_int_equal(config->n_mounts, 7);
}

/* What is not there is not made up. */
static void test_absent(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(convert("{\"config\":{\"Cmd\":[\"sh\"]}}", NULL, &config, &err), &err);
	check_annotations(config, "");
	assert_string_equal(config->process->cwd, "/");
	assert_int_equal(config->process->n_env, 0);
}

static void test_args(void **state)
{
	(void)state;
	static const char *const none[] = {NULL}, *const x[] = {"x", NULL}, *const y[] = {"y", NULL};
	static const struct {
		const char *json;
		const char *const *entrypoint, *const *cmd;
		const char *want; /* NULL: refused */
	} cases[] = {
		{"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", NULL, NULL, "e|c|"},
		{"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", NULL, y, "e|y|"},
		{"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", x, NULL, "x|"},
		{"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", x, y, "x|y|"},
		{"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", none, y, "y|"},
		{"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", none, NULL, NULL},
		{"{\"config\":{\"Entrypoint\":[\"e\"]}}", NULL, NULL, "e|"},
		{"{\"config\":{\"Cmd\":[\"c\"]}}", NULL, NULL, "c|"},
		{"{\"config\":{\"Cmd\":[]}}", NULL, NULL, NULL},
		{"{}", NULL, y, "y|"},
		{"{}", NULL, NULL, NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct convert_options options = {.entrypoint = cases[i].entrypoint,
							.cmd = cases[i].cmd};
		AUTO(oci_config) struct oci_config *config = NULL;
		struct err err = {0};
		int r = convert(cases[i].json, &options, &config, &err);
		if (cases[i].want) {
			assert_ok(r, &err);
			check_list(config->process->args, config->process->n_args, cases[i].want);
		} else {
			assert_err(r, -EINVAL, &err,
				   "the image names no command, and none was given");
		}
	}
}

static void test_foreign(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(convert("{\"config\":{\"Cmd\":[\"c\"],\"Labels\":{"
			  "\"run.oci.seccomp_bpf_data\":\"x\",\"run.oci.hooks.stderr\":\"/etc/x\","
			  "\"org.systemd.property.ExecStart\":\"x\",\"org.criu.config\":\"x\","
			  "\"cdi.k8s.io/gpu\":\"x\",\"io.katacontainers.config\":\"x\","
			  "\"module.wasm.image/variant\":\"x\",\"dev.gvisor.flag.debug\":\"x\","
			  "\"run.ocis\":\"kept\",\"org.criunot\":\"kept\"}}}",
			  NULL, &config, &err), &err);
	check_annotations(config, "org.criunot=kept\nrun.ocis=kept\n");
}

static void test_platform(void **state)
{
	(void)state;
	static const struct {
		const char *os, *arch, *asked;
		bool runs;
	} cases[] = {
		{"linux", "amd64", "amd64", true},   {"linux", "x86_64", "amd64", true},
		{"linux", "386", "amd64", true},     {"linux", "amd64", "386", false},
		{"linux", "aarch64", "arm64", true}, {"linux", "arm", "aarch64", true},
		{"linux", "arm64", "amd64", false},  {"linux", "s390x", "s390x", true},
		{"", "", "amd64", true},	     {"windows", "amd64", "amd64", false},
		{"Linux", "amd64", "amd64", false},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct convert_options options = {.architecture = cases[i].asked};
		AUTO(oci_config) struct oci_config *config = NULL;
		char json[256], want[128];
		struct err err = {0};
		(void)snprintf(json, sizeof(json),
			       "{\"os\":\"%s\",\"architecture\":\"%s\",\"config\":{\"Cmd\":[\"c\"]}}",
			       cases[i].os, cases[i].arch);
		(void)snprintf(want, sizeof(want), "the image is for %s/%s, not for linux/%s",
			       cases[i].os, cases[i].arch, cases[i].asked);
		int r = convert(json, &options, &config, &err);
		if (cases[i].runs)
			assert_ok(r, &err);
		else
			assert_err(r, -ENOEXEC, &err, want);
	}
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	char json[128];
	(void)snprintf(json, sizeof(json), "{\"architecture\":\"%s\",\"config\":{\"Cmd\":[\"c\"]}}",
		       elf_native());
	assert_ok(convert(json, NULL, &config, &err), &err);
	assert_err(convert("{\"architecture\":\"pdp11\"}", NULL, &config, &err), -ENOEXEC, &err,
		   "the image is for linux/pdp11, not for linux/");
}

static void test_cwd_refused(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_err(convert("{\"config\":{\"Cmd\":[\"c\"],\"WorkingDir\":\"srv\"}}", NULL, &config,
			   &err), -EINVAL, &err,
		   "the image's working directory 'srv' is not absolute");
}

static void test_volumes(void **state)
{
	(void)state;
	static const struct convert_options options = {.volumes = CONVERT_VOLUMES_TMPFS};
	static const char *const bad[] = {
		"", "/", "data", "//", "/proc", "/proc/sys", "/sys/fs", "/dev", "/a/../..", "/a//b",
		"/./a", "/a/..", "/dev/shm",
	};
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(convert("{\"config\":{\"Cmd\":[\"c\"],\"Volumes\":{\"/data\":{},\"/..a/b/\":{},"
			  "\"/process\":{}}}}", &options, &config, &err), &err);
	assert_int_equal(config->n_mounts, 10);
	assert_string_equal(config->mounts[7]->destination, "/data");
	assert_string_equal(config->mounts[7]->type, "tmpfs");
	check_list(config->mounts[7]->options, config->mounts[7]->n_options,
		   "nosuid|nodev|tmpcopyup|");
	assert_string_equal(config->mounts[8]->destination, "/..a/b");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(oci_config) struct oci_config *none = NULL;
		char json[128], want[128];
		(void)snprintf(json, sizeof(json),
			       "{\"config\":{\"Cmd\":[\"c\"],\"Volumes\":{\"%s\":{}}}}", bad[i]);
		(void)snprintf(want, sizeof(want), "the image wants a volume at '%s', where none can be",
			       bad[i]);
		assert_err(convert(json, &options, &none, &err), -EINVAL, &err, want);
	}
}

static void test_volumes_of_the_host(void **state)
{
	(void)state;
	static const struct convert_options options = {.volumes = CONVERT_VOLUMES_BIND,
						       .volumes_dir = "/c/volumes"};
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(convert("{\"config\":{\"Cmd\":[\"c\"],\"Volumes\":{\"/data/\":{},\"/data\":{},"
			  "\"/b\":{}}}}", &options, &config, &err), &err);
	assert_int_equal(config->n_mounts, 9);
	assert_string_equal(config->mounts[7]->destination, "/data");
	assert_string_equal(config->mounts[7]->type, "bind");
	assert_string_equal(config->mounts[7]->source, "/c/volumes/0");
	check_list(config->mounts[7]->options, config->mounts[7]->n_options,
		   "rbind|rprivate|rw|nosuid|nodev|");
	assert_string_equal(config->mounts[8]->source, "/c/volumes/2");
}

static void test_user(void **state)
{
	(void)state;
	uint32_t gids[] = {100, 4};
	const struct user app = {.uid = 1000, .gid = 100, .gids = gids, .n_gids = ARRAY_LEN(gids)};
	const struct user root = {.gid = 5};
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_ok(defaults_create(&config, &err), &err);
	const struct oci_process_capabilities *caps = config->process->capabilities;
	assert_ok(convert_user(&root, config, &err), &err);
	assert_int_equal(config->process->user->gid, 5);
	assert_null(config->process->user->additional_gids);
	assert_int_equal(caps->n_effective, 14);
	assert_ok(convert_user(&app, config, &err), &err);
	const struct oci_process_user *user = config->process->user;
	assert_int_equal(user->uid, 1000);
	assert_int_equal(user->gid, 100);
	assert_int_equal(user->n_additional_gids, 2);
	assert_int_equal(user->additional_gids[1], 4);
	assert_int_equal(caps->n_bounding, 14);
	assert_int_equal(caps->n_effective, 0);
	assert_int_equal(caps->n_permitted, 0);
	assert_int_equal(caps->n_inheritable, 0);
	assert_null(caps->ambient);
}

/* 10,000 variables and a label of a megabyte are unusual, not wrong. */
static void test_large(void **state)
{
	(void)state;
	AUTO_FINISH(buf) struct buf json = buf_make(IMAGE_SPEC_MAX);
	AUTO(oci_config) struct oci_config *config = NULL;
	struct err err = {0};
	assert_int_equal(buf_puts(&json, "{\"config\":{\"Cmd\":[\"c\"],\"Env\":[\"A=1\""), 0);
	for (int i = 1; i < 10000; i++)
		assert_int_equal(buf_printf(&json, ",\"A%d=%d\"", i, i), 0);
	assert_int_equal(buf_puts(&json, "],\"Labels\":{\"big\":\""), 0);
	assert_int_equal(buf_reserve(&json, MIB(1)), 0);
	memset(json.data + json.len, 'x', MIB(1));
	json.len += MIB(1);
	assert_int_equal(buf_puts(&json, "\"}}}"), 0);
	assert_ok(convert(json.data, NULL, &config, &err), &err);
	assert_int_equal(config->process->n_env, 10000);
	assert_int_equal(strlen(oci_config_get_annotations(config, "big")), MIB(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),	     cmocka_unit_test(test_absent),
		cmocka_unit_test(test_args),	     cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_platform),     cmocka_unit_test(test_cwd_refused),
		cmocka_unit_test(test_volumes), cmocka_unit_test(test_volumes_of_the_host),	     cmocka_unit_test(test_user),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
