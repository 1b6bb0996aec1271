/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cni.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/unit/unit.h"

/*
 * Plugins that are scripts: each appends what it was told to `told`, and says what
 * is in the file say.TYPE.COMMAND, or fails with what is in fail.TYPE.COMMAND.
 */
struct rig {
	char root[32];
	char told[64];
	char plugins[48];
	const char *dirs[3];
	int fd;
};

static void put(const struct rig *rig, const char *name, mode_t mode, const char *text)
{
	struct err err = {0};
	assert_ok(file_commit(rig->fd, name, text, strlen(text), COMMIT_REPLACE, &err), &err);
	assert_int_equal(fchmodat(rig->fd, name, mode, 0), 0);
}

static void put_plugin(const struct rig *rig, const char *type)
{
	AUTO_FINISH(buf) struct buf text = buf_make(4096);
	char name[64];
	assert_int_equal(
		buf_printf(&text,
			   "#!/bin/sh\n"
			   "t=%s; d=%s; c=$CNI_COMMAND\n"
			   "read -r told\n"
			   "echo \"$t $c $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $told\" >>$d/told\n"
			   "echo \"$CNI_PATH $PATH\" >$d/paths\n"
			   "[ -e $d/hang.$t.$c ] && exec sleep 100\n"
			   "[ -e $d/quiet.$t.$c ] && echo 'no such luck' >&2 && exit 3\n"
			   "[ -e $d/fail.$t.$c ] && cat $d/fail.$t.$c && exit 1\n"
			   "[ -e $d/say.$t.$c ] && cat $d/say.$t.$c\n"
			   "exit 0\n",
			   type, rig->root),
		0);
	(void)snprintf(name, sizeof(name), "plugins/%s", type);
	put(rig, "script", 0755, buf_str(&text));
	assert_int_equal(renameat(rig->fd, "script", rig->fd, name), 0);
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	assert_non_null(rig);
	(void)snprintf(rig->root, sizeof(rig->root), "/tmp/cni.XXXXXX");
	assert_non_null(mkdtemp(rig->root));
	(void)snprintf(rig->told, sizeof(rig->told), "%s/told", rig->root);
	(void)snprintf(rig->plugins, sizeof(rig->plugins), "%s/plugins", rig->root);
	assert_int_equal(mkdir(rig->plugins, 0755), 0);
	rig->fd = open(rig->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->fd >= 0);
	rig->dirs[0] = "/nowhere/at/all";
	rig->dirs[1] = rig->plugins;
	put_plugin(rig, "one");
	put_plugin(rig, "two");
	put(rig, "say.one.ADD", 0644, "{\"cniVersion\":\"1.0.0\",\"mark\":1}");
	put(rig, "say.two.ADD", 0644,
	    "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br0\",\"mac\":\"m\"},"
	    "{\"name\":\"eth0\",\"sandbox\":\"/ns\"}],\"ips\":[{\"address\":\"10.1.0.1/16\","
	    "\"interface\":0},{\"address\":\"10.1.0.5/16\",\"gateway\":\"10.1.0.1\","
	    "\"interface\":1}],\"dns\":{\"nameservers\":[\"9.9.9.9\"],\"search\":[\"a\",\"b\"],"
	    "\"domain\":\"d\"}}");
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	(void)close(rig->fd);
	assert_int_equal(tree_remove(AT_FDCWD, rig->root, NULL), 0);
	free(rig);
	return 0;
}

static void check_told(const struct rig *rig, const char *want)
{
	AUTO_FINISH(buf) struct buf got = buf_make(65536);
	struct err err = {0};
	int r = file_slurp(rig->fd, "told", &got, &err);
	if (r != -ENOENT)
		assert_ok(r, &err);
	assert_string_equal(buf_str(&got), want);
	(void)unlinkat(rig->fd, "told", 0);
}

