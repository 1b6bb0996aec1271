/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tools/containers.h"
#include "tools/verb.h"

struct rm_state {
	bool force;
};

static void rm_options(void *state, struct opt *table)
{
	struct rm_state *s = state;
	table[0] = (struct opt){"force", 'f', OPT_FLAG, NULL,
				"kill those that run; do not mind those that are not there", &s->force};
}

static int rm_one(struct ctx *ctx, const char *word, bool force, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	int r = containers_open(ctx, word, &o, err);
	if (r == -ENOENT && force)
		return 0;
	if (r < 0)
		return r;
	bool live = containers_is_live(&o);
	if (live && !force)
		return err_say(err, -EBUSY, "%s runs: stop it first ('sluice stop %s'), or pass --force",
			       word, word);
	if (live)
		r = containers_stop(ctx, &o, 0, err);
	if (r == 0) {
		/* One of --rm is gone by now. */
		AUTO_FINISH(opened_container) struct opened_container now = {0};
		struct err ignored;
		r = containers_open(ctx, container_id(o.container), &now, &ignored);
		r = r == -ENOENT ? 0 : containers_remove(ctx, &now, err);
	}
	if (r == 0)
		(void)puts(word);
	return r;
}

static int rm_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct rm_state *s = state;
	int r = 0;
	for (int i = 0; i < argc && r == 0; i++)
		r = rm_one(ctx, argv[i], s->force, err);
	return r;
}

const struct verb verb_rm = {
	.name = "rm",
	.args = "CONTAINER…",
	.summary = "remove containers",
	.teach = "Removes containers that are over, with their logs and what they wrote.\n\n"
		 "  sluice rm --force web",
	.options = rm_options,
	.state_size = sizeof(struct rm_state),
	.failed = 125,
	.min_words = 1,
	.max_words = -1,
	.run = rm_run,
};
