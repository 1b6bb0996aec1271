/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/etc.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/num.h"

#define HOST_RESOLV	"/etc/resolv.conf"
#define RESOLVED_RESOLV "/run/systemd/resolve/resolv.conf"
#define BLANKS		" \t\r"

static const char *const names[] = {"hostname", "hosts", "resolv.conf"};

static bool is_address(const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	char plain[INET6_ADDRSTRLEN + 1];
	/* A scope is the host's business: fe80::1%eth0. */
	size_t n = strcspn(text, "%");
	if (n >= sizeof(plain))
		return false;
	memcpy(plain, text, n);
	plain[n] = '\0';
	return (inet_pton(AF_INET, plain, bytes) == 1 && text[n] == '\0') ||
	       inet_pton(AF_INET6, plain, bytes) == 1;
}

static bool is_loopback(const char *text)
{
	struct in6_addr six;
	return strncmp(text, "127.", 4) == 0 ||
	       (inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six));
}

/* What may stand in these files without being taken for something else. */
static bool is_word(const char *text, size_t max)
{
	size_t n = strlen(text);
	for (const char *p = text; *p; p++)
		if (!isgraph((unsigned char)*p) || *p == '#' || *p == ';')
			return false;
	return n > 0 && n <= max;
}

static bool is_given(const char *const *list)
{
	return list && list[0];
}

/* ---- hosts ---- */

static int hosts_add(struct buf *out, const char *entry, struct err *err)
{
	char address[INET6_ADDRSTRLEN + 1];
	size_t n = strcspn(entry, " ");
	const char *name = entry + n + strspn(entry + n, " ");
	(void)snprintf(address, sizeof(address), "%.*s", (int)n, entry);
	if (n >= sizeof(address) || !is_address(address))
		return err_say(err, -EINVAL, "the host entry '%.200s' does not begin with an address",
			       entry);
	if (!is_word(name, ETC_NAME_MAX))
		return err_say(err, -EINVAL, "the host entry '%.200s' has no host's name", entry);
	int r = buf_printf(out, "%s\t%s\n", address, name);
	return r < 0 ? err_set(err, r, "write the hosts file") : 0;
}

static int hosts_make(const struct etc_words *words, struct buf *out, struct err *err)
{
	static const char localhost[] = "127.0.0.1\tlocalhost\n"
					"::1\tlocalhost ip6-localhost ip6-loopback\n";
	int r = buf_puts(out, localhost);
	if (r == 0 && words->hostname) {
		const char *address = words->address ? words->address : "127.0.1.1";
		if (!is_address(address))
			return err_say(err, -EINVAL, "'%.100s' is no address", address);
		r = buf_printf(out, "%s\t%s\n", address, words->hostname);
	}
	if (r < 0)
		return err_set(err, r, "write the hosts file");
	for (size_t i = 0; words->hosts && words->hosts[i] && r == 0; i++)
		r = hosts_add(out, words->hosts[i], err);
	return r;
}

/* ---- resolv.conf ---- */

/* The next line of a text, its keyword and the rest cut apart. False at the end. */
static bool line_next(char **at, char **ret_key, char **ret_rest)
{
	while (**at) {
		char *line = *at;
		size_t n = strcspn(line, "\n");
		*at = line + n + (line[n] ? 1 : 0);
		while (n > 0 && strchr(BLANKS, line[n - 1]))
			n--;
		line[n] = '\0';
		line += strspn(line, BLANKS);
		if (*line == '\0' || *line == '#' || *line == ';')
			continue;
		*ret_key = line;
		line += strcspn(line, BLANKS);
		if (*line)
			*line++ = '\0';
		*ret_rest = line + strspn(line, BLANKS);
		return true;
	}
	return false;
}

/* Whether the file names servers, and all of them on a loopback address. */
static bool is_all_loopback(const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	char *at = copy, *key, *rest;
	bool any = false;
	while (at && line_next(&at, &key, &rest)) {
		if (strcmp(key, "nameserver") != 0)
			continue;
		if (!is_loopback(rest))
			return false;
		any = true;
	}
	return any;
}

