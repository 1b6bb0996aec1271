/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in pieces: the progress of a pull, logs, events. */
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine_priv.h"

enum {
	IMAGE_PATH_MAX = 4096,
	AUTH_MAX = 64 << 10,
};

/* What a line of progress says to a person: "id: status progress". */
static int pull_words(const json_t *line, struct buf *out)
{
	const char *stream = engine_text(line, "stream"), *id = engine_text(line, "id");
	const char *status = engine_text(line, "status"), *progress = engine_text(line, "progress");
	if (stream)
		return buf_append(out, stream, strcspn(stream, "\n"));
	if (!status)
		return 0;
	return buf_printf(out, "%s%s%s%s%s", id ? id : "", id ? ": " : "", status,
			  progress && *progress ? " " : "", progress ? progress : "");
}

int engine_pull_line(void *data, const char *text, struct driver_error *error)
{
	struct engine_pulling *p = data;
	AUTO_JSON json_t *line = NULL;
	AUTO_FINISH(buf) struct buf words = buf_make(DRIVER_ENGINE_LINE_MAX);
	struct err err = {0};
	int r = json_parse_object(text, strlen(text), "progress", &line, &err);
	if (r < 0)
		return driver_fail(error, DRIVER_ENGINE, text, "%s: the engine's progress is garbled: %s",
				   p->what, err_text(&err));
	const char *failure = engine_text(line, "error");
	if (failure)
		return engine_said(p->what, failure, text, error);
	r = pull_words(line, &words);
	if (r < 0)
		return driver_fail_set(error, r, "%s", p->what);
	if (p->pull->progress && words.len > 0)
		p->pull->progress(p->pull->data, words.data);
	return 0;
}

/* "X-Registry-Auth: " and base64url of JSON; without credentials *ret stays as it is. */
static int auth_make(const struct driver_pull *pull, char **ret)
{
	if (!pull->user)
		return 0;
	AUTO_JSON json_t *auth = json_pack("{s:s, s:s}", "username", pull->user, "password",
					   pull->secret ? pull->secret : "");
	AUTO_FREE char *text = auth ? json_dumps(auth, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	AUTO_FINISH(buf) struct buf out = buf_make(AUTH_MAX);
	int r = buf_puts(&out, "X-Registry-Auth: ");
	size_t from = out.len;
	if (r == 0)
		r = base64_encode(text, strlen(text), &out);
	for (size_t i = from; r == 0 && i < out.len; i++)
		out.data[i] = out.data[i] == '+' ? '-' : out.data[i] == '/' ? '_' : out.data[i];
	if (r == 0)
		*ret = buf_steal(&out);
	return r;
}

/* Without a tag or digest Docker would pull every tag there is. */
static int pull_path(const struct driver_pull *pull, struct buf *path)
{
	const char *slash = strrchr(pull->image, '/');
	bool whole = strpbrk(slash ? slash : pull->image, ":@") || strchr(pull->image, '@');
	int r = buf_puts(path, "/images/create?fromImage=");
	if (r == 0)
		r = engine_escape(path, pull->image);
	if (r == 0 && !whole)
		r = buf_puts(path, "%3Alatest");
	if (r == 0 && pull->platform) {
		r = buf_puts(path, "&platform=");
		if (r == 0)
			r = engine_escape(path, pull->platform);
	}
	return r;
}

int engine_pull(void *conn, const struct driver_call *call, const struct driver_pull *pull,
		struct driver_error *error)
{
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "pull %s", pull->image);
	AUTO_FINISH(buf) struct buf path = buf_make(IMAGE_PATH_MAX);
	AUTO_FREE char *auth = NULL;
	int r = pull_path(pull, &path);
	if (r == 0)
		r = auth_make(pull, &auth);
	if (r < 0)
		return driver_fail(error, r == -E2BIG ? DRIVER_INVALID : DRIVER_ENGINE, NULL,
				   "%s: %s", what, strerrordesc_np(-r));
	struct engine_pulling pulling = {.engine = conn, .pull = pull, .what = what};
	struct engine_lines lines = {.what = what, .rest = buf_make(DRIVER_ENGINE_LINE_MAX),
				     .line = engine_pull_line, .data = &pulling};
	struct engine_request request = {.what = what, .method = "POST", .path = path.data,
					 .header = auth, .piece = engine_lines_piece,
					 .data = &lines};
	r = engine_http(conn, call, &request, NULL, error);
	if (r == 0)
		r = engine_lines_end(&lines, error);
	buf_finish(&lines.rest);
	return r;
}

