/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who a container's process is: `USER` of an image's configuration and -u,
 * looked up in /etc/passwd and /etc/group of the root filesystem and nowhere
 * else (image-spec config.md "User", conversion.md "Config.User").
 *
 * The first entry that matches wins. Lines end with LF or CRLF and may be of
 * any length; comments, entries of NIS ("+", "-") and lines without enough
 * fields are no entries. A number is always an id, also where an entry has the
 * name "1000", and need not be listed; ids go up to INT32_MAX.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

enum {
	USER_FILE_MAX = 10 << 20, /* bytes of /etc/passwd and of /etc/group */
	USER_GIDS_MAX = 65536,	  /* additional groups: NGROUPS_MAX of Linux */
};

struct user {
	uint32_t uid, gid;
	uint32_t *gids; /* additional groups, each once; owned */
	size_t n_gids;
	char *name; /* NULL where /etc/passwd does not list the user; owned */
	char *home; /* absolute, "/" where nothing else is known; owned */
};

void user_finish(struct user *user);
DEFINE_FINISH(user, user_finish);

/*
 * Looks up `user`, `user:group`, `user:` or `:group`, names or ids each; NULL
 * and "" mean uid 0. Without a group the primary group is that of the entry, or
 * 0 for an id without one, and the additional groups of a user who is named (or
 * not given) are the primary one and those of /etc/group that list the name. A
 * numeric user, and any with a group given, has none. `root` as in
 * exec/rootfs.h; absolute symlinks in it work. The caller finishes *ret.
 *
 * -ENOENT: no such user or group. -ERANGE: an id past INT32_MAX. -EINVAL: an
 * entry whose id is none, or a file that is no regular file. -E2BIG: a file or
 * a list past its limit. -ENOMEM, and what reading gives.
 */
int user_find(int root, const char *spec, struct user *ret, struct err *err);

/* Where the two files come from when there is no directory that has them. */
struct user_files {
	/* Appends the content of a regular file, "/etc/passwd". -ENOENT, -ENOTDIR: there is none. */
	int (*read)(void *data, const char *path, struct buf *ret, struct err *err);
	void *data;
};

/* user_find() by these files; the errors of read() are passed on. */
int user_find_in(const struct user_files *files, const char *spec, struct user *ret,
		 struct err *err);

/* Adds one additional group by name or id (--group-add). Errors as above; user stays as it is. */
int user_add_group(int root, struct user *user, const char *group, struct err *err);
