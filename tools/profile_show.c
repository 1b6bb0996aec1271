/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "fs/profile_names.h"
#include "fs/profile_store.h"
#include "tools/profile.h"
#include "tools/text.h"
#include "tools/verb.h"

uint64_t profile_total(const struct opened *opened)
{
	const struct erofs *tree = image_tree(opened->image);
	struct erofs_stats stats;
	uint64_t total = 0;
	erofs_stats(tree, &stats);
	for (uint32_t i = 1; i <= stats.n_devices; i++) {
		struct erofs_device device;
		if (erofs_device(tree, i, &device) == 0)
			total += device.size;
	}
	return total;
}

/* ---- JSON ---- */

static json_t *show_files_json(const struct profile_files *files)
{
	json_t *list = json_array();
	for (size_t i = 0; i < PROFILE_NAMES_MAX && files->names[i]; i++) {
		AUTO_FREE char *name = text_json(files->names[i], strlen(files->names[i]));
		if (!name || json_array_append_new(list, json_string(name)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *show_ranges_json(const struct profile *p, const struct profile_names *names)
{
	json_t *list = json_array();
	for (size_t i = 0; i < profile_count(p); i++) {
		struct profile_range range;
		profile_get(p, i, &range);
		json_t *row = json_pack(
			"{s:i,s:I,s:I,s:i,s:I,s:I,s:o}", "layer", (int)range.layer + 1, "offset",
			(json_int_t)range.off, "length", (json_int_t)range.len, "score",
			(int)range.score, "place", (json_int_t)range.place, "files",
			(json_int_t)names->ranges[i].count, "names",
			show_files_json(&names->ranges[i]));
		if (json_array_append_new(list, row) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int show_json(const struct opened *opened, const struct profile *p,
		     const struct profile_names *names, struct err *err)
{
	struct digest_text manifest;
	AUTO_JSON json_t *json = json_pack(
		"{s:s,s:I,s:I,s:I,s:o}", "image", digest_str(&opened->manifest, manifest.s), "bytes",
		(json_int_t)profile_bytes(p), "total_bytes", (json_int_t)profile_total(opened), "files",
		(json_int_t)names->files, "ranges", show_ranges_json(p, names));
	return json ? text_print_json(json, err) : err_set(err, -ENOMEM, "print");
}

/* ---- text ---- */

static void show_row(size_t i, const struct profile_range *range, const struct profile_files *files)
{
	(void)printf("%6zu %5u %14llu %12llu %5u  ", i + 1, range->layer + 1,
		     (unsigned long long)range->off, (unsigned long long)range->len, range->score);
	for (size_t k = 0; k < PROFILE_NAMES_MAX && files->names[k]; k++) {
		if (k > 0)
			(void)fputs(", ", stdout);
		text_print_name(files->names[k], strlen(files->names[k]));
	}
	if (files->count > PROFILE_NAMES_MAX)
		(void)printf(", %llu more", (unsigned long long)files->count - PROFILE_NAMES_MAX);
	(void)putchar('\n');
}

static void show_text(const struct opened *opened, const struct profile *p,
		      const struct profile_names *names)
{
	char bytes[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX];
	(void)printf(" ORDER LAYER         OFFSET       LENGTH SCORE  FILES\n");
	for (size_t i = 0; i < profile_count(p); i++) {
		struct profile_range range;
		profile_get(p, i, &range);
		show_row(i, &range, &names->ranges[i]);
	}
	(void)printf("%zu ranges, %s of %s, of %llu files\n", profile_count(p),
		     size_text(profile_bytes(p), bytes), size_text(profile_total(opened), total),
		     (unsigned long long)names->files);
}

int profile_show(struct ctx *ctx, const char *text, struct err *err)
{
	AUTO_FINISH(opened) struct opened opened = {0};
	AUTO_FINISH(profile_names) struct profile_names names = {0};
	AUTO(profile) struct profile *p = NULL;
	int r = opened_start(ctx, text, &opened, err);
	if (r == 0)
		r = profile_load(ctx->store, &opened.manifest, &p, err);
	if (r == 0)
		r = profile_names_make(image_tree(opened.image), p, &names, err);
	if (r < 0)
		return err_prefix(err, r, "%s", text);
	if (ctx->json)
		return show_json(&opened, p, &names, err);
	show_text(&opened, p, &names);
	return 0;
}
