/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The program that a container is to run, found before a runtime is asked:
 * runtimes end with 1 whatever was wrong, while users expect 127 for what is
 * not there and 126 for what cannot be run.
 *
 * As execvp(3) would find it in the container: a name with a slash counts from
 * the working directory, any other is looked for along PATH. What will be under
 * one of the container's mounts cannot be seen here and is let through. Of what
 * is found the beginning is read: its interpreter (#!, or an ELF program's
 * loader) must be there, too, and its machine one that this kernel runs.
 */

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/idmap.h"
#include "base/err.h"
#include "exec/user.h"

enum { COMMAND_SCRIPTS_MAX = 5 }; /* interpreters that are scripts themselves, as Linux */

struct command_search {
	int root;			 /* the merged tree, as in exec/rootfs.h */
	const char *path;		 /* value of PATH; NULL: only the working directory */
	const char *cwd;		 /* of the process; absolute */
	const struct user *user;	 /* who runs it; NULL: root */
	const struct id_maps *maps;	 /* of its user namespace, by which files belong to users; NULL: none */
	const char *const *mounts;	 /* their destinations, resolved; NULL-terminated, or NULL */
};

struct command {
	char *path;	/* absolute, where it was found; NULL: only the runtime can tell. Owned */
	bool seen;	/* its beginning was read */
	bool is_32bit;	/* it, or what interprets it, is a 32-bit program */
};

void command_finish(struct command *command);
DEFINE_FINISH(command, command_finish);

/*
 * Finds a command; the caller finishes *ret. -ENOENT: neither it nor, where it
 * needs one, its interpreter is there. -EACCES: a directory, a device, or
 * nothing that this user may execute. -ENOEXEC: no program, or one for another
 * machine that nothing here runs. -ELOOP: scripts that interpret each other.
 * -ENOMEM, and what reading gives.
 */
int command_find(const struct command_search *search, const char *name, struct command *ret,
		 struct err *err);

/* The exit status that stands for such an error: 127, 126, or 125. */
int command_exit_status(int r);

/*
 * Whether a filter for the native architecture alone could harm: the command is
 * a 32-bit program, was not seen, or the image has a loader of 32-bit programs.
 * A 32-bit program that is linked statically and started by another is not
 * noticed.
 */
bool command_has_32bit(int root, const struct command *command);
