/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/yaml_json.h"

#if HAVE_YAML

#include <string.h>
#include <yaml.h>

struct reader {
	yaml_parser_t parser;
	const char *what;
	struct err *err;
};

static void cleanup_event(yaml_event_t *event)
{
	yaml_event_delete(event);
}
#define AUTO_EVENT __attribute__((cleanup(cleanup_event)))

static int wrong(const struct reader *rd, const yaml_mark_t *at, const char *why)
{
	return err_say(rd->err, -EINVAL, "%s: line %zu, column %zu: %s", rd->what, at->line + 1,
		       at->column + 1, why);
}

static int next(struct reader *rd, yaml_event_t *ret)
{
	const yaml_parser_t *p = &rd->parser;
	if (yaml_parser_parse(&rd->parser, ret))
		return 0;
	if (p->error == YAML_MEMORY_ERROR)
		return err_set(rd->err, -ENOMEM, "parse %s", rd->what);
	if (p->error == YAML_READER_ERROR)
		return err_say(rd->err, -EINVAL, "%s is not valid YAML: byte %zu: %s", rd->what,
			       p->problem_offset, p->problem);
	return err_say(rd->err, -EINVAL, "%s is not valid YAML: line %zu, column %zu: %s", rd->what,
		       p->problem_mark.line + 1, p->problem_mark.column + 1,
		       p->problem ? p->problem : "it cannot be read");
}

/* ---- scalars ---- */

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

/* Whether the rest of a number has digits of this base alone. */
static bool is_digits(const char *text, const char *digits)
{
	return *text && text[strspn(text, digits)] == '\0';
}

/* The base of a whole number, 0 when it is none; *ret_digits is where they begin. */
static int integer_base(const char *text, const char **ret_digits)
{
	const char *p = text + (*text == '-' || *text == '+');
	*ret_digits = p;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'o')) {
		*ret_digits = p + 2;
		if (p[1] == 'x')
			return is_digits(p + 2, "0123456789abcdefABCDEF") ? 16 : 0;
		return is_digits(p + 2, "01234567") ? 8 : 0;
	}
	if (p[0] == '0' && is_digits(p, "01234567"))
		return 8;
	return is_digits(p, "0123456789") ? 10 : 0;
}

static bool is_real(const char *text)
{
	const char *p = text + (*text == '-' || *text == '+');
	size_t whole = strspn(p, "0123456789");
	size_t part = 0;
	p += whole;
	if (*p == '.') {
		part = strspn(p + 1, "0123456789");
		p += 1 + part;
	}
	if (whole + part == 0)
		return false;
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '-' || *p == '+';
		return is_digits(p, "0123456789");
	}
	return *p == '\0';
}

static int plain(const struct reader *rd, const yaml_event_t *event, json_t **ret)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const trues[] = {"true", "True", "TRUE", NULL};
	static const char *const falses[] = {"false", "False", "FALSE", NULL};
	const char *text = (const char *)event->data.scalar.value, *digits = NULL;
	if (is_one_of(text, nulls)) {
		*ret = json_null();
	} else if (is_one_of(text, trues)) {
		*ret = json_true();
	} else if (is_one_of(text, falses)) {
		*ret = json_false();
	} else if (integer_base(text, &digits) > 0) {
		errno = 0;
		long long v = strtoll(digits, NULL, integer_base(text, &digits));
		if (errno != 0)
			return wrong(rd, &event->start_mark, "the number is too large");
		*ret = json_integer(*text == '-' ? -v : v);
	} else if (is_real(text)) {
		*ret = json_real(strtod(text, NULL));
		if (!*ret)
			return wrong(rd, &event->start_mark, "the number is too large");
	} else {
		*ret = json_string(text);
	}
	return *ret ? 0 : err_set(rd->err, -ENOMEM, "parse %s", rd->what);
}

static int scalar(const struct reader *rd, const yaml_event_t *event, json_t **ret)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t n = event->data.scalar.length;
	if (strlen(text) != n)
		return wrong(rd, &event->start_mark, "the text holds a NUL");
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return plain(rd, event, ret);
	*ret = json_stringn(text, n);
	return *ret ? 0 : err_set(rd->err, -ENOMEM, "parse %s", rd->what);
}

/* ---- collections ---- */

static int value(struct reader *rd, const yaml_event_t *event, int depth, json_t **ret);

