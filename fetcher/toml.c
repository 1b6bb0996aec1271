/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/toml.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "fetcher/toml_lex.h"

/* How a table came to be, which decides who may still add to it. */
enum mark {
	MARK_NONE = 0,	  /* on the way to a header's table: a header may still define it */
	MARK_HEADER = 1,  /* [table] */
	MARK_DOTTED = 2,  /* a.b = 1 made it: only dotted keys add to it */
	MARK_INLINE = 3,  /* {…}, or an array of values: closed */
	MARK_TABLES = 4,  /* [[array]] */
};

struct mark_key {
	char s[2 * sizeof(void *) + 3];
};

static const char *mark_key(const json_t *value, struct mark_key *key)
{
	(void)snprintf(key->s, sizeof(key->s), "%p", (const void *)value);
	return key->s;
}

static enum mark mark_get(const struct toml *t, const json_t *value)
{
	struct mark_key key;
	return (enum mark)json_integer_value(json_object_get(t->marks, mark_key(value, &key)));
}

static int mark_set(struct toml *t, const json_t *value, enum mark mark)
{
	struct mark_key key;
	if (json_object_set_new(t->marks, mark_key(value, &key), json_integer(mark)) < 0)
		return toml_fail(t, -ENOMEM, "out of memory");
	return 0;
}

/* Adds a value, which it takes over in any case. */
static int add(struct toml *t, json_t *table, const char *key, json_t *value, enum mark mark)
{
	if (!value)
		return toml_fail(t, -ENOMEM, "out of memory");
	int r = mark == MARK_NONE ? 0 : mark_set(t, value, mark);
	if (r == 0 && !utf8_valid(key, strlen(key)))
		r = toml_fail(t, -EINVAL, "a key is not UTF-8");
	if (r < 0) {
		json_decref(value);
		return r;
	}
	/* Takes the reference even when it fails. */
	if (json_object_set_new(table, key, value) < 0)
		return toml_fail(t, -ENOMEM, "out of memory");
	return 0;
}

/* The table below `table` on the way to a longer key, made when it is not there. */
static int descend(struct toml *t, json_t **table, const char *key, bool header)
{
	json_t *child = json_object_get(*table, key);
	if (!child) {
		int r = add(t, *table, key, json_object(), header ? MARK_NONE : MARK_DOTTED);
		if (r < 0)
			return r;
		*table = json_object_get(*table, key);
		return 0;
	}
	enum mark mark = mark_get(t, child);
	if (header && mark == MARK_TABLES)
		child = json_array_get(child, json_array_size(child) - 1);
	else if (!json_is_object(child) || mark == MARK_INLINE || (!header && mark != MARK_DOTTED))
		return toml_fail(t, -EINVAL, "'%.100s' is defined already", key);
	*table = child;
	return 0;
}

/* Reads a dotted key: *table becomes the table of its last part, which ends up in last. */
static int read_path(struct toml *t, json_t **table, bool header, struct buf *last)
{
	for (int depth = 0;; depth++) {
		if (depth >= TOML_DEPTH_MAX)
			return toml_fail(t, -E2BIG, "a key has more than %d parts", TOML_DEPTH_MAX);
		buf_clear(last);
		toml_skip_blanks(t);
		int r = toml_read_key(t, last);
		if (r < 0)
			return r;
		toml_skip_blanks(t);
		if (!toml_take(t, "."))
			return 0;
		r = descend(t, table, buf_str(last), header);
		if (r < 0)
			return r;
	}
}

static int read_value(struct toml *t, int depth, json_t **ret);

static int read_array(struct toml *t, int depth, json_t **ret)
{
	AUTO_JSON json_t *array = json_array();
	if (!array)
		return toml_fail(t, -ENOMEM, "out of memory");
	for (;;) {
		toml_skip_lines(t);
		if (toml_take(t, "]"))
			break;
		json_t *value = NULL;
		int r = read_value(t, depth + 1, &value);
		if (r < 0)
			return r;
		if (json_array_append_new(array, value) < 0)
			return toml_fail(t, -ENOMEM, "out of memory");
		toml_skip_lines(t);
		if (!toml_take(t, ",") && toml_peek(t) != ']')
			return toml_fail(t, -EINVAL, "',' or ']' is expected");
	}
	*ret = steal_ptr(&array);
	return mark_set(t, *ret, MARK_INLINE);
}