/* A host without such a file has no servers. */
static int host_read(const char *path, struct buf *out)
{
	int r = file_slurp(AT_FDCWD, path, out, NULL);
	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

static int host_resolv(const struct etc_words *words, struct buf *out, struct err *err)
{
	const char *path = words->resolv_conf ? words->resolv_conf : HOST_RESOLV;
	int r = host_read(path, out);
	if (r == 0 && !words->resolv_conf && words->own_network && is_all_loopback(buf_str(out))) {
		AUTO_FINISH(buf) struct buf better = buf_make(ETC_FILE_MAX);
		r = host_read(RESOLVED_RESOLV, &better);
		if (r == 0 && better.len > 0) {
			struct buf old = *out;
			*out = better;
			better = old;
		}
	}
	return r < 0 ? err_set(err, r, "read %s", path) : 0;
}

/* The host's lines but for those that words replace. */
static int resolv_keep(const struct etc_words *words, char *text, struct buf *out)
{
	char *at = text, *key, *rest;
	int r = 0;
	while (r == 0 && line_next(&at, &key, &rest)) {
		bool server = strcmp(key, "nameserver") == 0;
		if (server && (is_given(words->dns) || (words->own_network && is_loopback(rest))))
			continue;
		if ((strcmp(key, "search") == 0 || strcmp(key, "domain") == 0) &&
		    is_given(words->dns_search))
			continue;
		if (strcmp(key, "options") == 0 && is_given(words->dns_options))
			continue;
		r = buf_printf(out, "%s %s\n", key, rest);
	}
	return r;
}

static int resolv_list(const char *key, const char *const *list, const char *what, struct buf *out,
		       struct err *err)
{
	int r = buf_puts(out, key);
	for (size_t i = 0; list[i] && r == 0; i++) {
		if (!is_word(list[i], ETC_NAME_MAX))
			return err_say(err, -EINVAL, "'%.100s' is no %s", list[i], what);
		r = buf_printf(out, " %s", list[i]);
	}
	if (r == 0)
		r = buf_puts(out, "\n");
	return r < 0 ? err_set(err, r, "write resolv.conf") : 0;
}

static int resolv_make(const struct etc_words *words, struct buf *out, struct err *err)
{
	AUTO_FINISH(buf) struct buf host = buf_make(ETC_FILE_MAX);
	bool no_search = is_given(words->dns_search) && strcmp(words->dns_search[0], ".") == 0;
	int r = host_resolv(words, &host, err);
	if (r < 0)
		return r;
	for (size_t i = 0; words->dns && words->dns[i] && r == 0; i++) {
		if (!is_address(words->dns[i]))
			return err_say(err, -EINVAL, "the DNS server '%.100s' is no address",
				       words->dns[i]);
		r = buf_printf(out, "nameserver %s\n", words->dns[i]);
	}
	if (r == 0 && host.data)
		r = resolv_keep(words, host.data, out);
	if (r < 0)
		return err_set(err, r, "write resolv.conf");
	if (is_given(words->dns_search) && !no_search)
		r = resolv_list("search", words->dns_search, "domain", out, err);
	if (r == 0 && is_given(words->dns_options))
		r = resolv_list("options", words->dns_options, "option of resolv.conf", out, err);
	return r;
}

/* ---- all of them ---- */

/* Not by the commit rule: after a power cut the container is gone, too, and fsync costs a start. */
static int etc_file(int dirfd, const char *name, const struct buf *text, struct err *err)
{
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "replace %s", name);
	AUTO_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "create %s", name);
	int r = file_write(fd, buf_str(text), text->len);
	if (r == 0 && fchmod(fd, 0644) < 0)
		r = -errno;
	return r < 0 ? err_set(err, r, "write %s", name) : 0;
}

int etc_write(int dirfd, const struct etc_words *words, struct err *err)
{
	AUTO_FINISH(buf) struct buf hostname = buf_make(ETC_FILE_MAX);
	AUTO_FINISH(buf) struct buf hosts = buf_make(ETC_FILE_MAX);
	AUTO_FINISH(buf) struct buf resolv = buf_make(ETC_FILE_MAX);
	int r = 0;
	if (words->hostname && !is_word(words->hostname, ETC_HOSTNAME_MAX))
		return err_say(err, -EINVAL, "'%.100s' is no host's name", words->hostname);
	if (words->hostname)
		r = buf_printf(&hostname, "%s\n", words->hostname);
	if (r < 0)
		return err_set(err, r, "write the hostname");
	if ((r = hosts_make(words, &hosts, err)) < 0 || (r = resolv_make(words, &resolv, err)) < 0 ||
	    (r = etc_file(dirfd, "hostname", &hostname, err)) < 0 ||
	    (r = etc_file(dirfd, "hosts", &hosts, err)) < 0)
		return r;
	return etc_file(dirfd, "resolv.conf", &resolv, err);
}

static int etc_bind(const char *dir, const char *name, struct oci_config *config)
{
	static const char *const options[] = {"bind", "rprivate", "nosuid", "nodev", "noexec"};
	char source[4096], place[64];
	(void)snprintf(place, sizeof(place), "/etc/%s", name);
	if (snprintf(source, sizeof(source), "%s/%s", dir, name) >= (int)sizeof(source))
		return -ENAMETOOLONG;
	for (size_t i = 0; i < config->n_mounts; i++)
		if (strcmp(config->mounts[i]->destination, place) == 0)
			return 0;
	struct oci_mount *mount = oci_config_add_mounts(config);
	int r = mount ? oci_mount_set_destination(mount, place) : -ENOMEM;
	if (r == 0)
		r = oci_mount_set_source(mount, source);
	if (r == 0)
		r = oci_mount_set_type(mount, "bind");
	for (size_t i = 0; i < ARRAY_LEN(options) && r == 0; i++)
		r = oci_mount_add_options(mount, options[i]);
	return r;
}

int etc_mount(const char *dir, struct oci_config *config, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int r = etc_bind(dir, names[i], config);
		if (r < 0)
			return err_set(err, r, "mount /etc/%s", names[i]);
	}
	return 0;
}
