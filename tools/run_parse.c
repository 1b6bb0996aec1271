/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"

enum {
	CPU_MILLIS_MIN = 10, /* the kernel takes no quota below a millisecond in the period */
	PORT_MAX = 65535,
};

int run_parse_i64(const char *flag, const char *text, int64_t min, int64_t max, int64_t *ret,
		  struct err *err)
{
	uint64_t v = 0;
	bool negative = text[0] == '-';
	int r = u64_parse(text + negative, INT64_MAX, &v);
	int64_t n = negative ? -(int64_t)v : (int64_t)v;
	if (r < 0 || n < min || n > max)
		return err_say(err, -EINVAL,
			       "--%s does not take '%s': it wants a whole number from %lld to %lld",
			       flag, text, (long long)min, (long long)max);
	*ret = n;
	return 0;
}

int run_parse_size(const char *flag, const char *text, bool unlimited, int64_t *ret,
		   struct err *err)
{
	uint64_t v = 0;
	if (unlimited && strcmp(text, "-1") == 0) {
		*ret = -1;
		return 0;
	}
	if (size_parse(text, &v) < 0 || v > INT64_MAX)
		return err_say(err, -EINVAL, "--%s does not take '%s': it wants a size such as 512m or 2g%s",
			       flag, text, unlimited ? ", or -1" : "");
	*ret = (int64_t)v;
	return 0;
}

int run_parse_cpus(const char *text, int64_t *ret, struct err *err)
{
	/* A number with at most three digits behind the point is what a number of seconds is. */
	uint64_t millis = 0;
	if (text[strspn(text, "0123456789.")] != '\0' || duration_parse(text, &millis) < 0 ||
	    millis < CPU_MILLIS_MIN || millis > INT32_MAX)
		return err_say(err, -EINVAL,
			       "--cpus does not take '%s': it wants a number of processors such as 1.5, "
			       "at least 0.01", text);
	*ret = (int64_t)millis * (RUN_CPU_PERIOD / 1000);
	return 0;
}

int run_parse_signal(const char *flag, const char *text, int *ret, struct err *err)
{
	uint64_t number = 0;
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	if (u64_parse(text, (uint64_t)SIGRTMAX, &number) == 0 && number > 0) {
		*ret = (int)number;
		return 0;
	}
	for (int sig = 1; sig < NSIG; sig++) {
		const char *abbreviation = sigabbrev_np(sig);
		if (abbreviation && strcasecmp(abbreviation, name) == 0) {
			*ret = sig;
			return 0;
		}
	}
	bool min = strncasecmp(name, "RTMIN", 5) == 0, max = strncasecmp(name, "RTMAX", 5) == 0;
	number = 0;
	if ((min || max) && (name[5] == '\0' ||
			     (name[5] == (min ? '+' : '-') &&
			      u64_parse(name + 6, (uint64_t)(SIGRTMAX - SIGRTMIN), &number) == 0))) {
		*ret = min ? SIGRTMIN + (int)number : SIGRTMAX - (int)number;
		return 0;
	}
	return err_say(err, -EINVAL, "%s does not take '%s': it wants a signal such as TERM or 15", flag,
		       text);
}

static const char *const limit_names[] = {
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
	"nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
};

static int limit_value(const char *text, uint64_t *ret)
{
	if (strcmp(text, "-1") == 0 || strcmp(text, "unlimited") == 0) {
		*ret = RLIM_INFINITY;
		return 0;
	}
	return u64_parse(text, INT64_MAX, ret);
}

int run_parse_ulimit(const char *text, struct run_limit *ret, struct err *err)
{
	AUTO_FREE char *copy = strdup(text);
	if (!copy)
		return err_set(err, -ENOMEM, "take --ulimit");
	char *value = strchr(copy, '=');
	char *hard = value ? strchr(value, ':') : NULL;
	if (value)
		*value++ = '\0';
	if (hard)
		*hard++ = '\0';
	struct run_limit limit = {0};
	for (size_t i = 0; i < ARRAY_LEN(limit_names); i++) {
		if (strcasecmp(limit_names[i], copy) != 0)
			continue;
		int n = snprintf(limit.type, sizeof(limit.type), "RLIMIT_%s", limit_names[i]);
		for (int at = 0; at < n; at++)
			limit.type[at] = (char)toupper((unsigned char)limit.type[at]);
	}
	if (limit.type[0] == '\0' || !value || limit_value(value, &limit.soft) < 0 ||
	    limit_value(hard ? hard : value, &limit.hard) < 0)
		return err_say(err, -EINVAL,
			       "--ulimit does not take '%s': it wants NAME=SOFT[:HARD], say nofile=1024:4096",
			       text);
	if (limit.soft > limit.hard)
		return err_say(err, -EINVAL, "--ulimit %s: the soft limit is above the hard one", text);
	*ret = limit;
	return 0;
}

