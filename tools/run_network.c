/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_network.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "exec/netns.h"
#include "tools/rootless.h"

#define NETNS_FILE	"netns"
#define CONFIG_DIR	"/etc/cni/net.d"
#define USUAL_NETWORK	"bridge"
#define USUAL_PATH	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define INTERFACE	"eth0"

int run_network_check(struct run_options *o, struct err *err)
{
	if (o->n_ports > 0 && o->network.kind == RUN_NS_DEFAULT) {
		o->network.value = strdup(USUAL_NETWORK);
		o->network.kind = RUN_NS_NAMED;
		if (!o->network.value)
			return err_set(err, -ENOMEM, "take --publish");
	}
	if (o->n_ports > 0 && o->network.kind != RUN_NS_NAMED)
		return err_say(err, -EOPNOTSUPP,
			       "--publish needs a network of plugins: use --network bridge, or leave "
			       "out --network");
	if (o->network.kind == RUN_NS_NAMED && rootless_uid() != 0)
		return err_say(err, -EOPNOTSUPP,
			       "%s: only root can connect a container to a network: use --network host",
			       o->n_ports > 0 ? "--publish" : "--network");
	return 0;
}

/* ---- ports ---- */

/* One that is free now. */
static int free_port(const struct run_port *port, uint16_t *ret)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr_in four = {.sin_family = AF_INET};
	bool is_six = port->ip && inet_pton(AF_INET6, port->ip, &six.sin6_addr) == 1;
	int type = strcmp(port->protocol, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	AUTO_CLOSE int fd = socket(is_six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
	const void *address = is_six ? (const void *)&six : (const void *)&four;
	socklen_t n = is_six ? sizeof(six) : sizeof(four);
	if (!is_six && port->ip)
		(void)inet_pton(AF_INET, port->ip, &four.sin_addr);
	if (fd < 0 || bind(fd, address, n) < 0 ||
	    getsockname(fd, is_six ? (void *)&six : (void *)&four, &n) < 0)
		return -errno;
	*ret = ntohs(is_six ? six.sin6_port : four.sin_port);
	return 0;
}

static int ports_make(const struct run_options *o, struct cni_port **ret, struct err *err)
{
	AUTO_FREE struct cni_port *ports = calloc(o->n_ports + 1, sizeof(*ports));
	if (!ports)
		return err_set(err, -ENOMEM, "publish ports");
	for (size_t i = 0; i < o->n_ports; i++) {
		const struct run_port *port = &o->ports[i];
		ports[i] = (struct cni_port){
			.host_ip = port->ip,
			.host = port->host,
			.container = port->container,
			.protocol = port->protocol,
		};
		int r = port->host ? 0 : free_port(port, &ports[i].host);
		if (r < 0)
			return err_set(err, r, "--publish: find a port for %u that is free",
				       port->container);
	}
	*ret = steal_ptr(&ports);
	return 0;
}

/* ---- connecting ---- */

static int find_network(const char *name, struct cni_network **ret, struct err *err)
{
	const char *dir = getenv("NETCONFPATH");
	if (!dir || *dir == '\0')
		dir = CONFIG_DIR;
	int r = cni_network_find(dir, name, ret, err);
	if (r == -ENOENT && strcmp(name, USUAL_NETWORK) == 0)
		r = cni_network_find(dir, NULL, ret, err);
	return r < 0 ? err_prefix(err, r, "--network %s", name) : 0;
}

static int plugin_dirs(struct words *ret, struct err *err)
{
	const char *given = getenv("CNI_PATH");
	AUTO_FREE char *copy = strdup(given ? given : "");
	char *rest = copy;
	int r = copy ? 0 : -ENOMEM;
	for (char *dir; r == 0 && (dir = strsep(&rest, ":")) != NULL;)
		if (*dir)
			r = words_add(ret, dir);
	bool none = ret->count == 0;
	for (size_t i = 0; r == 0 && none && cni_default_plugin_dirs[i]; i++)
		r = words_add(ret, cni_default_plugin_dirs[i]);
	return r < 0 ? err_set(err, r, "look for plugins") : 0;
}

static int connect_it(const struct run_options *o, const struct container *container,
		      const char *netns, struct cni_result *ret, struct err *err)
{
	AUTO(cni_network) struct cni_network *network = NULL;
	AUTO_FINISH(words) struct words dirs = {0};
	AUTO_FREE struct cni_port *ports = NULL;
	const char *path = getenv("PATH");
	int r = find_network(o->network.value, &network, err);
	if (r == 0)
		r = plugin_dirs(&dirs, err);
	if (r == 0)
		r = ports_make(o, &ports, err);
	if (r == 0)
		r = netns_create(container_dirfd(container), NETNS_FILE, err);
	if (r < 0)
		return r;
	struct cni_attachment attachment = {
		.network = network,
		.plugin_dirs = (const char *const *)dirs.items,
		.path = path ? path : USUAL_PATH,
		.container_id = container_id(container),
		.netns = netns,
		.ifname = INTERFACE,
		.ports = ports,
		.n_ports = o->n_ports,
	};
	return cni_attach(container_dirfd(container), &attachment, deadline_in_ms(RUN_CONNECT_MS),
			  NULL, ret, err);
}

int run_network_attach(struct run_options *o, const struct container *container,
		       struct cni_result *ret, struct err *err)
{
	char *netns = NULL;
	if (o->network.kind != RUN_NS_NAMED)
		return 0;
	if (o->flags->dry_run) {
		o->network.kind = RUN_NS_PRIVATE;
		return 0;
	}
	if (asprintf(&netns, "%s/" NETNS_FILE, container_path(container)) < 0)
		return err_set(err, -ENOMEM, "connect the container to a network");
	int r = connect_it(o, container, netns, ret, err);
	if (r < 0) {
		/* What plugins said is in the sentence already. */
		(void)run_network_forget(container, NULL);
		free(netns);
		return r;
	}
	free(o->network.value);
	o->network = (struct run_ns){.kind = RUN_NS_PATH, .value = netns};
	return 0;
}

int run_network_forget(const struct container *container, struct err *err)
{
	int r = cni_forget(container_dirfd(container), err);
	int r_netns = netns_remove(container_dirfd(container), NETNS_FILE, r == 0 ? err : NULL);
	return r < 0 ? r : r_netns;
}

int run_network_detach(const struct container *container, struct err *err)
{
	int dirfd = container_dirfd(container);
	int r = cni_detach(dirfd, deadline_in_ms(RUN_DISCONNECT_MS), NULL, err);
	return r < 0 ? r : netns_remove(dirfd, NETNS_FILE, err);
}
