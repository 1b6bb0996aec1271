/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cni_plugin.h"

#include <string.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/spawn.h"
#include "exec/cni.h"

enum {
	VARIABLES_MAX = 8,
	ERRORS_MAX = 4096, /* bytes of standard error that are kept */
	PATHS_MAX = 8192,  /* bytes of all directories */
};

/* ---- where it is ---- */

/* The directories, with `between` in between. */
static int dirs_text(const json_t *dirs, const char *between, struct buf *out)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(dirs); i++)
		r = buf_printf(out, "%s%s", i == 0 ? "" : between,
			       json_string_value(json_array_get(dirs, i)));
	return r;
}

static int find(const struct cni_run *run, const char *type, char **ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf where = buf_make(PATHS_MAX);
	for (size_t i = 0; i < json_array_size(run->dirs); i++) {
		AUTO_FREE char *path = NULL;
		if (asprintf(&path, "%s/%s", json_string_value(json_array_get(run->dirs, i)), type) < 0) {
			path = NULL;
			return err_set(err, -ENOMEM, "find the plugin %s", type);
		}
		if (access(path, X_OK) < 0)
			continue;
		*ret = steal_ptr(&path);
		return 0;
	}
	(void)dirs_text(run->dirs, " nor in ", &where);
	return err_say(err, -ENOENT, "the plugin %s is not in %s", type, buf_str(&where));
}

int cni_plugin_look(const struct cni_run *run, const json_t *plugin, struct err *err)
{
	AUTO_FREE char *path = NULL;
	int r = find(run, json_string_value(json_object_get(plugin, "type")), &path, err);
	return r < 0 ? err_prefix(err, r, "network %s", run->network) : 0;
}

/* ---- what it is told ---- */

/* The arguments whose capabilities the plugin has. */
static int add_arguments(const struct cni_run *run, const json_t *plugin, json_t *request)
{
	AUTO_JSON json_t *arguments = json_object();
	const char *key;
	json_t *value;
	int r = arguments ? 0 : -1;
	json_object_foreach(run->arguments, key, value) {
		if (r == 0 && cni_plugin_takes(plugin, key))
			r = json_object_set(arguments, key, value);
	}
	if (r == 0 && json_object_size(arguments) > 0)
		r = json_object_set(request, "runtimeConfig", arguments);
	return r;
}

/* The plugin's own words, with what the runtime adds and takes away (section 3). */
static char *request_make(const struct cni_run *run, const json_t *plugin, json_t *previous)
{
	AUTO_JSON json_t *request = json_deep_copy(plugin);
	if (!request ||
	    json_object_set_new(request, "cniVersion", json_string(run->version)) < 0 ||
	    json_object_set_new(request, "name", json_string(run->network)) < 0 ||
	    add_arguments(run, plugin, request) < 0 ||
	    (previous && json_object_set(request, "prevResult", previous) < 0))
		return NULL;
	(void)json_object_del(request, "capabilities");
	(void)json_object_del(request, "cniVersions");
	return json_dumps(request, JSON_COMPACT);
}

struct variables {
	char *list[VARIABLES_MAX + 1]; /* NULL-terminated */
	size_t n;
};

static void variables_finish(struct variables *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->list[i]);
}
DEFINE_FINISH(variables, variables_finish);

/* One that has no value is left out. */
static int variable(struct variables *v, const char *name, const char *value)
{
	if (!value)
		return 0;
	if (asprintf(&v->list[v->n], "%s=%s", name, value) < 0) {
		v->list[v->n] = NULL;
		return -ENOMEM;
	}
	v->n++;
	return 0;
}

static int variables_make(const struct cni_run *run, struct variables *v)
{
	AUTO_FINISH(buf) struct buf dirs = buf_make(PATHS_MAX);
	const char *const pairs[][2] = {
		{"CNI_COMMAND", run->command}, {"CNI_CONTAINERID", run->container},
		{"CNI_NETNS", run->netns},     {"CNI_IFNAME", run->ifname},
		{"PATH", run->path},
	};
	int r = dirs_text(run->dirs, ":", &dirs);
	if (r == 0)
		r = variable(v, "CNI_PATH", buf_str(&dirs));
	for (size_t i = 0; r == 0 && i < sizeof(pairs) / sizeof(pairs[0]); i++)
		r = variable(v, pairs[i][0], pairs[i][1]);
	return r;
}

/* ---- what it says ---- */

/* Its error is an object on standard output; what does not keep to that writes on the other. */
static int failed(const struct buf *output, const struct buf *errors, int status, struct err *err)
{
	AUTO_JSON json_t *said = NULL;
	const char *msg = NULL, *details = NULL;
	if (json_parse_object(buf_str(output), output->len, "error", &said, NULL) == 0) {
		(void)json_get_str(said, "msg", JSON_MAY, &msg, NULL);
		(void)json_get_str(said, "details", JSON_MAY, &details, NULL);
	}
	if (msg && details && *details)
		return err_say(err, -EIO, "%s: %s", msg, details);
	if (msg && *msg)
		return err_say(err, -EIO, "%s", msg);
	const char *text = buf_str(errors);
	size_t n = strcspn(text, "\n");
	if (n > 0)
		return err_say(err, -EIO, "%.*s", (int)n, text);
	if (WIFSIGNALED(status))
		return err_say(err, -EIO, "it was killed by signal %d", WTERMSIG(status));
	return err_say(err, -EIO, "it ended with %d and without a word", WEXITSTATUS(status));
}

static int run_it(const struct cni_run *run, const json_t *plugin, json_t *previous, json_t **ret,
		  struct err *err)
{
	const char *type = json_string_value(json_object_get(plugin, "type"));
	AUTO_FINISH(buf) struct buf output = buf_make(CNI_OUTPUT_MAX);
	AUTO_FINISH(buf) struct buf errors = buf_make(ERRORS_MAX);
	AUTO_FINISH(variables) struct variables env = {0};
	AUTO_FREE char *program = NULL;
	int status = 0;
	int r = find(run, type, &program, err);
	if (r < 0)
		return r;
	AUTO_FREE char *request = request_make(run, plugin, previous);
	if (!request || variables_make(run, &env) < 0)
		return err_set(err, -ENOMEM, "ask the plugin");
	struct spawn spawn = {
		.path = program,
		.argv = (const char *const[]){type, NULL},
		.env = (const char *const *)env.list,
		.input = request,
		.input_len = strlen(request),
		.deadline = run->deadline,
		.cancel = run->cancel,
		.errors = &errors,
		.until_exit = true,
	};
	r = spawn_run(&spawn, &output, &status, err);
	if (r < 0)
		return r;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return failed(&output, &errors, status, err);
	return ret ? json_parse_object(buf_str(&output), output.len, "its result", ret, err) : 0;
}

int cni_plugin_run(const struct cni_run *run, const json_t *plugin, json_t *previous,
		   json_t **ret, struct err *err)
{
	int r = run_it(run, plugin, previous, ret, err);
	return r < 0 ? err_prefix(err, r, "network %s: %s by the plugin %s", run->network,
				  run->command,
				  json_string_value(json_object_get(plugin, "type")))
		     : 0;
}