/* The call-back; what it returns below 0 is the call's result. */
static int log_show(struct engine_logging *l, enum driver_stream stream, const char *bytes, size_t n,
		    struct driver_error *error)
{
	if (n == 0 || l->hidden)
		return 0;
	int r = l->logs->line(l->logs->data, stream, l->time_ns, bytes, n);
	if (r < 0)
		(void)driver_fail_set(error, r, "%s: the reader", l->what);
	return r;
}

/* A frame is "TIME bytes". */
int engine_log_bytes(void *data, enum driver_stream stream, bool first, const char *bytes, size_t n,
		     struct driver_error *error)
{
	struct engine_logging *l = data;
	if (first) {
		l->have = 0;
		l->stamped = false;
	}
	while (!l->stamped && n > 0) {
		if (l->have + 1 >= sizeof(l->stamp))
			return driver_fail(error, DRIVER_ENGINE, l->stamp,
					   "%s: the engine's log is garbled: it has an entry without a time",
					   l->what);
		char c = *bytes++;
		n--;
		l->stamp[l->have++] = c == ' ' ? '\0' : c;
		l->stamp[l->have] = '\0';
		if (c != ' ')
			continue;
		if (engine_time(l->stamp, &l->time_ns) < 0)
			return driver_fail(error, DRIVER_ENGINE, l->stamp,
					   "%s: the engine's log is garbled: \"%s\" is not a time",
					   l->what, l->stamp);
		l->stamped = true;
		/* Podman writes whole seconds: such an entry may be from any moment of its second. */
		bool coarse = l->time_ns % (int64_t)NS_PER_SEC == 0;
		l->hidden = l->time_ns + (coarse ? (int64_t)NS_PER_SEC - 1 : 0) < l->logs->since_ns;
	}
	return log_show(l, stream, bytes, n, error);
}

/* A terminal's output comes as it is. */
static int log_raw(void *data, const char *bytes, size_t n, struct driver_error *error)
{
	return log_show(data, DRIVER_STDOUT, bytes, n, error);
}

static int logs_path(const struct driver_logs *logs, bool tty, struct buf *path)
{
	int r = buf_printf(path, "/containers/%s/logs?stdout=true&stderr=true&follow=%s&timestamps=%s",
			   logs->id, logs->follow ? "true" : "false", tty ? "false" : "true");
	if (r == 0 && logs->tail != DRIVER_UNKNOWN)
		r = buf_printf(path, "&tail=%llu", (unsigned long long)logs->tail);
	if (r == 0 && logs->since_ns > 0)
		r = buf_printf(path, "&since=%lld.%09lld",
			       (long long)(logs->since_ns / (int64_t)NS_PER_SEC),
			       (long long)(logs->since_ns % (int64_t)NS_PER_SEC));
	return r;
}

int engine_logs(void *conn, const struct driver_call *call, const struct driver_logs *logs,
		struct driver_error *error)
{
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "read the log of container %s", logs->id);
	AUTO_FINISH(driver_container) struct driver_container now = {0};
	int r = engine_state(conn, call, what, logs->id, &now, error);
	if (r < 0)
		return r;
	bool tty = engine_true(json_object_get(now.raw, "Config"), "Tty");
	AUTO_FINISH(buf) struct buf path = buf_make(ENGINE_PATH_MAX);
	r = logs_path(logs, tty, &path);
	if (r < 0)
		return driver_fail_set(error, r, "%s", what);
	struct engine_logging logging = {.logs = logs, .what = what};
	struct engine_frames frames = {.what = what, .bytes = engine_log_bytes, .data = &logging,
				       .failure = buf_make(DRIVER_RAW_MAX)};
	struct engine_request request = {.what = what, .method = "GET", .path = path.data,
					 .piece = tty ? log_raw : engine_frames_piece,
					 .data = tty ? (void *)&logging : &frames};
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	r = engine_http(conn, call, &request, &reply, error);
	if (r == 0 && !reply.stopped)
		r = engine_frames_end(&frames, error);
	buf_finish(&frames.failure);
	return r;
}

