/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/hosts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/strv.h"
#include "fetcher/hosts_priv.h"

#define HUB_HOST   "docker.io"
#define HUB_SERVER "registry-1.docker.io"

enum { HOST_MAX = 300 }; /* name and port */

struct hosts {
	char **hosts_dirs, **certs_dirs; /* owned lists */
	bool plain_http;
};

static void free_list(char **list)
{
	for (char **item = list; item && *item; item++)
		free(*item);
	free(list);
}

void endpoint_finish(struct endpoint *endpoint)
{
	free(endpoint->url_base);
	free(endpoint->ca_pem);
	free(endpoint->client_cert);
	free(endpoint->client_key);
	free_list(endpoint->headers);
	free(endpoint->ns);
	*endpoint = (struct endpoint){0};
}

void endpoints_finish(struct endpoints *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->count; i++)
		endpoint_finish(&list->items[i]);
	free(list->items);
	*list = (struct endpoints){0};
}

int endpoints_add(struct endpoints *list, struct endpoint *endpoint, struct err *err)
{
	if (list->count >= HOSTS_ENDPOINTS_MAX)
		return err_say(err, -E2BIG, "more than %d hosts for one registry",
			       HOSTS_ENDPOINTS_MAX);
	struct endpoint *items = reallocarray(list->items, list->count + 1, sizeof(*items));
	if (!items)
		return err_set(err, -ENOMEM, "list the hosts of a registry");
	list->items = items;
	items[list->count++] = *endpoint;
	*endpoint = (struct endpoint){0};
	return 0;
}

/* Length of the host within "host:port": brackets stay. */
static size_t host_without_port(const char *host, size_t n)
{
	const char *colon = memrchr(host, ':', n);
	const char *bracket = memrchr(host, ']', n);
	return colon && (!bracket || colon > bracket) ? (size_t)(colon - host) : n;
}

