/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine_priv.h"

/* Both engines' words for the states of the runtime-spec. */
static enum driver_status status_parse(const char *text)
{
	static const struct {
		const char *text;
		enum driver_status status;
	} STATES[] = {
		{"created", DRIVER_CREATED},	{"configured", DRIVER_CREATED},
		{"initialized", DRIVER_CREATED}, {"running", DRIVER_RUNNING},
		{"restarting", DRIVER_RUNNING}, {"stopping", DRIVER_RUNNING},
		{"paused", DRIVER_PAUSED},	{"exited", DRIVER_STOPPED},
		{"stopped", DRIVER_STOPPED},	{"dead", DRIVER_STOPPED},
		{"removing", DRIVER_STOPPED},
	};
	for (size_t i = 0; text && i < ARRAY_LEN(STATES); i++)
		if (strcmp(text, STATES[i].text) == 0)
			return STATES[i].status;
	return DRIVER_STATUS_UNKNOWN;
}

static pid_t pid_of(const struct engine *engine, const json_t *object)
{
	uint64_t pid = engine_number(object, "Pid");
	return engine->same_pids && pid <= INT32_MAX ? (pid_t)pid : 0;
}

static int exit_code_of(enum driver_status status, const json_t *object)
{
	uint64_t code = engine_number(object, "ExitCode");
	return status == DRIVER_STOPPED && code <= UINT8_MAX ? (int)code : -1;
}

/* A copy; NULL stays NULL. */
static int copy(const char *text, char **ret)
{
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static const char *without_slash(const char *name)
{
	return name && name[0] == '/' ? name + 1 : name;
}

static int malformed(const char *what, const char *lacks, struct driver_error *error)
{
	return driver_fail(error, DRIVER_ENGINE, NULL, "%s: the engine's answer has no %s", what,
			   lacks);
}

int engine_state(const struct engine *engine, const struct driver_call *call, const char *what,
		 const char *id, struct driver_container *ret, struct driver_error *error)
{
	char path[ENGINE_PATH_MAX];
	(void)snprintf(path, sizeof(path), "/containers/%s/json", id);
	AUTO_JSON json_t *answer = NULL;
	int r = engine_get(engine, call, what, path, &answer, error);
	if (r < 0)
		return r;
	const json_t *state = json_object_get(answer, "State");
	const char *real_id = engine_text(answer, "Id");
	if (!real_id || !json_is_object(state))
		return malformed(what, real_id ? "State" : "Id", error);
	AUTO_FINISH(driver_container) struct driver_container made = {0};
	made.status = status_parse(engine_text(state, "Status"));
	made.pid = pid_of(engine, state);
	made.exit_code = exit_code_of(made.status, state);
	r = copy(real_id, &made.id);
	if (r == 0)
		r = copy(without_slash(engine_text(answer, "Name")), &made.name);
	if (r == 0)
		r = copy(engine_text(json_object_get(answer, "Config"), "Image"), &made.image);
	if (r == 0)
		r = copy(engine_text(answer, "Created"), &made.created);
	if (r < 0)
		return driver_fail_set(error, r, "%s", what);
	made.raw = steal_ptr(&answer);
	*ret = made;
	made = (struct driver_container){0};
	return 0;
}

int engine_inspect(void *conn, const struct driver_call *call, const char *id,
		   struct driver_container *ret, struct driver_error *error)
{
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "inspect container %s", id);
	return engine_state(conn, call, what, id, ret, error);
}

