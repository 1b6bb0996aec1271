/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_record.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"

void run_record_finish(struct run_record *record)
{
	if (!record)
		return;
	free(record->name);
	free(record->image);
	free(record->runtime);
	free(record->pidfile);
	free(record->view);
	words_finish(&record->command);
	words_finish(&record->volumes);
	*record = (struct run_record){0};
}

static json_t *words_json(const struct words *words)
{
	json_t *array = json_array();
	for (size_t i = 0; i < words->count && array; i++) {
		/* A command is bytes; JSON is not. */
		json_t *word = json_string(words->items[i]);
		if (!word)
			word = json_string("?");
		if (json_array_append_new(array, word) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *run_record_json(const struct run_record *r)
{
	json_t *command = words_json(&r->command);
	json_t *volumes = words_json(&r->volumes);
	/* What is NULL makes it fail, and is all that it does not free. */
	return json_pack("{s:s,s:s,s:s*,s:s*,s:s*,s:o,s:o,s:b,s:b,s:b,s:b,s:b,s:b,s:i,s:I,s:I,s:I,s:i,s:i}", "name",
			 r->name, "image", r->image, "runtime", r->runtime, "pidfile", r->pidfile,
			 "view", r->view, "command", command, "volumes", volumes, "remove", r->remove,
			 "detach", r->detach, "tty", r->tty, "interactive", r->interactive, "mounted",
			 r->mounted, "poststop", r->poststop, "stop_signal",
			 r->stop_signal, "stop_timeout_ms", (json_int_t)r->stop_timeout_ms,
			 "timeout_ms", (json_int_t)r->timeout_ms, "preserve_fds",
			 (json_int_t)r->preserve_fds, "rows", (int)r->rows, "columns",
			 (int)r->columns);
}

static int record_numbers(const json_t *json, struct run_record *r, struct err *err)
{
	int64_t stop_signal = 0;
	uint64_t rows = 0, columns = 0;
	if (json_get_bool(json, "remove", JSON_MAY, &r->remove, err) < 0 ||
	    json_get_bool(json, "detach", JSON_MAY, &r->detach, err) < 0 ||
	    json_get_bool(json, "tty", JSON_MAY, &r->tty, err) < 0 ||
	    json_get_bool(json, "interactive", JSON_MAY, &r->interactive, err) < 0 ||
	    json_get_bool(json, "mounted", JSON_MAY, &r->mounted, err) < 0 ||
	    json_get_bool(json, "poststop", JSON_MAY, &r->poststop, err) < 0 ||
	    json_get_i64(json, "stop_signal", JSON_MAY, &stop_signal, err) < 0 ||
	    json_get_i64(json, "stop_timeout_ms", JSON_MAY, &r->stop_timeout_ms, err) < 0 ||
	    json_get_u64(json, "timeout_ms", JSON_MAY, &r->timeout_ms, err) < 0 ||
	    json_get_u64(json, "preserve_fds", JSON_MAY, &r->preserve_fds, err) < 0 ||
	    json_get_u64(json, "rows", JSON_MAY, &rows, err) < 0 ||
	    json_get_u64(json, "columns", JSON_MAY, &columns, err) < 0)
		return -EINVAL;
	r->stop_signal = (int)stop_signal;
	r->rows = (uint16_t)rows;
	r->columns = (uint16_t)columns;
	return 0;
}

static int words_from_json(struct words *words, const json_t *array)
{
	const json_t *word;
	size_t i;
	int r = 0;
	json_array_foreach(array, i, word)
		if (json_is_string(word) && r == 0)
			r = words_add(words, json_string_value(word));
	return r;
}

static int record_strings(const json_t *json, struct run_record *r, struct err *err)
{
	const char *name = NULL, *image = NULL, *runtime = NULL, *pidfile = NULL, *view = NULL;
	json_t *command = NULL, *volumes = NULL;
	if (json_get_str(json, "name", JSON_NEED, &name, err) < 0 ||
	    json_get_str(json, "image", JSON_NEED, &image, err) < 0 ||
	    json_get_str(json, "runtime", JSON_MAY, &runtime, err) < 0 ||
	    json_get_str(json, "pidfile", JSON_MAY, &pidfile, err) < 0 ||
	    json_get_str(json, "view", JSON_MAY, &view, err) < 0 ||
	    json_get_array(json, "command", JSON_MAY, &command, err) < 0 ||
	    json_get_array(json, "volumes", JSON_MAY, &volumes, err) < 0)
		return -EINVAL;
	r->name = strdup(name);
	r->image = strdup(image);
	r->runtime = runtime ? strdup(runtime) : NULL;
	r->pidfile = pidfile ? strdup(pidfile) : NULL;
	r->view = view ? strdup(view) : NULL;
	if (words_from_json(&r->command, command) < 0 || words_from_json(&r->volumes, volumes) < 0 || !r->name || !r->image || (runtime && !r->runtime) || (pidfile && !r->pidfile) ||
	    (view && !r->view))
		return err_set(err, -ENOMEM, "read a container's state");
	return 0;
}

int run_record_parse(const json_t *json, struct run_record *ret, struct err *err)
{
	AUTO_FINISH(run_record) struct run_record record = {0};
	if (!json_is_object(json))
		return err_say(err, -EINVAL, "the container's state was not written by 'sluice run'");
	int r = record_strings(json, &record, err);
	if (r == 0)
		r = record_numbers(json, &record, err);
	if (r < 0)
		return r;
	*ret = record;
	record = (struct run_record){0};
	return 0;
}
