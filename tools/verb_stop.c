/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "tools/containers.h"
#include "tools/verb.h"

struct stop_state {
	const char *time;
};

static void stop_options(void *state, struct opt *table)
{
	struct stop_state *s = state;
	table[0] = (struct opt){"time", 't', OPT_TEXT, "SECONDS",
				"until it is killed (default: as of 'sluice run')", &s->time};
}

static int stop_one(struct ctx *ctx, const char *word, const uint64_t *given_ms, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	int r = containers_open(ctx, word, &o, err);
	if (r < 0)
		return r;
	uint64_t own = o.record.stop_timeout_ms < 0 ? INT32_MAX : (uint64_t)o.record.stop_timeout_ms;
	r = containers_stop(ctx, &o, given_ms ? *given_ms : own, err);
	if (r == 0)
		(void)puts(word);
	return r;
}

static int stop_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct stop_state *s = state;
	uint64_t ms = 0;
	if (s->time && strcmp(s->time, "-1") == 0)
		ms = INT32_MAX;
	else if (s->time && duration_parse(s->time, &ms) < 0)
		return ctx_misuse(ctx, err_say(err, -EINVAL, "--time does not take '%s': it wants seconds",
					       s->time));
	int r = 0;
	for (int i = 0; i < argc && r == 0; i++)
		r = stop_one(ctx, argv[i], s->time ? &ms : NULL, err);
	return r;
}

const struct verb verb_stop = {
	.name = "stop",
	.args = "CONTAINER…",
	.summary = "end containers",
	.teach = "Sends each container its stop signal, and KILL when it has not ended in time; returns when\n"
		 "all are over.\n\n"
		 "  sluice stop --time 2 web",
	.options = stop_options,
	.state_size = sizeof(struct stop_state),
	.failed = 125,
	.min_words = 1,
	.max_words = -1,
	.run = stop_run,
};
