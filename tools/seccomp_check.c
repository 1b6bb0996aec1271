/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "exec/seccomp_cache.h"
#include "exec/seccomp_bpf.h"
#include "exec/seccomp_lint.h"
#include "tools/seccomp.h"
#include "tools/text.h"

struct findings {
	const char *file;
	json_t *list; /* NULL: print them */
	size_t n;
};

static int add_finding(void *to, const char *text)
{
	struct findings *findings = to;
	findings->n++;
	if (findings->list)
		return json_array_append_new(findings->list, json_string(text)) < 0 ? -ENOMEM : 0;
	return printf("%s: %s\n", findings->file, text) < 0 ? -EIO : 0;
}

static int print_summary(struct ctx *ctx, const struct findings *findings,
			 const struct seccomp_profile *profile, size_t insns, struct err *err)
{
	char action[SECCOMP_ACTION_TEXT_MAX];
	seccomp_action_text(profile->default_action, action);
	if (!ctx->json) {
		if (profile->disabled)
			(void)printf("%s: empty: no filter at all\n", findings->file);
		else
			(void)printf("%s: %zu rules, else %s; %zu instructions\n", findings->file,
				     profile->n_rules, action, insns);
		return 0;
	}
	AUTO_JSON json_t *json =
		json_pack("{s:s,s:b,s:I,s:s,s:I,s:O}", "file", findings->file, "disabled",
			  profile->disabled, "rules", (json_int_t)profile->n_rules, "default",
			  profile->disabled ? "allow" : action, "instructions", (json_int_t)insns,
			  "findings", findings->list);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

static int check_file(struct ctx *ctx, const struct seccomp_options *options, const char *path,
		      struct err *err)
{
	AUTO(seccomp_profile) struct seccomp_profile *profile = NULL;
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	AUTO_FINISH(buf) struct buf code = buf_make(SECCOMP_BPF_BYTES_MAX);
	AUTO_JSON json_t *list = ctx->json ? json_array() : NULL;
	struct findings findings = {.file = path ? path : "default", .list = list};
	struct seccomp_target target;
	if (ctx->json && !list)
		return err_set(err, -ENOMEM, "check %s", findings.file);
	int r = seccomp_options_target(options, &target, err);
	if (r == 0)
		r = seccomp_options_profile(path, &profile, err);
	if (r == 0)
		r = seccomp_resolve(profile, &target, &filter, err);
	if (r == 0 && (r = seccomp_lint(filter, add_finding, &findings)) < 0)
		return err_set(err, r, "check %s", findings.file);
	if (r == 0 && !profile->disabled &&
	    (r = seccomp_cache_get(-1, profile, &target, &code, NULL, err)) < 0)
		return err_prefix(err, r, "%s", findings.file);
	if (r == 0)
		r = print_summary(ctx, &findings, profile, code.len / SECCOMP_BPF_INSN_BYTES, err);
	if (r == 0 && options->strict && findings.n > 0)
		r = err_say(err, -EINVAL, "%s: %zu things are odd", findings.file, findings.n);
	return r;
}

int seccomp_check(struct ctx *ctx, const struct seccomp_options *options, int argc, char **argv,
		  struct err *err)
{
	int r = argc == 0 ? check_file(ctx, options, options->profile, err) : 0;
	for (int i = 0; i < argc && r == 0; i++)
		r = check_file(ctx, options, argv[i], err);
	return r;
}
