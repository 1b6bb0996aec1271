/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_lint.h"

#include <stdio.h>
#include <string.h>

#include "exec/seccomp_compile.h"
#include "exec/seccomp_judge.h"

struct search {
	const struct seccomp_filter *filter;
	const char *name;			 /* the call at hand */
	const struct seccomp_call *call, *other; /* two rules on it */
	seccomp_lint_fn found;
	void *to;
};

static int tell(const struct search *search, const char *words)
{
	char text[SECCOMP_LINT_TEXT_MAX]; /* cut where a name is endless */
	(void)snprintf(text, sizeof(text), "line %u: %s: %s", search->call->rule->line,
		       search->name, words);
	return search->found(search->to, text);
}

static int tell_pair(const struct search *search, const char *fmt_line)
{
	char words[SECCOMP_LINT_TEXT_MAX / 2];
	(void)snprintf(words, sizeof(words), "%s line %u", fmt_line, search->other->rule->line);
	return tell(search, words);
}

/* 1: there are arguments for which both rules of the search hold. */
static int both_hold(void *to, const uint64_t args[static SECCOMP_ARGS])
{
	const struct search *search = to;
	return seccomp_call_matches(search->call, args) &&
	       seccomp_call_matches(search->other, args);
}

/* The rule of the search against one before it. */
static int compare(struct search *search)
{
	const struct seccomp_call *call = search->call, *other = search->other;
	if (call->action == other->action)
		return 0;
	if (other->n_conds == 0)
		return tell_pair(search, "never counts: without conditions decides");
	if (call->n_conds == 0)
		return tell_pair(search, "has no conditions and overrules");
	int r = seccomp_probe(&search->filter, 1, search->name, both_hold, search);
	return r == 1 ? tell_pair(search, "can hold at once with, and contradicts,") : r;
}

static int look_at(struct search *search, size_t at)
{
	int r = 0;
	if (!seccomp_name_is_known(search->name))
		return tell(search, "libseccomp knows no such system call; the rule is left out");
	for (size_t i = 0; i < at && r == 0; i++) {
		search->other = &search->filter->calls[i];
		if (seccomp_rule_names(search->other->rule, search->name))
			r = compare(search);
	}
	return r;
}

int seccomp_lint(const struct seccomp_filter *filter, seccomp_lint_fn found, void *to)
{
	struct search search = {.filter = filter, .found = found, .to = to};
	int r = 0;
	for (size_t i = 0; i < filter->n_calls; i++) {
		search.call = &filter->calls[i];
		/* Of a rule that is split by its conditions, the first part is told. */
		if (i > 0 && filter->calls[i - 1].rule == search.call->rule)
			continue;
		for (size_t j = 0; j < search.call->rule->n_names && r == 0; j++) {
			search.name = search.call->rule->names[j];
			r = look_at(&search, i);
		}
	}
	return r;
}
