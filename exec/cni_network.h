/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A network as its administrator describes it for the Container Network
 * Interface (https://github.com/containernetworking/cni, SPEC.md 1.0.0, section
 * 1): a name, and plugins to be run one after the other. Versions 0.3.0, 0.3.1,
 * 0.4.0 and 1.0.0 are spoken; of those that a network can do, the highest.
 *
 * Immutable; any thread may read it.
 */

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

enum {
	CNI_FILE_MAX = 1 << 20, /* bytes of a configuration */
	CNI_PLUGINS_MAX = 64,   /* of one network */
};

struct cni_network;

/*
 * Reads a list of plugins (*.conflist), or the configuration of a single one (*.conf, *.json),
 * which becomes a list of one; `what` names it in errors. The caller destroys
 * *ret. -EINVAL with what is wrong, -ENOMEM.
 */
int cni_network_parse(const void *data, size_t n, bool single, const char *what,
		      struct cni_network **ret, struct err *err);

/* The same from what cni_network_json() gave. Shares nothing that changes. */
int cni_network_from_json(json_t *list, const char *what, struct cni_network **ret,
			  struct err *err);

/*
 * Finds a network among the files of a directory: by its name, or, where that is
 * NULL, the one in the first file by name, which then must be right. A file that is
 * wrong hides no network of another name. -ENOENT: there is none, with what was
 * looked at; and the errors of reading.
 */
int cni_network_find(const char *dir, const char *name, struct cni_network **ret,
		     struct err *err);

/* Accepts NULL. */
void cni_network_destroy(struct cni_network *network);
DEFINE_CLEANUP(cni_network, cni_network_destroy);

/* Borrowed. */
const char *cni_network_name(const struct cni_network *network);
const char *cni_network_version(const struct cni_network *network);
const json_t *cni_network_plugins(const struct cni_network *network); /* objects with a "type" */
json_t *cni_network_json(const struct cni_network *network);	      /* the whole list */

/* Whether plugins may be asked to check: not before 0.4.0, nor where the administrator forbids. */
bool cni_network_can_check(const struct cni_network *network);

/* Whether a plugin says that it takes such an argument ("portMappings"). */
bool cni_plugin_takes(const json_t *plugin, const char *capability);
bool cni_network_takes(const struct cni_network *network, const char *capability);

/* Whether a version is one that is spoken, and has a previous result in DEL and CHECK. */
bool cni_version_known(const char *version);
bool cni_version_checks(const char *version);
