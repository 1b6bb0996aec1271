/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/unit/unit.h"

#define PEM "-----BEGIN CERTIFICATE-----\n"

struct fixture {
	char root[32];
	char hosts_dir[64], certs_dir[64];
	struct hosts *hosts;
};

static void put(const char *parent, const char *dir, const char *name, const char *text)
{
	struct err err = {0};
	AUTO_FREE char *path = NULL;
	assert_true(asprintf(&path, "%s/%s", parent, dir) > 0);
	assert_ok(dir_make(path, 0700, &err), &err);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(file_commit(fd, name, text, strlen(text), COMMIT_REPLACE, &err), &err);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err = {0};
	assert_non_null(f);
	(void)strcpy(f->root, "/tmp/sluice-hosts-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	(void)snprintf(f->hosts_dir, sizeof(f->hosts_dir), "%s/hosts", f->root);
	(void)snprintf(f->certs_dir, sizeof(f->certs_dir), "%s/certs", f->root);
	const char *const hosts_dirs[] = {"/nonexistent", f->hosts_dir, NULL};
	const char *const certs_dirs[] = {f->certs_dir, NULL};
	struct hosts_config config = {.hosts_dirs = hosts_dirs, .certs_dirs = certs_dirs};
	assert_ok(hosts_create(&config, &f->hosts, &err), &err);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	hosts_destroy(f->hosts);
	assert_ok(tree_remove(AT_FDCWD, f->root, &err), &err);
	free(f);
	return 0;
}

static void test_defaults(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *host, *url;
	} cases[] = {
		{"docker.io", "https://registry-1.docker.io/v2"},
		{"quay.io", "https://quay.io/v2"},
		{"h:5000", "https://h:5000/v2"},
		{"localhost", "http://localhost/v2"},
		{"localhost:5000", "http://localhost:5000/v2"},
		{"localhost:443", "https://localhost:443/v2"},
		{"127.9.0.1:5000", "http://127.9.0.1:5000/v2"},
		{"[::1]:5000", "http://[::1]:5000/v2"},
		{"notlocalhost:5000", "https://notlocalhost:5000/v2"},
		{"127.0.0.1.evil.io:80", "https://127.0.0.1.evil.io:80/v2"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		AUTO_FINISH(endpoints) struct endpoints list = {0};
		assert_ok(hosts_resolve(f->hosts, cases[i].host, &list, &err), &err);
		assert_int_equal(list.count, 1);
		assert_string_equal(list.items[0].url_base, cases[i].url);
		assert_true(list.items[0].is_upstream && list.items[0].pull && list.items[0].push);
		assert_null(list.items[0].ns);
	}
}

static void test_plain_http(void **state)
{
	(void)state;
	struct err err = {0};
	AUTO(hosts) struct hosts *hosts = NULL;
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	struct hosts_config config = {.plain_http = true};
	assert_ok(hosts_create(&config, &hosts, &err), &err);
	assert_ok(hosts_resolve(hosts, "h:5000", &list, &err), &err);
	assert_string_equal(list.items[0].url_base, "http://h:5000/v2");
}

static void test_toml(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	put(f->hosts_dir, "docker.io", "a.pem", PEM "a");
	put(f->hosts_dir, "docker.io", "b.pem", PEM "b");
	put(f->hosts_dir, "docker.io", "hosts.toml",
	    "server = \"https://docker.io\"\n"
	    "[host.\"https://m.io:5000/cache/\"]\ncapabilities=[\"pull\",\"resolve\"]\n"
	    "ca=[\"a.pem\",\"b.pem\"]\nclient=[[\"c.pem\",\"/k.pem\"]]\nskip_verify=true\n"
	    "dial_timeout=\"250ms\"\n[host.\"https://m.io:5000/cache/\".header]\nx-a=\"1\"\nx-b=[\"2\",\"3\"]\n"
	    "[host.\"http://o.io/x\"]\noverride_path=true\n"
	    "[host.\"localhost:5000\"]\n[host.\"https://p.io/v2\"]\n");
	assert_ok(hosts_resolve(f->hosts, "docker.io", &list, &err), &err);
	assert_int_equal(list.count, 5);
	const struct endpoint *m = &list.items[0];
	assert_string_equal(m->url_base, "https://m.io:5000/cache/v2");
	assert_true(m->pull && m->resolve && !m->push && m->skip_verify && !m->is_upstream);
	assert_string_equal(m->ca_pem, PEM "a\n" PEM "b");
	assert_non_null(strstr(m->client_cert, "/hosts/docker.io/c.pem"));
	assert_string_equal(m->client_key, "/k.pem");
	assert_int_equal(m->dial_timeout_ms, 250);
	assert_string_equal(m->ns, "docker.io");
	assert_string_equal(m->headers[0], "x-a: 1");
	assert_string_equal(m->headers[2], "x-b: 3");
	assert_null(m->headers[3]);
	assert_string_equal(list.items[1].url_base, "http://o.io/x");
	assert_string_equal(list.items[2].url_base, "http://localhost:5000/v2");
	assert_string_equal(list.items[3].url_base, "https://p.io/v2");
	assert_string_equal(list.items[4].url_base, "https://registry-1.docker.io/v2");
	assert_true(list.items[4].is_upstream);
	assert_null(list.items[4].ns);
}

static void test_directory_order(void **state)
{
	struct fixture *f = *state;
	static const char *const dirs[] = {"_default", "h:5000", "h_5000_"};
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		struct err err = {0};
		AUTO_FINISH(endpoints) struct endpoints list = {0};
		AUTO_FREE char *toml = NULL;
		assert_true(asprintf(&toml, "[host.\"https://m%zu\"]", i) > 0);
		put(f->hosts_dir, dirs[i], "hosts.toml", toml);
		assert_ok(hosts_resolve(f->hosts, "h:5000", &list, &err), &err);
		assert_int_equal(list.count, 2);
		assert_int_equal(list.items[0].url_base[strlen("https://m")], '0' + (int)i);
		assert_string_equal(list.items[1].url_base, "https://h:5000/v2");
	}
}

