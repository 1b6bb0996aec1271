/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/driver_engine.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/num.h"
#include "exec/driver_engine_priv.h"
#include "exec/driver_oci_priv.h"

/* Of Docker's API: the oldest that has all we ask for, and the newest that we know. */
static const char API_MIN[] = "1.24", API_MAX[] = "1.44";
/* Of Podman's own; newer ones answer it too. */
#define LIBPOD "/v4.0.0/libpod"

static const struct engine_dialect DOCKER = {
	.driver = "docker",
	.socket = DRIVER_DOCKER_SOCKET,
};

static const struct engine_dialect PODMAN = {
	.driver = "podman",
	.socket = DRIVER_PODMAN_SOCKET,
	.component = "Podman Engine",
	.version_min = "4.0.0",
	.list = LIBPOD "/containers/json?all=true",
	.stats = LIBPOD "/containers/stats?stream=false&containers=",
	.events = LIBPOD "/events",
};

static void engine_close(void *data)
{
	struct engine *engine = data;
	if (!engine)
		return;
	if (engine->curl)
		engine->curl->global_cleanup();
	free(engine->socket);
	free(engine->version);
	free(engine);
}

static void cleanup_engine(struct engine **engine)
{
	engine_close(*engine);
}

static int set_socket(struct engine *engine, const char *address, struct driver_error *error)
{
	static const char scheme[] = "unix://";
	if (!address)
		address = engine->dialect->socket;
	if (strncmp(address, scheme, strlen(scheme)) == 0)
		address += strlen(scheme);
	if (address[0] != '/' || address[strlen(address) - 1] == '/')
		return driver_fail(error, DRIVER_INVALID, NULL,
				   "connect to %s: \"%s\" is not the absolute path of a socket",
				   engine->dialect->driver, address);
	engine->socket = strdup(address);
	return engine->socket ? 0 : driver_fail_set(error, -ENOMEM, "connect to %s", address);
}

/* Whether who listens there has the process numbers that we have. */
static bool peer_is_near(int fd)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0)
		return false;
	char path[64];
	struct stat ours, theirs;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", peer.pid);
	return stat(path, &theirs) == 0 && stat("/proc/self/ns/pid", &ours) == 0 &&
	       ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

/* "1.41": digits, dots, and nothing that would change the meaning of a path. */
static bool is_api_version(const char *text)
{
	size_t n = strlen(text);
	return n > 0 && n < sizeof(((struct engine *)NULL)->api) - 2 &&
	       strspn(text, "0123456789.") == n;
}

static int negotiate(struct engine *engine, const json_t *version, struct driver_error *error)
{
	const char *newest = engine_text(version, "ApiVersion");
	const char *oldest = engine_text(version, "MinAPIVersion");
	if (!newest || !is_api_version(newest) || (oldest && !is_api_version(oldest)))
		return driver_fail(error, DRIVER_ENGINE, NULL,
				   "connect to %s: what listens there does not say which version of Docker's interface it speaks",
				   engine->socket);
	if (oci_version_less(newest, API_MIN) || (oldest && oci_version_less(API_MAX, oldest)))
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "connect to %s: the engine speaks versions %s to %s of its interface, and known are %s to %s",
				   engine->socket, oldest ? oldest : "?", newest, API_MIN, API_MAX);
	(void)snprintf(engine->api, sizeof(engine->api), "/v%s",
		       oci_version_less(API_MAX, newest) ? API_MAX : newest);
	return 0;
}

/* It is the engine that is meant, and not too old a one. */
static int recognise(struct engine *engine, const json_t *version, struct driver_error *error)
{
	const struct engine_dialect *dialect = engine->dialect;
	const char *number = engine_text(version, "Version");
	bool found = !dialect->component;
	size_t i;
	json_t *component;
	json_array_foreach(json_object_get(version, "Components"), i, component)
	{
		const char *name = engine_text(component, "Name");
		found = found || (name && strcmp(name, dialect->component) == 0);
	}
	if (!found)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "connect to %s: what listens there is not a %s", engine->socket,
				   dialect->component);
	if (dialect->version_min && (!number || oci_version_less(number, dialect->version_min)))
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL,
				   "connect to %s: its version %s is older than %s", engine->socket,
				   number ? number : "?", dialect->version_min);
	engine->version = strdup(number ? number : "");
	if (!engine->version)
		return driver_fail_set(error, -ENOMEM, "connect to %s", engine->socket);
	engine->info.version = engine->version;
	return 0;
}

