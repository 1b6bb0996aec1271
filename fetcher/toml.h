/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A reader for TOML 1.0 (toml.io), as a JSON tree: tables are objects whose
 * keys keep the order of the file, arrays are arrays, dates and times are
 * strings as they stand. Infinity and NaN, which JSON has not, are refused.
 */

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

enum {
	TOML_BYTES_MAX = 1 << 20, /* of a document */
	TOML_DEPTH_MAX = 32,	  /* of arrays and inline tables, and parts of a dotted key */
};

/*
 * Parses a document; `what` names it in errors, which also give the line. The
 * caller owns *ret. -EINVAL for what is not TOML, -E2BIG past a limit, -ENOMEM.
 */
int toml_parse(const char *text, size_t n, const char *what, json_t **ret, struct err *err);
