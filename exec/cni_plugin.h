/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One run of one plugin of the Container Network Interface. For exec/cni.c. */

#include "base/cancel.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"

struct cni_run {
	const char *command;   /* "ADD", "DEL", "CHECK" */
	const char *network;   /* its name */
	const char *version;   /* that is spoken */
	const json_t *dirs;    /* an array of directories */
	const char *path;      /* PATH; NULL: none */
	const char *container; /* as in struct cni_attachment, as the next two */
	const char *netns;     /* NULL: it is gone */
	const char *ifname;
	json_t *arguments;     /* runtimeConfig: by capability */
	deadline_t deadline;
	const struct cancel *cancel;
};

/* Whether the plugin is in one of the directories: 0, or -ENOENT. */
int cni_plugin_look(const struct cni_run *run, const json_t *plugin, struct err *err);

/*
 * Runs the plugin of this configuration with a previous result (NULL: none).
 * *ret, which may be NULL, is what it said, an object of the caller's. -ENOENT: it
 * is in none of the directories; -EIO with its words; -EINVAL: what it said is no result.
 */
int cni_plugin_run(const struct cni_run *run, const json_t *plugin, json_t *previous,
		   json_t **ret, struct err *err);
