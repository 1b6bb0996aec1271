/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <string.h>

int json_parse_object(const void *data, size_t n, const char *what, json_t **ret, struct err *err)
{
	json_error_t why;
	AUTO_JSON json_t *root = json_loadb(data, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
	/* Whatever is wrong with a document is told; only a lack of memory is not. */
	if (!root && why.text[0] == '\0')
		return err_set(err, -ENOMEM, "parse %s", what);
	if (!root)
		return err_say(err, -EINVAL, "%s is not valid JSON: line %d, column %d: %s", what,
			       why.line, why.column, why.text);
	if (!json_is_object(root))
		return err_say(err, -EINVAL, "%s is not a JSON object", what);
	*ret = steal_ptr(&root);
	return 0;
}

/* *ret stays NULL when the key is absent and may be. */
static int json_get(const json_t *object, const char *key, enum json_need need, json_t **ret,
		    struct err *err)
{
	json_t *value = json_object_get(object, key);
	if (!value || json_is_null(value)) {
		if (need == JSON_NEED)
			return err_say(err, -EINVAL, "\"%s\" is missing", key);
		return 0;
	}
	*ret = value;
	return 0;
}

int json_get_str(const json_t *object, const char *key, enum json_need need, const char **ret,
		 struct err *err)
{
	json_t *value = NULL;
	int r = json_get(object, key, need, &value, err);
	if (r < 0 || !value)
		return r;
	if (!json_is_string(value))
		return err_say(err, -EINVAL, "\"%s\" is not a string", key);
	/* A NUL inside would make two readers see two strings. */
	const char *text = json_string_value(value);
	if (json_string_length(value) != strlen(text))
		return err_say(err, -EINVAL, "\"%s\" holds a NUL", key);
	*ret = text;
	return 0;
}

int json_get_i64(const json_t *object, const char *key, enum json_need need, int64_t *ret,
		 struct err *err)
{
	json_t *value = NULL;
	int r = json_get(object, key, need, &value, err);
	if (r < 0 || !value)
		return r;
	if (!json_is_integer(value))
		return err_say(err, -EINVAL, "\"%s\" is not a whole number", key);
	*ret = json_integer_value(value);
	return 0;
}

int json_get_u64(const json_t *object, const char *key, enum json_need need, uint64_t *ret,
		 struct err *err)
{
	int64_t v = 0;
	json_t *value = NULL;
	int r = json_get(object, key, need, &value, err);
	if (r < 0 || !value)
		return r;
	r = json_get_i64(object, key, need, &v, err);
	if (r < 0)
		return r;
	if (v < 0)
		return err_say(err, -EINVAL, "\"%s\" is negative", key);
	*ret = (uint64_t)v;
	return 0;
}

int json_get_bool(const json_t *object, const char *key, enum json_need need, bool *ret,
		  struct err *err)
{
	json_t *value = NULL;
	int r = json_get(object, key, need, &value, err);
	if (r < 0 || !value)
		return r;
	if (!json_is_boolean(value))
		return err_say(err, -EINVAL, "\"%s\" is not true or false", key);
	*ret = json_is_true(value);
	return 0;
}

int json_get_object(const json_t *object, const char *key, enum json_need need, json_t **ret,
		    struct err *err)
{
	json_t *value = NULL;
	int r = json_get(object, key, need, &value, err);
	if (r < 0 || !value)
		return r;
	if (!json_is_object(value))
		return err_say(err, -EINVAL, "\"%s\" is not an object", key);
	*ret = value;
	return 0;
}

int json_get_array(const json_t *object, const char *key, enum json_need need, json_t **ret,
		   struct err *err)
{
	json_t *value = NULL;
	int r = json_get(object, key, need, &value, err);
	if (r < 0 || !value)
		return r;
	if (!json_is_array(value))
		return err_say(err, -EINVAL, "\"%s\" is not an array", key);
	*ret = value;
	return 0;
}

int json_get_digest(const json_t *object, const char *key, enum json_need need,
		    struct digest *ret, struct err *err)
{
	const char *text = NULL;
	int r = json_get_str(object, key, need, &text, err);
	if (r < 0 || !text)
		return r;
	r = digest_parse(text, ret, err);
	return r < 0 ? err_prefix(err, r, "\"%s\"", key) : 0;
}
