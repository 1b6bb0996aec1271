/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/place.h"

#include <stdbool.h>
#include <string.h>

struct scan {
	const char *at, *end;
};

static void skip_blanks(struct scan *s)
{
	while (s->at < s->end && strchr(" \t\r\n", *s->at) && *s->at)
		s->at++;
}

/* s->at is at a quote; ends behind the closing one. */
static void skip_string(struct scan *s)
{
	for (s->at++; s->at < s->end && *s->at != '"'; s->at++)
		if (*s->at == '\\' && s->at + 1 < s->end)
			s->at++;
	if (s->at < s->end)
		s->at++;
}

/* Any value; what nests is counted and not recursed into. */
static void skip_value(struct scan *s)
{
	size_t depth = 0;
	do {
		skip_blanks(s);
		if (s->at >= s->end)
			return;
		char c = *s->at;
		if (c == '"') {
			skip_string(s);
		} else if (c == '{' || c == '[') {
			depth++;
			s->at++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return;
			depth--;
			s->at++;
		} else if (c == ',' || c == ':') {
			if (depth == 0)
				return;
			s->at++;
		} else {
			while (s->at < s->end && *s->at && !strchr(",:]}[{\" \t\r\n", *s->at))
				s->at++;
			if (s->at < s->end && !*s->at)
				s->at++;
		}
	} while (depth > 0);
}

/* Steps over c, if it is what comes next. */
static bool take(struct scan *s, char c)
{
	skip_blanks(s);
	if (s->at >= s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

/* A key is compared as it is written: one with escapes is not found. */
static bool find_member(struct scan *s, const char *key)
{
	size_t len = strlen(key);
	if (!take(s, '{'))
		return false;
	do {
		skip_blanks(s);
		if (s->at >= s->end || *s->at != '"')
			return false;
		const char *name = s->at + 1;
		skip_string(s);
		bool same = (size_t)(s->at - name) == len + 1 && memcmp(name, key, len) == 0;
		if (!take(s, ':'))
			return false;
		skip_blanks(s);
		if (same)
			return true;
		skip_value(s);
	} while (take(s, ','));
	return false;
}

static bool find_element(struct scan *s, size_t index)
{
	if (!take(s, '['))
		return false;
	for (size_t i = 0; i < index; i++) {
		skip_value(s);
		if (!take(s, ','))
			return false;
	}
	skip_blanks(s);
	return s->at < s->end;
}

/* Whether all of the way was found; s->at is then at the value. */
static bool walk(struct scan *s, const struct oci_path *path)
{
	if (!path || !path->up) {
		skip_blanks(s);
		return true;
	}
	if (!walk(s, path->up))
		return false;
	struct scan before = *s;
	bool found = path->key ? find_member(s, path->key) : find_element(s, path->index);
	if (!found)
		*s = before;
	return found;
}

void oci_place(const char *text, size_t n, const struct oci_path *path, size_t *ret_line,
	       size_t *ret_column)
{
	struct scan s = {.at = text, .end = text + n};
	(void)walk(&s, path);
	size_t line = 1;
	const char *start = text;
	for (const char *p = text; p < s.at; p++)
		if (*p == '\n') {
			line++;
			start = p + 1;
		}
	*ret_line = line;
	*ret_column = (size_t)(s.at - start) + 1;
}

void oci_place_elements(const char *text, size_t n, const struct oci_path *path,
			unsigned int *lines, size_t n_lines)
{
	struct scan s = {.at = text, .end = text + n};
	unsigned int line = 1;
	const char *counted = text;
	memset(lines, 0, n_lines * sizeof(*lines));
	if (!walk(&s, path) || !take(&s, '['))
		return;
	for (size_t i = 0; i < n_lines; i++) {
		skip_blanks(&s);
		for (; counted < s.at; counted++)
			line += *counted == '\n';
		lines[i] = line;
		skip_value(&s);
		if (!take(&s, ','))
			return;
	}
}