bool host_is_loopback(const char *host)
{
	static const char local[] = "localhost";
	size_t n = host_without_port(host, strlen(host));
	char name[HOST_MAX];
	struct in_addr v4;
	struct in6_addr v6;
	if (n == 0 || n >= sizeof(name))
		return false;
	(void)snprintf(name, sizeof(name), "%.*s", (int)n, host);
	size_t tail = strlen(local);
	if (n >= tail && strcasecmp(name + n - tail, local) == 0)
		return n == tail || name[n - tail - 1] == '.';
	if (inet_pton(AF_INET, name, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	if (name[0] != '[' || name[n - 1] != ']')
		return false;
	name[n - 1] = '\0';
	return inet_pton(AF_INET6, name + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool host_is_plain(const char *host)
{
	const char *port = host + host_without_port(host, strlen(host));
	return host_is_loopback(host) && strcmp(port, ":443") != 0;
}

static bool url_host_valid(const char *s, size_t n)
{
	if (n == 0 || n >= HOST_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f || strchr("@?#%\\\"", s[i]))
			return false;
	return true;
}

int endpoint_set_url(struct endpoint *endpoint, const char *text, bool plain, bool override_path,
		     struct err *err)
{
	const char *scheme = plain ? "http" : "https";
	const char *rest = text;
	if (strncasecmp(text, "http://", 7) == 0) {
		scheme = "http";
		rest = text + 7;
	} else if (strncasecmp(text, "https://", 8) == 0) {
		scheme = "https";
		rest = text + 8;
	}
	size_t host = strcspn(rest, "/");
	const char *path = rest + host;
	bool other_scheme = strstr(rest, "://") != NULL;
	size_t len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	if (other_scheme || !url_host_valid(rest, host) || (len > 0 && !url_host_valid(path, len)))
		return err_say(err, -EINVAL, "'%.200s' is not the URL of a registry", text);
	/* docker.io itself serves no registry. */
	bool hub = host == strlen(HUB_HOST) && strncasecmp(rest, HUB_HOST, host) == 0;
	bool has_v2 = len >= 3 && strncmp(path + len - 3, "/v2", 3) == 0;
	if (asprintf(&endpoint->url_base, "%s://%.*s%.*s%s", scheme,
		     hub ? (int)strlen(HUB_SERVER) : (int)host, hub ? HUB_SERVER : rest, (int)len,
		     path, override_path || has_v2 ? "" : "/v2") < 0) {
		endpoint->url_base = NULL;
		return err_set(err, -ENOMEM, "copy the URL of a registry");
	}
	return 0;
}

int endpoint_add_ca(struct endpoint *endpoint, int dirfd, const char *file, struct err *err)
{
	AUTO_FINISH(buf) struct buf pem = buf_make(HOSTS_CA_BYTES_MAX);
	int r = 0;
	if (endpoint->ca_pem)
		r = buf_printf(&pem, "%s\n", endpoint->ca_pem);
	size_t before = pem.len;
	if (r < 0)
		return err_set(err, r, "read the authorities in %s", file);
	r = file_slurp(dirfd, file, &pem, err);
	if (r < 0)
		return r;
	if (strlen(buf_str(&pem)) != pem.len || !strstr(buf_str(&pem) + before, "-----BEGIN "))
		return err_say(err, -EINVAL, "%s holds no PEM certificate", file);
	free(endpoint->ca_pem);
	endpoint->ca_pem = buf_steal(&pem);
	return 0;
}

int hosts_create(const struct hosts_config *config, struct hosts **ret, struct err *err)
{
	AUTO(hosts) struct hosts *hosts = calloc(1, sizeof(*hosts));
	static const char *const none[] = {NULL};
	if (!hosts ||
	    strv_copy(config->hosts_dirs ? config->hosts_dirs : none, &hosts->hosts_dirs) < 0 ||
	    strv_copy(config->certs_dirs ? config->certs_dirs : none, &hosts->certs_dirs) < 0)
		return err_set(err, -ENOMEM, "prepare the list of hosts");
	hosts->plain_http = config->plain_http;
	*ret = steal_ptr(&hosts);
	return 0;
}

void hosts_destroy(struct hosts *hosts)
{
	if (!hosts)
		return;
	free_list(hosts->hosts_dirs);
	free_list(hosts->certs_dirs);
	free(hosts);
}

/* Opens parent/name: -ENOENT when it is not there; *ret_path for messages and paths in it. */
static int open_dir(const char *parent, const char *name, char **ret_path, struct err *err)
{
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "%s/%s", parent, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "open a directory of hosts");
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno == ENOTDIR ? -ENOENT : -errno, "open %s", path);
	*ret_path = steal_ptr(&path);
	return fd;
}

/* The first directory of a list that has the host: `h_5000_`, `h:5000`, and perhaps `_default`. */
static int find_dir(char **parents, const char *host, bool with_default, char **ret_path,
		    struct err *err)
{
	char flat[HOST_MAX + 2];
	size_t n = host_without_port(host, strlen(host));
	(void)snprintf(flat, sizeof(flat), "%.*s_%s_", (int)n, host, host[n] ? host + n + 1 : "");
	const char *const names[] = {host[n] ? flat : host, host, with_default ? "_default" : NULL};
	for (char **parent = parents; parent && *parent; parent++) {
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && names[i]; i++) {
			int fd = open_dir(*parent, names[i], ret_path, err);
			if (fd != -ENOENT)
				return fd;
		}
	}
	return -ENOENT;
}

/* Whether name ends in the suffix, with something before it. */
static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);
	return n > s && strcmp(name + n - s, suffix) == 0;
}

static int set_client(struct endpoint *e, int dirfd, const char *path, const char *name,
		      struct err *err)
{
	AUTO_FREE char *key = NULL;
	int stem = (int)(strlen(name) - strlen(".cert"));
	if (asprintf(&key, "%s/%.*s.key", path, stem, name) < 0) {
		key = NULL;
		return err_set(err, -ENOMEM, "read %s", path);
	}
	if (faccessat(dirfd, key + strlen(path) + 1, F_OK, 0) < 0)
		return err_say(err, -ENOENT, "client certificate %s/%s has no key: %s is missing", path,
			       name, key);
	if (asprintf(&e->client_cert, "%s/%s", path, name) < 0) {
		e->client_cert = NULL;
		return err_set(err, -ENOMEM, "read %s", path);
	}
	e->client_key = steal_ptr(&key);
	return 0;
}