static enum driver_event_kind event_kind(const char *action)
{
	static const struct {
		const char *action;
		enum driver_event_kind kind;
	} KINDS[] = {
		{"create", DRIVER_EVENT_CREATE}, {"start", DRIVER_EVENT_START},
		{"pause", DRIVER_EVENT_PAUSE},	 {"unpause", DRIVER_EVENT_RESUME},
		{"oom", DRIVER_EVENT_OOM},	 {"die", DRIVER_EVENT_EXIT},
		{"died", DRIVER_EVENT_EXIT},	 {"destroy", DRIVER_EVENT_DELETE},
		{"remove", DRIVER_EVENT_DELETE},
	};
	for (size_t i = 0; action && i < ARRAY_LEN(KINDS); i++)
		if (strcmp(action, KINDS[i].action) == 0)
			return KINDS[i].kind;
	return DRIVER_EVENT_OTHER;
}

static int64_t event_time(const json_t *event)
{
	uint64_t ns = engine_number(event, "timeNano"), seconds = engine_number(event, "time");
	if (ns <= INT64_MAX)
		return (int64_t)ns;
	return seconds <= INT64_MAX / NS_PER_SEC ? (int64_t)(seconds * NS_PER_SEC) : 0;
}

static int event_exit_code(const json_t *actor)
{
	const json_t *attributes = json_object_get(actor, "Attributes");
	const char *text = engine_text(attributes, "exitCode");
	if (!text)
		text = engine_text(attributes, "containerExitCode");
	uint64_t code;
	return text && u64_parse(text, UINT8_MAX, &code) == 0 ? (int)code : -1;
}

int engine_event_line(void *data, const char *text, struct driver_error *error)
{
	struct engine_watching *w = data;
	AUTO_JSON json_t *event = NULL;
	struct err err = {0};
	int r = json_parse_object(text, strlen(text), "event", &event, &err);
	if (r < 0)
		return driver_fail(error, DRIVER_ENGINE, text, "%s: an event is garbled: %s",
				   w->what, err_text(&err));
	const char *type = engine_text(event, "Type");
	const json_t *actor = json_object_get(event, "Actor");
	const char *id = engine_text(actor, "ID");
	if (!id)
		id = engine_text(event, "id");
	if ((type && strcmp(type, "container") != 0) || !id)
		return 0;
	const char *action = engine_text(event, "Action");
	if (!action)
		action = engine_text(event, "status");
	struct driver_event told = {.kind = event_kind(action), .id = id,
				    .time_ns = event_time(event), .exit_code = -1, .raw = text};
	if (told.kind == DRIVER_EVENT_EXIT)
		told.exit_code = event_exit_code(actor);
	r = w->events->event(w->events->data, &told);
	if (r < 0)
		(void)driver_fail_set(error, r, "%s: the reader", w->what);
	return r;
}

static int events_path(const char *start, const char *id, struct buf *path)
{
	AUTO_JSON json_t *filters =
		id ? json_pack("{s:[s], s:[s]}", "type", "container", "container", id)
		   : json_pack("{s:[s]}", "type", "container");
	AUTO_FREE char *text = filters ? json_dumps(filters, JSON_COMPACT) : NULL;
	int r = text ? buf_printf(path, "%s?filters=", start) : -ENOMEM;
	return r < 0 ? r : engine_escape(path, text);
}

int engine_events(void *conn, const struct driver_call *call, const struct driver_events *events,
		  struct driver_error *error)
{
	static const char what[] = "watch containers";
	const char *own = ((const struct engine *)conn)->dialect->events;
	AUTO_FINISH(buf) struct buf path = buf_make(IMAGE_PATH_MAX);
	int r = events_path(own ? own : "/events", events->id, &path);
	if (r < 0)
		return driver_fail_set(error, r, "%s", what);
	struct engine_watching watching = {.events = events, .what = what};
	struct engine_lines lines = {.what = what, .rest = buf_make(DRIVER_ENGINE_LINE_MAX),
				     .line = engine_event_line, .data = &watching};
	struct engine_request request = {.what = what, .method = "GET", .path = path.data,
					 .unversioned = own, .piece = engine_lines_piece,
					 .data = &lines};
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	r = engine_http(conn, call, &request, &reply, error);
	buf_finish(&lines.rest);
	if (r == 0 && !reply.stopped)
		return driver_fail(error, DRIVER_ENGINE, NULL, "%s: the engine ended the stream",
				   what);
	return r;
}
