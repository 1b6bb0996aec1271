/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/mounting.h"
#include "tools/text.h"
#include "tools/verb.h"

struct mounts {
	json_t *json; /* array; NULL: text */
	bool headed;
};

/* In one word; what it means is in mounts' --help. */
static const char *mounts_state(int entry_fd, const struct mtable_entry *entry)
{
	if (mtable_is_held(entry_fd))
		return "ok";
	return mounting_is_serving(entry) ? "orphan" : "dead";
}

static int mounts_one(void *data, int entry_fd, const struct mtable_entry *entry)
{
	struct mounts *m = data;
	struct digest_text digest;
	const char *state = mounts_state(entry_fd, entry);
	digest_str(&entry->manifest, digest.s);
	if (m->json) {
		json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:s*,s:s,s:i,s:i,s:I,s:s}", "id",
					entry->id, "dir", entry->dir, "image", entry->image,
					"digest", digest.s, "store", entry->store, "rw",
					entry->upper != NULL, "upper", entry->upper, "fs",
					entry->erofs ? "erofs" : "fuse", "holder",
					(int)entry->holder, "server", (int)entry->server, "created",
					(json_int_t)entry->created, "state", state);
		return json_array_append_new(m->json, row) < 0 ? -ENOMEM : 0;
	}
	if (!m->headed)
		(void)printf("%-40s %-40s %-4s %-7s %s\n", "DIR", "IMAGE", "MODE", "STATE", "SERVER");
	m->headed = true;
	text_print_name(entry->dir, strlen(entry->dir));
	(void)printf("%*s %-40s %-4s %-7s %d\n",
		     strlen(entry->dir) < 40 ? 40 - (int)strlen(entry->dir) : 0, "", entry->image,
		     entry->upper ? "rw" : "ro", state, (int)entry->server);
	return 0;
}

static int mounts_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const char *run_dir = NULL;
	AUTO_JSON json_t *json = ctx->json ? json_array() : NULL;
	struct mounts mounts = {.json = json};
	(void)state;
	(void)argc;
	(void)argv;
	int r = ctx_run_dir(ctx, &run_dir, err);
	if (r == 0)
		r = mtable_each(run_dir, mounts_one, &mounts, err);
	if (r == -ENOMEM)
		return err_set(err, r, "list the mounts");
	return r == 0 && json ? text_print_json(json, err) : r;
}

const struct verb verb_mounts = {
	.name = "mounts",
	.args = "",
	.summary = "list the mounts of this machine",
	.teach = "Lists what 'sluice mount' mounted and has not been unmounted. STATE is ok; orphan: served,\n"
		 "but its holder died, so the next crash of the server would end it; or dead: both died,\n"
		 "and 'sluice umount' clears it away.",
	.min_words = 0,
	.max_words = 0,
	.run = mounts_run,
};
