/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/etc.h"

#include "tests/unit/rootkit.h"

static const char localhost[] = "127.0.0.1\tlocalhost\n"
				"::1\tlocalhost ip6-localhost ip6-loopback\n";

/* The host's file, in the kit's root like everything else. */
static const char *host_file(const struct rootkit *kit, const char *text,
			     char path[static ROOTKIT_PATH_MAX])
{
	rootkit_text(kit, "host.conf", text);
	rootkit_path(kit, "host.conf", path);
	return path;
}

static void check_file(const struct rootkit *kit, const char *name, const char *want)
{
	AUTO_FINISH(buf) struct buf text = buf_make(ETC_FILE_MAX);
	struct err err = {0};
	struct stat st;
	assert_ok(file_slurp(kit->fd, name, &text, &err), &err);
	assert_string_equal(buf_str(&text), want);
	assert_int_equal(fstatat(kit->fd, name, &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
}

static void test_plain(void **state)
{
	const struct rootkit *kit = *state;
	char path[ROOTKIT_PATH_MAX];
	const struct etc_words words = {
		.resolv_conf = host_file(kit, "# made by hand\n\nnameserver 127.0.0.53\r\n"
					      "  search  example.org lan \nnameserver 9.9.9.9",
					 path),
	};
	struct err err = {0};
	assert_ok(etc_write(kit->fd, &words, &err), &err);
	assert_ok(etc_write(kit->fd, &words, &err), &err);
	check_file(kit, "hostname", "");
	check_file(kit, "hosts", localhost);
	check_file(kit, "resolv.conf",
		   "nameserver 127.0.0.53\nsearch example.org lan\nnameserver 9.9.9.9\n");
}

static void test_words(void **state)
{
	const struct rootkit *kit = *state;
	static const char *const hosts[] = {"10.0.0.1 db", "fd00::1 v6.example", NULL};
	static const char *const dns[] = {"1.1.1.1", "fe80::1%eth0", NULL};
	static const char *const search[] = {"a.example", "b.example", NULL};
	static const char *const options[] = {"ndots:2", NULL};
	char path[ROOTKIT_PATH_MAX];
	const struct etc_words words = {
		.resolv_conf = host_file(kit, "nameserver 8.8.8.8\ndomain old\noptions trust-ad\n"
					      "sortlist 10.0.0.0\n", path),
		.hostname = "web-1",
		.address = "10.88.0.7",
		.hosts = hosts,
		.dns = dns,
		.dns_search = search,
		.dns_options = options,
	};
	AUTO_FINISH(buf) struct buf want = buf_make(1024);
	struct err err = {0};
	assert_ok(etc_write(kit->fd, &words, &err), &err);
	assert_int_equal(buf_printf(&want, "%s10.88.0.7\tweb-1\n10.0.0.1\tdb\nfd00::1\tv6.example\n",
				    localhost), 0);
	check_file(kit, "hostname", "web-1\n");
	check_file(kit, "hosts", buf_str(&want));
	check_file(kit, "resolv.conf",
		   "nameserver 1.1.1.1\nnameserver fe80::1%eth0\nsortlist 10.0.0.0\n"
		   "search a.example b.example\noptions ndots:2\n");
}

static void test_own_network(void **state)
{
	const struct rootkit *kit = *state;
	static const char *const none[] = {".", NULL};
	char path[ROOTKIT_PATH_MAX];
	const struct etc_words words = {
		.resolv_conf = host_file(kit, "nameserver 127.0.0.1\nnameserver ::1\n"
					      "nameserver 192.0.2.1\nsearch lan\n", path),
		.hostname = "c",
		.dns_search = none,
		.own_network = true,
	};
	AUTO_FINISH(buf) struct buf want = buf_make(1024);
	struct err err = {0};
	assert_ok(etc_write(kit->fd, &words, &err), &err);
	assert_int_equal(buf_printf(&want, "%s127.0.1.1\tc\n", localhost), 0);
	check_file(kit, "hosts", buf_str(&want));
	check_file(kit, "resolv.conf", "nameserver 192.0.2.1\n");
}

static void test_no_host_file(void **state)
{
	const struct rootkit *kit = *state;
	const struct etc_words words = {.resolv_conf = "/nonexistent/resolv.conf"};
	struct err err = {0};
	assert_ok(etc_write(kit->fd, &words, &err), &err);
	check_file(kit, "resolv.conf", "");
}

static void check_refused(const struct rootkit *kit, const struct etc_words *words,
			  const char *text)
{
	struct err err = {0};
	assert_err(etc_write(kit->fd, words, &err), -EINVAL, &err, text);
	assert_int_equal(faccessat(kit->fd, "hosts", F_OK, 0), -1);
}

static void test_refused(void **state)
{
	const struct rootkit *kit = *state;
	static const char *const no_address[] = {"db 10.0.0.1", NULL};
	static const char *const no_name[] = {"10.0.0.1 ", NULL};
	static const char *const two_lines[] = {"10.0.0.1 db\n6.6.6.6 bank", NULL};
	static const char *const dns[] = {"dns.example", NULL};
	static const char *const search[] = {"a b", NULL};
	static const char *const options[] = {"", NULL};
	check_refused(kit, &(struct etc_words){.hostname = "a b"}, "'a b' is no host's name");
	check_refused(kit, &(struct etc_words){.hostname = ""}, "'' is no host's name");
	check_refused(kit, &(struct etc_words){.hostname = "a", .address = "b"},
		      "'b' is no address");
	check_refused(kit, &(struct etc_words){.hosts = no_address},
		      "the host entry 'db 10.0.0.1' does not begin with an address");
	check_refused(kit, &(struct etc_words){.hosts = no_name},
		      "the host entry '10.0.0.1 ' has no host's name");
	check_refused(kit, &(struct etc_words){.hosts = two_lines}, "has no host's name");
	check_refused(kit, &(struct etc_words){.dns = dns},
		      "the DNS server 'dns.example' is no address");
	check_refused(kit, &(struct etc_words){.dns_search = search}, "'a b' is no domain");
	check_refused(kit, &(struct etc_words){.dns_options = options},
		      "'' is no option of resolv.conf");
}

static void test_mount(void **state)
{
	(void)state;
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	struct err err = {0};
	assert_non_null(config);
	struct oci_mount *own = oci_config_add_mounts(config);
	assert_non_null(own);
	assert_int_equal(oci_mount_set_destination(own, "/etc/hosts"), 0);
	assert_int_equal(oci_mount_set_source(own, "/mine"), 0);
	assert_ok(etc_mount("/store/c/1", config, &err), &err);
	assert_int_equal(config->n_mounts, 3);
	assert_string_equal(config->mounts[0]->source, "/mine");
	assert_string_equal(config->mounts[1]->destination, "/etc/hostname");
	assert_string_equal(config->mounts[1]->source, "/store/c/1/hostname");
	assert_string_equal(config->mounts[1]->type, "bind");
	assert_string_equal(config->mounts[1]->options[0], "bind");
	assert_string_equal(config->mounts[2]->destination, "/etc/resolv.conf");
}

#define WITH_ROOT(name) cmocka_unit_test_setup_teardown(name, rootkit_make, rootkit_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_plain),	      WITH_ROOT(test_words),   WITH_ROOT(test_own_network),
		WITH_ROOT(test_no_host_file), WITH_ROOT(test_refused), cmocka_unit_test(test_mount),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
