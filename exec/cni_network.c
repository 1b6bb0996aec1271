/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cni_network.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"

struct cni_network {
	json_t *list;
	const json_t *plugins; /* of list, as the others */
	const char *name;
	const char *version;
	bool can_check;
};

/* ---- versions ---- */

static const char *const versions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0"};
enum { CHECKS_SINCE = 2 };

/* 0: it is none of them; the higher the newer. */
static size_t version_rank(const char *version)
{
	for (size_t i = 0; version && i < ARRAY_LEN(versions); i++)
		if (strcmp(versions[i], version) == 0)
			return i + 1;
	return 0;
}

bool cni_version_known(const char *version)
{
	return version_rank(version) > 0;
}

bool cni_version_checks(const char *version)
{
	return version_rank(version) > CHECKS_SINCE;
}

/* The highest of "cniVersion" and "cniVersions" that is spoken here. */
static int choose_version(const json_t *list, const char *what, const char **ret, struct err *err)
{
	const char *one = NULL;
	json_t *more = NULL;
	size_t best = 0;
	int r = json_get_str(list, "cniVersion", JSON_MAY, &one, err);
	if (r == 0)
		r = json_get_array(list, "cniVersions", JSON_MAY, &more, err);
	if (r < 0)
		return err_prefix(err, r, "%s", what);
	best = version_rank(one);
	for (size_t i = 0; i < json_array_size(more); i++) {
		size_t rank = version_rank(json_string_value(json_array_get(more, i)));
		best = rank > best ? rank : best;
	}
	if (best == 0)
		return err_say(err, -EINVAL, "%s: its cniVersion is %s, and not from 0.3.0 to 1.0.0",
			       what, one ? one : "not given");
	*ret = versions[best - 1];
	return 0;
}

/* ---- reading ---- */

