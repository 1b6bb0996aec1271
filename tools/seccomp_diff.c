/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "exec/seccomp_judge.h"
#include "tools/seccomp.h"
#include "tools/text.h"

enum { LINE_BYTES_MAX = 512, LINES_MAX = 65536 };

/* Two profiles, for one container. */
struct pair {
	struct seccomp_judge *a, *b;
};

struct diff {
	const struct seccomp_profile *profiles[2];
	const char **names; /* owned; of the calls that either has rules on; borrowed strings */
	size_t n_names;
	char **lines; /* owned: what differs with the capabilities that were asked for */
	size_t n_lines;
	const char *when; /* the capabilities at hand; NULL: those that were asked for */
	json_t *list;	  /* NULL: print */
	struct pair pair;
	const char *name;
	enum seccomp_arch arch;
	struct err *err;
};

static void diff_finish(struct diff *diff)
{
	for (size_t i = 0; i < diff->n_lines; i++)
		free(diff->lines[i]);
	free(diff->lines);
	free(diff->names);
}
DEFINE_FINISH(diff, diff_finish);

static int collect_names(struct diff *diff)
{
	size_t room = 0;
	for (size_t p = 0; p < ARRAY_LEN(diff->profiles); p++)
		for (size_t i = 0; i < diff->profiles[p]->n_rules; i++)
			room += diff->profiles[p]->rules[i].n_names;
	diff->names = calloc(room ? room : 1, sizeof(*diff->names));
	if (!diff->names)
		return -ENOMEM;
	for (size_t p = 0; p < ARRAY_LEN(diff->profiles); p++)
		for (size_t i = 0; i < diff->profiles[p]->n_rules; i++)
			for (size_t j = 0; j < diff->profiles[p]->rules[i].n_names; j++) {
				const char *name = diff->profiles[p]->rules[i].names[j];
				size_t k = 0;
				while (k < diff->n_names && strcmp(diff->names[k], name) != 0)
					k++;
				if (k == diff->n_names)
					diff->names[diff->n_names++] = name;
			}
	return 0;
}

/* Whether the line was told already; otherwise it is kept, when it is to be. */
static int is_told(struct diff *diff, const char *line)
{
	for (size_t i = 0; i < diff->n_lines; i++)
		if (strcmp(diff->lines[i], line) == 0)
			return 1;
	if (diff->when)
		return 0;
	if (diff->n_lines == LINES_MAX)
		return -E2BIG;
	if (!diff->lines)
		diff->lines = calloc(LINES_MAX, sizeof(*diff->lines));
	char *copy = diff->lines ? strdup(line) : NULL;
	if (!copy)
		return -ENOMEM;
	diff->lines[diff->n_lines++] = copy;
	return 0;
}

static int tell(struct diff *diff, const char *line)
{
	int r = is_told(diff, line);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!diff->list)
		return printf("%s%s%s\n", line, diff->when ? "  " : "",
			      diff->when ? diff->when : "") < 0
			       ? -EIO
			       : 0;
	json_t *json = json_pack("{s:s,s:s*}", "difference", line, "capabilities", diff->when);
	return json_array_append_new(diff->list, json) < 0 ? -ENOMEM : 0;
}

/* 1: told; the first arguments at which the verdicts differ are enough. */
static int compare(void *to, const uint64_t args[static SECCOMP_ARGS])
{
	struct diff *diff = to;
	struct seccomp_verdict a, b;
	char line[LINE_BYTES_MAX], of_a[SECCOMP_ACTION_TEXT_MAX], of_b[SECCOMP_ACTION_TEXT_MAX];
	int n = 0;
	if (seccomp_judge_call(diff->pair.a, diff->arch, diff->name, args, &a) < 0 ||
	    seccomp_judge_call(diff->pair.b, diff->arch, diff->name, args, &b) < 0 ||
	    a.action == b.action)
		return 0;
	n = snprintf(line, sizeof(line), "%-24s %-16s %-14s %-14s", diff->name,
		     seccomp_arch_name(diff->arch) + strlen("SCMP_ARCH_"),
		     seccomp_action_text(a.action, of_a), seccomp_action_text(b.action, of_b));
	for (size_t i = 0; i < SECCOMP_ARGS && n > 0 && (size_t)n < sizeof(line); i++)
		if (args[i])
			n += snprintf(line + n, sizeof(line) - (size_t)n, " arg%zu=%" PRIu64, i,
				      args[i]);
	while (n > 0 && (size_t)n < sizeof(line) && line[n - 1] == ' ')
		line[--n] = '\0';
	int r = tell(diff, line);
	return r < 0 ? r : 1;
}

