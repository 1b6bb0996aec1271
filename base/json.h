/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Getters over jansson that check type and range and say where a document is
 * wrong. Each takes an object and a key; `need` tells a missing key (or null)
 * apart: with JSON_NEED it is -EINVAL, with JSON_MAY the output keeps its
 * value and the result is 0. A key of the wrong type is -EINVAL either way.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"

enum json_need { JSON_MAY, JSON_NEED };

enum { JSON_DEPTH_MAX = 128 };

static inline void cleanup_json(json_t **json)
{
	json_decref(*json);
}
#define AUTO_JSON __attribute__((cleanup(cleanup_json)))

/*
 * Parses a document that must be an object; `what` names it in errors. The
 * caller owns the result. -EINVAL with line and column; a key that stands
 * twice in one object is an error, since two readers could disagree on it.
 */
int json_parse_object(const void *data, size_t n, const char *what, json_t **ret, struct err *err);

/* A string, borrowed from the object. */
int json_get_str(const json_t *object, const char *key, enum json_need need, const char **ret,
		 struct err *err);
int json_get_u64(const json_t *object, const char *key, enum json_need need, uint64_t *ret,
		 struct err *err);
int json_get_i64(const json_t *object, const char *key, enum json_need need, int64_t *ret,
		 struct err *err);
int json_get_bool(const json_t *object, const char *key, enum json_need need, bool *ret,
		  struct err *err);
/* An object or an array, borrowed. */
int json_get_object(const json_t *object, const char *key, enum json_need need, json_t **ret,
		    struct err *err);
int json_get_array(const json_t *object, const char *key, enum json_need need, json_t **ret,
		   struct err *err);
int json_get_digest(const json_t *object, const char *key, enum json_need need,
		    struct digest *ret, struct err *err);
