/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hosts.c and hosts_toml.c share. */

#include "fetcher/hosts.h"

void endpoint_finish(struct endpoint *endpoint);
DEFINE_FINISH(endpoint, endpoint_finish);

/* Moves *endpoint to the end and leaves it empty. -E2BIG, -ENOMEM. */
int endpoints_add(struct endpoints *list, struct endpoint *endpoint, struct err *err);

/*
 * Turns "host", "scheme://host" or "scheme://host/path" into a url_base. Without a scheme it is
 * `http` for a plain host and https otherwise. -EINVAL for anything that is no such URL.
 */
int endpoint_set_url(struct endpoint *endpoint, const char *text, bool plain, bool override_path,
		     struct err *err);

/* Appends the authorities of a PEM file, relative to dirfd, to ca_pem. */
int endpoint_add_ca(struct endpoint *endpoint, int dirfd, const char *file, struct err *err);

/* Whether a host without a scheme is spoken to in plain http. */
bool host_is_plain(const char *host);

/*
 * Reads hosts.toml of the directory at `dir` (open as dirfd) into list, the server
 * last, with `upstream` as the registry's own host. -ENOENT when there is none.
 */
int hosts_toml_read(int dirfd, const char *dir, const char *upstream, bool plain_http,
		    struct endpoints *ret, struct err *err);

/* The same for its text. -EINVAL with the line or the key that is wrong; -E2BIG, -ENOMEM. */
int hosts_toml_parse(int dirfd, const char *dir, const char *text, size_t n, const char *upstream,
		     bool plain_http, struct endpoints *ret, struct err *err);
