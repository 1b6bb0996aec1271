/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "tools/containers.h"
#include "tools/run_bundle.h"
#include "tools/text.h"
#include "tools/verb.h"

/* The configuration as the runtime got it; NULL when there is none (yet). */
static json_t *inspect_config(const struct container *container)
{
	AUTO_FINISH(buf) struct buf text = buf_make(RUN_BUNDLE_MAX);
	json_t *json = NULL;
	struct err ignored;
	if (file_slurp(container_dirfd(container), CONTAINER_CONFIG, &text, &ignored) < 0 ||
	    json_parse_object(text.data, text.len, CONTAINER_CONFIG, &json, &ignored) < 0)
		return NULL;
	return json;
}

/* Its network, with the ports and the addresses; NULL when plugins made none. */
static json_t *inspect_network(const struct container *container)
{
	AUTO_FINISH(buf) struct buf text = buf_make(CNI_RECORD_MAX);
	json_t *json = NULL;
	struct err ignored;
	if (file_slurp(container_dirfd(container), CNI_RECORD, &text, &ignored) < 0 ||
	    json_parse_object(text.data, text.len, CNI_RECORD, &json, &ignored) < 0)
		return NULL;
	return json;
}

static json_t *inspect_json(const struct opened_container *o)
{
	const struct container_state *s = &o->state;
	json_t *record = run_record_json(&o->record);
	json_t *json = json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:b,s:i,s:i,s:i,s:I,s:I,s:I,s:b,s:s*,s:o,s:o*,s:o*}", "id",
		container_id(o->container), "name", o->record.name, "image", o->record.image, "directory",
		container_path(o->container), "status", containers_status(o), "live",
		containers_is_live(o), "pid", (int)s->pid, "monitor", (int)s->monitor, "exit_code",
		s->exit_code, "created_ns", (json_int_t)s->created_ns, "started_ns",
		(json_int_t)s->started_ns, "finished_ns", (json_int_t)s->finished_ns, "oom_killed",
		s->oom_killed, "error", s->error, "record", record, "config",
		inspect_config(o->container), "network", inspect_network(o->container));
	return json;
}

static int inspect_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *array = json_array();
	(void)state;
	for (int i = 0; i < argc; i++) {
		AUTO_FINISH(opened_container) struct opened_container o = {0};
		int r = containers_open(ctx, argv[i], &o, err);
		if (r < 0)
			return r;
		if (json_array_append_new(array, inspect_json(&o)) < 0)
			return err_set(err, -ENOMEM, "inspect %s", argv[i]);
	}
	return text_print_json(array, err);
}

const struct verb verb_inspect = {
	.name = "inspect",
	.args = "CONTAINER…",
	.summary = "print all that is known of containers",
	.teach = "Prints a JSON array with an object for each container.\n\n"
		 "  sluice inspect web | jq .[0].config.process.args",
	.failed = 125,
	.min_words = 1,
	.max_words = -1,
	.run = inspect_run,
};