/* key = value, into table or below it. */
static int read_pair(struct toml *t, json_t *table, int depth)
{
	AUTO_FINISH(buf) struct buf key = buf_make((size_t)(t->end - t->p));
	int r = read_path(t, &table, false, &key);
	if (r < 0)
		return r;
	if (!toml_take(t, "="))
		return toml_fail(t, -EINVAL, "'=' is expected after key '%.100s'", buf_str(&key));
	if (json_object_get(table, buf_str(&key)))
		return toml_fail(t, -EINVAL, "'%.100s' is defined already", buf_str(&key));
	toml_skip_blanks(t);
	json_t *value = NULL;
	r = read_value(t, depth, &value);
	return r < 0 ? r : add(t, table, buf_str(&key), value, MARK_NONE);
}

static int read_inline_table(struct toml *t, int depth, json_t **ret)
{
	AUTO_JSON json_t *table = json_object();
	if (!table)
		return toml_fail(t, -ENOMEM, "out of memory");
	toml_skip_blanks(t);
	for (bool first = true; !toml_take(t, "}"); first = false) {
		if (!first && !toml_take(t, ","))
			return toml_fail(t, -EINVAL, "',' or '}' is expected");
		int r = read_pair(t, table, depth + 1);
		if (r < 0)
			return r;
		toml_skip_blanks(t);
	}
	*ret = steal_ptr(&table);
	return mark_set(t, *ret, MARK_INLINE);
}

static int read_value(struct toml *t, int depth, json_t **ret)
{
	json_t *value = NULL;
	int r;
	if (depth > TOML_DEPTH_MAX)
		return toml_fail(t, -E2BIG, "values are nested more than %d deep", TOML_DEPTH_MAX);
	if (toml_take(t, "["))
		r = read_array(t, depth, &value);
	else if (toml_take(t, "{"))
		r = read_inline_table(t, depth, &value);
	else
		r = toml_read_scalar(t, &value);
	if (r < 0) {
		json_decref(value);
		return r;
	}
	*ret = value;
	return 0;
}

/* [table] */
static int define_table(struct toml *t, json_t *parent, const char *key, json_t **ret)
{
	json_t *table = json_object_get(parent, key);
	if (!table) {
		int r = add(t, parent, key, json_object(), MARK_HEADER);
		if (r < 0)
			return r;
		*ret = json_object_get(parent, key);
		return 0;
	}
	if (!json_is_object(table) || mark_get(t, table) != MARK_NONE)
		return toml_fail(t, -EINVAL, "'%.100s' is defined already", key);
	*ret = table;
	return mark_set(t, table, MARK_HEADER);
}

/* [[array]] */
static int extend_array(struct toml *t, json_t *parent, const char *key, json_t **ret)
{
	json_t *array = json_object_get(parent, key);
	if (!array) {
		int r = add(t, parent, key, json_array(), MARK_TABLES);
		if (r < 0)
			return r;
		array = json_object_get(parent, key);
	} else if (mark_get(t, array) != MARK_TABLES) {
		return toml_fail(t, -EINVAL, "'%.100s' is defined already", key);
	}
	json_t *table = json_object();
	if (!table || json_array_append_new(array, table) < 0)
		return toml_fail(t, -ENOMEM, "out of memory");
	*ret = table;
	return mark_set(t, table, MARK_HEADER);
}

static int read_header(struct toml *t, json_t **ret)
{
	AUTO_FINISH(buf) struct buf key = buf_make((size_t)(t->end - t->p));
	bool array = toml_take(t, "[[");
	if (!array)
		t->p++;
	json_t *parent = t->root;
	int r = read_path(t, &parent, true, &key);
	if (r < 0)
		return r;
	if (!toml_take(t, array ? "]]" : "]"))
		return toml_fail(t, -EINVAL, "'%s' is expected", array ? "]]" : "]");
	return array ? extend_array(t, parent, buf_str(&key), ret)
		     : define_table(t, parent, buf_str(&key), ret);
}

static int read_document(struct toml *t)
{
	json_t *table = t->root;
	(void)toml_take(t, "\xef\xbb\xbf"); /* a byte order mark */
	for (;;) {
		toml_skip_lines(t);
		if (t->p == t->end)
			return 0;
		int r = *t->p == '[' ? read_header(t, &table) : read_pair(t, table, 0);
		if (r == 0)
			r = toml_end_of_line(t);
		if (r < 0)
			return r;
	}
}

int toml_parse(const char *text, size_t n, const char *what, json_t **ret, struct err *err)
{
	if (n > TOML_BYTES_MAX)
		return err_say(err, -E2BIG, "%s is larger than %d bytes", what, TOML_BYTES_MAX);
	AUTO_JSON json_t *root = json_object();
	AUTO_JSON json_t *marks = json_object();
	if (!root || !marks)
		return err_set(err, -ENOMEM, "parse %s", what);
	struct toml t = {.p = text, .end = text + n, .line = 1, .what = what, .root = root,
			 .marks = marks, .err = err};
	int r = read_document(&t);
	if (r == 0)
		*ret = steal_ptr(&root);
	return r;
}
