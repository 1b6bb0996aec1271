/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

enum { ID_BITS = 32 };

void check_absolute(struct check *check, const struct at *path)
{
	const char *text = at_string(path);
	if (text && !form_absolute(text))
		find(check, path, "must be an absolute path");
}

void check_each_absolute(struct check *check, const struct at *paths)
{
	at_each_item(path, paths)
		check_absolute(check, &path);
}

void check_assignments(struct check *check, const struct at *env)
{
	at_each_item(variable, env) {
		const char *text = at_string(&variable);
		if (text && !form_assignment(text))
			find(check, &variable, "must be NAME=VALUE, as environ has it");
	}
}

void check_range(struct check *check, const struct at *number, wide_t low, wide_t high)
{
	wide_t value;
	if (at_number(number, &value) && (value < low || value > high))
		find(check, number, "must be from %lld to %lld", (long long)low, (long long)high);
}

bool check_there(struct check *check, const struct at *member)
{
	if (member->value)
		return true;
	find(check, member, "is required");
	return false;
}

enum { MAPPINGS_MAX = 340 }; /* of the kernel: user_namespaces(7) */

/* Both ends of a mapping on one side. */
struct ids {
	wide_t from, end; /* the same: there is nothing to compare */
};

static const char *const sides[] = {"containerID", "hostID"};

static struct ids ids_of(const struct at *mapping, const char *side)
{
	wide_t from, size;
	if (!at_member_number(mapping, side, &from) || !at_member_number(mapping, "size", &size))
		return (struct ids){0};
	return (struct ids){from, from + size};
}

/* Says what is wrong with the mapping on one side, in view of those before it. */
static bool mapping_is_wrong(struct check *check, const struct at *mapping, const char *side,
			     const struct ids *ids)
{
	size_t index = mapping->path.index;
	struct at size = at_member(mapping, "size");
	if (ids[index].end > (wide_t)1 << ID_BITS) {
		find_exactly(check, &size,
			     "must keep all ids in 32 bits, but %s and size end beyond them", side);
		return true;
	}
	for (size_t i = 0; i < index; i++)
		if (ids[index].from < ids[i].end && ids[i].from < ids[index].end) {
			find_exactly(check, mapping,
				     "must map each id once, but shares some of %s with entry %zu",
				     side, i);
			return true;
		}
	return false;
}

void check_mappings(struct check *check, const struct at *mappings)
{
	struct ids ids[ARRAY_LEN(sides)][MAPPINGS_MAX];
	if (at_count(mappings) > MAPPINGS_MAX) {
		find_exactly(check, mappings, "must be at most %d mappings, but are %zu",
			     MAPPINGS_MAX, at_count(mappings));
		return;
	}
	at_each_item(mapping, mappings) {
		struct at size = at_member(&mapping, "size");
		bool wrong = false;
		wide_t n;
		for (size_t i = 0; i < ARRAY_LEN(sides); i++)
			ids[i][mapping.path.index] = ids_of(&mapping, sides[i]);
		if (at_number(&size, &n) && n == 0)
			find(check, &size, "must be the number of ids to map, one or more");
		for (size_t i = 0; i < ARRAY_LEN(sides) && !wrong; i++)
			wrong = mapping_is_wrong(check, &mapping, sides[i], ids[i]);
	}
}

/* Of the entries before this one, the first whose member holds the same string. */
static bool earlier(const struct at *list, const struct at *item, const char *key, size_t *ret)
{
	const char *text = at_member_string(item, key);
	for (size_t i = 0; text && i < item->path.index; i++) {
		struct at other = at_item(list, i);
		const char *is = at_member_string(&other, key);
		if (is && strcmp(is, text) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

void check_unique(struct check *check, const struct at *list, const char *key)
{
	at_each_item(item, list) {
		size_t other;
		if (item.path.index >= COMPARED_MAX)
			return;
		if (earlier(list, &item, key, &other))
			find_exactly(check, &item,
				     "must not repeat a %s, but has the \"%s\" of entry %zu", key,
				     at_member_string(&item, key), other);
	}
}

void check_namespaces(struct check *check, const struct at *namespaces)
{
	check_unique(check, namespaces, "type");
	at_each_item(entry, namespaces) {
		struct at path = at_member(&entry, "path");
		check_absolute(check, &path);
	}
}

void check_annotations(struct check *check, const struct at *annotations)
{
	at_each_member(annotation, annotations)
		if (annotation.path.key[0] == '\0')
			find_exactly(check, &annotation,
				     "must not have the empty string as its key");
}

bool check_version(struct check *check, const struct at *version, struct semver *ret)
{
	const char *text = at_string(version);
	if (!text)
		return false;
	if (form_semver(text, ret))
		return true;
	find(check, version, "must be a version as SemVer 2.0.0 has it");
	return false;
}
