/* SPDX-License-Identifier: Apache-2.0 */
#include <regex.h>
#include <string.h>

#include "base/num.h"
#include "exec/spec/oci.h"
#include "exec/spec/type.h"
#include "exec/validate_priv.h"

/* What the schema says, by the tables that the types are made from. */

enum { WORDS_SHOWN_MAX = 512 };

/* In an object of the schema, null is a value of the wrong type; at() has nothing for it. */
static void find_null(struct check *check, const struct at *at, const char *asks)
{
	find_exactly(check, at, "must be %s, but is null", asks);
}

static void check_words(struct check *check, const struct at *at, const struct oci_member *m)
{
	AUTO_FINISH(buf) struct buf list = buf_make(WORDS_SHOWN_MAX);
	const char *text = at_string(at);
	int r = 0;
	for (const char *const *word = m->words; *word; word++) {
		if (text && strcmp(text, *word) == 0)
			return;
		if (r == 0)
			r = buf_printf(&list, "%s%s", word == m->words ? "" : ", ", *word);
	}
	if (r == -ENOMEM)
		check->r = r;
	find(check, at, "must be one of %s%s", buf_str(&list), r == -E2BIG ? "…" : "");
}

/* ECMA's expressions as far as the specification uses them are POSIX's but for "\n". */
static int pattern_compile(const char *pattern, regex_t *ret)
{
	AUTO_FREE char *posix = strdup(pattern);
	if (!posix)
		return -ENOMEM;
	char *to = posix;
	for (const char *p = pattern; *p; p++) {
		bool newline = p[0] == '\\' && p[1] == 'n';
		*to++ = newline ? '\n' : *p;
		p += newline;
	}
	*to = '\0';
	return regcomp(ret, posix, REG_EXTENDED | REG_NOSUB) == 0 ? 0 : -ENOMEM;
}

static void check_pattern(struct check *check, const struct at *at, const char *pattern)
{
	const char *text = at_string(at);
	size_t i = 0;
	while (i < check->n_patterns && check->patterns[i].text != pattern)
		i++;
	if (i == CHECK_PATTERNS_MAX)
		i = 0;
	if (i == check->n_patterns || check->patterns[i].text != pattern) {
		regex_t regex;
		int r = pattern_compile(pattern, &regex);
		if (r < 0) {
			check->r = r;
			return;
		}
		if (i < check->n_patterns)
			regfree(&check->patterns[i].regex);
		else
			check->n_patterns++;
		check->patterns[i] = (struct check_pattern){.text = pattern, .regex = regex};
	}
	if (text && regexec(&check->patterns[i].regex, text, 0, NULL, 0) != 0)
		find(check, at, "must match %s", pattern);
}

static void check_string(struct check *check, const struct at *at, const struct oci_member *m)
{
	if (!json_is_string(at->value)) {
		find(check, at, "must be a string");
		return;
	}
	if (!at_string(at)) {
		find(check, at, "must not hold a NUL");
		return;
	}
	if (m->words)
		check_words(check, at, m);
	if (m->pattern)
		check_pattern(check, at, m->pattern);
}

static void check_integer(struct check *check, const struct at *at, const struct oci_member *m)
{
	wide_t low = m->is_signed ? -((wide_t)1 << (m->bits - 1)) : 0;
	wide_t high = ((wide_t)1 << (m->is_signed ? m->bits - 1 : m->bits)) - 1;
	wide_t value;
	if (m->has_min && m->min > low)
		low = m->min;
	if (m->has_max && m->max < high)
		high = m->max;
	if (!at_number(at, &value))
		find(check, at, "must be a whole number");
	else if (value < low && low == 0)
		find(check, at, "must not be negative");
	else if (value < low && high > UINT32_MAX)
		find(check, at, "must be at least %lld", (long long)low);
	else if (value < low || value > high)
		find(check, at, "must be from %lld to %llu", (long long)low,
		     (unsigned long long)high);
}

static void check_type(struct check *check, const struct at *object, const struct oci_type *type);

/* One value of the member's kind; `asks` says what kind that is. */
static void check_value(struct check *check, const struct at *at, const struct oci_member *m)
{
	static const char *const asks[] = {
		[OCI_BOOL] = "true or false", [OCI_INTEGER] = "a whole number",
		[OCI_STRING] = "a string",    [OCI_OBJECT] = "an object",
		[OCI_JSON] = "an object",
	};
	if (!at->value) {
		find_null(check, at, asks[m->kind]);
		return;
	}
	switch (m->kind) {
	case OCI_BOOL:
		if (!json_is_boolean(at->value))
			find(check, at, "must be true or false");
		break;
	case OCI_INTEGER:
		check_integer(check, at, m);
		break;
	case OCI_STRING:
		check_string(check, at, m);
		break;
	case OCI_OBJECT:
		check_type(check, at, m->type);
		break;
	case OCI_JSON:
		if (!json_is_object(at->value))
			find(check, at, "must be an object");
		break;
	}
}

static void check_list_of(struct check *check, const struct at *list, const struct oci_member *m)
{
	if (!list->value) {
		find_null(check, list, "an array");
		return;
	}
	if (!json_is_array(list->value)) {
		find(check, list, "must be an array");
		return;
	}
	if (at_count(list) < m->items_min)
		find(check, list, "must have at least %zu entr%s", m->items_min,
		     m->items_min == 1 ? "y" : "ies");
	at_each_item(item, list)
		check_value(check, &item, m);
}

static void check_map_of(struct check *check, const struct at *map, const struct oci_member *m)
{
	if (!map->value) {
		find_null(check, map, "an object");
		return;
	}
	if (!json_is_object(map->value)) {
		find(check, map, "must be an object");
		return;
	}
	at_each_member(member, map)
		check_value(check, &member, m);
}

static void check_type(struct check *check, const struct at *object, const struct oci_type *type)
{
	if (!json_is_object(object->value)) {
		find(check, object, "must be an object");
		return;
	}
	for (size_t i = 0; i < type->n_members; i++) {
		const struct oci_member *m = &type->members[i];
		struct at member = at_member(object, m->key);
		bool present = json_object_get(object->value, m->key);
		if (!present && m->required)
			find(check, &member, "is required");
		/* features.md: what is not required may be null. */
		if (!present ||
		    (!member.value && !m->required && check->type == &oci_features_type))
			continue;
		switch (m->shape) {
		case OCI_ONE:
			check_value(check, &member, m);
			break;
		case OCI_LIST:
			check_list_of(check, &member, m);
			break;
		case OCI_MAP:
			check_map_of(check, &member, m);
			break;
		}
	}
}

void check_schema(struct check *check, const struct at *document)
{
	check_type(check, document, check->type);
	for (size_t i = 0; i < check->n_patterns; i++)
		regfree(&check->patterns[i].regex);
	check->n_patterns = 0;
}