static bool is_name(const char *text)
{
	if (!isalnum((unsigned char)text[0]))
		return false;
	for (const char *p = text; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
			return false;
	return true;
}

static int check_plugins(const json_t *plugins, const char *what, struct err *err)
{
	size_t n = json_array_size(plugins);
	if (n == 0 || n > CNI_PLUGINS_MAX)
		return err_say(err, -EINVAL, "%s: it has %zu plugins, and not from 1 to %d", what, n,
			       CNI_PLUGINS_MAX);
	for (size_t i = 0; i < n; i++) {
		const json_t *plugin = json_array_get(plugins, i);
		json_t *capabilities = NULL;
		const char *type = NULL;
		if (!json_is_object(plugin))
			return err_say(err, -EINVAL, "%s: plugin %zu is not an object", what, i);
		int r = json_get_str(plugin, "type", JSON_NEED, &type, err);
		if (r == 0)
			r = json_get_object(plugin, "capabilities", JSON_MAY, &capabilities, err);
		if (r < 0)
			return err_prefix(err, r, "%s: plugin %zu", what, i);
		/* It names a program in a directory. */
		if (*type == '\0' || strpbrk(type, "/\\") || strcmp(type, "..") == 0)
			return err_say(err, -EINVAL, "%s: \"%s\" cannot be a plugin's type", what,
				       type);
	}
	return 0;
}

int cni_network_from_json(json_t *list, const char *what, struct cni_network **ret,
			  struct err *err)
{
	const char *name = NULL, *version = NULL;
	json_t *plugins = NULL;
	bool no_check = false;
	int r = json_get_str(list, "name", JSON_NEED, &name, err);
	if (r == 0)
		r = json_get_array(list, "plugins", JSON_NEED, &plugins, err);
	if (r == 0)
		r = json_get_bool(list, "disableCheck", JSON_MAY, &no_check, err);
	if (r < 0)
		return err_prefix(err, r, "%s", what);
	if (!is_name(name))
		return err_say(err, -EINVAL, "%s: \"%s\" is not the name of a network", what, name);
	r = choose_version(list, what, &version, err);
	if (r == 0)
		r = check_plugins(plugins, what, err);
	if (r < 0)
		return r;
	struct cni_network *network = calloc(1, sizeof(*network));
	if (!network)
		return err_set(err, -ENOMEM, "read %s", what);
	*network = (struct cni_network){
		.list = json_incref(list),
		.plugins = plugins,
		.name = name,
		.version = version,
		.can_check = !no_check && cni_version_checks(version),
	};
	*ret = network;
	return 0;
}

/* {"cniVersion", "name", "type", …} as a list of one. */
static json_t *wrap(json_t *plugin)
{
	AUTO_JSON json_t *list = json_pack("{s:[O]}", "plugins", plugin);
	static const char *const keys[] = {"cniVersion", "cniVersions", "name"};
	for (size_t i = 0; list && i < ARRAY_LEN(keys); i++) {
		json_t *value = json_object_get(plugin, keys[i]);
		if (value && json_object_set(list, keys[i], value) < 0)
			return NULL;
	}
	return steal_ptr(&list);
}

int cni_network_parse(const void *data, size_t n, bool single, const char *what,
		      struct cni_network **ret, struct err *err)
{
	AUTO_JSON json_t *root = NULL;
	int r = json_parse_object(data, n, what, &root, err);
	if (r < 0 || !single)
		return r < 0 ? r : cni_network_from_json(root, what, ret, err);
	AUTO_JSON json_t *list = wrap(root);
	return list ? cni_network_from_json(list, what, ret, err)
		    : err_set(err, -ENOMEM, "read %s", what);
}

void cni_network_destroy(struct cni_network *network)
{
	if (!network)
		return;
	json_decref(network->list);
	free(network);
}

/* ---- finding ---- */

static bool ends_in(const char *name, const char *ending)
{
	size_t n = strlen(name), m = strlen(ending);
	return n > m && strcmp(name + n - m, ending) == 0;
}

static int wanted(const struct dirent *entry)
{
	return ends_in(entry->d_name, ".conflist") || ends_in(entry->d_name, ".conf") ||
	       ends_in(entry->d_name, ".json");
}

static int read_network(int dirfd, const char *dir, const char *name, struct cni_network **ret,
			struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(CNI_FILE_MAX);
	AUTO_FREE char *path = NULL;
	if (asprintf(&path, "%s/%s", dir, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "read %s", dir);
	}
	int r = file_slurp(dirfd, name, &bytes, NULL);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	return cni_network_parse(buf_str(&bytes), bytes.len, !ends_in(name, ".conflist"), path, ret,
				 err);
}

/* Keeps the first mistake, for when nothing is found. */
static int find_in(int dirfd, const char *dir, struct dirent *const *entries, int n,
		   const char *name, struct cni_network **ret, struct err *err)
{
	struct err first = {0};
	for (int i = 0; i < n; i++) {
		AUTO(cni_network) struct cni_network *network = NULL;
		struct err why = {0};
		int r = read_network(dirfd, dir, entries[i]->d_name, &network, &why);
		if (r == -ENOMEM || (r < 0 && !name))
			return err_copy(err, &why);
		if (r < 0 && first.code == 0)
			first = why;
		if (r < 0 || (name && strcmp(cni_network_name(network), name) != 0))
			continue;
		*ret = steal_ptr(&network);
		return 0;
	}
	if (!name)
		return err_say(err, -ENOENT,
			       "%s has no configuration of a network (*.conflist, *.conf, *.json)", dir);
	return err_say(err, -ENOENT, "there is no network %s in %s%s%s", name, dir,
		       first.code < 0 ? "; unusable there: " : "",
		       first.code < 0 ? err_text(&first) : "");
}

int cni_network_find(const char *dir, const char *name, struct cni_network **ret,
		     struct err *err)
{
	struct dirent **entries = NULL;
	AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int n = fd < 0 ? -1 : scandirat(fd, ".", &entries, wanted, alphasort);
	if (n < 0)
		return err_set(err, -errno, "look for networks in %s", dir);
	int r = find_in(fd, dir, entries, n, name, ret, err);
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	return r;
}

/* ---- what it has ---- */

const char *cni_network_name(const struct cni_network *network)
{
	return network->name;
}

const char *cni_network_version(const struct cni_network *network)
{
	return network->version;
}

const json_t *cni_network_plugins(const struct cni_network *network)
{
	return network->plugins;
}

json_t *cni_network_json(const struct cni_network *network)
{
	return network->list;
}

bool cni_network_can_check(const struct cni_network *network)
{
	return network->can_check;
}

bool cni_plugin_takes(const json_t *plugin, const char *capability)
{
	return json_is_true(json_object_get(json_object_get(plugin, "capabilities"), capability));
}

bool cni_network_takes(const struct cni_network *network, const char *capability)
{
	for (size_t i = 0; i < json_array_size(network->plugins); i++)
		if (cni_plugin_takes(json_array_get(network->plugins, i), capability))
			return true;
	return false;
}
