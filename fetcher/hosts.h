/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which servers to ask for the content of a registry, in order, and how: after
 * containerd's hosts.toml (docs/hosts.md of containerd) and docker's and
 * podman's certs.d directories.
 *
 * hosts.toml: each of hosts_dirs is searched for `host_port_`, `host:port`
 * (or `host`), `_default`, in that order; the first directory that exists is
 * the configuration of the registry. Its [host."…"] tables come first, in the
 * order of the file, then `server`, or the registry itself without one.
 *
 * certs.d: for each server, the first of certs_dirs that has a directory
 * named as the server's host[:port]: *.crt are authorities, X.cert with X.key
 * is a client certificate. They apply where hosts.toml says nothing.
 *
 * A registry without any of these is `https://host/v2`; docker.io connects to
 * registry-1.docker.io. A loopback host (localhost, *.localhost, 127.0.0.0/8,
 * [::1]) without certificates, on a port other than 443, is plain http, as is
 * every registry with plain_http set.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	HOSTS_TOML_MAX = 1 << 20,  /* bytes of a hosts.toml */
	HOSTS_ENDPOINTS_MAX = 32,  /* servers of one registry */
	HOSTS_HEADERS_MAX = 64,	   /* extra headers of one server */
	HOSTS_CA_BYTES_MAX = 4 << 20, /* certificates of one server together */
	HOSTS_DIR_ENTRIES_MAX = 1024, /* files looked at in a certs.d directory */
};

struct endpoint {
	char *url_base; /* owned; "https://host/v2": "/<repository>/manifests/…" is appended */
	bool resolve;	/* may be asked what a tag means */
	bool pull;	/* may be asked for blobs, and for manifests by digest */
	bool push;
	char *ca_pem;	   /* owned authorities, PEM, besides the system's; NULL: none */
	char *client_cert; /* owned path of a PEM file; NULL: none */
	char *client_key;  /* owned path; NULL: the key stands in client_cert */
	bool skip_verify;
	char **headers;	   /* owned, NULL-terminated "Name: value"; NULL: none */
	uint64_t dial_timeout_ms; /* 0: the default */
	char *ns;	   /* owned; the registry asked for, sent as `?ns=` to others; NULL: none */
	bool is_upstream;  /* the registry itself: its credentials are the image's */
};

struct endpoints {
	struct endpoint *items; /* owned */
	size_t count;
};

/* Frees everything and leaves the zero value. Accepts NULL. */
void endpoints_finish(struct endpoints *list);
DEFINE_FINISH(endpoints, endpoints_finish);

struct hosts_config {
	const char *const *hosts_dirs; /* NULL-terminated, e.g. /etc/containerd/certs.d; NULL: none */
	const char *const *certs_dirs; /* NULL-terminated, e.g. /etc/docker/certs.d; NULL: none */
	bool plain_http; /* http for the registry itself, where hosts.toml gives no scheme */
};

struct hosts;

/* Copies the configuration. -ENOMEM. */
int hosts_create(const struct hosts_config *config, struct hosts **ret, struct err *err);
void hosts_destroy(struct hosts *hosts);
DEFINE_CLEANUP(hosts, hosts_destroy);

/*
 * The servers of a registry ("docker.io", "localhost:5000"), first to ask
 * first; the caller finishes ret. Reads the files anew each time. Safe from
 * any thread. -EINVAL: a hosts.toml that is wrong, with path and line;
 * -E2BIG past a limit; -EACCES and the like for files that cannot be read.
 */
int hosts_resolve(struct hosts *hosts, const char *registry_host, struct endpoints *ret,
		  struct err *err);

/* Whether "host" or "host:port" is this machine: localhost, *.localhost, 127.0.0.0/8, [::1]. */
bool host_is_loopback(const char *host);
