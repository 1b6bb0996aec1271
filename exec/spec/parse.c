/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/spec/number.h"
#include "exec/spec/pointer.h"
#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

/* A document may grow this many times by the marks of number.h, nine bytes to a number of three. */
enum { MARK_GROWTH = 4 };

static int parse_object(const struct oci_type *type, const json_t *json, void *value,
			const struct oci_path *path, struct err *err);

static const char *name_of(const json_t *json)
{
	if (oci_number_text(json))
		return strpbrk(oci_number_text(json), ".eE") ? "a fraction" : "a number";
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_NULL:
		return "null";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a truth value";
	default:
		return "a number";
	}
}

static int wrong_type(const char *wanted, const json_t *json, const struct oci_path *path,
		      struct err *err)
{
	char where[OCI_POINTER_MAX];
	return err_say(err, -EINVAL, "%s: expected %s, found %s", oci_path_text(path, where),
		       wanted, name_of(json));
}

static int refuse(const char *why, const struct oci_path *path, struct err *err)
{
	char where[OCI_POINTER_MAX];
	return err_say(err, -EINVAL, "%s: %s", oci_path_text(path, where), why);
}

/* A value that is kept as it is: nothing in it may be lost when it is written again. */
static int check_json(const json_t *json, const struct oci_path *path, size_t depth,
		      struct err *err)
{
	if (depth > OCI_DEPTH_MAX)
		return refuse("too many objects and lists within each other", path, err);
	if (json_is_string(json) && !oci_number_text(json) &&
	    memchr(json_string_value(json), '\0', json_string_length(json)))
		return refuse("a NUL within a string", path, err);
	for (size_t i = 0; i < json_array_size(json); i++) {
		struct oci_path below = oci_path_index(path, i);
		int r = check_json(json_array_get(json, i), &below, depth + 1, err);
		if (r < 0)
			return r;
	}
	if (!json_is_object(json))
		return 0;
	const char *key;
	json_t *member;
	json_object_foreach((json_t *)(uintptr_t)json, key, member) {
		struct oci_path below = oci_path_key(path, key);
		int r = check_json(member, &below, depth + 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_string(const json_t *json, void **ret, const struct oci_path *path,
			struct err *err)
{
	if (!json_is_string(json) || oci_number_text(json))
		return wrong_type("a string", json, path, err);
	if (memchr(json_string_value(json), '\0', json_string_length(json)))
		return refuse("a NUL within a string", path, err);
	char *copy = strdup(json_string_value(json));
	if (!copy)
		return err_set(err, -ENOMEM, "read a string");
	*ret = copy;
	return 0;
}

static int out_of_range(const struct oci_member *m, const json_t *json,
			const struct oci_path *path, struct err *err)
{
	char where[OCI_POINTER_MAX], number[32];
	const char *text = oci_number_text(json);
	if (!text)
		(void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
			       json_integer_value(json));
	return err_say(err, -EINVAL, "%s: %s is not within the range of %sint%u",
		       oci_path_text(path, where), text ? text : number, m->is_signed ? "" : "u",
		       m->bits);
}

static int parse_integer(const struct oci_member *m, const json_t *json, void *to,
			 const struct oci_path *path, struct err *err)
{
	const char *text = oci_number_text(json);
	if (text ? strpbrk(text, ".eE") != NULL : !json_is_integer(json))
		return wrong_type("an integer", json, path, err);
	/* What is marked is past int64_t. */
	uint64_t number = 0;
	if (text && (m->is_signed || u64_parse(text, UINT64_MAX, &number) < 0))
		return out_of_range(m, json, path, err);
	if (!text) {
		int64_t v = json_integer_value(json);
		number = (uint64_t)v;
		if (!m->is_signed && v < 0)
			return out_of_range(m, json, path, err);
		int64_t max = (int64_t)(UINT64_MAX >> (64 - m->bits + 1));
		if (m->is_signed && (v > max || v < -max - 1))
			return out_of_range(m, json, path, err);
	}
	if (!m->is_signed && number > UINT64_MAX >> (64 - m->bits))
		return out_of_range(m, json, path, err);
	raw_store_integer(to, m, number);
	return 0;
}

/* One string, object or json_t. */
static int parse_one(const struct oci_member *m, json_t *json, void **ret,
		     const struct oci_path *path, struct err *err)
{
	if (m->kind == OCI_STRING)
		return parse_string(json, ret, path, err);
	if (!json_is_object(json))
		return wrong_type("an object", json, path, err);
	if (m->kind == OCI_JSON) {
		int r = check_json(json, path, oci_path_depth(path), err);
		if (r == 0)
			*ret = json_incref(json);
		return r;
	}
	void *object = oci_value_create(m->type);
	int r = object ? parse_object(m->type, json, object, path, err) :
			 err_set(err, -ENOMEM, "read %s", m->type->name);
	if (r == 0)
		*ret = steal_ptr(&object);
	oci_value_free(m->type, object);
	return r;
}

static int parse_list(const struct oci_member *m, const json_t *json, void *value,
		      const struct oci_path *path, struct err *err)
{
	if (!json_is_array(json))
		return wrong_type("a list", json, path, err);
	char *array = raw_array(m, json_array_size(json));
	raw_store(value, m->at, array);
	if (!array)
		return err_set(err, -ENOMEM, "read %s", m->key);
	for (size_t i = 0; i < json_array_size(json); i++) {
		struct oci_path below = oci_path_index(path, i);
		json_t *element = json_array_get(json, i);
		void *one = NULL;
		int r = m->kind == OCI_INTEGER ?
				parse_integer(m, element, array + i * raw_width(m), &below, err) :
				parse_one(m, element, &one, &below, err);
		if (r < 0)
			return r;
		if (m->kind != OCI_INTEGER)
			raw_store(array, i * sizeof(one), one);
		raw_store_size(value, m->beside, i + 1);
	}
	return 0;
}

static int parse_map(const struct oci_member *m, json_t *json, void *value,
		     const struct oci_path *path, struct err *err)
{
	if (!json_is_object(json))
		return wrong_type("an object", json, path, err);
	struct oci_entry *array = raw_array(m, json_object_size(json)), *entry = array;
	raw_store(value, m->at, array);
	if (!array)
		return err_set(err, -ENOMEM, "read %s", m->key);
	const char *key;
	json_t *element;
	json_object_foreach(json, key, element) {
		struct oci_path below = oci_path_key(path, key);
		entry->key = strdup(key);
		raw_store_size(value, m->beside, (size_t)(entry - array) + 1);
		int r = entry->key ? parse_one(m, element, &entry->value, &below, err) :
				     err_set(err, -ENOMEM, "read %s", m->key);
		if (r < 0)
			return r;
		entry++;
	}
	qsort(array, (size_t)(entry - array), sizeof(*array), raw_compare_entries);
	return 0;
}

static int parse_member(const struct oci_member *m, json_t *json, void *value,
			const struct oci_path *path, struct err *err)
{
	if (m->shape == OCI_LIST)
		return parse_list(m, json, value, path, err);
	if (m->shape == OCI_MAP)
		return parse_map(m, json, value, path, err);
	if (m->kind == OCI_BOOL && !json_is_boolean(json))
		return wrong_type("true or false", json, path, err);
	if (m->kind == OCI_BOOL)
		raw_store_bool(value, m->at, json_is_true(json));
	int r = 0;
	void *one = NULL;
	if (m->kind == OCI_INTEGER)
		r = parse_integer(m, json, (char *)value + m->at, path, err);
	else if (m->kind != OCI_BOOL)
		r = parse_one(m, json, &one, path, err);
	if (r < 0)
		return r;
	if (raw_has_flag(m))
		raw_store_bool(value, m->beside, true);
	else
		raw_store(value, m->at, one);
	return 0;
}

static int keep_unknown(const struct oci_type *type, const char *key, json_t *json, void *value,
			const struct oci_path *path, struct err *err)
{
	int r = check_json(json, path, oci_path_depth(path), err);
	if (r < 0)
		return r;
	json_t *residual = raw_load(value, type->residual);
	if (!residual) {
		residual = json_object();
		raw_store(value, type->residual, residual);
	}
	if (!residual || json_object_set(residual, key, json) < 0)
		return err_set(err, -ENOMEM, "read %s", key);
	return 0;
}

static int parse_object(const struct oci_type *type, const json_t *json, void *value,
			const struct oci_path *path, struct err *err)
{
	const char *key;
	json_t *member;
	json_object_foreach((json_t *)(uintptr_t)json, key, member) {
		struct oci_path below = oci_path_key(path, key);
		const struct oci_member *m = oci_type_member(type, key);
		int r = m ? parse_member(m, member, value, &below, err) :
			    keep_unknown(type, key, member, value, &below, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * The text as jansson takes it. What is wrong with it is said of the text as it
 * was, but where jansson stops there at a number: then only the line is exact.
 */
static int load(const struct oci_type *type, const char *bytes, size_t n, json_t **ret,
		struct err *err)
{
	AUTO_FINISH(buf) struct buf marked = buf_make((size_t)OCI_JSON_MAX * MARK_GROWTH);
	int r = oci_number_mark(bytes, n, &marked);
	if (r < 0)
		return err_set(err, r, "parse %s", type->name);
	if (marked.len == 0)
		return json_parse_object(bytes, n, type->name, ret, err);
	r = json_parse_object(marked.data, marked.len, type->name, ret, err);
	if (r != -EINVAL)
		return r;
	json_error_t why;
	size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
	AUTO_JSON json_t *again = json_loadb(bytes, n, flags, &why);
	if (again || why.text[0] == '\0' || json_error_code(&why) == json_error_numeric_overflow)
		return r;
	return err_say(err, r, "%s is not valid JSON: line %d, column %d: %s", type->name, why.line,
		       why.column, why.text);
}

int oci_value_parse(const struct oci_type *type, const char *bytes, size_t n, void **ret,
		    struct err *err)
{
	struct oci_path root = {0};
	AUTO_JSON json_t *json = NULL;
	if (n > OCI_JSON_MAX)
		return err_say(err, -E2BIG, "%s has %zu bytes, at most %d are read", type->name, n,
			       OCI_JSON_MAX);
	int r = load(type, bytes, n, &json, err);
	if (r < 0)
		return r;
	void *value = oci_value_create(type);
	if (!value)
		return err_set(err, -ENOMEM, "parse %s", type->name);
	r = parse_object(type, json, value, &root, err);
	if (r < 0) {
		oci_value_free(type, value);
		return err_prefix(err, r, "%s", type->name);
	}
	*ret = value;
	return 0;
}
