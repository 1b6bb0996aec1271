/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "fetcher/hosts_priv.h"
#include "fetcher/toml.h"

struct reader {
	int dirfd;
	const char *dir; /* the paths in it are relative to this */
	struct err *err;
};

static int get_capabilities(const json_t *table, struct endpoint *e, struct err *err)
{
	json_t *list = NULL;
	size_t i;
	const json_t *item;
	int r = json_get_array(table, "capabilities", JSON_MAY, &list, err);
	if (r < 0)
		return r;
	e->pull = e->resolve = e->push = !list;
	json_array_foreach(list, i, item) {
		const char *name = json_is_string(item) ? json_string_value(item) : "?";
		if (strcmp(name, "pull") == 0)
			e->pull = true;
		else if (strcmp(name, "resolve") == 0)
			e->resolve = true;
		else if (strcmp(name, "push") == 0)
			e->push = true;
		else if (strcmp(name, "referrers") != 0)
			return err_say(err, -EINVAL, "\"capabilities\" holds '%.40s', which is none "
				       "of pull, resolve, push", name);
	}
	return 0;
}

static int get_ca(const struct reader *in, const json_t *table, struct endpoint *e)
{
	const json_t *ca = json_object_get(table, "ca");
	size_t i;
	const json_t *item;
	if (!ca)
		return 0;
	if (json_is_string(ca))
		return endpoint_add_ca(e, in->dirfd, json_string_value(ca), in->err);
	if (!json_is_array(ca))
		return err_say(in->err, -EINVAL, "\"ca\" is neither a string nor an array");
	json_array_foreach(ca, i, item) {
		if (!json_is_string(item))
			return err_say(in->err, -EINVAL, "\"ca\" holds something that is not a string");
		int r = endpoint_add_ca(e, in->dirfd, json_string_value(item), in->err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_path(const struct reader *in, const json_t *file, char **ret)
{
	const char *name = json_string_value(file);
	if (!name)
		return err_say(in->err, -EINVAL, "\"client\" holds something that is not a string");
	if (name[0] == '\0')
		return 0;
	if (asprintf(ret, "%s%s%s", name[0] == '/' ? "" : in->dir, name[0] == '/' ? "" : "/",
		     name) < 0) {
		*ret = NULL;
		return err_set(in->err, -ENOMEM, "copy \"client\"");
	}
	return 0;
}

/* "cert", ["cert", …] or [["cert", "key"], …]: one certificate is used, the first. */
static int get_client(const struct reader *in, const json_t *table, struct endpoint *e)
{
	const json_t *client = json_object_get(table, "client");
	if (!client)
		return 0;
	if (json_is_array(client))
		client = json_array_get(client, 0);
	if (!json_is_array(client))
		return client ? set_path(in, client, &e->client_cert) : 0;
	if (json_array_size(client) < 1 || json_array_size(client) > 2)
		return err_say(in->err, -EINVAL, "an entry of \"client\" is not [certificate, key]");
	int r = set_path(in, json_array_get(client, 0), &e->client_cert);
	if (r == 0 && json_array_size(client) == 2)
		r = set_path(in, json_array_get(client, 1), &e->client_key);
	if (r == 0 && e->client_key && !e->client_cert)
		return err_say(in->err, -EINVAL, "an entry of \"client\" is a key without a certificate");
	return r;
}

static int add_header(struct endpoint *e, const char *name, const json_t *value, struct err *err)
{
	size_t n = 0;
	const char *text = json_string_value(value);
	if (!text)
		return err_say(err, -EINVAL, "header '%.100s' is not a string", name);
	/* A line end would make a header of its own. */
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == ':' || *c == 0x7f)
			return err_say(err, -EINVAL, "'%.100s' is not the name of a header", name);
	for (const char *c = text; *c; c++)
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
			return err_say(err, -EINVAL, "header '%.100s' holds a control character", name);
	while (e->headers && e->headers[n])
		n++;
	if (n >= HOSTS_HEADERS_MAX || name[0] == '\0')
		return err_say(err, -EINVAL, "more than %d headers, or one without a name",
			       HOSTS_HEADERS_MAX);
	char **headers = reallocarray(e->headers, n + 2, sizeof(*headers));
	if (!headers)
		return err_set(err, -ENOMEM, "copy \"header\"");
	e->headers = headers;
	headers[n + 1] = NULL;
	if (asprintf(&headers[n], "%s: %s", name, text) < 0) {
		headers[n] = NULL;
		return err_set(err, -ENOMEM, "copy \"header\"");
	}
	return 0;
}

static int get_headers(const json_t *table, struct endpoint *e, struct err *err)
{
	json_t *headers = NULL;
	const char *name;
	json_t *value;
	int r = json_get_object(table, "header", JSON_MAY, &headers, err);
	if (r < 0)
		return r;
	json_object_foreach(headers, name, value) {
		size_t i;
		const json_t *item;
		if (!json_is_array(value) && (r = add_header(e, name, value, err)) < 0)
			return r;
		json_array_foreach(value, i, item) {
			r = add_header(e, name, item, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int read_endpoint(const struct reader *in, const json_t *table, const char *url, bool plain,
			 struct endpoint *e)
{
	bool override_path = false;
	const char *timeout = NULL;
	int r;
	if ((r = json_get_bool(table, "override_path", JSON_MAY, &override_path, in->err)) < 0 ||
	    (r = json_get_bool(table, "skip_verify", JSON_MAY, &e->skip_verify, in->err)) < 0 ||
	    (r = json_get_str(table, "dial_timeout", JSON_MAY, &timeout, in->err)) < 0 ||
	    (r = endpoint_set_url(e, url, plain, override_path, in->err)) < 0 ||
	    (r = get_capabilities(table, e, in->err)) < 0 || (r = get_ca(in, table, e)) < 0 ||
	    (r = get_client(in, table, e)) < 0 || (r = get_headers(table, e, in->err)) < 0)
		return r;
	if (timeout && duration_parse(timeout, &e->dial_timeout_ms) < 0)
		return err_say(in->err, -EINVAL, "\"dial_timeout\" is not a time: '%.40s'", timeout);
	return 0;
}

static int read_hosts(const struct reader *in, const json_t *root, struct endpoints *list)
{
	json_t *hosts = NULL;
	const char *url;
	json_t *table;
	int r = json_get_object(root, "host", JSON_MAY, &hosts, in->err);
	if (r < 0)
		return r;
	json_object_foreach(hosts, url, table) {
		AUTO_FINISH(endpoint) struct endpoint e = {0};
		if (!json_is_object(table))
			return err_say(in->err, -EINVAL, "host \"%.200s\" is not a table", url);
		r = read_endpoint(in, table, url, host_is_plain(url), &e);
		if (r < 0)
			return err_prefix(in->err, r, "host \"%.200s\"", url);
		r = endpoints_add(list, &e, in->err);
		if (r < 0)
			return r;
	}
	return 0;
}

int hosts_toml_parse(int dirfd, const char *dir, const char *text, size_t n, const char *upstream,
		     bool plain_http, struct endpoints *ret, struct err *err)
{
	const struct reader in = {.dirfd = dirfd, .dir = dir, .err = err};
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	AUTO_FINISH(endpoint) struct endpoint server = {.is_upstream = true};
	AUTO_JSON json_t *root = NULL;
	const char *url = upstream;
	int r = toml_parse(text, n, "hosts.toml", &root, err);
	if (r < 0)
		return r;
	if ((r = read_hosts(&in, root, &list)) < 0 ||
	    (r = json_get_str(root, "server", JSON_MAY, &url, err)) < 0 ||
	    (r = read_endpoint(&in, root, url, plain_http || host_is_plain(url), &server)) < 0 ||
	    (r = endpoints_add(&list, &server, err)) < 0)
		return r;
	*ret = list;
	list = (struct endpoints){0};
	return 0;
}

int hosts_toml_read(int dirfd, const char *dir, const char *upstream, bool plain_http,
		    struct endpoints *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(HOSTS_TOML_MAX);
	int r = file_slurp(dirfd, "hosts.toml", &text, err);
	if (r < 0)
		return r;
	return hosts_toml_parse(dirfd, dir, buf_str(&text), text.len, upstream, plain_http, ret, err);
}
