/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The words of a TOML document, for toml.c: blanks, comments, keys, and values without parts. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct toml {
	const char *p, *end; /* the text that is left */
	size_t line;	     /* of p, from 1 */
	const char *what;
	json_t *root;  /* owned */
	json_t *marks; /* owned: what kind of table an object is, by its address */
	struct err *err;
};

/* Sets the error with document and line; returns r. */
int toml_fail(const struct toml *t, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The next byte, or 0 at the end (a NUL in the text is refused elsewhere). */
static inline char toml_peek(const struct toml *t)
{
	return t->p < t->end ? *t->p : '\0';
}

/* True, and steps over it, when the text goes on with these bytes. */
bool toml_take(struct toml *t, const char *bytes);

/* Blanks within a line. */
void toml_skip_blanks(struct toml *t);

/* Blanks, comments and line ends. */
void toml_skip_lines(struct toml *t);

/* Blanks and a comment up to the end of the line, which must come. */
int toml_end_of_line(struct toml *t);

/* One part of a key. -EINVAL for an empty bare one. */
int toml_read_key(struct toml *t, struct buf *ret);

/* A string, number, boolean, date or time. */
int toml_read_scalar(struct toml *t, json_t **ret);
