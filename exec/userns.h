/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Being root without being root: an ordinary user's process makes itself a user
 * namespace in which it is root, and a mount namespace that it may mount in
 * (user_namespaces(7)). Ids beside its own come from /etc/subuid and
 * /etc/subgid by newuidmap(1) and newgidmap(1); without them the namespace has
 * one id, and everything in it belongs to the user.
 *
 * A process that enters or joins has to have a single thread. What it starts afterwards is in the
 * namespaces, too.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum {
	USERNS_FILE_MAX = 1 << 20,   /* bytes of /etc/subuid and the like */
	USERNS_RANGES_MAX = 16,	     /* of a user in such a file; further ones are not taken */
	USERNS_HELPER_MS = 10000,    /* for newuidmap or newgidmap */
	USERNS_LACK_MAX = 512,	     /* bytes of a sentence */
};

/* A run of ids: so many from `first`. */
struct userns_range {
	uint32_t first, count;
};

/* What a user has been given in one file: count is the number of ranges. */
struct userns_ranges {
	struct userns_range list[USERNS_RANGES_MAX];
	size_t count;
};

/*
 * Reads what the text of /etc/subuid or /etc/subgid gives the user of that name (NULL: only known
 * by number) and id (subuid(5)). Lines that are no entries, and ranges past 2^32, are left out.
 */
void userns_ranges_parse(const char *text, const char *name, uid_t id, struct userns_ranges *ret);

/*
 * Makes the namespaces and enters them; the process is root there, and its working directory
 * stays. *lack, of USERNS_LACK_MAX bytes, says why there is one id only, or is "".
 * -EPERM, -ENOSPC, -EINVAL and others where the kernel, or how it is set up, gives ordinary users
 * no namespaces: the error says which setting. After a failure the process may be in the new
 * namespaces, and can only end.
 */
int userns_enter(const char *path_env, char lack[static USERNS_LACK_MAX], struct err *err);

/*
 * Enters the namespaces of a process, with `mounts` also its mount namespace, else a new copy of
 * the one here. The working directory stays, where its path exists there. -ESRCH: it is gone;
 * -EPERM: it is another user's. The same holds after a failure.
 */
int userns_join(pid_t pid, bool mounts, struct err *err);

/* Whether this process is in a user namespace that is not the first. */
bool userns_is_inside(void);

/* Whether an id has a meaning in this process's namespace. Where that cannot be read: true. */
bool userns_has_uid(uint32_t uid);
bool userns_has_gid(uint32_t gid);

/* Whether this process may set supplementary groups, which it may not where there is one id only. */
bool userns_has_setgroups(void);
