/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ids of a user namespace (user_namespaces(7)): which ids outside those inside are. Immutable
 * once made; any thread may read them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

enum {
	ID_RANGES_MAX = 340,   /* of users, or groups; Linux takes no more */
	ID_OVERFLOW = 65534,   /* what Linux shows where there is no id */
};

struct id_range {
	uint32_t inside, outside, count;
};

/* Owned arrays; 0 of either: there is no such namespace, and ids are the same on both sides. */
struct id_maps {
	struct id_range *uids, *gids;
	size_t n_uids, n_gids;
};

/* Accepts NULL and zeroed ones. */
void id_maps_finish(struct id_maps *maps);
DEFINE_FINISH(id_maps, id_maps_finish);

/* -ENOMEM. */
int id_maps_copy(const struct id_maps *maps, struct id_maps *ret);

/* Adds a range to one of the two lists. -E2BIG past ID_RANGES_MAX, -ENOMEM. */
int id_ranges_add(struct id_range **ranges, size_t *n, struct id_range range);

/* The id outside for one inside, and the other way round; ID_OVERFLOW: there is none. maps may be NULL. */
uint32_t id_maps_uid(const struct id_maps *maps, uint32_t inside);
uint32_t id_maps_gid(const struct id_maps *maps, uint32_t inside);
uint32_t id_maps_uid_inside(const struct id_maps *maps, uint32_t outside);
uint32_t id_maps_gid_inside(const struct id_maps *maps, uint32_t outside);

/* Whether an id inside is somebody outside. */
bool id_maps_has_uid(const struct id_maps *maps, uint32_t inside);
bool id_maps_has_gid(const struct id_maps *maps, uint32_t inside);

/* As JSON, a new reference of the caller's; NULL: no memory. */
json_t *id_maps_json(const struct id_maps *maps);

/* The same back; NULL is none. The caller finishes *ret. -EINVAL with what is wrong, -ENOMEM. */
int id_maps_parse(const json_t *json, struct id_maps *ret, struct err *err);
