/* SPDX-License-Identifier: Apache-2.0 */
/* A container's life: create, start, kill, wait, pause, resume, delete. */
#include <string.h>
#include <sys/random.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine_priv.h"

/* Tells a container that this call made from one that was there before. */
#define LABEL_CALL "sluice.call"

int engine_post(const struct engine *engine, const struct driver_call *call, const char *what,
		const char *path, struct driver_error *error)
{
	struct engine_request request = {.what = what, .method = "POST", .path = path};
	return engine_http(engine, call, &request, NULL, error);
}

/* POST /containers/ID/VERB, as the sentence "VERB container ID". */
static int simple(const struct engine *engine, const struct driver_call *call, const char *verb,
		  const char *path_end, const char *id, struct driver_error *error)
{
	char what[ENGINE_WHAT_MAX], path[ENGINE_PATH_MAX];
	(void)snprintf(what, sizeof(what), "%s container %s", verb, id);
	(void)snprintf(path, sizeof(path), "/containers/%s/%s", id, path_end);
	return engine_post(engine, call, what, path, error);
}

int engine_start(void *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error)
{
	return simple(conn, call, "start", "start", id, error);
}

int engine_kill(void *conn, const struct driver_call *call, const char *id, int sig,
		struct driver_error *error)
{
	char end[32];
	(void)snprintf(end, sizeof(end), "kill?signal=%d", sig);
	return simple(conn, call, "kill", end, id, error);
}

int engine_pause(void *conn, const struct driver_call *call, const char *id,
		 struct driver_error *error)
{
	return simple(conn, call, "pause", "pause", id, error);
}

int engine_resume(void *conn, const struct driver_call *call, const char *id,
		  struct driver_error *error)
{
	return simple(conn, call, "resume", "unpause", id, error);
}

/* Waits until it does not run, which a container that was never started does not either. */
static int wait_once(const struct engine *engine, const struct driver_call *call, const char *what,
		     const char *id, int *ret_code, struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/containers/%s/wait", id);
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	AUTO_JSON json_t *answer = NULL;
	struct engine_request request = {.what = what, .method = "POST", .path = path};
	int r = engine_http(engine, call, &request, &reply, error);
	if (r == 0)
		r = engine_json(what, &reply.body, JSON_OBJECT, &answer, error);
	if (r < 0)
		return r;
	const json_t *failure = json_object_get(answer, "Error");
	const char *words = json_is_string(failure) ? json_string_value(failure)
						    : engine_text(failure, "Message");
	if (words && *words)
		return driver_fail(error, DRIVER_ENGINE, buf_str(&reply.body), "%s: the engine says: %s",
				   what, words);
	uint64_t code = engine_number(answer, "StatusCode");
	*ret_code = code <= UINT8_MAX ? (int)code : -1;
	return 0;
}

/* What a container does: 1; 0 when it is over and gone, and *ret is as it was. */
static int state_unless_gone(const struct engine *engine, const struct driver_call *call,
			     const char *what, const char *id, struct driver_container *ret,
			     struct driver_error *error)
{
	struct driver_error why = {0};
	int r = engine_state(engine, call, what, id, ret, &why);
	if (r == 0)
		return 1;
	if (why.code == DRIVER_NOT_FOUND)
		return 0;
	if (error)
		*error = why;
	return r;
}

int engine_wait(void *conn, const struct driver_call *call, const char *id,
		struct driver_exit *ret, struct driver_error *error)
{
	const struct engine *engine = conn;
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "wait for container %s", id);
	for (;;) {
		int code = -1;
		int r = wait_once(engine, call, what, id, &code, error);
		if (r < 0)
			return r;
		AUTO_FINISH(driver_container) struct driver_container now = {0};
		r = state_unless_gone(engine, call, what, id, &now, error);
		if (r < 0)
			return r;
		/* One that could not be started stays "created", but has a code. */
		if (r == 0 || now.status != DRIVER_CREATED || code > 0) {
			ret->exit_code = code;
			return 0;
		}
		clock_sleep_ms(DRIVER_ENGINE_LOOK_MS, call->deadline);
	}
}

static int set(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) < 0 ? -ENOMEM : 0;
}

static int set_text(json_t *object, const char *key, const char *text)
{
	return text ? set(object, key, json_string(text)) : 0;
}

static int set_list(json_t *object, const char *key, const char *const *list)
{
	if (!list)
		return 0;
	json_t *array = json_array();
	int r = set(object, key, array);
	for (size_t i = 0; r == 0 && list[i]; i++)
		r = json_array_append_new(array, json_string(list[i])) < 0 ? -ENOMEM : 0;
	return r;
}

/* The caller's labels, and one that says which call it was. */
static int set_labels(json_t *body, const json_t *given, const char *mark)
{
	json_t *labels = json_object();
	int r = set(body, "Labels", labels);
	if (r == 0 && given && json_object_update(labels, (json_t *)(uintptr_t)given) < 0)
		r = -ENOMEM;
	return r < 0 ? r : set_text(labels, LABEL_CALL, mark);
}

static int body_make(const struct driver_create *create, const char *mark, char **ret)
{
	const struct driver_image *image = create->image;
	AUTO_JSON json_t *body = image->options ? json_deep_copy(image->options) : json_object();
	int r = body ? set_text(body, "Image", image->image) : -ENOMEM;
	if (r == 0)
		r = set_list(body, "Entrypoint", image->entrypoint);
	if (r == 0)
		r = set_list(body, "Cmd", image->command);
	if (r == 0)
		r = set_list(body, "Env", image->env);
	if (r == 0)
		r = set_text(body, "WorkingDir", image->workdir);
	if (r == 0)
		r = set_text(body, "User", image->user);
	if (r == 0)
		r = set_labels(body, image->labels, mark);
	if (r == 0)
		r = set(body, "Tty", json_boolean(create->tty));
	if (r == 0)
		r = set(body, "OpenStdin", json_boolean(create->open_stdin));
	if (r == 0 && !(*ret = json_dumps(body, JSON_COMPACT)))
		r = -ENOMEM;
	return r;
}