#define LIST \
	"{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":[{\"type\":\"one\",\"x\":[1]}," \
	"{\"type\":\"two\",\"capabilities\":{\"portMappings\":true,\"dns\":false}}]}"
#define SAID_TWO \
	"{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br0\",\"mac\":\"m\"}," \
	"{\"name\":\"eth0\",\"sandbox\":\"/ns\"}],\"ips\":[{\"address\":\"10.1.0.1/16\"," \
	"\"interface\":0},{\"address\":\"10.1.0.5/16\",\"gateway\":\"10.1.0.1\"," \
	"\"interface\":1}],\"dns\":{\"nameservers\":[\"9.9.9.9\"],\"search\":[\"a\",\"b\"]," \
	"\"domain\":\"d\"}}"
#define ONE   "{\"type\":\"one\",\"x\":[1],\"cniVersion\":\"1.0.0\",\"name\":\"net\""
#define TWO   "{\"type\":\"two\",\"cniVersion\":\"1.0.0\",\"name\":\"net\""
#define PORTS \
	",\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80," \
	"\"protocol\":\"tcp\",\"hostIP\":\"127.0.0.1\"},{\"hostPort\":53,\"containerPort\":53," \
	"\"protocol\":\"udp\"}]}"

static const struct cni_port ports[] = {
	{.host_ip = "127.0.0.1", .host = 8080, .container = 80, .protocol = "tcp"},
	{.host = 53, .container = 53, .protocol = "udp"},
};

static int attach_list(struct rig *rig, const char *list, size_t n_ports, deadline_t deadline,
		       struct cni_result *ret, struct err *err)
{
	AUTO(cni_network) struct cni_network *network = NULL;
	assert_ok(cni_network_parse(list, strlen(list), false, "/f", &network, err), err);
	struct cni_attachment attachment = {
		.network = network,
		.plugin_dirs = rig->dirs,
		.path = "/usr/bin:/bin",
		.container_id = "c1",
		.netns = "/ns",
		.ifname = "eth0",
		.ports = ports,
		.n_ports = n_ports,
	};
	return cni_attach(rig->fd, &attachment, deadline, NULL, ret, err);
}

static int attach(struct rig *rig, struct err *err)
{
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	return attach_list(rig, LIST, 0, 0, &result, err);
}

/* ---- the way of a connection ---- */

static void test_chain(void **state)
{
	struct rig *rig = *state;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	AUTO_FINISH(buf) struct buf paths = buf_make(4096);
	struct err err = {0};
	char want[128];
	assert_ok(attach_list(rig, LIST, 2, 0, &result, &err), &err);
	check_told(rig, "one ADD c1 /ns eth0 " ONE "}\n"
			"two ADD c1 /ns eth0 " TWO PORTS
			",\"prevResult\":{\"cniVersion\":\"1.0.0\",\"mark\":1}}\n");
	assert_int_equal(result.n_interfaces, 2);
	assert_string_equal(result.interfaces[0].mac, "m");
	assert_null(result.interfaces[0].sandbox);
	/* The host's end of it is none of the container's. */
	assert_int_equal(result.n_addresses, 1);
	assert_string_equal(result.addresses[0].cidr, "10.1.0.5/16");
	assert_string_equal(result.addresses[0].gateway, "10.1.0.1");
	assert_string_equal(result.nameservers[0], "9.9.9.9");
	assert_null(result.nameservers[1]);
	assert_string_equal(result.searches[1], "b");
	assert_null(result.options);
	assert_string_equal(result.domain, "d");
	assert_ok(file_slurp(rig->fd, "paths", &paths, &err), &err);
	(void)snprintf(want, sizeof(want), "/nowhere/at/all:%s /usr/bin:/bin\n", rig->plugins);
	assert_string_equal(buf_str(&paths), want);

	assert_err(attach(rig, &err), -EEXIST, &err, "connected to a network already");
	check_told(rig, "");

	assert_ok(cni_check(rig->fd, 0, NULL, &err), &err);
	check_told(rig, "one CHECK c1 /ns eth0 " ONE ",\"prevResult\":" SAID_TWO "}\n"
			"two CHECK c1 /ns eth0 " TWO PORTS ",\"prevResult\":" SAID_TWO "}\n");

	/* The last one first; the namespace is gone (it never was one). */
	assert_ok(cni_detach(rig->fd, 0, NULL, &err), &err);
	check_told(rig, "two DEL c1  eth0 " TWO PORTS ",\"prevResult\":" SAID_TWO "}\n"
			"one DEL c1  eth0 " ONE ",\"prevResult\":" SAID_TWO "}\n");
	assert_int_equal(faccessat(rig->fd, CNI_RECORD, F_OK, 0), -1);
	assert_ok(cni_detach(rig->fd, 0, NULL, &err), &err);
	check_told(rig, "");
	assert_err(cni_check(rig->fd, 0, NULL, &err), -ENOENT, &err, CNI_RECORD);
}

static void test_namespace(void **state)
{
	struct rig *rig = *state;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	AUTO(cni_network) struct cni_network *network = NULL;
	AUTO_FINISH(buf) struct buf told = buf_make(65536);
	struct err err = {0};
	assert_ok(cni_network_parse(LIST, strlen(LIST), false, "/f", &network, &err), &err);
	struct cni_attachment attachment = {.network = network, .plugin_dirs = rig->dirs,
					    .path = "/bin", .container_id = "c1",
					    .netns = "/proc/self/ns/net", .ifname = "eth0"};
	assert_ok(cni_attach(rig->fd, &attachment, 0, NULL, &result, &err), &err);
	(void)unlinkat(rig->fd, "told", 0);
	assert_ok(cni_detach(rig->fd, 0, NULL, &err), &err);
	assert_ok(file_slurp(rig->fd, "told", &told, &err), &err);
	assert_non_null(strstr(buf_str(&told), "two DEL c1 /proc/self/ns/net eth0 "));
}

/* Before 0.4.0 nobody is told of the result again, nor asked. */
static void test_old_version(void **state)
{
	struct rig *rig = *state;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	struct err err = {0};
	put(rig, "say.one.ADD", 0644, "{\"cniVersion\":\"0.3.1\"}");
	assert_ok(attach_list(rig, "{\"cniVersion\":\"0.3.1\",\"name\":\"net\",\"plugins\":["
				   "{\"type\":\"one\"}]}", 0, 0, &result, &err), &err);
	assert_ok(cni_check(rig->fd, 0, NULL, &err), &err);
	assert_ok(cni_detach(rig->fd, 0, NULL, &err), &err);
	check_told(rig, "one ADD c1 /ns eth0 {\"type\":\"one\",\"cniVersion\":\"0.3.1\",\"name\":"
			"\"net\"}\none DEL c1  eth0 {\"type\":\"one\",\"cniVersion\":\"0.3.1\","
			"\"name\":\"net\"}\n");
}

/* ---- failure ---- */

#define UNDONE \
	"one ADD c1 /ns eth0 " ONE "}\n" \
	"two ADD c1 /ns eth0 " TWO ",\"prevResult\":{\"cniVersion\":\"1.0.0\",\"mark\":1}}\n" \
	"two DEL c1  eth0 " TWO "}\n" \
	"one DEL c1  eth0 " ONE "}\n"

static void test_failed_add(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	put(rig, "fail.two.ADD", 0644, "{\"code\":11,\"msg\":\"no room\",\"details\":\"at all\"}");
	assert_err(attach(rig, &err), -EIO, &err,
		   "network net: ADD by the plugin two: no room: at all");
	check_told(rig, UNDONE);
	assert_int_equal(faccessat(rig->fd, CNI_RECORD, F_OK, 0), -1);
}

static void test_words_of_failure(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	put(rig, "fail.two.ADD", 0644, "{\"code\":11,\"msg\":\"no room\"}");
	assert_err(attach(rig, &err), -EIO, &err, "plugin two: no room");
	put(rig, "fail.two.ADD", 0644, "");
	assert_err(attach(rig, &err), -EIO, &err,
		   "plugin two: it ended with 1 and without a word");
	put(rig, "quiet.two.ADD", 0644, "");
	assert_err(attach(rig, &err), -EIO, &err, "plugin two: no such luck");
}

/* What could not be undone can be undone later. */
static void test_failed_undo(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	put(rig, "fail.two.ADD", 0644, "{\"msg\":\"no room\"}");
	put(rig, "fail.two.DEL", 0644, "{\"msg\":\"not now\"}");
	assert_err(attach(rig, &err), -EIO, &err,
		   "network net: ADD by the plugin two: no room; and undoing it failed: network "
		   "net: DEL by the plugin two: not now");
	assert_int_equal(faccessat(rig->fd, CNI_RECORD, F_OK, 0), 0);
	assert_err(cni_check(rig->fd, 0, NULL, &err), -ENOENT, &err, "was never connected");
	assert_err(cni_detach(rig->fd, 0, NULL, &err), -EIO, &err,
		   "network net: DEL by the plugin two: not now");
	(void)unlinkat(rig->fd, "told", 0);
	(void)unlinkat(rig->fd, "fail.two.DEL", 0);
	assert_ok(cni_detach(rig->fd, 0, NULL, &err), &err);
	check_told(rig, "two DEL c1  eth0 " TWO "}\none DEL c1  eth0 " ONE "}\n");
	assert_int_equal(faccessat(rig->fd, CNI_RECORD, F_OK, 0), -1);
}

static void test_forget(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	assert_ok(attach(rig, &err), &err);
	(void)unlinkat(rig->fd, "told", 0);
	assert_ok(cni_forget(rig->fd, &err), &err);
	assert_ok(cni_forget(rig->fd, &err), &err);
	assert_ok(cni_detach(rig->fd, 0, NULL, &err), &err);
	check_told(rig, "");
}

static void test_failed_check(void **state)
{
	struct rig *rig = *state;
	struct err err = {0};
	assert_ok(attach(rig, &err), &err);
	put(rig, "fail.one.CHECK", 0644, "{\"msg\":\"it is gone\"}");
	assert_err(cni_check(rig->fd, 0, NULL, &err), -EIO, &err,
		   "network net: CHECK by the plugin one: it is gone");
}

static void test_bad_results(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *said, *words;
	} cases[] = {
		{"", "network net: ADD by the plugin two: its result is not valid JSON"},
		{"[]", "its result is not a JSON object"},
		{"{\"cniVersion\":\"2.0.0\"}", "is no result: its cniVersion is 2.0.0"},
		{"{\"interfaces\":[{}]}", "is no result: \"name\" is missing"},
		{"{\"ips\":[{\"address\":1}]}", "\"address\" is not a string"},
		{"{\"ips\":[{\"address\":\"1.2.3.4/8\",\"interface\":0}]}", "there is no interface 0"},
		{"{\"dns\":{\"nameservers\":[1]}}", "\"nameservers\" has what is no string"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		put(rig, "say.two.ADD", 0644, cases[i].said);
		assert_err(attach(rig, &err), -EINVAL, &err, cases[i].words);
		check_told(rig, UNDONE);
	}
}

static void test_no_plugin(void **state)
{
	struct rig *rig = *state;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	struct err err = {0};
	char want[128];
	static const char list[] = "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":["
				   "{\"type\":\"one\"},{\"type\":\"three\"}]}";
	(void)snprintf(want, sizeof(want), "the plugin three is not in /nowhere/at/all nor in %s",
		       rig->plugins);
	assert_err(attach_list(rig, list, 0, 0, &result, &err), -ENOENT, &err, want);
	assert_err(attach_list(rig, list, 1, 0, &result, &err), -ENOTSUP, &err,
		   "the network net cannot publish ports: none of its plugins takes portMappings");
	/* Nothing was done that would have to be undone. */
	check_told(rig, "");
	assert_int_equal(faccessat(rig->fd, CNI_RECORD, F_OK, 0), -1);
}

static void test_deadline(void **state)
{
	struct rig *rig = *state;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	struct err err = {0};
	put(rig, "hang.one.ADD", 0644, "");
	assert_err(attach_list(rig, LIST, 0, deadline_in_ms(200), &result, &err), -ETIMEDOUT, &err,
		   "network net: ADD by the plugin one: ");
	/* Undone all the same. */
	assert_int_equal(faccessat(rig->fd, CNI_RECORD, F_OK, 0), -1);
}

static void test_bad_attachment(void **state)
{
	struct rig *rig = *state;
	AUTO(cni_network) struct cni_network *network = NULL;
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	struct err err = {0};
	static const char *const colon[] = {"/a:b", NULL};
	assert_ok(cni_network_parse(LIST, strlen(LIST), false, "/f", &network, &err), &err);
	struct cni_attachment good = {.network = network, .plugin_dirs = rig->dirs,
				      .container_id = "c1", .netns = "/ns", .ifname = "eth0"};
	struct cni_attachment a = good;
	a.container_id = "-c";
	assert_err(cni_attach(rig->fd, &a, 0, NULL, &result, &err), -EINVAL, &err,
		   "\"-c\" is not a container's id");
	a.container_id = "";
	assert_err(cni_attach(rig->fd, &a, 0, NULL, &result, &err), -EINVAL, &err, "id");
	a = good;
	a.ifname = "e/0";
	assert_err(cni_attach(rig->fd, &a, 0, NULL, &result, &err), -EINVAL, &err,
		   "\"e/0\" is not the name of a network interface");
	a = good;
	a.plugin_dirs = colon;
	assert_err(cni_attach(rig->fd, &a, 0, NULL, &result, &err), -EINVAL, &err,
		   "/a:b cannot be a directory of plugins");
	check_told(rig, "");
}

static void test_bad_record(void **state)
{
	struct rig *rig = *state;
	static const char *const texts[] = {
		"", "[]", "{}", "{\"network\":1}",
		("{\"network\":" LIST ",\"pluginDirs\":[1],\"runtimeConfig\":{},\"containerId\":\"c\","
		 "\"netns\":\"/n\",\"ifname\":\"e\"}"),
		("{\"network\":{},\"pluginDirs\":[],\"runtimeConfig\":{},\"containerId\":\"c\","
		 "\"netns\":\"/n\",\"ifname\":\"e\"}"),
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct err err = {0};
		put(rig, CNI_RECORD, 0644, texts[i]);
		assert_err(cni_detach(rig->fd, 0, NULL, &err), -EINVAL, &err, CNI_RECORD);
	}
	check_told(rig, "");
}

/* ---- configurations ---- */

static void test_networks(void **state)
{
	struct rig *rig = *state;
	AUTO(cni_network) struct cni_network *first = NULL;
	AUTO(cni_network) struct cni_network *named = NULL;
	AUTO(cni_network) struct cni_network *none = NULL;
	struct err err = {0};
	assert_err(cni_network_find("/nowhere/at/all", NULL, &none, &err), -ENOENT, &err,
		   "look for networks in /nowhere/at/all");
	assert_err(cni_network_find(rig->root, NULL, &none, &err), -ENOENT, &err,
		   "has no configuration of a network (*.conflist, *.conf, *.json)");
	put(rig, "10-a.conf", 0644,
	    "{\"cniVersion\":\"0.4.0\",\"name\":\"a\",\"type\":\"one\",\"k\":1}");
	put(rig, "20-b.conflist", 0644,
	    "{\"cniVersion\":\"1.1.0\",\"cniVersions\":[\"0.4.0\",\"1.0.0\",\"0.3.1\"],"
	    "\"name\":\"b\",\"disableCheck\":true,\"plugins\":[{\"type\":\"two\"}]}");
	put(rig, "30-c.json", 0644, "{");
	assert_ok(cni_network_find(rig->root, NULL, &first, &err), &err);
	assert_string_equal(cni_network_name(first), "a");
	assert_string_equal(cni_network_version(first), "0.4.0");
	assert_true(cni_network_can_check(first));
	assert_int_equal(json_array_size(cni_network_plugins(first)), 1);
	assert_ok(cni_network_find(rig->root, "b", &named, &err), &err);
	assert_string_equal(cni_network_version(named), "1.0.0");
	assert_false(cni_network_can_check(named));
	assert_err(cni_network_find(rig->root, "c", &none, &err), -ENOENT, &err,
		   "there is no network c in /tmp/cni.");
	assert_err(cni_network_find(rig->root, "c", &none, &err), -ENOENT, &err,
		   "; unusable there: /tmp/cni.");
	/* The default is not another one because its file is broken. */
	put(rig, "00-z.json", 0644, "{");
	assert_err(cni_network_find(rig->root, NULL, &none, &err), -EINVAL, &err,
		   "00-z.json is not valid JSON");
}

static void test_bad_networks(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"{", "/f is not valid JSON"},
		{"{\"plugins\":[]}", "/f: \"name\" is missing"},
		{"{\"name\":\"a b\",\"plugins\":[]}", "/f: \"a b\" is not the name of a network"},
		{"{\"name\":\"\",\"plugins\":[]}", "/f: \"\" is not the name of a network"},
		{"{\"name\":\"a\"}", "/f: \"plugins\" is missing"},
		{"{\"name\":\"a\",\"plugins\":[{\"type\":\"x\"}]}", "its cniVersion is not given, and"},
		{"{\"name\":\"a\",\"cniVersion\":\"0.2.0\",\"plugins\":[]}",
		 "its cniVersion is 0.2.0, and not from 0.3.0 to 1.0.0"},
		{"{\"name\":\"a\",\"cniVersion\":\"1.0.0\",\"plugins\":[]}",
		 "/f: it has 0 plugins, and not from 1 to 64"},
		{"{\"name\":\"a\",\"cniVersion\":\"1.0.0\",\"plugins\":[1]}",
		 "/f: plugin 0 is not an object"},
		{"{\"name\":\"a\",\"cniVersion\":\"1.0.0\",\"plugins\":[{}]}",
		 "/f: plugin 0: \"type\" is missing"},
		{"{\"name\":\"a\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"a/b\"}]}",
		 "/f: \"a/b\" cannot be a plugin's type"},
		{"{\"name\":\"a\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"..\"}]}",
		 "/f: \"..\" cannot be a plugin's type"},
		{"{\"name\":\"a\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"a\","
		 "\"capabilities\":[]}]}",
		 "/f: plugin 0: \"capabilities\" is not an object"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(cni_network) struct cni_network *network = NULL;
		struct err err = {0};
		assert_err(cni_network_parse(cases[i].text, strlen(cases[i].text), false, "/f",
					     &network, &err),
			   -EINVAL, &err, cases[i].words);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_chain),      TEST(test_namespace),	   TEST(test_old_version),
		TEST(test_failed_add), TEST(test_words_of_failure), TEST(test_failed_undo),
		TEST(test_failed_check), TEST(test_bad_results),   TEST(test_no_plugin),
		TEST(test_deadline),   TEST(test_bad_attachment),  TEST(test_bad_record),
		TEST(test_networks),   TEST(test_bad_networks),   TEST(test_forget),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
