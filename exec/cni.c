/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cni.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "exec/cni_plugin.h"
#include "exec/form.h"
#include "exec/netns.h"

const char *const cni_default_plugin_dirs[] = {"/usr/lib/cni", "/opt/cni/bin", NULL};

/* ---- the record ---- */

/* What was noted of a connection. */
struct record {
	json_t *json;		     /* owned, as the network; the rest is borrowed from it */
	struct cni_network *network;
	json_t *result;		     /* NULL: it was never made whole */
	struct cni_run run;
};

static void record_finish(struct record *record)
{
	cni_network_destroy(record->network);
	json_decref(record->json);
}
DEFINE_FINISH(record, record_finish);

static int record_open(json_t *json, struct record *ret, struct err *err)
{
	struct record record = {.json = json};
	struct cni_run *run = &record.run;
	json_t *list = NULL, *arguments = NULL, *dirs = NULL;
	int r = json_get_object(json, "network", JSON_NEED, &list, err);
	if (r == 0)
		r = json_get_array(json, "pluginDirs", JSON_NEED, &dirs, err);
	if (r == 0)
		r = json_get_object(json, "runtimeConfig", JSON_NEED, &arguments, err);
	if (r == 0)
		r = json_get_object(json, "result", JSON_MAY, &record.result, err);
	if (r == 0)
		r = json_get_str(json, "containerId", JSON_NEED, &run->container, err);
	if (r == 0)
		r = json_get_str(json, "netns", JSON_NEED, &run->netns, err);
	if (r == 0)
		r = json_get_str(json, "ifname", JSON_NEED, &run->ifname, err);
	if (r == 0)
		r = json_get_str(json, "path", JSON_MAY, &run->path, err);
	for (size_t i = 0; r == 0 && i < json_array_size(dirs); i++)
		if (!json_is_string(json_array_get(dirs, i)))
			r = err_say(err, -EINVAL, "\"pluginDirs\" has what is no string");
	if (r == 0)
		r = cni_network_from_json(list, "its network", &record.network, err);
	if (r < 0)
		return err_prefix(err, r, CNI_RECORD);
	run->dirs = dirs;
	run->arguments = arguments;
	run->network = cni_network_name(record.network);
	run->version = cni_network_version(record.network);
	json_incref(json);
	*ret = record;
	return 0;
}

/* -ENOENT: there is none. */
static int record_read(int dirfd, struct record *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(CNI_RECORD_MAX);
	AUTO_JSON json_t *json = NULL;
	int r = file_slurp(dirfd, CNI_RECORD, &bytes, err);
	if (r == 0)
		r = json_parse_object(buf_str(&bytes), bytes.len, CNI_RECORD, &json, err);
	return r == 0 ? record_open(json, ret, err) : r;
}

/* What plugins keep outlives a reboot, and so does this. */
static int record_write(int dirfd, const json_t *json, struct err *err)
{
	AUTO_FREE char *text = json_dumps(json, JSON_COMPACT);
	if (!text)
		return err_set(err, -ENOMEM, "write " CNI_RECORD);
	return file_commit(dirfd, CNI_RECORD, text, strlen(text), COMMIT_REPLACE, err);
}

static json_t *ports_json(const struct cni_attachment *a)
{
	AUTO_JSON json_t *list = json_array();
	for (size_t i = 0; list && i < a->n_ports; i++) {
		const struct cni_port *port = &a->ports[i];
		json_t *item = json_pack("{s:i, s:i, s:s}", "hostPort", port->host,
					 "containerPort", port->container, "protocol",
					 port->protocol);
		if (json_array_append_new(list, item) < 0 ||
		    (port->host_ip &&
		     json_object_set_new(item, "hostIP", json_string(port->host_ip)) < 0))
			return NULL;
	}
	return steal_ptr(&list);
}

static json_t *record_json(const struct cni_attachment *a)
{
	AUTO_JSON json_t *dirs = json_array();
	AUTO_JSON json_t *arguments = json_object();
	for (size_t i = 0; dirs && a->plugin_dirs[i]; i++)
		if (json_array_append_new(dirs, json_string(a->plugin_dirs[i])) < 0)
			return NULL;
	if (!dirs || !arguments ||
	    (a->n_ports > 0 &&
	     json_object_set_new(arguments, "portMappings", ports_json(a)) < 0))
		return NULL;
	return json_pack("{s:O, s:O, s:O, s:s, s:s, s:s, s:s?}", "network",
			 cni_network_json(a->network), "pluginDirs", dirs, "runtimeConfig",
			 arguments, "containerId", a->container_id, "netns", a->netns, "ifname",
			 a->ifname, "path", a->path);
}

/* ---- connecting ---- */

static int attachment_check(const struct cni_attachment *a, struct err *err)
{
	const char *id = a->container_id;
	bool right = isalnum((unsigned char)id[0]);
	for (const char *p = id; *p; p++)
		right &= isalnum((unsigned char)*p) || strchr("_.-", *p);
	if (!right)
		return err_say(err, -EINVAL, "\"%s\" is not a container's id", id);
	if (!form_interface(a->ifname, false))
		return err_say(err, -EINVAL, "\"%s\" is not the name of a network interface",
			       a->ifname);
	for (size_t i = 0; a->plugin_dirs[i]; i++)
		if (!form_absolute(a->plugin_dirs[i]) || strchr(a->plugin_dirs[i], ':'))
			return err_say(err, -EINVAL,
				       "%s cannot be a directory of plugins: it is not absolute, "
				       "or has a colon", a->plugin_dirs[i]);
	if (a->n_ports > 0 && !cni_network_takes(a->network, "portMappings"))
		return err_say(err, -ENOTSUP,
			       "the network %s cannot publish ports: none of its plugins takes "
			       "portMappings", cni_network_name(a->network));
	return 0;
}

