/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/num.h"
#include "tools/fill.h"
#include "tools/opened.h"
#include "tools/text.h"
#include "tools/verb.h"

struct pull_state {
	bool lazy;
};

static void pull_options(void *state, struct opt *table)
{
	struct pull_state *s = state;
	table[0] = (struct opt){"lazy", 0, OPT_FLAG, NULL,
				"only what mounting takes: metadata and seek tables", &s->lazy};
}

static int pull_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const struct pull_state *s = state;
	AUTO_FINISH(opened) struct opened opened = {0};
	struct digest_text digest;
	(void)argc;
	int r = opened_start(ctx, argv[0], &opened, err);
	if (r == 0 && !s->lazy)
		r = fill_image(ctx, opened.image, err);
	if (r < 0)
		return r;
	digest_str(&opened.manifest, digest.s);
	if (!ctx->json) {
		(void)printf("%s\n", digest.s);
		return 0;
	}
	AUTO_JSON json_t *json = json_pack("{s:s,s:s}", "reference", image_reference(opened.image),
					   "digest", digest.s);
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

const struct verb verb_pull = {
	.name = "pull",
	.args = "IMAGE",
	.summary = "fetch all of an image into the store",
	.teach = "Fetches everything of an image, so that it can be mounted and read with the registry\n"
		 "away. What is there already is not fetched again. Prints the manifest's digest.\n\n"
		 "  sluice pull python:3.12\n"
		 "  sluice pull --lazy python:3.12    only what a mount needs to answer",
	.options = pull_options,
	.state_size = sizeof(struct pull_state),
	.min_words = 1,
	.max_words = 1,
	.run = pull_run,
};