static bool covers(const struct seccomp_filter *filter, enum seccomp_arch arch)
{
	for (size_t i = 0; i < filter->n_arches; i++)
		if (filter->arches[i] == arch)
			return true;
	return filter->disabled;
}

static int compare_arch(struct diff *diff, enum seccomp_arch arch)
{
	const struct seccomp_filter *filters[] = {seccomp_judge_filter(diff->pair.a),
						  seccomp_judge_filter(diff->pair.b)};
	char line[LINE_BYTES_MAX];
	bool in_a = covers(filters[0], arch), in_b = covers(filters[1], arch);
	int r = 0;
	diff->arch = arch;
	if (in_a != in_b) {
		(void)snprintf(line, sizeof(line), "%-24s %-16s %-14s %s", "(every call)",
			       seccomp_arch_name(arch) + strlen("SCMP_ARCH_"),
			       in_a ? "by its rules" : "kill thread",
			       in_b ? "by its rules" : "kill thread");
		return tell(diff, line);
	}
	for (size_t i = 0; i < diff->n_names && in_a && r >= 0; i++) {
		diff->name = diff->names[i];
		r = seccomp_probe(filters, ARRAY_LEN(filters), diff->name, compare, diff);
	}
	return r < 0 ? r : 0;
}

static int compare_with(struct diff *diff, const struct seccomp_target *target)
{
	AUTO(seccomp_judge) struct seccomp_judge *a = NULL;
	AUTO(seccomp_judge) struct seccomp_judge *b = NULL;
	int r = seccomp_judge_create(diff->profiles[0], target, &a, diff->err);
	if (r == 0)
		r = seccomp_judge_create(diff->profiles[1], target, &b, diff->err);
	if (r < 0)
		return r;
	diff->pair = (struct pair){.a = a, .b = b};
	for (int arch = 0; arch < SECCOMP_ARCH_COUNT && r == 0; arch++)
		r = compare_arch(diff, (enum seccomp_arch)arch);
	return r < 0 ? err_set(diff->err, r, "compare") : 0;
}

static cap_set_t named_caps(const struct diff *diff)
{
	cap_set_t set = 0;
	for (size_t p = 0; p < ARRAY_LEN(diff->profiles); p++)
		for (size_t i = 0; i < diff->profiles[p]->n_rules; i++)
			set |= diff->profiles[p]->rules[i].includes.caps |
			       diff->profiles[p]->rules[i].excludes.caps;
	return set;
}

static void print_defaults(const struct diff *diff)
{
	char a[SECCOMP_ACTION_TEXT_MAX], b[SECCOMP_ACTION_TEXT_MAX];
	uint32_t of_a = diff->profiles[0]->default_action, of_b = diff->profiles[1]->default_action;
	if (of_a != of_b && !diff->list)
		(void)printf("%-24s %-16s %-14s %s\n", "(calls without rules)", "",
			     seccomp_action_text(of_a, a), seccomp_action_text(of_b, b));
}

static int compare_all(struct diff *diff, struct seccomp_target target)
{
	cap_set_t named = named_caps(diff), own = target.caps;
	char when[64];
	int r = compare_with(diff, &target);
	for (unsigned int cap = 0; cap < CAP_COUNT && r == 0; cap++) {
		if (!(named & cap_bit(cap)))
			continue;
		(void)snprintf(when, sizeof(when), "%s %s", own & cap_bit(cap) ? "without" : "with",
			       cap_name(cap));
		diff->when = when;
		target.caps = own ^ cap_bit(cap);
		r = compare_with(diff, &target);
	}
	diff->when = NULL;
	return r;
}

int seccomp_diff(struct ctx *ctx, const struct seccomp_options *options, const char *a,
		 const char *b, struct err *err)
{
	AUTO(seccomp_profile) struct seccomp_profile *first = NULL;
	AUTO(seccomp_profile) struct seccomp_profile *second = NULL;
	AUTO_JSON json_t *list = ctx->json ? json_array() : NULL;
	struct seccomp_target target;
	if (ctx->json && !list)
		return err_set(err, -ENOMEM, "compare");
	int r = seccomp_options_target(options, &target, err);
	if (r == 0)
		r = seccomp_options_profile(a, &first, err);
	if (r == 0)
		r = seccomp_options_profile(b, &second, err);
	if (r < 0 || !first || !second)
		return r;
	AUTO_FINISH(diff)
	struct diff diff = {.profiles = {first, second}, .list = list, .err = err};
	r = collect_names(&diff);
	if (r < 0)
		return err_set(err, r, "compare");
	print_defaults(&diff);
	r = compare_all(&diff, target);
	return r == 0 && list ? text_print_json(list, err) : r;
}
