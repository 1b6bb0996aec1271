/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The devices that this host offers by the Container Device Interface: files
 * (*.json, *.yaml) in a few directories, and the way from a name
 * "vendor/class=device" to the edits of a config.json.
 *
 * A later directory has more to say than an earlier one: its device replaces
 * one of the same name. Two files of one directory that have the same device
 * are in conflict, which is an error when the device is asked for. So is a file
 * that cannot be read: it is told to whoever finds a device missing, and hides
 * nothing else. What an image says of devices is never looked at.
 *
 * Immutable once made; any thread may use it.
 */

#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "exec/spec/oci.h"

/* Where the specification looks, for a caller that was told nothing else; ended by NULL. */
extern const char *const cdi_default_dirs[];

enum {
	CDI_FILES_MAX = 1024, /* of one directory */
	CDI_GPUS_MAX = 1024,  /* of one --gpus */
};

struct cdi;

/*
 * Reads all files of the directories (NULL-terminated; one that is not there has none). The
 * caller destroys *ret. What reading a directory gives, -E2BIG past CDI_FILES_MAX, -ENOMEM.
 */
int cdi_create(const char *const *dirs, struct cdi **ret, struct err *err);

/* Accepts NULL. */
void cdi_destroy(struct cdi *cdi);
DEFINE_CLEANUP(cdi, cdi_destroy);

/* Whether a text has the form of a device's full name, "vendor/class=name". Pure. */
bool cdi_is_name(const char *text);

/*
 * Gives the container the devices (NULL-terminated, full names), all or none:
 * for each, in this order and once however often it is named, the edits of its
 * file, unless another device brought them, and its own; made as exec/cdi_edit.h
 * says. -ENOENT: there is no such device, with the directories that were searched
 * and the files there that cannot be read. -EINVAL: no full name. -EEXIST: a
 * conflict. And what cdi_edit() gives, -ENOMEM. On failure the config is as it was.
 */
int cdi_apply(const struct cdi *cdi, const char *const *names, struct oci_config *config,
	      struct err *err);

/*
 * The full names that a value of --gpus stands for; the caller frees the list
 * and its strings (cdi_names_free). "all" is the device `all`; a number N, or
 * count=N, the devices 0 to N-1; device=A,B, with or without quotes around it,
 * those of these names. The kind is nvidia.com/gpu where a file has it, else the
 * first by name that ends in "/gpu". -ENOENT: there is none; -EINVAL: another
 * value; -ENOMEM. Whether there are such devices is found out by cdi_apply().
 */
int cdi_gpus(const struct cdi *cdi, const char *value, char ***ret, struct err *err);

/* Accepts NULL. */
void cdi_names_free(char **names);
