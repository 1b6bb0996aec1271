/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/num.h"
#include "tools/text.h"
#include "tools/verb.h"

enum { GC_MIN_AGE_SEC = 3600 };

struct gc_state {
	bool all, dry_run;
	uint64_t min_age_ms;
};

static void gc_options(void *state, struct opt *table)
{
	struct gc_state *s = state;
	table[0] = (struct opt){"all", 'a', OPT_FLAG, NULL,
				"also images and layers that no mount uses", &s->all};
	table[1] = (struct opt){"dry-run", 'n', OPT_FLAG, NULL, "only say what would go", &s->dry_run};
	table[2] = (struct opt){"min-age", 0, OPT_DURATION, "TIME",
				"spare unfinished work younger than this (default: 1h)",
				&s->min_age_ms};
}

static int gc_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct gc_state *s = state;
	struct store *store = NULL;
	struct store_gc_result result = {0};
	struct store_gc_options options = {
		.dry_run = s->dry_run,
		.all = s->all,
		.min_age_sec = s->min_age_ms ? s->min_age_ms / 1000 : GC_MIN_AGE_SEC,
	};
	(void)argc;
	(void)argv;
	int r = ctx_store(ctx, &store, err);
	if (r == 0)
		r = store_gc(store, &options, &result, err);
	if (r < 0)
		return r;
	if (ctx->json) {
		AUTO_JSON json_t *json = json_pack("{s:I,s:I,s:b}", "removed",
						   (json_int_t)result.removed_entries, "freed_bytes",
						   (json_int_t)result.freed_bytes, "dry_run", s->dry_run);
		return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
	}
	char size[SIZE_TEXT_MAX];
	(void)printf("%s %llu entries, %s\n", s->dry_run ? "would remove" : "removed",
		     (unsigned long long)result.removed_entries, size_text(result.freed_bytes, size));
	return 0;
}

const struct verb verb_gc = {
	.name = "gc",
	.args = "",
	.summary = "remove what nothing needs from the store",
	.teach = "Removes leftovers of interrupted work, content that was put aside as wrong, layers of\n"
		 "no image, and layer data past the budget; with --all also every image that is not\n"
		 "mounted. What a mount uses stays, and what is missed later is fetched again.\n\n"
		 "  sluice gc --all --dry-run",
	.options = gc_options,
	.state_size = sizeof(struct gc_state),
	.min_words = 0,
	.max_words = 0,
	.run = gc_run,
};