int run_parse_map(const char *flag, const char *text, struct run_map *ret, struct err *err)
{
	AUTO_FREE char *copy = strdup(text);
	uint64_t v[3] = {0, 0, 1};
	size_t n = 0;
	int r = copy ? 0 : -ENOMEM;
	char *rest = copy;
	for (char *word; r == 0 && (word = strsep(&rest, ":")) != NULL; n++)
		r = n < ARRAY_LEN(v) ? u64_parse(word, UINT32_MAX, &v[n]) : -EINVAL;
	if (r == -ENOMEM)
		return err_set(err, r, "take --%s", flag);
	if (r < 0 || n < 2 || v[2] == 0 || v[0] + v[2] > UINT32_MAX || v[1] + v[2] > UINT32_MAX)
		return err_say(err, -EINVAL,
			       "--%s does not take '%s': it wants IN:OUT:SIZE, ids here and there", flag,
			       text);
	*ret = (struct run_map){(uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2]};
	return 0;
}

int run_parse_ns(const char *flag, const char *text, bool network, struct run_ns *ret,
		 struct err *err)
{
	static const struct {
		const char *word;
		enum run_ns_kind kind;
		bool network;
	} modes[] = {
		{"private", RUN_NS_PRIVATE, false}, {"host", RUN_NS_HOST, false},
		{"none", RUN_NS_NONE, true},	    {"", RUN_NS_DEFAULT, false},
	};
	struct run_ns ns = {.kind = RUN_NS_NAMED};
	const char *value = NULL;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(modes[i].word, text) == 0 && (network || !modes[i].network)) {
			*ret = (struct run_ns){.kind = modes[i].kind};
			return 0;
		}
	if (strncmp(text, "container:", 10) == 0) {
		ns.kind = RUN_NS_CONTAINER;
		value = text + 10;
	} else if (strncmp(text, "ns:", 3) == 0 && text[3] == '/') {
		ns.kind = RUN_NS_PATH;
		value = text + 3;
	} else if (network && text[strcspn(text, ":/")] == '\0') {
		value = text;
	}
	if (!value || value[0] == '\0')
		return err_say(err, -EINVAL,
			       "--%s does not take '%s': it wants private, host, %scontainer:NAME or ns:PATH%s",
			       flag, text, network ? "none, " : "",
			       network ? ", or the name of a CNI network" : "");
	ns.value = strdup(value);
	if (!ns.value)
		return err_set(err, -ENOMEM, "take --%s", flag);
	*ret = ns;
	return 0;
}

/* "80" or "80-89". */
static int port_range(const char *text, uint64_t *ret_first, uint64_t *ret_n)
{
	AUTO_FREE char *copy = strdup(text);
	uint64_t first = 0, last = 0;
	char *dash = copy ? strchr(copy, '-') : NULL;
	if (dash)
		*dash++ = '\0';
	if (!copy || u64_parse(copy, PORT_MAX, &first) < 0 || first == 0)
		return copy ? -EINVAL : -ENOMEM;
	last = first;
	if (dash && (u64_parse(dash, PORT_MAX, &last) < 0 || last < first))
		return -EINVAL;
	*ret_first = first;
	*ret_n = last - first + 1;
	return 0;
}

static int ports_add(struct run_options *o, const char *ip, uint64_t host, uint64_t container,
		     uint64_t n, const char *protocol)
{
	struct run_port *ports = reallocarray(o->ports, o->n_ports + n, sizeof(*ports));
	if (!ports)
		return -ENOMEM;
	o->ports = ports;
	for (uint64_t i = 0; i < n; i++) {
		struct run_port port = {.host = (uint16_t)(host ? host + i : 0),
					.container = (uint16_t)(container + i),
					.protocol = protocol};
		port.ip = ip ? strdup(ip) : NULL;
		if (ip && !port.ip)
			return -ENOMEM;
		ports[o->n_ports++] = port;
	}
	return 0;
}

/* The name of a protocol behind the slash; NULL: it is none. */
static const char *port_protocol(const char *text)
{
	static const char *const protocols[] = {"tcp", "udp", "sctp"};
	if (!text)
		return protocols[0];
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
		if (strcmp(protocols[i], text) == 0)
			return protocols[i];
	return NULL;
}

