/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "tests/unit/unit.h"
#include "tools/run_options.h"

enum { WORDS_MAX = 16 };

/* Parses "sluice run" with these words; what the flags point into has to live. */
struct parsed {
	struct run_flags flags;
	struct run_options options;
	int first;
	struct err err;
};

static char name_env[] = "GREETING=hello", other_env[] = "GREETING2=again";
static char *const environment[] = {name_env, other_env, NULL};

static int parse(struct parsed *p, char **words)
{
	struct opt table[RUN_FLAGS + 1] = {0};
	char *argv[WORDS_MAX] = {NULL};
	char name[] = "run";
	int argc = 0;
	memset(p, 0, sizeof(*p));
	argv[argc++] = name;
	while (words[argc - 1]) {
		argv[argc] = words[argc - 1];
		argc++;
	}
	run_flags_options(&p->flags, table);
	const struct opt *const tables[] = {table, NULL};
	int r = opt_parse(tables, argc, argv, true, &p->first, &p->err);
	return r < 0 ? r : run_options_make(&p->flags, environment, &p->options, &p->err);
}

static void parsed_finish(struct parsed *p)
{
	run_options_finish(&p->options);
	run_flags_finish(&p->flags);
}

static char *kept[64];
static size_t n_kept;

/* argv has to outlive what was parsed of it: freed when the test ends. */
static void keep(char **words)
{
	for (; *words; words++)
		kept[n_kept++] = *words;
}

#define PARSE(p, ...)                                                    \
	do {                                                             \
		char *words_[WORDS_MAX] = {NULL};                        \
		const char *const given_[] = {__VA_ARGS__};              \
		for (size_t i_ = 0; i_ < ARRAY_LEN(given_); i_++)        \
			words_[i_] = strdup(given_[i_]);                 \
		int r_ = parse((p), words_);                             \
		if (r_ < 0)                                              \
			fail_msg("%s", err_text(&(p)->err));             \
		keep(words_);                                            \
	} while (0)

static int free_kept(void **state)
{
	(void)state;
	while (n_kept > 0)
		free(kept[--n_kept]);
	return 0;
}

static void flags_stop_at_the_image(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-it", "--rm", "-eA=1", "image", "-d", "--name", "x");
	assert_true(p.flags.interactive && p.flags.tty && p.flags.rm);
	assert_false(p.flags.detach);
	assert_null(p.flags.name);
	assert_int_equal(p.first, 4);
	assert_string_equal(p.options.env.items[0], "A=1");
	parsed_finish(&p);
}

static void environment_is_passed_on(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-e", "GREETING", "-e", "MISSING", "-e", "EMPTY=", "image");
	assert_int_equal(p.options.env.count, 2);
	assert_string_equal(p.options.env.items[0], "GREETING=hello");
	assert_string_equal(p.options.env.items[1], "EMPTY=");
	parsed_finish(&p);
	PARSE(&p, "-e", "GREET*", "image");
	assert_int_equal(p.options.env.count, 2);
	parsed_finish(&p);
}

static void environment_files_come_first(void **state)
{
	char path[] = "/tmp/sluice-test-env-XXXXXX";
	static const char text[] = "# a comment\n\nA=1\r\n  B=2 # no comment\nGREETING\n";
	struct parsed p;
	(void)state;
	int fd = mkstemp(path);
	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	(void)close(fd);
	PARSE(&p, "-e", "A=3", "--env-file", path, "image");
	static const char *const want[] = {"A=1", "B=2 # no comment", "GREETING=hello", "A=3"};
	assert_int_equal(p.options.env.count, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(p.options.env.items[i], want[i]);
	parsed_finish(&p);
	(void)unlink(path);
}

static const char *option_of(const struct run_mount *m, const char *prefix)
{
	for (size_t i = 0; i < m->options.count; i++)
		if (strncmp(m->options.items[i], prefix, strlen(prefix)) == 0)
			return m->options.items[i];
	return NULL;
}

static void volumes_and_mounts(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-v", "/tmp:/data:ro,z,rslave", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,exec",
	      "--tmpfs", "/u:mode=700", "--mount", "type=bind,src=.,target=/h,readonly", "image");
	const struct run_mount *m = p.options.mounts;
	assert_int_equal(p.options.n_mounts, 4);
	assert_string_equal(m[0].source, "/tmp");
	assert_string_equal(m[0].destination, "/data");
	assert_non_null(option_of(&m[0], "ro"));
	assert_non_null(option_of(&m[0], "rslave"));
	assert_null(option_of(&m[0], "rprivate"));
	assert_null(option_of(&m[0], "z"));
	assert_string_equal(m[1].type, "tmpfs");
	assert_string_equal(option_of(&m[1], "size="), "size=1m");
	assert_null(option_of(&m[1], "noexec"));
	assert_string_equal(m[2].type, "bind");
	assert_int_equal(m[2].source[0], '/');
	assert_non_null(option_of(&m[2], "ro"));
	assert_string_equal(option_of(&m[3], "mode="), "mode=700");
	assert_non_null(option_of(&m[3], "noexec"));
	parsed_finish(&p);
}

