/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One file of the Container Device Interface, 1.1.0
 * (https://github.com/cncf-tags/container-device-interface, SPEC.md): the
 * devices of one kind, and for each the edits that give it to a container. What
 * is read here has been checked as a whole: every member is known, is of the
 * version that the file says it has, and has the form that the specification
 * gives it. Whether what it names exists is found out when it is used.
 *
 * Immutable; any thread may read it.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

enum { CDI_SPEC_MAX = 1 << 20 }; /* bytes of a file */

enum cdi_form { CDI_JSON, CDI_YAML };

struct cdi_spec;

/*
 * Reads the bytes of a file; `what` names it in errors, which say the place as a
 * JSON pointer. The caller destroys *ret. -EINVAL, -ENOMEM; -ENOTSUP: YAML
 * without libyaml.
 */
int cdi_spec_parse(const void *data, size_t n, enum cdi_form form, const char *what,
		   struct cdi_spec **ret, struct err *err);

/* Accepts NULL. */
void cdi_spec_destroy(struct cdi_spec *spec);
DEFINE_CLEANUP(cdi_spec, cdi_spec_destroy);

/* "vendor.example/class". Borrowed. */
const char *cdi_spec_kind(const struct cdi_spec *spec);

/* Its devices, at least one; no name stands there twice. */
size_t cdi_spec_count(const struct cdi_spec *spec);
const char *cdi_spec_device(const struct cdi_spec *spec, size_t i);

/* Whether it has a device of this name, and which one. */
bool cdi_spec_find(const struct cdi_spec *spec, const char *name, size_t *ret);

/*
 * The edits that come with any device of the file, and those of one: an object
 * that is what the specification calls containerEdits, NULL when there is none.
 * A member that is null counts as absent. Borrowed.
 */
const json_t *cdi_spec_edits(const struct cdi_spec *spec);
const json_t *cdi_spec_device_edits(const struct cdi_spec *spec, size_t i);

/* Whether n bytes are a kind, "vendor/class", and whether a text is a device's name. Pure. */
bool cdi_kind_valid(const char *text, size_t n);
bool cdi_device_valid(const char *name);