/* Splits IP off; an IPv6 address stands in brackets. *rest is what follows. */
static char *port_address(char *text, char **rest)
{
	char *end;
	*rest = text;
	if (text[0] == '[') {
		end = strchr(text, ']');
		if (!end || end[1] != ':')
			return NULL;
		*end = '\0';
		*rest = end + 2;
		return text + 1;
	}
	end = strchr(text, ':');
	if (!end || !strchr(end + 1, ':'))
		return NULL;
	*end = '\0';
	*rest = end + 1;
	return text;
}

static bool is_address(const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

int run_parse_publish(const char *text, struct run_options *o, struct err *err)
{
	AUTO_FREE char *copy = strdup(text);
	if (!copy)
		return err_set(err, -ENOMEM, "take --publish");
	char *slash = strchr(copy, '/');
	if (slash)
		*slash++ = '\0';
	char *rest;
	const char *protocol = port_protocol(slash);
	const char *ip = port_address(copy, &rest);
	char *inside = strchr(rest, ':');
	if (inside)
		*inside++ = '\0';
	const char *outside = inside && rest[0] != '\0' ? rest : NULL;
	uint64_t container = 0, n = 0, host = 0, n_host = 0;
	int r = port_range(inside ? inside : rest, &container, &n);
	if (r == 0 && outside)
		r = port_range(outside, &host, &n_host);
	if (r == 0 && (!protocol || (outside && n != n_host) || (ip && ip[0] && !is_address(ip)) ||
		       o->n_ports + n > RUN_PORTS_MAX))
		r = -EINVAL;
	if (r == 0)
		r = ports_add(o, ip && ip[0] ? ip : NULL, host, container, n, protocol);
	if (r == -EINVAL)
		return err_say(err, r,
			       "--publish does not take '%s': it wants [[IP:]PORT:]PORT[/tcp|udp|sctp]",
			       text);
	return r < 0 ? err_set(err, r, "take --publish") : 0;
}

int run_parse_host(const char *text, struct words *hosts, struct err *err)
{
	AUTO_FREE char *line = NULL;
	const char *colon = strchr(text, ':');
	if (!colon || colon == text || !is_address(colon + 1) ||
	    memchr(text, ' ', (size_t)(colon - text)))
		return err_say(err, -EINVAL, "--add-host does not take '%s': it wants NAME:IP", text);
	if (asprintf(&line, "%s %.*s", colon + 1, (int)(colon - text), text) < 0)
		line = NULL;
	if (!line || words_take(hosts, steal_ptr(&line)) < 0)
		return err_set(err, -ENOMEM, "take --add-host");
	return 0;
}

/* The variables whose name is the n bytes at name, or begins with them. */
static int env_pass(const char *name, size_t n, bool prefix, char *const *env, struct words *list)
{
	for (; *env; env++) {
		const char *equals = strchr(*env, '=');
		if (!equals || strncmp(*env, name, n) != 0 || (!prefix && (*env)[n] != '='))
			continue;
		int r = words_add(list, *env);
		if (r < 0)
			return r;
	}
	return 0;
}

int run_parse_env(const char *text, char *const *env, struct words *list, struct err *err)
{
	size_t n = strcspn(text, "=");
	int r;
	if (n == 0)
		return err_say(err, -EINVAL, "--env does not take '%s': it wants NAME=VALUE or NAME",
			       text);
	if (text[n] == '=')
		r = words_add(list, text);
	else if (text[n - 1] == '*')
		r = env_pass(text, n - 1, true, env, list);
	else
		r = env_pass(text, n, false, env, list);
	return r < 0 ? err_set(err, r, "take --env") : 0;
}

/* Also of a pipe, such as a shell's <(command). */
static int slurp_text(const char *path, struct buf *ret, struct err *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_set(err, -errno, "open %s", path);
	int r = file_slurp_fd(fd, ret);
	if (r == -E2BIG)
		return err_say(err, r, "read %s: larger than the limit of %zu bytes", path, ret->max);
	return r < 0 ? err_set(err, r, "read %s", path) : 0;
}

int run_parse_env_file(const char *path, char *const *env, struct words *list, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(RUN_ENV_FILE_MAX);
	int r = slurp_text(path, &text, err);
	if (r < 0)
		return err_prefix(err, r, "--env-file");
	if (text.len > 0 && memchr(text.data, '\0', text.len))
		return err_say(err, -EINVAL, "--env-file: %s is not a text", path);
	unsigned int number = 0;
	char *rest = text.data;
	for (char *line; r == 0 && rest && (line = strsep(&rest, "\n")) != NULL;) {
		number++;
		line += strspn(line, " \t");
		size_t n = strlen(line);
		if (n > 0 && line[n - 1] == '\r')
			line[n - 1] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (line[0] == '=')
			return err_say(err, -EINVAL, "--env-file: line %u of %s has no name", number,
				       path);
		r = run_parse_env(line, env, list, err);
	}
	return r;
}
