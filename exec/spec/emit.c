/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "exec/spec/number.h"
#include "exec/spec/pointer.h"
#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

enum { REAL_DIGITS = 17, REAL_MAX = 64 };

struct emit {
	struct buf *out;
	struct err *err;
};

static int emit_object(struct emit *e, const struct oci_type *type, const void *value,
		       const struct oci_path *path);
static int emit_json(struct emit *e, const json_t *json, const struct oci_path *path, size_t depth);

static int refuse(struct emit *e, const struct oci_path *path, const char *why)
{
	char where[OCI_POINTER_MAX];
	return err_say(e->err, -EINVAL, "%s: %s", oci_path_text(path, where), why);
}

static int put_escaped(struct buf *out, unsigned char c)
{
	static const char letters[] = "btnvfr"; /* from 8 on; no short form has 11 */
	if (c == '"' || c == '\\')
		return buf_printf(out, "\\%c", c);
	if (c >= 8 && c <= 13 && c != 11)
		return buf_printf(out, "\\%c", letters[c - 8]);
	return buf_printf(out, "\\u%04x", c);
}

static int emit_text(struct emit *e, const char *text, size_t n, const struct oci_path *path)
{
	if (!utf8_valid(text, n))
		return refuse(e, path, "a string that is not UTF-8");
	int r = buf_puts(e->out, "\"");
	for (size_t i = 0, from = 0; r == 0 && i <= n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (i < n && c >= ' ' && c != '"' && c != '\\')
			continue;
		r = buf_append(e->out, text + from, i - from);
		if (r == 0 && i < n)
			r = put_escaped(e->out, c);
		from = i + 1;
	}
	return r < 0 ? r : buf_puts(e->out, "\"");
}