static int probe(struct engine *engine, const struct driver_call *call, struct driver_error *error)
{
	AUTO_FINISH(engine_reply) struct engine_reply reply = engine_reply_make();
	AUTO_JSON json_t *version = NULL;
	char what[ENGINE_WHAT_MAX];
	(void)snprintf(what, sizeof(what), "connect to %s", engine->dialect->driver);
	struct engine_request request = {.what = what, .method = "GET", .path = "/version",
					 .unversioned = true};
	int r = engine_http(engine, call, &request, &reply, error);
	if (r == 0)
		r = engine_json(what, &reply.body, JSON_OBJECT, &version, error);
	if (r == 0)
		r = recognise(engine, version, error);
	if (r == 0)
		r = negotiate(engine, version, error);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = -1;
	r = engine_dial(engine->socket, call, what, &fd, error);
	engine->same_pids = r == 0 && peer_is_near(fd);
	return r;
}

static int engine_connect(const struct engine_dialect *dialect,
			  const struct driver_options *options, const struct driver_call *call,
			  void **ret, struct driver_error *error)
{
	__attribute__((cleanup(cleanup_engine))) struct engine *engine =
		calloc(1, sizeof(*engine));
	if (!engine)
		return driver_fail_set(error, -ENOMEM, "connect to %s", dialect->driver);
	engine->dialect = dialect;
	int r = set_socket(engine, options->address, error);
	if (r < 0)
		return r;
	engine->info = (struct driver_info){.driver = dialect->driver, .name = dialect->driver,
					    .address = engine->socket,
					    .features = DRIVER_PULL | DRIVER_LOGS};
	struct err err = {0};
	const struct curl_api *curl = curl_api(&err);
	if (!curl)
		return driver_fail(error, DRIVER_UNSUPPORTED, NULL, "connect to %s: %s",
				   dialect->driver, err_text(&err));
	if (curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return driver_fail_set(error, -ENOMEM, "connect to %s", dialect->driver);
	engine->curl = curl;
	struct driver_call limited = *call;
	if (limited.deadline == 0)
		limited.deadline = deadline_in_ms(DRIVER_ENGINE_PROBE_MS);
	r = probe(engine, &limited, error);
	if (r == 0)
		*ret = steal_ptr(&engine);
	return r;
}

static int docker_connect(const struct driver_options *options, const struct driver_call *call,
			  void **ret, struct driver_error *error)
{
	return engine_connect(&DOCKER, options, call, ret, error);
}

static int podman_connect(const struct driver_options *options, const struct driver_call *call,
			  void **ret, struct driver_error *error)
{
	return engine_connect(&PODMAN, options, call, ret, error);
}

static const struct driver_info *engine_info(void *data)
{
	const struct engine *engine = data;
	return &engine->info;
}

#define ENGINE_DRIVER(driver_name, driver_connect)                      \
	{                                                               \
		.version = DRIVER_VERSION, .name = (driver_name),       \
		.connect = (driver_connect), .close = engine_close,     \
		.info = engine_info, .pull = engine_pull,               \
		.create = engine_create, .start = engine_start,         \
		.exec = engine_exec, .kill = engine_kill,               \
		.wait = engine_wait, .pause = engine_pause,             \
		.resume = engine_resume, .logs = engine_logs,           \
		.list = engine_list, .inspect = engine_inspect,         \
		.stats = engine_stats, .events = engine_events,         \
		.remove = engine_remove,                                \
	}

const struct driver *driver_docker(void)
{
	static const struct driver driver = ENGINE_DRIVER("docker", docker_connect);
	return &driver;
}

const struct driver *driver_podman(void)
{
	static const struct driver driver = ENGINE_DRIVER("podman", podman_connect);
	return &driver;
}