static void volumes(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-v", "/own/", "-v", "data:/d:ro,nocopy,suid", "--mount", "type=volume,src=x.1,dst=/m",
	      "--mount", "type=volume,target=/n,readonly", "--image-volume", "bind", "image");
	const struct run_mount *m = p.options.mounts;
	assert_int_equal(p.options.n_mounts, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(m[i].type, "volume");
	assert_null(m[0].source);
	assert_string_equal(m[0].destination, "/own");
	assert_non_null(option_of(&m[0], "rbind"));
	assert_non_null(option_of(&m[0], "rprivate"));
	assert_non_null(option_of(&m[0], "nosuid"));
	assert_non_null(option_of(&m[0], "nodev"));
	assert_string_equal(m[1].source, "data");
	assert_true(m[1].nocopy && !m[0].nocopy);
	assert_null(option_of(&m[1], "nosuid"));
	assert_non_null(option_of(&m[1], "nodev"));
	assert_null(option_of(&m[1], "nocopy"));
	assert_string_equal(m[2].source, "x.1");
	assert_null(m[3].source);
	assert_non_null(option_of(&m[3], "ro"));
	assert_int_equal(p.options.image_volume, RUN_IMAGE_VOLUME_ANONYMOUS);
	parsed_finish(&p);
	PARSE(&p, "--image-volume", "tmpfs", "image");
	assert_int_equal(p.options.image_volume, RUN_IMAGE_VOLUME_TMPFS);
	parsed_finish(&p);
	PARSE(&p, "--image-volume", "ignore", "image");
	assert_int_equal(p.options.image_volume, RUN_IMAGE_VOLUME_IGNORE);
	parsed_finish(&p);
}

static void devices(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "--device", "/dev/null:/dev/nothing:r", "--device", "/dev/zero:rw", "--device",
	      "vendor.com/net=nic0", "--device", "nvidia.com/gpu=all", "image");
	assert_int_equal(p.options.n_devices, 2);
	assert_string_equal(p.options.devices[0].destination, "/dev/nothing");
	assert_string_equal(p.options.devices[0].access, "r");
	assert_string_equal(p.options.devices[1].destination, "/dev/zero");
	assert_string_equal(p.options.devices[1].access, "rw");
	static const char *const want[] = {"vendor.com/net=nic0", "nvidia.com/gpu=all"};
	assert_int_equal(p.options.cdi.count, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(p.options.cdi.items[i], want[i]);
	parsed_finish(&p);
}

static void ports(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-p", "8080:80", "-p", "127.0.0.1:53:5353/udp", "-p", "[::1]:1-2:11-12", "-p", "9",
	      "image");
	const struct run_port *port = p.options.ports;
	assert_int_equal(p.options.n_ports, 5);
	assert_int_equal(port[0].host, 8080);
	assert_int_equal(port[0].container, 80);
	assert_null(port[0].ip);
	assert_string_equal(port[1].ip, "127.0.0.1");
	assert_string_equal(port[1].protocol, "udp");
	assert_string_equal(port[2].ip, "::1");
	assert_int_equal(port[3].host, 2);
	assert_int_equal(port[3].container, 12);
	assert_int_equal(port[4].host, 0);
	assert_int_equal(port[4].container, 9);
	parsed_finish(&p);
}

static void resources(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-m512m", "--memory-swap", "-1", "--cpus", "1.5", "--pids-limit", "0", "--ulimit",
	      "nofile=10:20", "--ulimit", "core=-1", "--oom-score-adj", "-500");
	assert_int_equal(p.options.memory, 512 << 20);
	assert_int_equal(p.options.memory_swap, -1);
	assert_int_equal(p.options.cpu_quota, 150000);
	assert_int_equal(p.options.pids, -1);
	assert_string_equal(p.options.limits[0].type, "RLIMIT_NOFILE");
	assert_int_equal(p.options.limits[0].hard, 20);
	assert_true(p.options.limits[1].hard == RLIM_INFINITY);
	assert_int_equal(p.options.oom_score_adj, -500);
	parsed_finish(&p);
}