/* Before anything is done: what was never there could not undo it either. */
static int look_for_all(const struct record *record, struct err *err)
{
	const json_t *plugins = cni_network_plugins(record->network);
	int r = 0;
	for (size_t i = 0; r == 0 && i < json_array_size(plugins); i++)
		r = cni_plugin_look(&record->run, json_array_get(plugins, i), err);
	return r;
}

static int add_all(struct record *record, json_t **ret, struct err *err)
{
	const json_t *plugins = cni_network_plugins(record->network);
	AUTO_JSON json_t *result = NULL;
	record->run.command = "ADD";
	for (size_t i = 0; i < json_array_size(plugins); i++) {
		json_t *next = NULL;
		int r = cni_plugin_run(&record->run, json_array_get(plugins, i), result, &next, err);
		if (r < 0)
			return r;
		json_decref(result);
		result = next;
	}
	*ret = steal_ptr(&result);
	return 0;
}

static int connect_it(int dirfd, struct record *record, struct cni_result *ret, struct err *err)
{
	AUTO_FINISH(cni_result) struct cni_result result = {0};
	AUTO_JSON json_t *said = NULL;
	int r = add_all(record, &said, err);
	if (r == 0)
		r = cni_result_read(said, &result, err);
	if (r == 0 && json_object_set(record->json, "result", said) < 0)
		r = err_set(err, -ENOMEM, "write " CNI_RECORD);
	if (r == 0)
		r = record_write(dirfd, record->json, err);
	if (r < 0)
		return r;
	*ret = result;
	result = (struct cni_result){0};
	return 0;
}

int cni_attach(int dirfd, const struct cni_attachment *attachment, deadline_t deadline,
	       const struct cancel *cancel, struct cni_result *ret, struct err *err)
{
	AUTO_FINISH(record) struct record record = {0};
	int r = attachment_check(attachment, err);
	if (r < 0)
		return r;
	if (faccessat(dirfd, CNI_RECORD, F_OK, 0) == 0)
		return err_say(err, -EEXIST, "the container is connected to a network already");
	AUTO_JSON json_t *json = record_json(attachment);
	if (!json)
		return err_set(err, -ENOMEM, "connect the container to a network");
	r = record_open(json, &record, err);
	if (r == 0)
		r = look_for_all(&record, err);
	if (r == 0)
		r = record_write(dirfd, json, err);
	if (r < 0)
		return r;
	record.run.deadline = deadline;
	record.run.cancel = cancel;
	r = connect_it(dirfd, &record, ret, err);
	if (r < 0) {
		struct err why = {0};
		struct err first = {0};
		if (cni_detach(dirfd, deadline_in_ms(CNI_UNDO_MS), NULL, &why) == 0 || !err)
			return r;
		(void)err_copy(&first, err);
		(void)err_say(err, r, "%s; and undoing it failed: %s", err_text(&first),
			      err_text(&why));
	}
	return r;
}

/* ---- later ---- */

int cni_check(int dirfd, deadline_t deadline, const struct cancel *cancel, struct err *err)
{
	AUTO_FINISH(record) struct record record = {0};
	int r = record_read(dirfd, &record, err);
	if (r < 0)
		return r;
	if (!record.result)
		return err_say(err, -ENOENT, "the container was never connected");
	const json_t *plugins = cni_network_plugins(record.network);
	record.run.command = "CHECK";
	record.run.deadline = deadline;
	record.run.cancel = cancel;
	if (!cni_network_can_check(record.network))
		return 0;
	for (size_t i = 0; r == 0 && i < json_array_size(plugins); i++)
		r = cni_plugin_run(&record.run, json_array_get(plugins, i), record.result, NULL,
				   err);
	return r;
}

static int delete_all(struct record *record, struct err *err)
{
	const json_t *plugins = cni_network_plugins(record->network);
	json_t *previous = cni_version_checks(record->run.version) ? record->result : NULL;
	int r = 0;
	record->run.command = "DEL";
	if (!netns_is_bound(record->run.netns))
		record->run.netns = NULL;
	for (size_t i = json_array_size(plugins); r == 0 && i > 0; i--)
		r = cni_plugin_run(&record->run, json_array_get(plugins, i - 1), previous, NULL,
				   err);
	return r;
}

int cni_detach(int dirfd, deadline_t deadline, const struct cancel *cancel, struct err *err)
{
	AUTO_FINISH(record) struct record record = {0};
	if (faccessat(dirfd, CNI_RECORD, F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	int r = record_read(dirfd, &record, err);
	if (r < 0)
		return r;
	record.run.deadline = deadline;
	record.run.cancel = cancel;
	r = delete_all(&record, err);
	return r < 0 ? r : cni_forget(dirfd, err);
}

int cni_forget(int dirfd, struct err *err)
{
	if (unlinkat(dirfd, CNI_RECORD, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove " CNI_RECORD);
	return 0;
}
