/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/soci_prefetch.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"

#define SOCI_PREFETCH_VERSION "1.0"

enum { RUNS_ROOM_MIN = 16 };

void soci_runs_finish(struct soci_runs *runs)
{
	if (!runs)
		return;
	free(runs->items);
	*runs = (struct soci_runs){0};
}

int soci_runs_add(struct soci_runs *runs, const struct soci_run *run)
{
	if (runs->n == SOCI_PREFETCH_RUNS_MAX)
		return -E2BIG;
	if (runs->n == runs->room) {
		size_t room = runs->room ? 2 * runs->room : RUNS_ROOM_MIN;
		struct soci_run *items = reallocarray(runs->items, room, sizeof(*items));
		if (!items)
			return -ENOMEM;
		runs->items = items;
		runs->room = room;
	}
	runs->items[runs->n++] = *run;
	return 0;
}

static int parse_run(const json_t *object, size_t i, struct soci_run *ret, struct err *err)
{
	struct soci_run run = {0};
	if (!json_is_object(object))
		return err_say(err, -EBADMSG, "entry %zu of the prefetch list is not an object", i);
	if (json_get_u64(object, "start_span", JSON_NEED, &run.first, err) < 0 ||
	    json_get_u64(object, "end_span", JSON_NEED, &run.last, err) < 0 ||
	    json_get_i64(object, "priority", JSON_MAY, &run.priority, err) < 0)
		return err_prefix(err, -EBADMSG, "entry %zu of the prefetch list", i);
	if (run.first > run.last)
		return err_say(err, -EBADMSG, "entry %zu of the prefetch list ends before it starts", i);
	*ret = run;
	return 0;
}

int soci_prefetch_parse(const void *data, size_t n, struct soci_runs *ret, struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	AUTO_FINISH(soci_runs) struct soci_runs runs = {0};
	const char *version = NULL;
	json_t *list = NULL;
	if (n > SOCI_PREFETCH_MAX)
		return err_say(err, -EBADMSG, "the prefetch list has %zu bytes, and %d is the most", n,
			       SOCI_PREFETCH_MAX);
	int r = json_parse_object(data, n, "the prefetch list", &root, err);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	if (json_get_str(root, "version", JSON_NEED, &version, err) < 0 ||
	    json_get_array(root, "prefetch_spans", JSON_NEED, &list, err) < 0)
		return err_prefix(err, -EBADMSG, "the prefetch list");
	if (strcmp(version, SOCI_PREFETCH_VERSION) != 0)
		return err_say(err, -EBADMSG, "the prefetch list has version %.20s, and "
					      SOCI_PREFETCH_VERSION " is what is known", version);
	if (json_array_size(list) > SOCI_PREFETCH_RUNS_MAX)
		return err_say(err, -EBADMSG, "the prefetch list has %zu entries, and %d is the most",
			       json_array_size(list), SOCI_PREFETCH_RUNS_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct soci_run run;
		r = parse_run(json_array_get(list, i), i, &run, err);
		if (r < 0)
			return r;
		r = soci_runs_add(&runs, &run);
		if (r < 0)
			return err_set(err, r, "read a prefetch list");
	}
	*ret = runs;
	runs = (struct soci_runs){0};
	return 0;
}

int soci_prefetch_emit(const struct soci_runs *runs, struct buf *ret, struct err *err)
{
	int r = buf_puts(ret, "{\"version\":\"" SOCI_PREFETCH_VERSION "\",\"prefetch_spans\":[");
	for (size_t i = 0; i < runs->n && r == 0; i++) {
		const struct soci_run *run = &runs->items[i];
		r = buf_printf(ret, "%s{\"start_span\":%" PRIu64 ",\"end_span\":%" PRIu64,
			       i > 0 ? "," : "", run->first, run->last);
		if (r == 0 && run->priority != 0)
			r = buf_printf(ret, ",\"priority\":%" PRId64, run->priority);
		if (r == 0)
			r = buf_puts(ret, "}");
	}
	if (r == 0)
		r = buf_puts(ret, "]}");
	return r < 0 ? err_set(err, r, "write a prefetch list") : 0;
}