static void namespaces_and_security(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "--network", "blue", "--pid", "container:web", "--ipc", "host", "--uts",
	      "ns:/proc/1/ns/uts", "--security-opt", "no-new-privileges=false", "--security-opt",
	      "mask=/a:/b");
	assert_int_equal(p.options.network.kind, RUN_NS_NAMED);
	assert_string_equal(p.options.network.value, "blue");
	assert_int_equal(p.options.pid.kind, RUN_NS_CONTAINER);
	assert_string_equal(p.options.pid.value, "web");
	assert_int_equal(p.options.ipc.kind, RUN_NS_HOST);
	assert_string_equal(p.options.uts.value, "/proc/1/ns/uts");
	assert_true(p.options.new_privileges);
	assert_int_equal(p.options.mask.count, 2);
	parsed_finish(&p);
	PARSE(&p, "--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL",
	      "--add-host", "db:10.0.0.2", "--uidmap", "0:100000:65536");
	assert_string_equal(p.options.seccomp, "unconfined");
	assert_true(p.options.unmask_all);
	assert_string_equal(p.options.hosts.items[0], "10.0.0.2 db");
	assert_int_equal(p.options.uid_maps[0].size, 65536);
	parsed_finish(&p);
}

static void words_of_the_process(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "--entrypoint", "[\"a b\",\"c\"]", "--stop-signal", "SIGUSR1", "--stop-timeout", "-1",
	      "--timeout", "3", "-l", "x", "--pull", "never");
	assert_int_equal(p.options.entrypoint.count, 2);
	assert_string_equal(p.options.entrypoint.items[0], "a b");
	assert_int_equal(p.options.stop_signal, SIGUSR1);
	assert_int_equal(p.options.stop_timeout_ms, -1);
	assert_int_equal(p.options.timeout_ms, 3000);
	assert_string_equal(p.options.labels.items[0], "x=");
	assert_int_equal(p.options.pull, RUN_PULL_NEVER);
	parsed_finish(&p);
	PARSE(&p, "--entrypoint", "", "--stop-signal", "rtmin+2");
	assert_true(p.options.has_entrypoint);
	assert_int_equal(p.options.entrypoint.count, 0);
	assert_int_equal(p.options.stop_signal, SIGRTMIN + 2);
	parsed_finish(&p);
}

/* A flag, a value that is wrong, and a piece of the sentence. */
static const char *const refused[][3] = {
	{"--name", "-x", "--name does not take '-x'"},
	{"--name", "a/b", "letter or digit first"},
	{"--pull", "often", "always, missing, newer or never"},
	{"--stop-signal", "FOO", "a signal such as TERM or 15"},
	{"--stop-signal", "0", "a signal such as"},
	{"--stop-timeout", "soon", "--stop-timeout does not take 'soon'"},
	{"--timeout", "-1", "it wants seconds"},
	{"--entrypoint", "[1]", "a JSON array of strings"},
	{"--entrypoint", "[\"a\"", "a JSON array of strings"},
	{"--workdir", "tmp", "an absolute path"},
	{"--env", "=x", "--env does not take '=x'"},
	{"--env-file", "/nonexistent/file", "No such file or directory"},
	{"--label", "=x", "KEY=VALUE"},
	{"--annotation", "x", "KEY=VALUE"},
	{"--sysctl", "x", "--sysctl does not take 'x'"},
	{"--volume", "da ta:/x", "neither a path, with a slash in it, nor the name of a volume"},
	{"--volume", ".data:/x", "nor the name of a volume"},
	{"--volume", ":/x", "[SOURCE:]DIR"},
	{"--volume", "x", "absolute path"},
	{"--volume", "data:/x:suid,nosuid", "exclude each other"},
	{"--mount", "type=bind,source=data,target=/x", "type=volume"},
	{"--mount", "type=volume,source=a/b,target=/x", "nor the name of a volume"},
	{"--mount", "type=volume,source=data", "lacks target="},
	{"--image-volume", "disk", "anonymous (or bind), tmpfs or ignore"},
	{"--volume", "/tmp:x", "absolute path below /"},
	{"--volume", "/tmp:/", "absolute path below /"},
	{"--volume", "/tmp:/x:fast", "does not take the option 'fast'"},
	{"--volume", "/nonexistent/dir:/x", "No such file or directory"},
	{"--mount", "type=image,target=/x", "bind, volume, tmpfs, ramfs or devpts"},
	{"--mount", "type=bind,target=/x", "lacks source="},
	{"--mount", "type=tmpfs", "lacks target="},
	{"--mount", "type=tmpfs,dst=/x,color=red", "does not take the option 'color=red'"},
	{"--tmpfs", "x", "absolute path below /"},
	{"--tmpfs", "/x:huge", "does not take the option 'huge'"},
	{"--shm-size", "big", "a size such as"},
	{"--device", "null", "a CDI name"},
	{"--device", "/dev/null:x:y:z", "does not take"},
	{"--device", "/dev/nothing-here", "No such file or directory"},
	{"--device", "/tmp", "is not a device"},
	{"--publish", "x", "[[IP:]PORT:]PORT"},
	{"--publish", "1-3:1-2", "[[IP:]PORT:]PORT"},
	{"--publish", "80/icmp", "[[IP:]PORT:]PORT"},
	{"--publish", "1.2.3:80:80", "[[IP:]PORT:]PORT"},
	{"--publish", "65536:80", "[[IP:]PORT:]PORT"},
	{"--add-host", "x", "NAME:IP"},
	{"--add-host", "x:y", "NAME:IP"},
	{"--pid", "none", "private, host, container:NAME or ns:PATH"},
	{"--pid", "ns:relative", "container:NAME or ns:PATH"},
	{"--network", "container:", "the name of a CNI network"},
	{"--uidmap", "0", "IN:OUT:SIZE"},
	{"--gidmap", "0:1:0", "--gidmap does not take"},
	{"--gidmap", "0:1:2:3", "IN:OUT:SIZE"},
	{"--security-opt", "magic", "--security-opt does not take 'magic'"},
	{"--security-opt", "seccomp=", "a name behind the '='"},
	{"--security-opt", "mask=x", "absolute paths"},
	{"--memory", "lots", "a size such as 512m"},
	{"--memory-swap", "1g", "--memory only"},
	{"--cpus", "0", "a number of processors"},
	{"--cpus", "1m", "a number of processors"},
	{"--cpu-shares", "1", "from 2 to 262144"},
	{"--cpuset-cpus", "one", "it wants processors"},
	{"--pids-limit", "-2", "from -1 to"},
	{"--oom-score-adj", "1001", "from -1000 to 1000"},
	{"--ulimit", "nofile", "NAME=SOFT[:HARD]"},
	{"--ulimit", "files=1", "NAME=SOFT[:HARD]"},
	{"--ulimit", "nofile=2:1", "above the hard one"},
	{"--preserve-fds", "x", "a whole number"},
};

