/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mounting.h"
#include "tools/text.h"
#include "tools/verb.h"

/* In one word; what it means is in mounts' --help. */
static const char *mounts_state(int entry_fd, const struct mtable_entry *entry)
{
	if (mtable_is_held(entry_fd))
		return "ok";
	return mounting_is_serving(entry) ? "orphan" : "dead";
}

static int mounts_one(void *data, int entry_fd, const struct mtable_entry *entry)
{
	json_t *rows = data;
	struct digest_text digest;
	digest_str(&entry->manifest, digest.s);
	json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:s*,s:s,s:i,s:i,s:I,s:s}", "id",
				entry->id, "dir", entry->dir, "image", entry->image, "digest",
				digest.s, "store", entry->store, "rw", entry->upper != NULL,
				"upper", entry->upper, "fs", entry->erofs ? "erofs" : "fuse",
				"holder", (int)entry->holder, "server", (int)entry->server,
				"created", (json_int_t)entry->created, "state",
				mounts_state(entry_fd, entry));
	return json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;
}

static const char *row_text(const json_t *row, const char *key)
{
	return json_string_value(json_object_get(row, key));
}

static int compare_rows(const void *a, const void *b)
{
	const json_t *const *x = a, *const *y = b;
	int order = strcmp(row_text(*x, "dir"), row_text(*y, "dir"));
	return order ? order : strcmp(row_text(*x, "id"), row_text(*y, "id"));
}

/* By directory. *ret is a new array of the same rows. */
static int mounts_sort(const json_t *rows, json_t **ret)
{
	size_t n = json_array_size(rows);
	AUTO_FREE json_t **sorted = calloc(n + 1, sizeof(json_t *));
	json_t *array = json_array();
	int r = sorted && array ? 0 : -1;
	for (size_t i = 0; i < n && r == 0; i++)
		sorted[i] = json_array_get(rows, i);
	if (r == 0)
		qsort((void *)sorted, n, sizeof(json_t *), compare_rows);
	for (size_t i = 0; i < n && r == 0; i++)
		r = json_array_append(array, sorted[i]);
	*ret = array;
	return r < 0 ? -ENOMEM : 0;
}

static void mounts_print(const json_t *rows)
{
	const json_t *row;
	size_t i;
	json_array_foreach(rows, i, row) {
		const char *dir = row_text(row, "dir");
		size_t n = strlen(dir);
		if (i == 0)
			(void)printf("%-40s %-40s %-4s %-7s %s\n", "DIR", "IMAGE", "MODE", "STATE",
				     "SERVER");
		text_print_name(dir, n);
		(void)printf("%*s %-40s %-4s %-7s %d\n", n < 40 ? 40 - (int)n : 0, "",
			     row_text(row, "image"),
			     json_is_true(json_object_get(row, "rw")) ? "rw" : "ro",
			     row_text(row, "state"),
			     (int)json_integer_value(json_object_get(row, "server")));
	}
}

static int mounts_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	const char *run_dir = NULL;
	AUTO_JSON json_t *rows = json_array();
	AUTO_JSON json_t *sorted = NULL;
	(void)state;
	(void)argc;
	(void)argv;
	int r = ctx_run_dir(ctx, &run_dir, err);
	if (r == 0)
		r = rows ? mtable_each(run_dir, mounts_one, rows, err) : -ENOMEM;
	if (r == 0)
		r = mounts_sort(rows, &sorted);
	if (r < 0)
		return r == -ENOMEM ? err_set(err, r, "list the mounts") : r;
	if (ctx->json)
		return text_print_json(sorted, err);
	mounts_print(sorted);
	return 0;
}

const struct verb verb_mounts = {
	.name = "mounts",
	.args = "",
	.summary = "list the mounts of this machine",
	.teach = "Lists what 'sluice mount' mounted and has not been unmounted, by directory. STATE is ok; orphan:\n"
		 "served, but its holder died, so the next crash of the server would end it; or dead: both\n"
		 "died, and 'sluice umount' clears it away.",
	.min_words = 0,
	.max_words = 0,
	.run = mounts_run,
};
