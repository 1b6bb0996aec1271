/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * YAML for programs that know JSON: one document of mappings, sequences and
 * scalars becomes the same tree of jansson's. What JSON has no word for is
 * refused: aliases, tags, keys that are no scalars, a second document, a key
 * that stands twice in one mapping. Plain scalars are what the core schema of
 * YAML 1.2 has (null, true, false, numbers), and 0644 is octal, as in YAML 1.1;
 * all others, `yes` and `on` among them, are strings. Pure.
 */

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

/*
 * Reads a document; `what` names it in errors. The caller owns the result.
 * -EINVAL with line and column; -ENOTSUP where this was built without libyaml;
 * -ENOMEM.
 */
int yaml_json_parse(const void *data, size_t n, const char *what, json_t **ret, struct err *err);
