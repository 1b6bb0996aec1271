/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Options of a verb as a table: one row parses an option, prints its line of
 * --help, and is read by nobody else. Tables are ended by a row without name.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	OPT_LIST_MAX = 64, /* values of one OPT_LIST */
	OPT_MANY_MAX = 65536, /* values of one OPT_MANY */
	OPT_TABLES_MAX = 4,
	OPT_ROWS_MAX = 128, /* of all tables of a verb */
};

enum opt_kind {
	OPT_FLAG,     /* bool *: set to true */
	OPT_TEXT,     /* const char ** */
	OPT_NUMBER,   /* uint64_t * */
	OPT_SIZE,     /* uint64_t *: bytes, "20G" */
	OPT_DURATION, /* uint64_t *: milliseconds, "30s" */
	OPT_LIST,     /* struct opt_list *: may be given again and again */
	OPT_MANY,     /* struct opt_many *: the same, for more values than a list holds */
};

struct opt_list {
	const char *items[OPT_LIST_MAX + 1]; /* borrowed from argv, NULL-terminated */
	size_t count;
};

struct opt_many {
	const char **items; /* owned; each borrowed from argv */
	size_t count, room;
};

/* Accepts a zeroed one. */
void opt_many_finish(struct opt_many *many);

struct opt {
	const char *name;  /* without the dashes */
	char letter;	   /* 0: none */
	enum opt_kind kind;
	const char *arg;   /* what --help calls the value; NULL for a flag */
	const char *help;  /* one line */
	void *to;	   /* by kind */
};

/*
 * Parses argv[1..] by the tables (NULL-terminated list); where two have the same
 * name, or letter, the first one's row counts. Options end at the first word
 * that is none when `strict`, else they may stand anywhere. Leaves
 * the other words, in order, at argv[*ret_first] and on. -EINVAL with a
 * sentence for the user.
 */
int opt_parse(const struct opt *const *tables, int argc, char **argv, bool strict, int *ret_first,
	      struct err *err);

/* Prints one line an option; those that `hidden` (which may be NULL) has, too, are left out. */
void opt_help(const struct opt *table, const struct opt *hidden);
