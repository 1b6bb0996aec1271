/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/profile_soci.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "fetcher/soci_prefetch.h"
#include "fetcher/store_layer.h"
#include "fetcher/ztoc.h"
#include "fs/profile_registry.h"

enum { ZTOC_START_ANY = 1 }; /* where deflate starts matters to who decodes, and nobody does here */

/* The spans of a layer's zTOC as SOCI numbers them. */
struct soci_spans {
	uint64_t *starts; /* owned; n, in bytes of the device */
	size_t n;
	uint64_t size;	  /* of the device */
};

static void soci_spans_finish(struct soci_spans *spans)
{
	free(spans->starts);
}
DEFINE_FINISH(soci_spans, soci_spans_finish);

void profile_lists_finish(struct profile_lists *lists)
{
	if (!lists)
		return;
	for (size_t i = 0; i < lists->n; i++)
		buf_finish(&lists->items[i]);
	free(lists->items);
	*lists = (struct profile_lists){0};
}

static deadline_t request_deadline(const struct profile_soci *soci)
{
	return deadline_earlier(deadline_in_ms(soci->timeout_ms), soci->deadline);
}

static int lists_make(size_t n, struct profile_lists *ret)
{
	ret->items = calloc(n + 1, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	ret->n = n;
	for (size_t i = 0; i < n; i++)
		ret->items[i] = buf_make(SOCI_PREFETCH_MAX);
	return 0;
}

/* ---- the numbers of spans ---- */

/* A span of a zTOC that does not fit into one of ours became several, which are one unit. */
static int spans_of_table(const struct seek *table, struct soci_spans *ret, struct err *err)
{
	size_t count = seek_count(table), first, end;
	AUTO_FREE uint64_t *starts = calloc(count + 1, sizeof(*starts));
	if (!starts)
		return err_set(err, -ENOMEM, "number the spans of a zTOC");
	size_t n = 0;
	for (size_t i = 0; i < count; i = end) {
		struct span span;
		seek_unit(table, i, &first, &end);
		seek_get(table, i, &span);
		starts[n++] = span.out_off;
	}
	*ret = (struct soci_spans){steal_ptr(&starts), n, seek_out_size(table)};
	return 0;
}

static int drop_windows(void *data, const void *bytes, size_t n)
{
	(void)data;
	(void)bytes;
	(void)n;
	return 0;
}

static int spans_of_ztoc(const struct profile_soci *soci, const struct descriptor *layer,
			 const struct descriptor *desc, struct soci_spans *ret, struct err *err)
{
	static const struct byte_sink nowhere = {.write = drop_windows};
	AUTO_FINISH(buf) struct buf bytes = buf_make(SOCI_ZTOC_MAX);
	AUTO(ztoc) struct ztoc *ztoc = NULL;
	AUTO(seek) struct seek *table = NULL;
	int r = origin_blob(soci->origin, desc, &bytes, request_deadline(soci), err);
	if (r == 0)
		r = ztoc_parse(bytes.data, bytes.len, layer->size, &ztoc, err);
	if (r == 0)
		r = ztoc_seek(ztoc, &layer->digest, NULL, ZTOC_START_ANY, &nowhere, &table, err);
	return r < 0 ? r : spans_of_table(table, ret, err);
}

/* The spans of layer i. -ENOENT: the index leaves it out. */
static int spans_find(const struct profile_soci *soci, size_t i, struct soci_spans *ret,
		      struct err *err)
{
	AUTO(store_layer) struct store_layer *layer = NULL;
	const struct descriptor *desc = &soci->layers->items[i];
	const struct descriptor *ztoc = soci_index_ztoc(soci->soci, &desc->digest);
	struct err ignored;
	if (!ztoc)
		return -ENOENT;
	/* Where the layer's table was made of this very zTOC, it is here already. */
	if (store_layer_open(soci->store, &desc->digest, &layer, &ignored) == 0 &&
	    digest_equal(&store_layer_info(layer)->index_digest, &ztoc->digest))
		return spans_of_table(store_layer_seek(layer), ret, err);
	int r = spans_of_ztoc(soci, desc, ztoc, ret, err);
	return r < 0 ? err_prefix(err, r, "the zTOC of layer %zu", i) : 0;
}

/* The span that byte off is in. */
static size_t spans_at(const struct soci_spans *spans, uint64_t off)
{
	size_t low = 0, high = spans->n;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (spans->starts[mid] <= off)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* ---- reading ---- */

bool profile_soci_is_there(const struct profile_soci *soci)
{
	for (size_t i = 0; i < soci->layers->count; i++)
		if (soci_index_prefetch(soci->soci, &soci->layers->items[i].digest))
			return true;
	return false;
}

/* They are all in memory at once. */
static int lists_check(const struct profile_soci *soci, struct err *err)
{
	uint64_t left = PROFILE_LISTS_MAX;
	for (size_t i = 0; i < soci->layers->count; i++) {
		const struct descriptor *desc =
			soci_index_prefetch(soci->soci, &soci->layers->items[i].digest);
		if (desc && desc->size > left)
			return err_say(err, -EFBIG, "its prefetch lists have more than %d bytes",
				       PROFILE_LISTS_MAX);
		left -= desc ? desc->size : 0;
	}
	return 0;
}

int profile_soci_fetch(const struct profile_soci *soci, struct profile_lists *ret, struct err *err)
{
	AUTO_FINISH(profile_lists) struct profile_lists lists = {0};
	int r = lists_check(soci, err);
	if (r < 0)
		return r;
	r = lists_make(soci->layers->count, &lists);
	if (r < 0)
		return err_set(err, r, "fetch prefetch lists");
	for (size_t i = 0; i < lists.n && r == 0; i++) {
		const struct descriptor *desc =
			soci_index_prefetch(soci->soci, &soci->layers->items[i].digest);
		if (desc)
			r = origin_blob(soci->origin, desc, &lists.items[i],
					request_deadline(soci), err);
	}
	if (r < 0)
		return err_prefix(err, r, "fetch prefetch lists");
	*ret = lists;
	lists = (struct profile_lists){0};
	return 0;
}

/* One entry of a list, as bytes. */
struct soci_want {
	int64_t priority;
	size_t number; /* in all lists */
	uint32_t layer;
	uint64_t off, len;
};

struct soci_wants {
	struct soci_want *items; /* owned */
	size_t n, room;
};

static int compare_wants(const void *a, const void *b)
{
	const struct soci_want *x = a, *y = b;
	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int wants_add(struct soci_wants *wants, const struct soci_runs *runs, uint32_t layer,
		     const struct soci_spans *spans, struct err *err)
{
	struct soci_want *items = reallocarray(wants->items, wants->n + runs->n + 1, sizeof(*items));
	if (!items)
		return err_set(err, -ENOMEM, "read a prefetch list");
	wants->items = items;
	for (size_t i = 0; i < runs->n; i++) {
		const struct soci_run *run = &runs->items[i];
		if (run->last >= spans->n)
			return err_say(err, -EBADMSG,
				       "entry %zu of the prefetch list of layer %u ends with span %llu, "
				       "and the zTOC has %zu",
				       i, layer, (unsigned long long)run->last, spans->n);
		uint64_t off = spans->starts[run->first];
		uint64_t end = run->last + 1 < spans->n ? spans->starts[run->last + 1] : spans->size;
		items[wants->n] =
			(struct soci_want){run->priority, wants->n, layer, off, end - off};
		wants->n++;
	}
	return 0;
}

static int wants_read(const struct profile_soci *soci, const struct profile_lists *lists,
		      struct soci_wants *wants, struct err *err)
{
	int r = 0;
	for (size_t i = 0; i < lists->n && r == 0; i++) {
		AUTO_FINISH(soci_runs) struct soci_runs runs = {0};
		AUTO_FINISH(soci_spans) struct soci_spans spans = {0};
		const struct buf *list = &lists->items[i];
		if (list->len == 0)
			continue;
		r = soci_prefetch_parse(list->data, list->len, &runs, err);
		if (r == 0)
			r = spans_find(soci, i, &spans, err);
		if (r == 0)
			r = wants_add(wants, &runs, (uint32_t)i, &spans, err);
		else if (r == -ENOENT)
			r = err_say(err, -EBADMSG, "there is a prefetch list of layer %zu, and no zTOC",
				    i);
	}
	return r;
}

int profile_soci_read(const struct profile_soci *soci, const struct profile_lists *lists,
		      struct profile **ret, struct err *err)
{
	AUTO(profile) struct profile *p = NULL;
	struct soci_wants wants = {0};
	int r = profile_create(&p);
	if (r < 0)
		return err_set(err, r, "read prefetch lists");
	r = wants_read(soci, lists, &wants, err);
	if (r == 0 && wants.n > 1)
		qsort(wants.items, wants.n, sizeof(*wants.items), compare_wants);
	for (size_t i = 0; i < wants.n && r == 0; i++) {
		const struct soci_want *want = &wants.items[i];
		int added = profile_add(p, want->layer, want->off, want->len);
		/* What is too much is left out, as it would be of a run. */
		if (added == -E2BIG)
			break;
		if (added < 0)
			r = err_set(err, added, "read prefetch lists");
	}
	free(wants.items);
	if (r < 0)
		return r;
	*ret = steal_ptr(&p);
	return 0;
}

/* ---- writing ---- */

/* Adds the spans [first, last] that are not in the list yet. */
static int runs_cover(struct soci_runs *runs, bool *seen, size_t first, size_t last,
		      int64_t priority)
{
	int r = 0;
	for (size_t k = first; k <= last && r == 0; k++) {
		struct soci_run *end = runs->n > 0 ? &runs->items[runs->n - 1] : NULL;
		if (seen[k])
			continue;
		seen[k] = true;
		if (end && end->last + 1 == k)
			end->last = k;
		else
			r = soci_runs_add(runs, &(struct soci_run){k, k, priority});
	}
	return r;
}

static int list_write(const struct profile *p, uint32_t layer, const struct soci_spans *spans,
		      struct buf *ret, struct err *err)
{
	AUTO_FINISH(soci_runs) struct soci_runs runs = {0};
	AUTO_FREE bool *seen = calloc(spans->n + 1, sizeof(*seen));
	int r = seen ? 0 : -ENOMEM;
	for (size_t i = 0; i < profile_count(p) && r == 0; i++) {
		struct profile_range range;
		profile_get(p, i, &range);
		if (range.layer == layer && spans->n > 0)
			r = runs_cover(&runs, seen, spans_at(spans, range.off),
				       spans_at(spans, range.off + range.len - 1), (int64_t)i);
	}
	if (r < 0)
		return err_set(err, r, "write a prefetch list");
	/* SOCI takes an empty list for a broken one. */
	return runs.n > 0 ? soci_prefetch_emit(&runs, ret, err) : 0;
}

int profile_soci_write(const struct profile_soci *soci, const struct profile *p,
		       struct profile_lists *ret, struct err *err)
{
	AUTO_FINISH(profile_lists) struct profile_lists lists = {0};
	int r = lists_make(soci->layers->count, &lists);
	if (r < 0)
		return err_set(err, r, "write prefetch lists");
	for (size_t i = 0; i < lists.n && r == 0; i++) {
		AUTO_FINISH(soci_spans) struct soci_spans spans = {0};
		r = spans_find(soci, i, &spans, err);
		if (r == 0)
			r = list_write(p, (uint32_t)i, &spans, &lists.items[i], err);
		else if (r == -ENOENT)
			r = 0;
	}
	if (r < 0)
		return r;
	*ret = lists;
	lists = (struct profile_lists){0};
	return 0;
}

/* ---- publishing ---- */

/* Takes the lists that the index had out of its layers. */
static void index_drop_lists(json_t *layers)
{
	for (size_t i = json_array_size(layers); i-- > 0;) {
		const char *type = json_string_value(
			json_object_get(json_array_get(layers, i), "mediaType"));
		if (type && strcmp(type, SOCI_PREFETCH_TYPE) == 0)
			(void)json_array_remove(layers, i);
	}
}

static int index_add_list(const struct profile_soci *soci, size_t i, const struct buf *list,
			  json_t *layers, struct err *err)
{
	struct digest_text layer, text;
	AUTO_FINISH(descriptor) struct descriptor desc = {
		.media_type = strdup(SOCI_PREFETCH_TYPE),
		.size = list->len,
	};
	int r = desc.media_type ? digest_of(DIGEST_SHA256, list->data, list->len, &desc.digest) :
				  -ENOMEM;
	if (r < 0)
		return err_set(err, r, "push a prefetch list");
	r = origin_push_blob(soci->origin, &desc, list->data, list->len,
			     request_deadline(soci), err);
	if (r < 0)
		return r;
	json_t *entry = json_pack("{s:s,s:s,s:I,s:{s:s}}", "mediaType", SOCI_PREFETCH_TYPE,
				  "digest", digest_str(&desc.digest, text.s), "size",
				  (json_int_t)desc.size, "annotations", SOCI_LAYER_DIGEST,
				  digest_str(&soci->layers->items[i].digest, layer.s));
	return json_array_append_new(layers, entry) < 0 ? err_set(err, -ENOMEM, "push an index") : 0;
}

/* The new manifest: the old one with these lists, and the time. */
static int index_change(const struct profile_soci *soci, const struct profile_lists *lists,
			int64_t now, json_t **ret, struct err *err)
{
	const struct buf *bytes = soci_index_bytes(soci->soci);
	AUTO_JSON json_t *root = NULL;
	json_t *layers = NULL, *notes = NULL;
	char created[PROFILE_CREATED_MAX];
	int r = json_parse_object(bytes->data, bytes->len, "the SOCI index", &root, err);
	if (r == 0)
		r = json_get_array(root, "layers", JSON_NEED, &layers, err);
	if (r == 0)
		r = json_get_object(root, "annotations", JSON_MAY, &notes, err);
	if (r < 0)
		return r;
	index_drop_lists(layers);
	for (size_t i = 0; i < lists->n && r == 0; i++)
		if (lists->items[i].len > 0)
			r = index_add_list(soci, i, &lists->items[i], layers, err);
	if (r < 0)
		return r;
	profile_created_text(now, created);
	if (!notes) {
		notes = json_object();
		if (json_object_set_new(root, "annotations", notes) < 0)
			return err_set(err, -ENOMEM, "push an index");
	}
	if (json_object_set_new(notes, SOCI_CREATED, json_string(created)) < 0)
		return err_set(err, -ENOMEM, "push an index");
	*ret = json_incref(root);
	return 0;
}

int profile_soci_push(const struct profile_soci *soci, const struct profile_lists *lists,
		      const struct digest *subject, int64_t now, struct digest *ret,
		      struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	AUTO_FINISH(descriptor) struct descriptor desc = {.media_type = strdup(MEDIA_OCI_MANIFEST)};
	if (soci_index_version(soci->soci) != 1)
		return err_say(err, -EOPNOTSUPP,
			       "the image names its SOCI index (version 2) by digest, so another index "
			       "takes another image: export the lists for whoever makes it");
	int r = index_change(soci, lists, now, &root, err);
	if (r < 0)
		return r;
	AUTO_FREE char *json = json_dumps(root, JSON_COMPACT);
	if (!json || !desc.media_type)
		return err_set(err, -ENOMEM, "push a SOCI index");
	desc.size = strlen(json);
	r = digest_of(DIGEST_SHA256, json, strlen(json), &desc.digest);
	if (r < 0)
		return err_set(err, r, "push a SOCI index");
	*ret = desc.digest;
	return origin_push_manifest(soci->origin, &desc, json, strlen(json), subject,
				    request_deadline(soci), err);
}
