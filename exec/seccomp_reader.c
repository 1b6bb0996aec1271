/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_reader.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/spec/place.h"

enum {
	MESSAGE_MAX = 512,
	U64_DIGITS = 20,
	GROWTH = 2, /* "9," becomes "-8,": a number grows by a sign at most */
};

/* Where the text itself is wrong: there is no path yet. */
static int fail_at(const struct seccomp_reader *reader, const char *at, const char *words)
{
	size_t line = 1;
	const char *start = reader->text;
	for (const char *p = start; p < at; p++)
		if (*p == '\n') {
			line++;
			start = p + 1;
		}
	return err_say(reader->err, -EINVAL, "%s: line %zu, column %zu: %s", reader->what, line,
		       (size_t)(at - start) + 1, words);
}

int seccomp_reader_fail(const struct seccomp_reader *reader, const struct oci_path *path, int r,
			const char *fmt, ...)
{
	char message[MESSAGE_MAX], pointer[OCI_POINTER_MAX];
	size_t line = 0, column = 0;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap); // NOLINT(clang-analyzer-valist.Uninitialized)
	va_end(ap);
	oci_place(reader->text, reader->n, path, &line, &column);
	return err_say(reader->err, r, "%s: line %zu, column %zu: %s: %s", reader->what, line,
		       column, oci_path_text(path, pointer), message);
}

/* The end of the string that begins at p. */
static const char *string_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : p;
}

/* Digits at p, n of them, as what jansson can hold. */
static int put_number(struct buf *out, const char *p, size_t n)
{
	char digits[U64_DIGITS + 1];
	uint64_t v = 0;
	if (n > U64_DIGITS)
		return buf_append(out, p, n);
	memcpy(digits, p, n);
	digits[n] = '\0';
	if (u64_parse(digits, UINT64_MAX, &v) < 0 || v <= INT64_MAX)
		return buf_append(out, p, n);
	return buf_printf(out, "%" PRId64, (int64_t)v);
}

/* The text with numbers past INT64_MAX as negative ones. */
static int fold_numbers(const struct seccomp_reader *reader, struct buf *out)
{
	const char *p = reader->text, *end = p + reader->n;
	int r = 0;
	while (p < end && r == 0) {
		const char *from = p;
		if (*p == '"') {
			p = string_end(p, end);
			r = buf_append(out, from, (size_t)(p - from));
		} else if (*p == '-') {
			return fail_at(reader, p, "a profile has no negative numbers");
		} else if (isdigit((unsigned char)*p)) {
			while (p < end && (isalnum((unsigned char)*p) || strchr(".+-", *p)) && *p)
				p++;
			bool whole = true;
			for (const char *q = from; q < p; q++)
				whole = whole && isdigit((unsigned char)*q);
			r = whole ? put_number(out, from, (size_t)(p - from))
				  : buf_append(out, from, (size_t)(p - from));
		} else {
			r = buf_append(out, p++, 1);
		}
	}
	return r < 0 ? err_set(reader->err, r, "read %s", reader->what) : 0;
}

int seccomp_reader_parse(const struct seccomp_reader *reader, json_t **ret)
{
	AUTO_FINISH(buf) struct buf folded = buf_make(GROWTH * reader->n + 1);
	json_error_t why;
	int r = fold_numbers(reader, &folded);
	if (r < 0)
		return r;
	AUTO_JSON json_t *root = json_loadb(buf_str(&folded), folded.len,
					    JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
	if (!root && why.text[0] == '\0')
		return err_set(reader->err, -ENOMEM, "read %s", reader->what);
	if (!root)
		return err_say(reader->err, -EINVAL, "%s: line %d, column %d: %s", reader->what,
			       why.line, why.column, why.text);
	if (!json_is_object(root))
		return err_say(reader->err, -EINVAL, "%s: line 1, column 1: not a JSON object",
			       reader->what);
	*ret = steal_ptr(&root);
	return 0;
}

int seccomp_reader_keys(const struct seccomp_reader *reader, const struct oci_path *at,
			const json_t *object, const char *const *keys)
{
	for (void *iter = json_object_iter((json_t *)(uintptr_t)object); iter;
	     iter = json_object_iter_next((json_t *)(uintptr_t)object, iter)) {
		const char *key = json_object_iter_key(iter);
		size_t i = 0;
		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (keys[i])
			continue;
		struct oci_path path = oci_path_key(at, key);
		return seccomp_reader_fail(reader, &path, -EINVAL, "a profile has no such key");
	}
	return 0;
}

/* A member that is there and not null. */
static json_t *member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	return value && !json_is_null(value) ? value : NULL;
}

int seccomp_reader_array(const struct seccomp_reader *reader, const struct oci_path *at,
			 const json_t *object, const char *key, json_t **ret)
{
	struct oci_path path = oci_path_key(at, key);
	json_t *value = member(object, key);
	if (value && !json_is_array(value))
		return seccomp_reader_fail(reader, &path, -EINVAL, "a list is expected");
	*ret = value;
	return 0;
}

int seccomp_reader_object(const struct seccomp_reader *reader, const struct oci_path *at,
			  const json_t *object, const char *key, json_t **ret)
{
	struct oci_path path = oci_path_key(at, key);
	json_t *value = member(object, key);
	if (value && !json_is_object(value))
		return seccomp_reader_fail(reader, &path, -EINVAL, "an object is expected");
	*ret = value;
	return 0;
}

static int as_str(const struct seccomp_reader *reader, const struct oci_path *path,
		  const json_t *value, const char **ret)
{
	if (!json_is_string(value))
		return seccomp_reader_fail(reader, path, -EINVAL, "a string is expected");
	if (json_string_length(value) != strlen(json_string_value(value)))
		return seccomp_reader_fail(reader, path, -EINVAL, "the string holds a NUL");
	*ret = json_string_value(value);
	return 0;
}

int seccomp_reader_str(const struct seccomp_reader *reader, const struct oci_path *at,
		       const json_t *object, const char *key, const char **ret)
{
	struct oci_path path = oci_path_key(at, key);
	const json_t *value = member(object, key);
	if (value)
		return as_str(reader, &path, value, ret);
	*ret = NULL;
	return 0;
}

int seccomp_reader_number(const struct seccomp_reader *reader, const struct oci_path *at,
			  const json_t *object, const char *key, uint64_t max, bool *ret_has,
			  uint64_t *ret)
{
	struct oci_path path = oci_path_key(at, key);
	const json_t *value = member(object, key);
	if (value && !json_is_integer(value))
		return seccomp_reader_fail(reader, &path, -EINVAL, "a whole number is expected");
	if (value && (uint64_t)json_integer_value(value) > max)
		return seccomp_reader_fail(reader, &path, -EINVAL,
					   "at most %" PRIu64 " is possible", max);
	*ret_has = value != NULL;
	if (value)
		*ret = (uint64_t)json_integer_value(value);
	return 0;
}

int seccomp_reader_item(const struct seccomp_reader *reader, const struct oci_path *at,
			const json_t *array, size_t index, const char **ret)
{
	struct oci_path path = oci_path_index(at, index);
	return as_str(reader, &path, json_array_get(array, index), ret);
}