static void bad_values_are_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct parsed p;
		char *words[] = {strdup(refused[i][0]), strdup(refused[i][1]), NULL};
		int r = parse(&p, words);
		if (r != -EINVAL && r != -ENOENT)
			fail_msg("%s %s: %d", refused[i][0], refused[i][1], r);
		if (!strstr(err_text(&p.err), refused[i][2]))
			fail_msg("%s %s: '%s' lacks '%s'", refused[i][0], refused[i][1],
				 err_text(&p.err), refused[i][2]);
		assert_null(strchr(err_text(&p.err), '\n'));
		parsed_finish(&p);
		free(words[0]);
		free(words[1]);
	}
}

static void many_values_are_taken(void **state)
{
	enum { MANY = 10000 };
	struct opt table[RUN_FLAGS + 1] = {0};
	struct parsed p = {0};
	static char word[] = "-eA=1";
	char **argv = calloc(MANY + 2, sizeof(*argv));
	(void)state;
	assert_non_null(argv);
	for (size_t i = 0; i <= MANY; i++)
		argv[i] = word;
	run_flags_options(&p.flags, table);
	const struct opt *const tables[] = {table, NULL};
	assert_int_equal(opt_parse(tables, MANY + 1, argv, true, &p.first, &p.err), 0);
	assert_int_equal(run_options_make(&p.flags, environment, &p.options, &p.err), 0);
	assert_int_equal(p.options.env.count, MANY);
	parsed_finish(&p);
	free(argv);
}

static void profile_options_fit_each_other(void **state)
{
	struct err err = {0};
	struct run_options options = {0};
	struct run_flags flags = {.profile = {.off = true, .quiet_ms = 5}};
	(void)state;
	assert_err(run_options_make(&flags, environment, &options, &err), -EINVAL, &err,
		   "--no-profile records nothing");
	flags.profile.quiet_ms = 0;
	assert_ok(run_options_make(&flags, environment, &options, &err), &err);
	run_options_finish(&options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(profile_options_fit_each_other),
		cmocka_unit_test_teardown(flags_stop_at_the_image, free_kept),
		cmocka_unit_test_teardown(environment_is_passed_on, free_kept),
		cmocka_unit_test_teardown(environment_files_come_first, free_kept),
		cmocka_unit_test_teardown(volumes_and_mounts, free_kept),
		cmocka_unit_test_teardown(volumes, free_kept),
		cmocka_unit_test_teardown(devices, free_kept),
		cmocka_unit_test_teardown(ports, free_kept),
		cmocka_unit_test_teardown(resources, free_kept),
		cmocka_unit_test_teardown(namespaces_and_security, free_kept),
		cmocka_unit_test_teardown(words_of_the_process, free_kept),
		cmocka_unit_test(bad_values_are_named),
		cmocka_unit_test(many_values_are_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
