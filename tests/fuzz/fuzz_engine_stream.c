/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an engine sends in pieces. The first byte says which stream it is, the second how it is cut; all
 * that is told, and how it ends, is the same as when it comes at once.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "exec/driver_engine_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { TOLD_MAX = 64 << 20, KINDS = 4 };

struct told {
	struct buf text;
	int64_t time_ns; /* of what was told last */
	int stream;
};

static void tell(struct told *told, int stream, int64_t time_ns, const char *bytes, size_t n)
{
	int r = 0;
	if (stream != told->stream || time_ns != told->time_ns)
		r = buf_printf(&told->text, "\n%d@%lld:", stream, (long long)time_ns);
	told->stream = stream;
	told->time_ns = time_ns;
	if (r < 0 || buf_append(&told->text, bytes, n) < 0)
		abort();
}

static int tell_bytes(void *data, enum driver_stream stream, bool first, const char *bytes,
		      size_t n, struct driver_error *error)
{
	(void)first;
	(void)error;
	if (stream != DRIVER_STDOUT && stream != DRIVER_STDERR)
		abort();
	tell(data, (int)stream, 0, bytes, n);
	return 0;
}

static int tell_log(void *data, enum driver_stream stream, int64_t time_ns, const void *bytes,
		    size_t n)
{
	tell(data, (int)stream, time_ns, bytes, n);
	return 0;
}

static void tell_progress(void *data, const char *line)
{
	tell(data, 1, 0, line, strlen(line));
}

static int tell_event(void *data, const struct driver_event *event)
{
	if (!event->id || event->time_ns < 0 || event->exit_code < -1 || event->exit_code > UINT8_MAX)
		abort();
	tell(data, (int)event->kind, event->time_ns, event->id, strlen(event->id));
	return 0;
}

typedef int (*piece_fn)(void *data, const char *bytes, size_t n, struct driver_error *error);

/* An exact copy of each piece, so that a read past its end is seen. */
static int feed(piece_fn piece, void *to, const uint8_t *data, size_t n, size_t step,
		struct driver_error *error)
{
	int r = 0;
	for (size_t at = 0; at < n && r == 0; at += step) {
		size_t len = n - at < step ? n - at : step;
		char *copy = malloc(len);
		if (!copy)
			abort();
		memcpy(copy, data + at, len);
		r = piece(to, copy, len, error);
		free(copy);
	}
	return r;
}

static int stream(int kind, const uint8_t *data, size_t n, size_t step, struct told *told,
		  struct driver_error *error)
{
	struct driver_pull pull = {.image = "image", .progress = tell_progress, .data = told};
	struct driver_logs logs = {.id = "id", .line = tell_log, .data = told,
				   .since_ns = INT64_C(1000000000) * NS_PER_SEC};
	struct driver_events events = {.event = tell_event, .data = told};
	struct engine_pulling pulling = {.pull = &pull, .what = "fuzz"};
	struct engine_logging logging = {.logs = &logs, .what = "fuzz"};
	struct engine_watching watching = {.events = &events, .what = "fuzz"};
	struct engine_frames frames = {.what = "fuzz", .failure = buf_make(DRIVER_RAW_MAX)};
	struct engine_lines lines = {.what = "fuzz", .rest = buf_make(DRIVER_ENGINE_LINE_MAX)};
	frames.bytes = kind == 0 ? tell_bytes : engine_log_bytes;
	frames.data = kind == 0 ? (void *)told : &logging;
	lines.line = kind == 2 ? engine_pull_line : engine_event_line;
	lines.data = kind == 2 ? (void *)&pulling : &watching;
	bool framed = kind < 2;
	int r = framed ? feed(engine_frames_piece, &frames, data, n, step, error) :
			 feed(engine_lines_piece, &lines, data, n, step, error);
	if (r == 0)
		r = framed ? engine_frames_end(&frames, error) : engine_lines_end(&lines, error);
	buf_finish(&frames.failure);
	buf_finish(&lines.rest);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2)
		return 0;
	int kind = data[0] % KINDS;
	size_t steps[] = {n, (size_t)data[1] + 1};
	struct told told[2];
	struct driver_error *errors = calloc(2, sizeof(*errors));
	int results[2];
	if (!errors)
		abort();
	for (int i = 0; i < 2; i++) {
		told[i] = (struct told){.text = buf_make(TOLD_MAX)};
		results[i] = stream(kind, data + 2, n - 2, steps[i], &told[i], &errors[i]);
		if (results[i] < 0 && (errors[i].err.text[0] == '\0' || errors[i].code == DRIVER_OK))
			abort();
	}
	if (results[0] != results[1] || told[0].text.len != told[1].text.len ||
	    (told[0].text.len > 0 && memcmp(told[0].text.data, told[1].text.data, told[0].text.len) != 0) ||
	    strcmp(errors[0].err.text, errors[1].err.text) != 0)
		abort();
	for (int i = 0; i < 2; i++)
		buf_finish(&told[i].text);
	free(errors);
	return 0;
}
