/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "exec/seccomp_default.h"
#include "tools/seccomp.h"

_Static_assert(sizeof(struct seccomp_options) <= VERB_STATE_MAX, "the verb's state");

/* What a container may do unless it is asked to be otherwise. */
static const char *const default_caps[] = {
	"CHOWN",   "DAC_OVERRIDE", "FSETID",	       "FOWNER",
	"MKNOD",   "NET_RAW",	   "SETGID",	       "SETUID",
	"SETFCAP", "SETPCAP",	   "NET_BIND_SERVICE", "SYS_CHROOT",
	"KILL",	   "AUDIT_WRITE",
};

static int add_cap(const char *name, cap_set_t *set, struct err *err)
{
	unsigned int cap = 0;
	int r = cap_parse_loose(name, &cap, err);
	if (r == 0)
		*set |= cap_bit(cap);
	return r;
}

static int find_caps(const struct opt_list *words, cap_set_t *ret, struct err *err)
{
	cap_set_t set = 0;
	int r = 0;
	if (words->count == 0)
		for (size_t i = 0; i < sizeof(default_caps) / sizeof(*default_caps) && r == 0; i++)
			r = add_cap(default_caps[i], &set, err);
	for (size_t i = 0; i < words->count && r == 0; i++) {
		if (strcmp(words->items[i], "all") == 0)
			set = CAP_SET_ALL;
		else if (strcmp(words->items[i], "none") != 0)
			r = add_cap(words->items[i], &set, err);
	}
	if (r == 0)
		*ret = set;
	return r;
}

int seccomp_options_target(const struct seccomp_options *options, struct seccomp_target *ret,
			   struct err *err)
{
	int r = seccomp_target_of_host(ret, err);
	if (r == 0)
		r = find_caps(&options->caps, &ret->caps, err);
	if (r == 0 && options->arch && seccomp_arch_parse(options->arch, &ret->native) < 0 &&
	    seccomp_arch_parse_short(options->arch, &ret->native) < 0)
		r = err_say(err, -EINVAL, "there is no architecture '%s'", options->arch);
	ret->native_only = options->native_only;
	return r;
}

int seccomp_options_profile(const char *path, struct seccomp_profile **ret, struct err *err)
{
	return path && strcmp(path, "default") != 0 ? seccomp_profile_load(AT_FDCWD, path, ret, err)
						    : seccomp_default_profile(ret, err);
}

static void seccomp_opts(void *state, struct opt *table)
{
	struct seccomp_options *o = state;
	const struct opt rows[] = {
		{"profile", 0, OPT_TEXT, "FILE", "explain: of this profile", &o->profile},
		{"cap", 0, OPT_LIST, "NAME", "with this capability; also all, none", &o->caps},
		{"arch", 0, OPT_TEXT, "NAME", "as on this architecture: amd64, arm64, …", &o->arch},
		{"native-only", 0, OPT_FLAG, NULL, "without its 32-bit architectures",
		 &o->native_only},
		{"arg", 0, OPT_LIST, "N=VALUE", "explain: with this argument (from 0)", &o->args},
		{"output", 'o', OPT_TEXT, "FILE", "record: write the profile here", &o->output},
		{"runtime", 0, OPT_TEXT, "PATH", "record: with this runtime", &o->runtime},
		{"strict", 0, OPT_FLAG, NULL, "check: what is odd is an error", &o->strict},
	};
	memcpy(table, rows, sizeof(rows));
}

static int print_default(struct err *err)
{
	return puts(seccomp_default_text) < 0 ? err_set(err, -EIO, "print") : 0;
}

static int seccomp_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct seccomp_options *options = state;
	const char *what = argv[0];
	if (strcmp(what, "check") == 0)
		return seccomp_check(ctx, options, argc - 1, argv + 1, err);
	if (strcmp(what, "explain") == 0 && argc == 2)
		return seccomp_explain(ctx, options, argv[1], err);
	if (strcmp(what, "diff") == 0 && argc == 3)
		return seccomp_diff(ctx, options, argv[1], argv[2], err);
	if (strcmp(what, "record") == 0 && argc >= 2)
		return seccomp_record(ctx, options, argv + 1, err);
	if (strcmp(what, "default") == 0 && argc == 1)
		return print_default(err);
	return ctx_misuse(ctx, err_say(err, -EINVAL,
				       "it is 'seccomp check [FILE…]', 'explain SYSCALL', "
				       "'diff A B', 'record IMAGE [CMD…]' or 'default'"));
}

const struct verb verb_seccomp = {
	.name = "seccomp",
	.args = "check [FILE…] | explain SYSCALL | diff A B | record IMAGE [CMD…] | default",
	.summary = "check, explain, compare and record seccomp profiles",
	.teach = "Profiles are files in the dialects of Docker and of Podman; 'default' is the one "
		 "that\n"
		 "containers get when no other is asked for.\n\n"
		 "  check     whether a profile is right: its grammar, with line and column; names "
		 "that\n"
		 "            do not exist; rules that contradict each other; and whether the "
		 "kernel\n"
		 "            takes what it compiles to\n"
		 "  explain   what a system call gets, by running the compiled filter, and why\n"
		 "  diff      what two profiles do differently, also with each capability they "
		 "name\n"
		 "  record    run a command, unconfined, and print the smallest profile with which "
		 "it\n"
		 "            runs; its own output goes to standard error\n"
		 "  default   print the default profile\n\n"
		 "  sluice seccomp explain mount --cap sys_admin\n"
		 "  sluice seccomp explain socket --arg 0=40 --profile my.json\n"
		 "  sluice seccomp diff default my.json\n"
		 "  sluice seccomp record -- alpine ls -l / > ls.json",
	.options = seccomp_opts,
	.state_size = sizeof(struct seccomp_options),
	.min_words = 1,
	.max_words = -1,
	.run = seccomp_run,
};
