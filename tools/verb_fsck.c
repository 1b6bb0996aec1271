/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "fs/erofs.h"
#include "fs/profile_store.h"
#include "tools/text.h"
#include "tools/verb.h"

struct fsck_state {
	bool repair, deep;
};

static void fsck_options(void *state, struct opt *table)
{
	struct fsck_state *s = state;
	table[0] = (struct opt){"repair", 0, OPT_FLAG, NULL,
				"remove what is wrong, so that it is fetched again", &s->repair};
	table[1] = (struct opt){"deep", 0, OPT_FLAG, NULL, "check the SHA-256 of every byte kept",
				&s->deep};
}

struct fsck_out {
	json_t *json; /* array; NULL: text */
	int failed;
};

static void fsck_tell(void *data, const char *what, const char *why)
{
	struct fsck_out *out = data;
	if (!out->json)
		(void)printf("%s: %s\n", what, why);
	else if (json_array_append_new(out->json, json_pack("{s:s,s:s}", "what", what, "why", why)) < 0)
		out->failed = -ENOMEM;
}

static int fsck_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct fsck_state *s = state;
	struct store *store = NULL;
	uint64_t wrong = 0;
	AUTO_JSON json_t *json = ctx->json ? json_array() : NULL;
	struct fsck_out out = {.json = json};
	struct store_fsck_options options = {.repair = s->repair, .deep = s->deep,
					     .tree = erofs_verify, .profile = profile_check};
	(void)argc;
	(void)argv;
	int r = ctx_store_there(ctx, &store, err);
	if (r == 0)
		r = store_fsck(store, &options, fsck_tell, &out, &wrong, err);
	if (r == 0)
		r = out.failed;
	if (r == 0 && json)
		r = text_print_json(json, err);
	if (r < 0)
		return r;
	if (!json && wrong > 0)
		(void)printf("%llu findings%s\n", (unsigned long long)wrong,
			     s->repair ? ", repaired" : "");
	else if (!json)
		(void)puts("nothing is wrong");
	return wrong > 0 && !s->repair ? 1 : 0;
}

const struct verb verb_fsck = {
	.name = "fsck",
	.args = "",
	.summary = "check the store",
	.teach = "Checks everything in the store: blobs against their digests, tables, trees and states\n"
		 "for consistency; with --deep every byte of layer data that is kept. Exit status 1\n"
		 "means that something is wrong and was not repaired.\n\n"
		 "  sluice fsck --deep --repair",
	.options = fsck_options,
	.state_size = sizeof(struct fsck_state),
	.min_words = 0,
	.max_words = 0,
	.run = fsck_run,
};
