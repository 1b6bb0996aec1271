/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "exec/spec/number.h"
#include "exec/validate_priv.h"

static const json_t *there(const json_t *value)
{
	return json_is_null(value) ? NULL : value;
}

struct at at_document(const json_t *document)
{
	return (struct at){.value = there(document)};
}

struct at at_member(const struct at *object, const char *key)
{
	return (struct at){
		.path = oci_path_key(&object->path, key),
		.value = there(json_object_get(object->value, key)),
	};
}

struct at at_item(const struct at *array, size_t index)
{
	if (index >= json_array_size(array->value))
		return (struct at){0};
	return (struct at){
		.path = oci_path_index(&array->path, index),
		.value = there(json_array_get(array->value, index)),
	};
}

/* jansson iterates over objects that it could change; nothing here does. */
static struct at at_iter(const struct at *object, void *iter)
{
	if (!iter)
		return (struct at){0};
	return (struct at){
		.path = oci_path_key(&object->path, json_object_iter_key(iter)),
		.value = there(json_object_iter_value(iter)),
	};
}

static json_t *loose(const json_t *value)
{
	union {
		const json_t *is;
		json_t *was;
	} object = {.is = value};
	return object.was;
}

struct at at_first(const struct at *object)
{
	return at_iter(object, json_object_iter(loose(object->value)));
}

struct at at_next(const struct at *object, const struct at *before)
{
	return at_iter(object, json_object_iter_next(loose(object->value),
						     json_object_key_to_iter(before->path.key)));
}

const char *at_string(const struct at *at)
{
	const char *text = json_string_value(at->value);
	return text && strlen(text) == json_string_length(at->value) ? text : NULL;
}

const char *at_member_string(const struct at *object, const char *key)
{
	struct at member = at_member(object, key);
	return at_string(&member);
}

/* A number past int64_t, marked; one past all that is asked of numbers is as large as fits. */
static bool read_marked(const char *text, wide_t *ret)
{
	bool negative = *text == '-';
	wide_t value = 0;
	text += negative;
	if (text[strspn(text, "0123456789")] != '\0')
		return false;
	for (; *text && value <= UINT64_MAX; text++)
		value = value * 10 + (*text - '0');
	*ret = negative ? -value : value;
	return true;
}

bool at_number(const struct at *at, wide_t *ret)
{
	const char *marked = oci_number_text(at->value);
	if (marked)
		return read_marked(marked, ret);
	if (!json_is_integer(at->value))
		return false;
	*ret = json_integer_value(at->value);
	return true;
}

bool at_member_number(const struct at *object, const char *key, wide_t *ret)
{
	struct at member = at_member(object, key);
	return at_number(&member, ret);
}

size_t at_count(const struct at *array)
{
	return json_array_size(array->value);
}

bool at_holds(const struct at *array, const char *text)
{
	at_each_item(item, array) {
		const char *is = at_string(&item);
		if (is && strcmp(is, text) == 0)
			return true;
	}
	return false;
}
