/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exec/seccomp_compile.h"
#include "exec/seccomp_judge.h"
#include "tools/seccomp.h"
#include "tools/text.h"

enum { TEXT_MAX = 4096 };

/* "2=0x10": N=VALUE, in any base of C, negative ones too. */
static int parse_arg(const char *text, uint64_t args[static SECCOMP_ARGS], struct err *err)
{
	char *end = NULL;
	if (*text < '0' || *text >= '0' + SECCOMP_ARGS || text[1] != '=' || !text[2])
		return err_say(err, -EINVAL, "'--arg %s' is not N=VALUE with N from 0 to %d", text,
			       SECCOMP_ARGS - 1);
	errno = 0;
	uint64_t value =
		text[2] == '-' ? (uint64_t)strtoll(text + 2, &end, 0) : strtoull(text + 2, &end, 0);
	if (errno || *end || end == text + 2)
		return err_say(err, -EINVAL, "'--arg %s': the value is not a number", text);
	args[*text - '0'] = value;
	return 0;
}

/* "rule of line 12: arg0 < 38" */
static int describe(const struct seccomp_verdict *verdict, const struct seccomp_filter *filter,
		    enum seccomp_arch arch, struct buf *out)
{
	bool covered = false;
	for (size_t i = 0; i < filter->n_arches; i++)
		covered = covered || filter->arches[i] == arch;
	if (filter->disabled)
		return buf_puts(out, "the profile is empty");
	if (!covered)
		return buf_puts(out, "the filter does not cover this architecture");
	if (!verdict->call)
		return buf_puts(out, "the default of the profile: no rule applies");
	int r = buf_printf(out, "the rule in line %u%s", verdict->call->rule->line,
			   verdict->call->n_conds ? ": " : "");
	return r < 0 ? r : seccomp_call_text(verdict->call, out);
}

/* Into the list, or printed when there is none. */
static int print_verdict(json_t *list, const struct seccomp_judge *judge, enum seccomp_arch arch,
			 const char *name, const struct seccomp_verdict *verdict, struct err *err)
{
	AUTO_FINISH(buf) struct buf why = buf_make(TEXT_MAX);
	char action[SECCOMP_ACTION_TEXT_MAX];
	int r = describe(verdict, seccomp_judge_filter(judge), arch, &why);
	if (r < 0)
		return err_set(err, r, "explain %s", name);
	seccomp_action_text(verdict->action, action);
	if (!list) {
		(void)printf("%-16s %s (%d): %s\n  %s\n", seccomp_arch_name(arch), name,
			     verdict->nr, action, buf_str(&why));
		return 0;
	}
	AUTO_JSON json_t *json = json_pack(
		"{s:s,s:s,s:i,s:s,s:s,s:s}", "architecture", seccomp_arch_name(arch), "syscall",
		name, "number", verdict->nr, "action", seccomp_action_name(verdict->action),
		"verdict", action, "why", buf_str(&why));
	if (!json || json_array_append(list, json) < 0 ||
	    (verdict->call &&
	     json_object_set_new(json, "line", json_integer(verdict->call->rule->line)) < 0))
		return err_set(err, -ENOMEM, "explain %s", name);
	return 0;
}

/* What else rules say about the call, under other conditions. */
static int print_others(const struct seccomp_judge *judge, const char *name,
			const struct seccomp_call *decides, struct err *err)
{
	const struct seccomp_filter *filter = seccomp_judge_filter(judge);
	for (size_t i = 0; i < filter->n_calls; i++) {
		const struct seccomp_call *call = &filter->calls[i];
		AUTO_FINISH(buf) struct buf text = buf_make(TEXT_MAX);
		char action[SECCOMP_ACTION_TEXT_MAX];
		if (call == decides || !seccomp_rule_names(call->rule, name))
			continue;
		int r = seccomp_call_text(call, &text);
		if (r < 0)
			return err_set(err, r, "explain %s", name);
		(void)printf("  line %u says %s%s%s\n", call->rule->line,
			     seccomp_action_text(call->action, action), text.len ? " if " : "",
			     buf_str(&text));
	}
	return 0;
}

/* Rules on the call that these capabilities, this architecture or kernel do not select. */
static void print_unselected(const struct seccomp_filter *filter, const char *name)
{
	for (size_t i = 0; i < filter->profile->n_rules; i++) {
		const struct seccomp_rule *rule = &filter->profile->rules[i];
		char action[SECCOMP_ACTION_TEXT_MAX];
		bool selected = rule->action == filter->default_action;
		for (size_t j = 0; j < filter->n_calls && !selected; j++)
			selected = filter->calls[j].rule == rule;
		if (selected || !seccomp_rule_names(rule, name))
			continue;
		(void)printf("  line %u would say %s", rule->line,
			     seccomp_action_text(rule->action, action));
		for (unsigned int cap = 0; cap < CAP_COUNT; cap++) {
			if (rule->includes.caps & cap_bit(cap))
				(void)printf(", with %s", cap_name(cap));
			if (rule->excludes.caps & cap_bit(cap))
				(void)printf(", without %s", cap_name(cap));
		}
		(void)puts("");
	}
}

static int explain_on(json_t *list, const struct seccomp_judge *judge, enum seccomp_arch arch,
		      const char *name, const uint64_t args[static SECCOMP_ARGS], struct err *err)
{
	struct seccomp_verdict verdict;
	int r = seccomp_judge_call(judge, arch, name, args, &verdict);
	if (r == -ENOENT) {
		if (!list)
			(void)printf("%-16s has no %s\n", seccomp_arch_name(arch), name);
		return 0;
	}
	if (r == 0)
		r = print_verdict(list, judge, arch, name, &verdict, err);
	if (r == 0 && !list)
		r = print_others(judge, name, verdict.call, err);
	return r;
}

int seccomp_explain(struct ctx *ctx, const struct seccomp_options *options, const char *name,
		    struct err *err)
{
	AUTO(seccomp_profile) struct seccomp_profile *profile = NULL;
	AUTO(seccomp_judge) struct seccomp_judge *judge = NULL;
	struct seccomp_target target;
	uint64_t args[SECCOMP_ARGS] = {0};
	AUTO_JSON json_t *list = ctx->json ? json_array() : NULL;
	if (ctx->json && !list)
		return err_set(err, -ENOMEM, "explain %s", name);
	int r = seccomp_options_target(options, &target, err);
	for (size_t i = 0; i < options->args.count && r == 0; i++)
		r = parse_arg(options->args.items[i], args, err);
	if (r == 0 && !seccomp_name_is_known(name))
		r = err_say(err, -EINVAL, "libseccomp knows no system call '%s'", name);
	if (r < 0)
		return ctx_misuse(ctx, r);
	r = seccomp_options_profile(options->profile, &profile, err);
	if (r == 0)
		r = seccomp_judge_create(profile, &target, &judge, err);
	if (r < 0)
		return r;
	const struct seccomp_filter *filter = seccomp_judge_filter(judge);
	for (size_t i = 0; i < filter->n_arches && r == 0; i++)
		r = explain_on(list, judge, filter->arches[i], name, args, err);
	if (r == 0 && list)
		return text_print_json(list, err);
	if (r == 0)
		print_unselected(filter, name);
	return r;
}
