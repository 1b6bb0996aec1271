/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/mount.h"
#include "tools/mounting.h"
#include "tools/verb.h"

enum {
	UMOUNT_WAIT_MS = 10000, /* for the holder to clean up after a plain unmount */
	UMOUNT_STEP_MS = 5,
};

struct umount_state {
	bool lazy;
};

static void umount_options(void *state, struct opt *table)
{
	struct umount_state *s = state;
	table[0] = (struct opt){"lazy", 'l', OPT_FLAG, NULL,
				"out of sight now, gone when its last user is", &s->lazy};
}

/*
 * Waits until the holder has cleaned up, so that everything is gone when the
 * command is. A mount namespace that was made meanwhile, a container's say, has
 * the mount, too, and then it goes on until that one ends.
 */
static void umount_wait(int entry_fd, const char *dir)
{
	deadline_t deadline = deadline_in_ms(UMOUNT_WAIT_MS);
	while (mtable_is_held(entry_fd) && !deadline_passed(deadline))
		clock_sleep_ms(UMOUNT_STEP_MS, deadline);
	if (mtable_is_held(entry_fd))
		log_warn("%s is unmounted here, but is served on: another mount namespace has it, too",
			 dir);
}

static int umount_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct umount_state *s = state;
	AUTO_FINISH(mtable_entry) struct mtable_entry entry = {0};
	AUTO_CLOSE int entry_fd = -1;
	AUTO_FREE char *dir = NULL;
	const char *run_dir = NULL;
	(void)argc;
	/* A dead mount cannot be looked into: its name then has to be the one it was given. */
	if (mounting_dir(argv[0], &dir, err) < 0)
		dir = strdup(argv[0]);
	int r = dir ? ctx_run_dir(ctx, &run_dir, err) : err_set(err, -ENOMEM, "unmount");
	if (r == 0)
		r = mtable_find(run_dir, dir, &entry, &entry_fd, err);
	/* The table may be gone before the mount: /run/user/UID goes at logout. */
	bool noted = r == 0;
	if (r == -ENOENT && mount_is_there(dir, NULL))
		r = 0;
	if (r < 0)
		return r;
	r = mount_undo(dir, s->lazy, err);
	/* Unmounted by other means already: what is left is to clean up. */
	if (r == -EINVAL && noted && !mtable_is_held(entry_fd))
		r = 0;
	if (r == -EBUSY)
		return err_say(err, r, "%s is in use: end what uses it (fuser -vm), or pass --lazy", dir);
	if (r < 0)
		return r;
	if (s->lazy || !noted)
		return 0;
	umount_wait(entry_fd, dir);
	return mounting_clear(run_dir, &entry, entry_fd, err);
}

const struct verb verb_umount = {
	.name = "umount",
	.args = "DIR",
	.summary = "end a mount",
	.teach = "Ends a mount and waits until its processes and its temporary upper are gone. umount(8)\n"
		 "and fusermount3 -u do as well. What was fetched stays in the store.",
	.options = umount_options,
	.state_size = sizeof(struct umount_state),
	.min_words = 1,
	.max_words = 1,
	.run = umount_run,
};
