/* SPDX-License-Identifier: Apache-2.0 */
#include "base/idmap.h"

#include <errno.h>
#include <stdlib.h>

void id_maps_finish(struct id_maps *maps)
{
	if (!maps)
		return;
	free(maps->uids);
	free(maps->gids);
	*maps = (struct id_maps){0};
}

int id_ranges_add(struct id_range **ranges, size_t *n, struct id_range range)
{
	if (*n >= ID_RANGES_MAX)
		return -E2BIG;
	struct id_range *more = reallocarray(*ranges, *n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	more[(*n)++] = range;
	*ranges = more;
	return 0;
}

int id_maps_copy(const struct id_maps *maps, struct id_maps *ret)
{
	AUTO_FINISH(id_maps) struct id_maps copy = {0};
	int r = 0;
	for (size_t i = 0; i < maps->n_uids && r == 0; i++)
		r = id_ranges_add(&copy.uids, &copy.n_uids, maps->uids[i]);
	for (size_t i = 0; i < maps->n_gids && r == 0; i++)
		r = id_ranges_add(&copy.gids, &copy.n_gids, maps->gids[i]);
	if (r < 0)
		return r;
	*ret = copy;
	copy = (struct id_maps){0};
	return 0;
}

static uint32_t find(const struct id_range *ranges, size_t n, uint32_t id, bool inside)
{
	if (n == 0)
		return id;
	for (size_t i = 0; i < n; i++) {
		uint32_t from = inside ? ranges[i].inside : ranges[i].outside;
		uint32_t to = inside ? ranges[i].outside : ranges[i].inside;
		if (id >= from && id - from < ranges[i].count)
			return to + (id - from);
	}
	return ID_OVERFLOW;
}

uint32_t id_maps_uid(const struct id_maps *maps, uint32_t inside)
{
	return maps ? find(maps->uids, maps->n_uids, inside, true) : inside;
}

uint32_t id_maps_gid(const struct id_maps *maps, uint32_t inside)
{
	return maps ? find(maps->gids, maps->n_gids, inside, true) : inside;
}

uint32_t id_maps_uid_inside(const struct id_maps *maps, uint32_t outside)
{
	return maps ? find(maps->uids, maps->n_uids, outside, false) : outside;
}

uint32_t id_maps_gid_inside(const struct id_maps *maps, uint32_t outside)
{
	return maps ? find(maps->gids, maps->n_gids, outside, false) : outside;
}

static bool has(const struct id_range *ranges, size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (id >= ranges[i].inside && id - ranges[i].inside < ranges[i].count)
			return true;
	return n == 0;
}

bool id_maps_has_uid(const struct id_maps *maps, uint32_t inside)
{
	return !maps || has(maps->uids, maps->n_uids, inside);
}

bool id_maps_has_gid(const struct id_maps *maps, uint32_t inside)
{
	return !maps || has(maps->gids, maps->n_gids, inside);
}

static json_t *ranges_json(const struct id_range *ranges, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n && list; i++) {
		json_t *range = json_pack("[I,I,I]", (json_int_t)ranges[i].inside,
					  (json_int_t)ranges[i].outside, (json_int_t)ranges[i].count);
		if (json_array_append_new(list, range) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *id_maps_json(const struct id_maps *maps)
{
	AUTO_JSON json_t *uids = ranges_json(maps->uids, maps->n_uids);
	AUTO_JSON json_t *gids = ranges_json(maps->gids, maps->n_gids);
	return uids && gids ? json_pack("{s:O,s:O}", "uids", uids, "gids", gids) : NULL;
}

static int ranges_parse(const json_t *json, const char *key, struct id_range **ranges, size_t *n,
			struct err *err)
{
	json_t *list = NULL, *item;
	size_t i;
	int r = json_get_array(json, key, JSON_NEED, &list, err);
	json_array_foreach(list, i, item) {
		uint32_t number[3];
		for (size_t k = 0; k < 3 && r == 0; k++) {
			const json_t *value = json_array_get(item, k);
			json_int_t id = json_integer_value(value);
			if (!json_is_integer(value) || id < 0 || id > UINT32_MAX)
				r = err_say(err, -EINVAL, "\"%s\" has what is no range of ids", key);
			else
				number[k] = (uint32_t)id;
		}
		if (r == 0)
			r = id_ranges_add(ranges, n, (struct id_range){number[0], number[1], number[2]});
		if (r < 0)
			return r == -EINVAL ? r : err_set(err, r, "read the ranges of \"%s\"", key);
	}
	return r;
}

int id_maps_parse(const json_t *json, struct id_maps *ret, struct err *err)
{
	AUTO_FINISH(id_maps) struct id_maps maps = {0};
	int r = json ? ranges_parse(json, "uids", &maps.uids, &maps.n_uids, err) : 0;
	if (r == 0 && json)
		r = ranges_parse(json, "gids", &maps.gids, &maps.n_gids, err);
	if (r < 0)
		return r;
	*ret = maps;
	maps = (struct id_maps){0};
	return 0;
}
