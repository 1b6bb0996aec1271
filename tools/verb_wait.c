/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "exec/attach.h"
#include "tools/containers.h"
#include "tools/verb.h"

/* The exit code as the monitor tells it, for one that is removed when it is over. */
static int wait_live(const struct opened_container *o, int *ret_code, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	struct attach_message message = {0};
	int r = attach_connect(container_dirfd(o->container), &fd, err);
	while (r == 0 && (r = attach_receive(fd, &message, 0)) == 0)
		if (message.word == ATTACH_EXIT) {
			*ret_code = attach_number(&message);
			return 0;
		}
	return r;
}

static int wait_one(struct ctx *ctx, const char *word, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	AUTO_FINISH(opened_container) struct opened_container again = {0};
	int code = -1;
	int r = containers_open(ctx, word, &o, err);
	if (r < 0)
		return r;
	/* It may end just now: then its state says more than its monitor. */
	if (!containers_is_live(&o) || wait_live(&o, &code, err) < 0) {
		r = containers_open(ctx, container_id(o.container), &again, err);
		code = again.state.exit_code;
	}
	if (r < 0)
		return r;
	if (code < 0)
		return err_say(err, -ESRCH, "nobody saw how %s ended%s%s", word,
			       again.state.error ? ": " : "", again.state.error ? again.state.error : "");
	(void)printf("%d\n", code);
	return 0;
}

static int wait_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	int r = 0;
	(void)state;
	for (int i = 0; i < argc && r == 0; i++) {
		r = wait_one(ctx, argv[i], err);
		(void)fflush(stdout);
	}
	return r;
}

const struct verb verb_wait = {
	.name = "wait",
	.args = "CONTAINER…",
	.summary = "wait until containers end",
	.teach = "Waits until each of the containers is over, and prints its exit status, one a line.",
	.failed = 125,
	.min_words = 1,
	.max_words = -1,
	.run = wait_run,
};