static int emit_key(struct emit *e, const char *key, bool first, const struct oci_path *path)
{
	int r = first ? 0 : buf_puts(e->out, ",");
	if (r == 0)
		r = emit_text(e, key, strlen(key), path);
	return r < 0 ? r : buf_puts(e->out, ":");
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object in order, borrowed from it. NULL with -ENOMEM in *ret_r, or for none. */
static const char **sorted_keys(const json_t *object, int *ret_r)
{
	size_t n = json_object_size(object), i = 0;
	const char **keys = n ? calloc(n, sizeof(*keys)) : NULL;
	*ret_r = n && !keys ? -ENOMEM : 0;
	if (!keys)
		return NULL;
	const char *key;
	json_t *member;
	json_object_foreach((json_t *)(uintptr_t)object, key, member)
		keys[i++] = key;
	qsort(keys, n, sizeof(*keys), compare_keys);
	return keys;
}

static int emit_json_object(struct emit *e, const json_t *json, const struct oci_path *path,
			    size_t depth)
{
	int r;
	AUTO_FREE const char **keys = sorted_keys(json, &r);
	if (r == 0)
		r = buf_puts(e->out, "{");
	for (size_t i = 0; r == 0 && i < json_object_size(json); i++) {
		struct oci_path below = oci_path_key(path, keys[i]);
		r = emit_key(e, keys[i], i == 0, &below);
		if (r == 0)
			r = emit_json(e, json_object_get(json, keys[i]), &below, depth + 1);
	}
	return r < 0 ? r : buf_puts(e->out, "}");
}

static int emit_json_array(struct emit *e, const json_t *json, const struct oci_path *path,
			   size_t depth)
{
	int r = buf_puts(e->out, "[");
	for (size_t i = 0; r == 0 && i < json_array_size(json); i++) {
		struct oci_path below = oci_path_index(path, i);
		r = i ? buf_puts(e->out, ",") : 0;
		if (r == 0)
			r = emit_json(e, json_array_get(json, i), &below, depth + 1);
	}
	return r < 0 ? r : buf_puts(e->out, "]");
}

static int emit_json_string(struct emit *e, const json_t *json, const struct oci_path *path)
{
	const char *number = oci_number_text(json);
	if (number)
		return buf_puts(e->out, number);
	if (memchr(json_string_value(json), '\0', json_string_length(json)))
		return refuse(e, path, "a NUL within a string");
	return emit_text(e, json_string_value(json), json_string_length(json), path);
}

static int emit_json_real(struct emit *e, const json_t *json, const struct oci_path *path)
{
	char text[REAL_MAX];
	size_t n = json_dumpb(json, text, sizeof(text),
			      JSON_ENCODE_ANY | JSON_REAL_PRECISION(REAL_DIGITS));
	if (n == 0 || n > sizeof(text))
		return refuse(e, path, "a number that JSON does not have");
	return buf_append(e->out, text, n);
}

static int emit_json(struct emit *e, const json_t *json, const struct oci_path *path, size_t depth)
{
	if (depth > OCI_DEPTH_MAX)
		return refuse(e, path, "too many objects and lists within each other");
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return emit_json_object(e, json, path, depth);
	case JSON_ARRAY:
		return emit_json_array(e, json, path, depth);
	case JSON_STRING:
		return emit_json_string(e, json, path);
	case JSON_INTEGER:
		return buf_printf(e->out, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
	case JSON_REAL:
		return emit_json_real(e, json, path);
	case JSON_TRUE:
		return buf_puts(e->out, "true");
	case JSON_FALSE:
		return buf_puts(e->out, "false");
	case JSON_NULL:
		break;
	}
	return buf_puts(e->out, "null");
}

static int emit_one(struct emit *e, const struct oci_member *m, const void *value, size_t i,
		    const struct oci_path *path)
{
	const char *text;
	switch (m->kind) {
	case OCI_BOOL:
		return buf_puts(e->out, oci_slot_bool(value, m) ? "true" : "false");
	case OCI_INTEGER:
		if (m->is_signed)
			return buf_printf(e->out, "%" PRId64, oci_slot_i64(value, m, i));
		return buf_printf(e->out, "%" PRIu64, oci_slot_u64(value, m, i));
	case OCI_STRING:
		text = oci_slot_pointer(value, m, i);
		return emit_text(e, text, strlen(text), path);
	case OCI_OBJECT:
		return emit_object(e, m->type, oci_slot_pointer(value, m, i), path);
	case OCI_JSON:
		break;
	}
	return emit_json(e, oci_slot_pointer(value, m, i), path, oci_path_depth(path));
}

static int emit_member(struct emit *e, const struct oci_member *m, const void *value,
		       const struct oci_path *path)
{
	bool map = m->shape == OCI_MAP;
	if (m->shape == OCI_ONE)
		return emit_one(e, m, value, 0, path);
	int r = buf_puts(e->out, map ? "{" : "[");
	for (size_t i = 0; r == 0 && i < oci_slot_count(value, m); i++) {
		struct oci_path below = map ? oci_path_key(path, oci_slot_key(value, m, i)) :
					      oci_path_index(path, i);
		if (map)
			r = emit_key(e, below.key, i == 0, &below);
		else if (i)
			r = buf_puts(e->out, ",");
		if (r == 0)
			r = emit_one(e, m, value, i, &below);
	}
	return r < 0 ? r : buf_puts(e->out, map ? "}" : "]");
}

/* Known and unknown members, both in order, each in its turn. */
static int emit_object(struct emit *e, const struct oci_type *type, const void *value,
		       const struct oci_path *path)
{
	int r;
	const json_t *residual = raw_load(value, type->residual);
	size_t n_more = json_object_size(residual), known = 0, more = 0;
	AUTO_FREE const char **keys = sorted_keys(residual, &r);
	if (r == 0)
		r = buf_puts(e->out, "{");
	bool first = true;
	while (r == 0 && (known < type->n_members || more < n_more)) {
		const struct oci_member *m = &type->members[known];
		int order = known == type->n_members ? 1 : more == n_more ? -1 :
			    strcmp(m->key, keys[more]);
		struct oci_path below = oci_path_key(path, order > 0 ? keys[more] : m->key);
		if (order == 0)
			return refuse(e, &below, "a known member among the unknown ones");
		known += order < 0;
		more += order > 0;
		if (order < 0 && !oci_slot_present(value, m))
			continue;
		r = emit_key(e, below.key, first, &below);
		first = false;
		if (r == 0)
			r = order < 0 ? emit_member(e, m, value, &below) :
					emit_json(e, json_object_get(residual, below.key), &below,
						  oci_path_depth(&below));
	}
	return r < 0 ? r : buf_puts(e->out, "}");
}

int oci_value_emit(const struct oci_type *type, const void *value, struct buf *out,
		   struct err *err)
{
	struct oci_path root = {0};
	struct emit e = {.out = out, .err = err};
	size_t before = out->len;
	int r = emit_object(&e, type, value, &root);
	if (r == 0)
		return 0;
	buf_cut(out, before);
	if (r == -EINVAL) /* which has been said */
		return err_prefix(err, r, "%s", type->name);
	return err_set(err, r, "write %s", type->name);
}
