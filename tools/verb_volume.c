/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "tools/rootless.h"
#include "tools/run_parse.h"
#include "tools/text.h"
#include "tools/verb.h"
#include "tools/volumes.h"

struct volume_list {
	struct ctx *ctx;
	json_t *json; /* an array; NULL: lines */
	struct words names; /* owned */
};

static int list_one(void *data, const char *name)
{
	struct volume_list *list = data;
	return words_add(&list->names, name);
}

static int compare_names(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;
	return strcmp(*x, *y);
}

static int list_print(struct volume_list *list, struct err *err)
{
	if (list->names.count > 1)
		qsort(list->names.items, list->names.count, sizeof(char *), compare_names);
	for (size_t i = 0; i < list->names.count; i++) {
		const char *name = list->names.items[i];
		AUTO_FREE char *path = NULL;
		int r = volumes_path(list->ctx, name, false, &path, err);
		if (r == -ENOENT)
			continue; /* removed just now */
		if (r < 0)
			return r;
		if (!list->json)
			(void)printf("%s\n", name);
		else if (json_array_append_new(list->json, json_pack("{s:s,s:s}", "name", name, "path",
								     path)) < 0)
			return err_set(err, -ENOMEM, "print");
	}
	return list->json ? text_print_json(list->json, err) : 0;
}

static int volume_ls(struct ctx *ctx, struct err *err)
{
	AUTO_JSON json_t *json = ctx->json ? json_array() : NULL;
	struct volume_list list = {.ctx = ctx, .json = json};
	struct store *store = NULL;
	int r = ctx_store_there(ctx, &store, err);
	if (r == 0)
		r = volumes_each(ctx, list_one, &list, err);
	if (r == -ENOMEM)
		r = err_set(err, r, "list the volumes");
	if (r == 0)
		r = list_print(&list, err);
	words_finish(&list.names);
	return r;
}

static int volume_create(struct ctx *ctx, const char *name, struct err *err)
{
	AUTO_FREE char *path = NULL;
	if (!run_is_volume_name(name))
		return err_say(err, -EINVAL,
			       "'%s' is no name for a volume: it wants letters, digits and _.-", name);
	return volumes_path(ctx, name, true, &path, err);
}

static int volume_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	(void)state;
	bool create = strcmp(argv[0], "create") == 0, rm = strcmp(argv[0], "rm") == 0;
	if (strcmp(argv[0], "ls") == 0 && argc == 1)
		return volume_ls(ctx, err);
	if ((!create && !rm) || argc < 2)
		return ctx_misuse(ctx, err_say(err, -EINVAL,
					       "'volume' wants ls, create NAME or rm NAME"));
	/* An ordinary user's volumes have files of ids that are its only inside. */
	int r = rootless_enter(0, err);
	for (int i = 1; i < argc && r == 0; i++) {
		r = create ? volume_create(ctx, argv[i], err) : volumes_remove(ctx, argv[i], err);
		if (r == 0)
			(void)puts(argv[i]);
	}
	return r;
}

const struct verb verb_volume = {
	.name = "volume",
	.args = "ls|create|rm [NAME…]",
	.summary = "list, make or remove named volumes",
	.teach = "A volume is a directory of the store's that containers share and that outlives them:\n"
		 "'sluice run -v NAME:/dir' makes it when it is not there. One that a container uses, also\n"
		 "a container that is over, is not removed.\n\n"
		 "  ls           print the names; with --format json also where they are\n"
		 "  create NAME  make one\n"
		 "  rm NAME      remove one with all that is in it\n\n"
		 "  sluice volume rm data",
	.failed = 125,
	.min_words = 1,
	.max_words = -1,
	.run = volume_run,
};
