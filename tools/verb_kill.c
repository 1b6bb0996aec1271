/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "exec/attach.h"
#include "tools/containers.h"
#include "tools/run_parse.h"
#include "tools/verb.h"

enum { KILL_SEND_MS = 10000 };

struct kill_state {
	const char *signal;
};

static void kill_options(void *state, struct opt *table)
{
	struct kill_state *s = state;
	table[0] = (struct opt){"signal", 's', OPT_TEXT, "SIGNAL", "a name or a number (default: KILL)",
				&s->signal};
}

static int kill_one(struct ctx *ctx, const char *word, int sig, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	AUTO_CLOSE int fd = -1;
	int r = containers_open(ctx, word, &o, err);
	if (r < 0)
		return r;
	if (!containers_is_live(&o) || o.state.phase != CONTAINER_RUNNING)
		return err_say(err, -ESRCH, "%s does not run: it is %s", word, containers_status(&o));
	r = attach_connect(container_dirfd(o.container), &fd, err);
	if (r == 0) {
		r = attach_send_signal(fd, sig, deadline_in_ms(KILL_SEND_MS));
		if (r < 0)
			return err_set(err, r, "send %s a signal", word);
		(void)puts(word);
	}
	return r;
}

static int kill_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct kill_state *s = state;
	int sig = SIGKILL;
	int r = 0;
	if (s->signal)
		r = ctx_misuse(ctx, run_parse_signal("--signal", s->signal, &sig, err));
	for (int i = 0; i < argc && r == 0; i++)
		r = kill_one(ctx, argv[i], sig, err);
	return r;
}

const struct verb verb_kill = {
	.name = "kill",
	.args = "CONTAINER…",
	.summary = "send containers a signal",
	.teach = "Sends a signal to the first process of each container, and returns at once.\n\n"
		 "  sluice kill -s HUP web",
	.options = kill_options,
	.state_size = sizeof(struct kill_state),
	.failed = 125,
	.min_words = 1,
	.max_words = -1,
	.run = kill_run,
};
