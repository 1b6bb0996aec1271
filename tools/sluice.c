/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "tools/verb.h"
#include "tools/words.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const struct verb *const verbs[] = {
	&verb_run,    &verb_exec,    &verb_ps,	  &verb_logs,	 &verb_stop,
	&verb_kill,   &verb_wait,    &verb_rm,	  &verb_inspect, &verb_mount,
	&verb_umount, &verb_mounts,  &verb_pull,  &verb_images,	 &verb_stat,
	&verb_ls,     &verb_cat,     &verb_index, &verb_profile, &verb_gc,
	&verb_fsck,   &verb_volume,  &verb_spec,  &verb_seccomp, &verb_hold,
	&verb_serve,  &verb_monitor,
};

static void print_overview(void)
{
	(void)puts("Usage: sluice VERB [OPTION…] [WORD…]\n\n"
		   "Runs and mounts container images straight from a registry; bytes are fetched "
		   "when\n"
		   "they are read, checked, and kept.\n\nVerbs:");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (!verbs[i]->hidden)
			(void)printf("  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
	(void)puts(
		"\nIMAGE is [docker://]NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG]\n"
		"or docker-archive:FILE. 'sluice VERB --help' explains a verb.");
}

static void print_help(const struct verb *verb, const struct opt *own, const struct opt *common)
{
	(void)printf("Usage: sluice %s [OPTION…]%s%s\n\n%s\n", verb->name, verb->args[0] ? " " : "",
		     verb->args, verb->teach);
	if (verb->options) {
		(void)puts("\nOptions:");
		opt_help(own, NULL);
	}
	(void)puts("\nCommon options:");
	opt_help(common, own);
}

static int check_words(const struct verb *verb, int words, struct err *err)
{
	if (words >= verb->min_words && (verb->max_words < 0 || words <= verb->max_words))
		return 0;
	return err_say(err, -EINVAL, "the words do not fit: usage is sluice %s%s%s; see --help",
		       verb->name, verb->args[0] ? " " : "", verb->args);
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	struct ctx ctx = {.failed = verb->failed, .begun_ns = clock_now_ns()};
	struct err err = {0};
	struct opt common[CTX_OPTIONS + 1] = {0};
	bool help = false;
	struct opt help_table[] = {
		{"help", 'h', OPT_FLAG, NULL, "show this and end", &help},
		{0},
	};
	struct opt own[VERB_OPTS_MAX + 1] = {0};
	/* An option of the verb's takes the place of a common one. */
	const struct opt *tables[OPT_TABLES_MAX] = {own, help_table, common};
	_Alignas(max_align_t) char state[VERB_STATE_MAX] = {0};
	int first = 0;
	if (verb->options)
		verb->options(state, own);
	ctx_options(&ctx, common, ARRAY_LEN(common));
	int r = opt_parse(tables, argc, argv, verb->strict, &first, &err);
	if (r == 0 && help)
		print_help(verb, own, common);
	else if (r == 0)
		r = check_words(verb, argc - first, &err);
	if (r == 0 && !help)
		r = ctx_start(&ctx, &err);
	(void)ctx_misuse(&ctx, r);
	if (r == 0 && !help)
		r = verb->run(&ctx, state, argc - first, argv + first, &err);
	if (verb->finish)
		verb->finish(state);
	ctx_finish(&ctx);
	if (r >= 0)
		return r;
	(void)fprintf(stderr, "sluice %s: %s\n", verb->name, err_text(&err));
	return ctx.failed ? ctx.failed : ctx.misused ? EXIT_USAGE : EXIT_FAILED;
}

/* Output that did not reach its reader is a failure, too. */
static int finish_output(int status)
{
	if (status != 0 || (fflush(stdout) == 0 && !ferror(stdout)))
		return status;
	(void)fprintf(stderr, "sluice: write the output: %s\n", strerrordesc_np(errno));
	return EXIT_FAILED;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

int verb_again(char *const *argv)
{
	AUTO_FINISH(words) struct words words = {0};
	for (size_t i = 0; argv[i]; i++)
		if (words_add(&words, argv[i]) < 0)
			return EXIT_FAILED;
	const struct verb *verb = words.count > 1 ? find_verb(words.items[1]) : NULL;
	if (!verb)
		return EXIT_USAGE;
	return finish_output(run_verb(verb, (int)words.count - 1, words.items + 1));
}

/* A file that got the number of a closed standard descriptor would be written into by printf(). */
static int keep_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		/* The wrong way round: what is read or written there fails, as it did. */
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) // NOLINT
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	if (keep_standard_fds() < 0)
		return EXIT_FAILED;
	/* A reader of our output who leaves shows as EPIPE, which is handled like every error. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		print_overview();
		return EXIT_USAGE;
	}
	const char *name = argv[1];
	bool help = strcmp(name, "help") == 0;
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
		print_overview();
		return finish_output(0);
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
		(void)puts("sluice " SLUICE_VERSION);
		return finish_output(0);
	}
	if (help)
		name = argv[2];
	const struct verb *verb = find_verb(name);
	if (verb && help) {
		char option[] = "--help";
		char *words[] = {argv[2], option, NULL};
		return finish_output(run_verb(verb, 2, words));
	}
	if (verb)
		return finish_output(run_verb(verb, argc - 1, argv + 1));
	(void)fprintf(stderr, "sluice: there is no verb '%s'; 'sluice --help' lists them\n", name);
	return EXIT_USAGE;
}
