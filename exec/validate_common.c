/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/num.h"
#include "exec/validate_priv.h"

enum {
	ID_END_SHIFT = 32, /* ids are below 2^32 */
};

void check_absolute(struct check *check, const struct at *path)
{
	const char *text = at_string(path);
	if (text && !form_absolute(text))
		find(check, path, "must be an absolute path");
}

void check_each_absolute(struct check *check, const struct at *paths)
{
	at_each_item(path, paths) check_absolute(check, &path);
}

void check_assignments(struct check *check, const struct at *env)
{
	at_each_item(variable, env)
	{
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

/* A range of ids: both ends of a mapping, each on its side. */
static bool mapping_side(const struct at *mapping, const char *key, wide_t *ret_from,
			 wide_t *ret_end)
{
	wide_t from, size;
	if (!at_member_number(mapping, key, &from) || !at_member_number(mapping, "size", &size))
		return false;
	*ret_from = from;
	*ret_end = from + size;
	return true;
}

/* Whether one of the mappings before this one has an id of the same side. */
static bool mapping_overlaps(const struct at *mappings, size_t index, const char *key, wide_t from,
			     wide_t end, size_t *ret)
{
	for (size_t i = 0; i < index; i++) {
		struct at other = at_item(mappings, i);
		wide_t other_from, other_end;
		if (mapping_side(&other, key, &other_from, &other_end) && from < other_end &&
		    other_from < end) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static void check_mapping(struct check *check, const struct at *mappings, const struct at *mapping)
{
	static const char *const sides[] = {"containerID", "hostID"};
	struct at size = at_member(mapping, "size");
	wide_t n;
	if (!at_number(&size, &n))
		return;
	if (n == 0) {
		find(check, &size, "must be the number of ids to map, one or more");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
		wide_t from, end;
		size_t other;
		if (!mapping_side(mapping, sides[i], &from, &end))
			continue;
		if (end > (wide_t)1 << ID_END_SHIFT)
			find_exactly(
				check, &size,
				"must keep all ids in 32 bits, but %s and size end beyond them",
				sides[i]);
		else if (mapping_overlaps(mappings, mapping->path.index, sides[i], from, end,
					  &other))
			find_exactly(check, mapping,
				     "must map each id once, but shares some of %s with entry %zu",
				     sides[i], other);
		else
			continue;
		return;
	}
}

enum {
	/* The kernel takes 340; the comparison of each with each ends here. */
	MAPPINGS_MAX = 340,
};

void check_mappings(struct check *check, const struct at *mappings)
{
	if (at_count(mappings) > MAPPINGS_MAX) {
		find_exactly(check, mappings, "must be at most %d mappings, but are %zu",
			     MAPPINGS_MAX, at_count(mappings));
		return;
	}
	at_each_item(mapping, mappings) check_mapping(check, mappings, &mapping);
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

enum {
	/* Of lists whose entries are compared each with each: what is behind is not. */
	COMPARED_MAX = 1024,
};

void check_unique(struct check *check, const struct at *list, const char *key)
{
	at_each_item(item, list)
	{
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
	at_each_item(entry, namespaces)
	{
		struct at path = at_member(&entry, "path");
		check_absolute(check, &path);
	}
}

void check_annotations(struct check *check, const struct at *annotations)
{
	at_each_member(annotation, annotations) if (annotation.path.key[0] == '\0')
		find_exactly(check, &annotation, "must not have the empty string as its key");
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