static void test_certs(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	put(f->certs_dir, "localhost:5000", "a.crt", PEM "a");
	put(f->certs_dir, "localhost:5000", "b.crt", PEM "b");
	put(f->certs_dir, "localhost:5000", "x.cert", PEM);
	put(f->certs_dir, "localhost:5000", "x.key", PEM);
	assert_ok(hosts_resolve(f->hosts, "localhost:5000", &list, &err), &err);
	/* Certificates are there to be used: no plain http. */
	assert_string_equal(list.items[0].url_base, "https://localhost:5000/v2");
	assert_string_equal(list.items[0].ca_pem, PEM "a\n" PEM "b");
	assert_non_null(strstr(list.items[0].client_cert, "localhost:5000/x.cert"));
	assert_non_null(strstr(list.items[0].client_key, "localhost:5000/x.key"));
	put(f->certs_dir, "q.io", "y.cert", PEM);
	endpoints_finish(&list);
	assert_err(hosts_resolve(f->hosts, "q.io", &list, &err), -ENOENT, &err, "y.key is missing");
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *toml, *words;
	} bad[] = {
		{"server = ", "line 1: a value is expected"},
		{"server = 5", "\"server\" is not a string"},
		{"[host]\nx=1", "host \"x\" is not a table"},
		{"[host.\"ftp://x\"]", "'ftp://x' is not the URL"},
		{"[host.\"https://u@x\"]", "is not the URL"},
		{"[host.\"https://\"]", "is not the URL"},
		{"[host.x]\ncapabilities=[\"fly\"]", "'fly', which is none of pull"},
		{"[host.x]\nca=\"hosts.toml\"", "hosts.toml holds no PEM certificate"},
		{"[host.x]\nclient=[[]]", "not [certificate, key]"},
		{"[host.x]\nclient=[[\"\",\"k\"]]", "a key without a certificate"},
		{"[host.x]\ndial_timeout=\"soon\"", "not a time: 'soon'"},
		{"[host.x]\nskip_verify=1", "\"skip_verify\" is not true or false"},
		{"[host.x.header]\n\"a b\"=\"1\"", "not the name of a header"},
		{"[host.x.header]\na=\"1\\nb: 2\"", "holds a control character"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct endpoints list = {0};
		put(f->hosts_dir, "r.io", "hosts.toml", bad[i].toml);
		assert_err(hosts_resolve(f->hosts, "r.io", &list, &err), -EINVAL, &err, bad[i].words);
		assert_non_null(strstr(err_text(&err), "r.io/hosts.toml"));
		assert_int_equal(list.count, 0);
	}
	struct err err = {0};
	struct endpoints list = {0};
	put(f->hosts_dir, "r.io", "hosts.toml", "[host.x]\nca=\"gone.pem\"");
	assert_err(hosts_resolve(f->hosts, "r.io", &list, &err), -ENOENT, &err, "open gone.pem");
	assert_err(hosts_resolve(f->hosts, "../x", &list, &err), -EINVAL, &err, "not the host");
	assert_err(hosts_resolve(f->hosts, "", &list, &err), -EINVAL, &err, "not the host");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test(test_plain_http),
		cmocka_unit_test_setup_teardown(test_toml, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_certs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
