/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/opt.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum {
	OPT_CODE_BASE = 256, /* getopt's value for row i is this + i: no letter collides */
	OPT_HELP_COLUMN = 28,
};

struct opt_set {
	const struct opt *rows[OPT_ROWS_MAX];
	size_t n;
	struct option longs[OPT_ROWS_MAX + 1];
	char shorts[3 * OPT_ROWS_MAX + 3];
};

void opt_many_finish(struct opt_many *many)
{
	if (!many)
		return;
	free(many->items);
	*many = (struct opt_many){0};
}

static int opt_many_add(struct opt_many *many, const char *value)
{
	if (many->count == OPT_MANY_MAX)
		return -E2BIG;
	if (many->count == many->room) {
		size_t room = many->room ? 2 * many->room : 16;
		const char **items = reallocarray(many->items, room, sizeof(*items));
		if (!items)
			return -ENOMEM;
		many->items = items;
		many->room = room;
	}
	many->items[many->count++] = value;
	return 0;
}

static const struct opt *opt_row_named(const struct opt *const *rows, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(rows[i]->name, name) == 0)
			return rows[i];
	return NULL;
}

static int opt_collect(const struct opt *const *tables, bool strict, struct opt_set *set)
{
	/* "+": stop at the first word; ":": tell a missing value from an unknown option. */
	char *s = set->shorts;
	if (strict)
		*s++ = '+';
	*s++ = ':';
	for (; *tables; tables++) {
		for (const struct opt *row = *tables; row->name; row++) {
			if (opt_row_named(set->rows, set->n, row->name))
				continue;
			if (set->n == OPT_ROWS_MAX)
				return -E2BIG;
			set->longs[set->n] = (struct option){
				.name = row->name,
				.has_arg = row->kind == OPT_FLAG ? no_argument : required_argument,
				.val = OPT_CODE_BASE + (int)set->n,
			};
			set->rows[set->n++] = row;
			if (!row->letter)
				continue;
			*s++ = row->letter;
			if (row->kind != OPT_FLAG)
				*s++ = ':';
		}
	}
	*s = '\0';
	set->longs[set->n] = (struct option){0};
	return 0;
}

static int opt_set_value(const struct opt *row, const char *value, struct err *err)
{
	int r = 0;
	switch (row->kind) {
	case OPT_FLAG:
		*(bool *)row->to = true;
		break;
	case OPT_TEXT:
		*(const char **)row->to = value;
		break;
	case OPT_NUMBER:
		r = u64_parse(value, INT64_MAX, row->to);
		break;
	case OPT_SIZE:
		r = size_parse(value, row->to);
		break;
	case OPT_DURATION:
		r = duration_parse(value, row->to);
		break;
	case OPT_LIST: {
		struct opt_list *list = row->to;
		if (list->count == OPT_LIST_MAX)
			return err_say(err, -EINVAL, "--%s is given more than %d times", row->name,
				       OPT_LIST_MAX);
		list->items[list->count++] = value;
		break;
	}
	case OPT_MANY:
		r = opt_many_add(row->to, value);
		if (r < 0)
			return err_set(err, r, "take --%s %s", row->name, value);
		break;
	}
	if (r < 0)
		return err_say(err, -EINVAL, "--%s does not take '%s': it wants %s", row->name, value,
			       row->kind == OPT_SIZE	   ? "a size such as 512M or 20G" :
			       row->kind == OPT_DURATION ? "a time such as 500ms, 30s or 2m" :
							     "a whole number");
	return 0;
}

static const struct opt *opt_row(const struct opt_set *set, int code)
{
	if (code >= OPT_CODE_BASE)
		return set->rows[code - OPT_CODE_BASE];
	for (size_t i = 0; i < set->n; i++)
		if (set->rows[i]->letter == (char)code)
			return set->rows[i];
	return NULL;
}

/* What getopt could not make sense of, in words. */
static int opt_refuse(const struct opt_set *set, int code, const char *word, struct err *err)
{
	const struct opt *row = optopt ? opt_row(set, optopt) : NULL;
	if (code == ':' && row)
		return err_say(err, -EINVAL, "--%s needs a value (%s); see --help", row->name,
			       row->arg);
	if (row)
		return err_say(err, -EINVAL, "--%s takes no value; see --help", row->name);
	if (optopt)
		return err_say(err, -EINVAL, "there is no option -%c; see --help", optopt);
	return err_say(err, -EINVAL, "there is no option %s; see --help", word);
}

int opt_parse(const struct opt *const *tables, int argc, char **argv, bool strict, int *ret_first,
	      struct err *err)
{
	struct opt_set set = {0};
	int r = opt_collect(tables, strict, &set);
	if (r < 0)
		return err_set(err, r, "parse options");
	optind = 0; /* getopt's own state: begin anew */
	opterr = 0;
	for (;;) {
		// NOLINTNEXTLINE(concurrency-mt-unsafe): no thread is running yet
		int code = getopt_long(argc, argv, set.shorts, set.longs, NULL);
		if (code == -1)
			break;
		if (code == '?' || code == ':')
			return opt_refuse(&set, code, argv[optind - 1], err);
		const struct opt *row = opt_row(&set, code);
		r = row ? opt_set_value(row, optarg, err) : -EINVAL;
		if (r < 0)
			return r;
	}
	*ret_first = optind;
	return 0;
}

/* Whether a table has an option of this name. */
static bool opt_has(const struct opt *table, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0)
			return true;
	return false;
}

void opt_help(const struct opt *table, const struct opt *hidden)
{
	for (const struct opt *row = table; row->name; row++) {
		if (opt_has(hidden, row->name))
			continue;
		char left[128];
		int n = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s", row->letter ? '-' : ' ',
				 row->letter ? row->letter : ' ', row->letter ? ", " : "  ",
				 row->name, row->arg ? " " : "", row->arg ? row->arg : "");
		if (n < OPT_HELP_COLUMN)
			(void)printf("%-*s %s\n", OPT_HELP_COLUMN, left, row->help);
		else
			(void)printf("%s\n%*s %s\n", left, OPT_HELP_COLUMN, "", row->help);
	}
}