/* Removes a container when it carries the mark. */
static void undo(struct engine *engine, const char *id, const char *mark)
{
	struct driver_call call = {.deadline = deadline_in_ms(DRIVER_ENGINE_CLEAN_MS)};
	AUTO_FINISH(driver_container) struct driver_container there = {0};
	if (engine_state(engine, &call, "undo", id, &there, NULL) < 0)
		return;
	const json_t *labels = json_object_get(json_object_get(there.raw, "Config"), "Labels");
	const char *is = engine_text(labels, LABEL_CALL);
	if (is && strcmp(is, mark) == 0)
		(void)engine_remove(engine, &call, there.id, true, NULL);
}

static int create_request(const struct engine *engine, const struct driver_call *call,
			  const struct driver_create *create, const char *what, const char *mark,
			  char **ret_id, struct driver_error *error)
{
	const char *name = create->image->name ? create->image->name : create->id;
	AUTO_FINISH(buf) struct buf path = buf_make(ENGINE_PATH_MAX);
	AUTO_FREE char *body = NULL;
	int r = buf_puts(&path, "/containers/create?name=");
	if (r == 0)
		r = engine_escape(&path, name);
	if (r == 0)
		r = body_make(create, mark, &body);
	if (r == -E2BIG)
		return driver_fail(error, DRIVER_INVALID, NULL, "%s: its name is too long", what);
	if (r < 0)
		return driver_fail_set(error, r, "%s", what);
	struct engine_request request = {.what = what, .method = "POST", .path = path.data,
					 .body = body, .body_len = strlen(body)};
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	AUTO_JSON json_t *answer = NULL;
	r = engine_http(engine, call, &request, &reply, error);
	if (r == 0)
		r = engine_json(what, &reply.body, JSON_OBJECT, &answer, error);
	if (r < 0)
		return r;
	const char *id = engine_text(answer, "Id");
	if (!id || !driver_id_valid(id))
		return driver_fail(error, DRIVER_ENGINE, buf_str(&reply.body),
				   "%s: the engine's answer has no Id", what);
	*ret_id = strdup(id);
	return *ret_id ? 0 : driver_fail_set(error, -ENOMEM, "%s", what);
}

/* Created; now the rest of what was asked for. */
static int create_finish(struct engine *engine, const struct driver_call *call,
			 const struct driver_create *create, const char *what, const char *id,
			 pid_t *ret_pid, struct driver_error *error)
{
	if (!create->start)
		return 0;
	int r = engine_start(engine, call, id, error);
	if (r < 0)
		return r;
	AUTO_FINISH(driver_container) struct driver_container now = {0};
	r = state_unless_gone(engine, call, what, id, &now, error);
	if (r < 0)
		return r;
	*ret_pid = now.pid;
	return 0;
}

int engine_create(void *conn, const struct driver_call *call, const struct driver_create *create,
		  struct driver_created *ret, struct driver_error *error)
{
	struct engine *engine = conn;
	char what[ENGINE_WHAT_MAX], mark[32];
	uint64_t salt;
	(void)snprintf(what, sizeof(what), "create container %s", create->id);
	if (!create->image)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "%s: %s runs images and not bundles", what, engine->info.name);
	if (!create->image->image)
		return driver_fail(error, DRIVER_INVALID, NULL, "%s: the request has no image", what);
	if (create->n_preserve_fds > 0)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "%s: %s takes no descriptors", what, engine->info.name);
	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return driver_fail(error, DRIVER_ENGINE, NULL, "%s: no random bytes", what);
	(void)snprintf(mark, sizeof(mark), "%016llx", (unsigned long long)salt);
	AUTO_FREE char *id = NULL;
	pid_t pid = 0;
	int r = create_request(engine, call, create, what, mark, &id, error);
	if (r == 0)
		r = create_finish(engine, call, create, what, id, &pid, error);
	/* Nothing of this call stays, and nothing of anybody else's goes. */
	if (r < 0 && (id || r == -ETIMEDOUT || r == -ECANCELED || r == -EIO))
		undo(engine, id ? id : create->image->name ? create->image->name : create->id, mark);
	if (r == 0)
		*ret = (struct driver_created){.id = steal_ptr(&id), .pid = pid};
	return r;
}

static int remove_once(const struct engine *engine, const struct driver_call *call,
		       const char *what, const char *id, bool force, struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/containers/%s?v=true&force=%s", id,
		       force ? "true" : "false");
	struct engine_request request = {.what = what, .method = "DELETE", .path = path};
	return engine_http(engine, call, &request, NULL, error);
}

/*
 * By force it is gone afterwards, whoever removed it: the engine may be at it
 * already for a container that is to vanish by itself.
 */
int engine_remove(void *conn, const struct driver_call *call, const char *id, bool force,
		  struct driver_error *error)
{
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "delete container %s", id);
	deadline_t until = deadline_earlier(call->deadline, deadline_in_ms(DRIVER_ENGINE_CLEAN_MS));
	struct driver_error why = {0};
	int r;
	while ((r = remove_once(conn, call, what, id, force, &why)) < 0 && force &&
	       strstr(why.raw, "already in progress") && !deadline_passed(until) &&
	       !cancel_fired(call->cancel))
		clock_sleep_ms(DRIVER_ENGINE_LOOK_MS, until);
	if (r < 0 && force && why.code == DRIVER_NOT_FOUND)
		return 0;
	if (r < 0 && error)
		*error = why;
	return r;
}