/* Docker gives seconds since 1970, Podman text. */
static int copy_created(const json_t *item, char **ret)
{
	const char *text = engine_text(item, "Created");
	uint64_t seconds = engine_number(item, "Created");
	if (text || seconds > INT64_MAX)
		return copy(text, ret);
	char made[64];
	struct tm tm;
	time_t when = (time_t)seconds;
	if (!gmtime_r(&when, &tm) || strftime(made, sizeof(made), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return 0;
	return copy(made, ret);
}

static int list_item(const struct engine *engine, const json_t *item, struct driver_container *ret)
{
	const char *id = engine_text(item, "Id");
	if (!id)
		return -EINVAL;
	ret->status = status_parse(engine_text(item, "State"));
	ret->pid = pid_of(engine, item);
	ret->exit_code = exit_code_of(ret->status, item);
	const char *name = json_string_value(json_array_get(json_object_get(item, "Names"), 0));
	int r = copy(id, &ret->id);
	if (r == 0)
		r = copy(without_slash(name), &ret->name);
	if (r == 0)
		r = copy(engine_text(item, "Image"), &ret->image);
	return r < 0 ? r : copy_created(item, &ret->created);
}

int engine_list(void *conn, const struct driver_call *call, struct driver_list *ret,
		struct driver_error *error)
{
	static const char what[] = "list the containers";
	const struct engine *engine = conn;
	const char *path = engine->dialect->list;
	struct engine_request request = {.what = what, .method = "GET",
					 .path = path ? path : "/containers/json?all=true",
					 .unversioned = path};
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	AUTO_JSON json_t *answer = NULL;
	int r = engine_http(engine, call, &request, &reply, error);
	if (r == 0)
		r = engine_json(what, &reply.body, JSON_ARRAY, &answer, error);
	if (r < 0)
		return r;
	size_t n = json_array_size(answer);
	if (n > DRIVER_LIST_MAX)
		return driver_fail(error, DRIVER_ENGINE, NULL, "%s: there are more than %d", what,
				   DRIVER_LIST_MAX);
	AUTO_FINISH(driver_list) struct driver_list list = {
		.items = calloc(n + 1, sizeof(*list.items))};
	for (size_t i = 0; list.items && r == 0 && i < n; i++) {
		list.n++;
		r = list_item(engine, json_array_get(answer, i), &list.items[i]);
	}
	if (r == -EINVAL)
		return malformed(what, "Id", error);
	if (!list.items || r < 0)
		return driver_fail_set(error, -ENOMEM, "%s", what);
	*ret = list;
	list = (struct driver_list){0};
	return 0;
}

static void set_unknown(struct driver_stats *stats)
{
	*stats = (struct driver_stats){
		DRIVER_UNKNOWN, DRIVER_UNKNOWN, DRIVER_UNKNOWN, DRIVER_UNKNOWN,
		DRIVER_UNKNOWN, DRIVER_UNKNOWN, DRIVER_UNKNOWN, DRIVER_UNKNOWN,
		DRIVER_UNKNOWN, DRIVER_UNKNOWN, DRIVER_UNKNOWN,
	};
}

/* The sum over all devices, unknown where none is counted. */
static uint64_t block_bytes(const json_t *answer, const char *op)
{
	uint64_t sum = DRIVER_UNKNOWN;
	size_t i;
	const json_t *entry, *all = json_object_get(json_object_get(answer, "blkio_stats"),
						    "io_service_bytes_recursive");
	json_array_foreach(all, i, entry)
	{
		const char *is = engine_text(entry, "op");
		uint64_t value = engine_number(entry, "value");
		if (is && strcasecmp(is, op) == 0 && value != DRIVER_UNKNOWN)
			sum = (sum == DRIVER_UNKNOWN ? 0 : sum) + value;
	}
	return sum;
}

static void stats_docker(const json_t *answer, struct driver_stats *stats)
{
	const json_t *cpu = json_object_get(json_object_get(answer, "cpu_stats"), "cpu_usage");
	const json_t *memory = json_object_get(answer, "memory_stats");
	const json_t *pids = json_object_get(answer, "pids_stats");
	stats->cpu_ns = engine_number(cpu, "total_usage");
	stats->cpu_user_ns = engine_number(cpu, "usage_in_usermode");
	stats->cpu_system_ns = engine_number(cpu, "usage_in_kernelmode");
	stats->memory_bytes = engine_number(memory, "usage");
	stats->memory_peak_bytes = engine_number(memory, "max_usage");
	stats->memory_limit = engine_number(memory, "limit");
	stats->pids = engine_number(pids, "current");
	stats->pids_limit = engine_number(pids, "limit");
	stats->read_bytes = block_bytes(answer, "read");
	stats->write_bytes = block_bytes(answer, "write");
}

static int stats_podman(const char *what, const json_t *answer, struct driver_stats *stats,
			struct driver_error *error)
{
	const json_t *one = json_array_get(json_object_get(answer, "Stats"), 0);
	if (!json_is_object(one))
		return malformed(what, "Stats", error);
	stats->cpu_ns = engine_number(one, "CPUNano");
	stats->cpu_system_ns = engine_number(one, "CPUSystemNano");
	stats->memory_bytes = engine_number(one, "MemUsage");
	stats->memory_limit = engine_number(one, "MemLimit");
	stats->pids = engine_number(one, "PIDs");
	stats->read_bytes = engine_number(one, "BlockInput");
	stats->write_bytes = engine_number(one, "BlockOutput");
	return 0;
}

int engine_stats(void *conn, const struct driver_call *call, const char *id,
		 struct driver_stats *ret, struct driver_error *error)
{
	const struct engine *engine = conn;
	char what[ENGINE_WHAT_MAX], path[ENGINE_PATH_MAX];
	(void)snprintf(what, sizeof(what), "measure container %s", id);
	/* Docker measures what does not run as zeros. */
	AUTO_FINISH(driver_container) struct driver_container now = {0};
	int r = engine_state(engine, call, what, id, &now, error);
	if (r == 0 && now.status != DRIVER_RUNNING && now.status != DRIVER_PAUSED)
		return driver_fail(error, DRIVER_INVALID, NULL, "%s: it does not run", what);
	if (r < 0)
		return r;
	const char *podman = engine->dialect->stats;
	if (podman)
		(void)snprintf(path, sizeof(path), "%s%s", podman, id);
	else
		(void)snprintf(path, sizeof(path),
			       "/containers/%s/stats?stream=false&one-shot=true", id);
	struct engine_request request = {.what = what, .method = "GET", .path = path,
					 .unversioned = podman};
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	AUTO_JSON json_t *answer = NULL;
	r = engine_http(engine, call, &request, &reply, error);
	if (r == 0)
		r = engine_json(what, &reply.body, JSON_OBJECT, &answer, error);
	if (r < 0)
		return r;
	struct driver_stats stats;
	set_unknown(&stats);
	if (podman)
		r = stats_podman(what, answer, &stats, error);
	else
		stats_docker(answer, &stats);
	if (r == 0)
		*ret = stats;
	return r;
}