static int sequence(struct reader *rd, int depth, json_t **ret)
{
	AUTO_JSON json_t *array = json_array();
	if (!array)
		return err_set(rd->err, -ENOMEM, "parse %s", rd->what);
	for (;;) {
		AUTO_EVENT yaml_event_t event = {0};
		json_t *item = NULL;
		int r = next(rd, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT)
			break;
		r = value(rd, &event, depth + 1, &item);
		if (r < 0)
			return r;
		if (json_array_append_new(array, item) < 0)
			return err_set(rd->err, -ENOMEM, "parse %s", rd->what);
	}
	*ret = steal_ptr(&array);
	return 0;
}

static int mapping(struct reader *rd, int depth, json_t **ret)
{
	AUTO_JSON json_t *object = json_object();
	if (!object)
		return err_set(rd->err, -ENOMEM, "parse %s", rd->what);
	for (;;) {
		AUTO_EVENT yaml_event_t key = {0};
		AUTO_EVENT yaml_event_t event = {0};
		json_t *item = NULL;
		int r = next(rd, &key);
		if (r < 0)
			return r;
		if (key.type == YAML_MAPPING_END_EVENT)
			break;
		if (key.type != YAML_SCALAR_EVENT)
			return wrong(rd, &key.start_mark, "a key is no text");
		const char *text = (const char *)key.data.scalar.value;
		if (strlen(text) != key.data.scalar.length)
			return wrong(rd, &key.start_mark, "a key holds a NUL");
		if (json_object_get(object, text))
			return wrong(rd, &key.start_mark, "the key stands here a second time");
		r = next(rd, &event);
		if (r == 0)
			r = value(rd, &event, depth + 1, &item);
		if (r < 0)
			return r;
		if (json_object_set_new(object, text, item) < 0)
			return err_set(rd->err, -ENOMEM, "parse %s", rd->what);
	}
	*ret = steal_ptr(&object);
	return 0;
}

static int value(struct reader *rd, const yaml_event_t *event, int depth, json_t **ret)
{
	bool has_tag = false;
	if (depth > JSON_DEPTH_MAX)
		return wrong(rd, &event->start_mark, "it goes too deep");
	if (event->type == YAML_SCALAR_EVENT)
		has_tag = event->data.scalar.tag;
	else if (event->type == YAML_SEQUENCE_START_EVENT)
		has_tag = event->data.sequence_start.tag;
	else if (event->type == YAML_MAPPING_START_EVENT)
		has_tag = event->data.mapping_start.tag;
	if (has_tag)
		return wrong(rd, &event->start_mark, "tags are not read here");
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return scalar(rd, event, ret);
	case YAML_SEQUENCE_START_EVENT:
		return sequence(rd, depth, ret);
	case YAML_MAPPING_START_EVENT:
		return mapping(rd, depth, ret);
	case YAML_ALIAS_EVENT:
		return wrong(rd, &event->start_mark, "aliases are not read here");
	default:
		return wrong(rd, &event->start_mark, "there is no value");
	}
}

/* Past what has no content. */
static int expect(struct reader *rd, yaml_event_type_t type, const char *why)
{
	AUTO_EVENT yaml_event_t event = {0};
	int r = next(rd, &event);
	if (r < 0)
		return r;
	return event.type == type ? 0 : wrong(rd, &event.start_mark, why);
}

static int document(struct reader *rd, json_t **ret)
{
	AUTO_EVENT yaml_event_t event = {0};
	AUTO_JSON json_t *root = NULL;
	int r = expect(rd, YAML_STREAM_START_EVENT, "there is no document");
	if (r == 0)
		r = expect(rd, YAML_DOCUMENT_START_EVENT, "there is no document");
	if (r == 0)
		r = next(rd, &event);
	if (r == 0)
		r = value(rd, &event, 1, &root);
	if (r == 0)
		r = expect(rd, YAML_DOCUMENT_END_EVENT, "the document does not end");
	if (r == 0)
		r = expect(rd, YAML_STREAM_END_EVENT, "there is a second document");
	if (r == 0)
		*ret = steal_ptr(&root);
	return r;
}

int yaml_json_parse(const void *data, size_t n, const char *what, json_t **ret, struct err *err)
{
	struct reader rd = {.what = what, .err = err};
	if (!yaml_parser_initialize(&rd.parser))
		return err_set(err, -ENOMEM, "parse %s", what);
	yaml_parser_set_input_string(&rd.parser, data, n);
	int r = document(&rd, ret);
	yaml_parser_delete(&rd.parser);
	return r;
}

#else

int yaml_json_parse(const void *data, size_t n, const char *what, json_t **ret, struct err *err)
{
	(void)data;
	(void)n;
	(void)ret;
	return err_say(err, -ENOTSUP, "%s is YAML, and this program was built without libyaml", what);
}

#endif