/* One certs.d directory, in the order of names so that the outcome does not vary. */
static int read_certs(struct endpoint *e, int dirfd, const char *path, struct err *err)
{
	struct dirent **names = NULL;
	int n = scandirat(dirfd, ".", &names, NULL, alphasort);
	if (n < 0)
		return err_set(err, -errno, "list %s", path);
	int r = n > HOSTS_DIR_ENTRIES_MAX
			? err_say(err, -E2BIG, "%s holds more than %d files", path,
				  HOSTS_DIR_ENTRIES_MAX)
			: 0;
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		if (r == 0 && has_suffix(name, ".crt"))
			r = endpoint_add_ca(e, dirfd, name, err);
		else if (r == 0 && has_suffix(name, ".cert") && !e->client_cert)
			r = set_client(e, dirfd, path, name, err);
		free(names[i]);
	}
	free(names);
	return r < 0 ? err_prefix(err, r, "certificates in %s", path) : 0;
}

/* host[:port] of a url_base. */
static char *url_host(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	return strndup(host, strcspn(host, "/"));
}

/* Certificates of certs.d for an endpoint that has none; `host` is its server. */
static int add_certs(const struct hosts *hosts, struct endpoint *e, const char *host,
		     struct err *err)
{
	AUTO_FREE char *path = NULL;
	if (e->ca_pem || e->client_cert)
		return 0;
	AUTO_CLOSE int fd = find_dir(hosts->certs_dirs, host, false, &path, err);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return read_certs(e, fd, path, err);
}

/* The registry without a hosts.toml. cert_fd is its directory in hosts_dirs, or -1. */
static int add_default(const struct hosts *hosts, const char *registry, int cert_fd,
		       const char *cert_path, struct endpoints *list, struct err *err)
{
	AUTO_FINISH(endpoint) struct endpoint e = {
		.is_upstream = true, .pull = true, .resolve = true, .push = true};
	int r = cert_fd >= 0 ? read_certs(&e, cert_fd, cert_path, err) : 0;
	if (r < 0)
		return r;
	r = add_certs(hosts, &e, registry, err);
	if (r < 0)
		return r;
	bool plain = host_is_plain(registry) && !e.ca_pem && !e.client_cert;
	r = endpoint_set_url(&e, registry, hosts->plain_http || plain, false, err);
	return r < 0 ? r : endpoints_add(list, &e, err);
}

/* What needs the finished list: the namespace for others, and certificates by server. */
static int complete(const struct hosts *hosts, const char *registry, struct endpoints *list,
		    struct err *err)
{
	bool hub = strcmp(registry, HUB_HOST) == 0;
	for (size_t i = 0; i < list->count; i++) {
		struct endpoint *e = &list->items[i];
		AUTO_FREE char *host = url_host(e->url_base);
		if (!host)
			return err_set(err, -ENOMEM, "list the hosts of %s", registry);
		int r = add_certs(hosts, e, host, err);
		if (r < 0)
			return r;
		if (strcasecmp(host, hub ? HUB_SERVER : registry) == 0) {
			e->is_upstream = true;
			continue;
		}
		e->ns = strdup(registry);
		if (!e->ns)
			return err_set(err, -ENOMEM, "list the hosts of %s", registry);
	}
	return 0;
}

int hosts_resolve(struct hosts *hosts, const char *registry_host, struct endpoints *ret,
		  struct err *err)
{
	AUTO_FINISH(endpoints) struct endpoints list = {0};
	AUTO_FREE char *path = NULL;
	/* It becomes part of a path and of a URL. */
	if (!url_host_valid(registry_host, strlen(registry_host)) || strchr(registry_host, '/') ||
	    registry_host[0] == '.' || registry_host[0] == '_')
		return err_say(err, -EINVAL, "'%.200s' is not the host of a registry", registry_host);
	AUTO_CLOSE int fd = find_dir(hosts->hosts_dirs, registry_host, true, &path, err);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	int r = -ENOENT;
	if (fd >= 0) {
		r = hosts_toml_read(fd, path, registry_host, hosts->plain_http, &list, err);
		if (r < 0 && (r != -ENOENT || faccessat(fd, "hosts.toml", F_OK, 0) == 0))
			return err_prefix(err, r, "%s/hosts.toml", path);
	}
	if (r == -ENOENT)
		r = add_default(hosts, registry_host, fd, path, &list, err);
	if (r == 0)
		r = complete(hosts, registry_host, &list, err);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct endpoints){0};
	return 0;
}
