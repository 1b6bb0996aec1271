/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A verb of the command line, one file each (verb_NAME.c). main() finds it,
 * parses its options and the common ones, and calls run() with the words that
 * are left. run() returns the exit status, or a negative errno after setting
 * err, which main() prints as one line: exit status 1.
 */

#include <stddef.h>

#include "base/err.h"
#include "tools/ctx.h"
#include "tools/opt.h"

enum {
	VERB_OPTS_MAX = 96,
	VERB_STATE_MAX = 8192,
};

struct verb {
	const char *name;
	const char *args;    /* for the first line of --help: "IMAGE DIR" */
	const char *summary; /* one line */
	const char *teach;   /* what --help says below: what it does, examples */
	/* Fills a zeroed table with the verb's own options, which point into state. NULL: none. */
	void (*options)(void *state, struct opt *table);
	size_t state_size;   /* zeroed bytes that options() and run() get */
	void (*finish)(void *state); /* frees what options() and parsing left there; NULL: nothing */
	int failed;	     /* the exit status of every failure; 0: the usual ones */
	bool strict;	     /* options end at the first word (the rest is a command) */
	bool hidden;	     /* not for people */
	int min_words, max_words; /* max -1: any number */
	int (*run)(struct ctx *ctx, void *state, int argc, char **argv, struct err *err);
};

/* Does what main() does with these arguments: an again_main (base/again.h). */
int verb_again(char *const *argv);

extern const struct verb verb_mount, verb_umount, verb_mounts, verb_pull, verb_images, verb_stat,
	verb_ls, verb_cat, verb_index, verb_gc, verb_fsck, verb_hold, verb_serve, verb_spec, verb_run,
	verb_exec, verb_ps, verb_logs, verb_stop, verb_kill, verb_wait, verb_rm, verb_inspect,
	verb_monitor, verb_seccomp, verb_profile, verb_volume;
