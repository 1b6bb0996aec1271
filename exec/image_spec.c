/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/image_spec.h"

#include <string.h>

#include "base/json.h"

static void list_free(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

void image_spec_finish(struct image_spec *spec)
{
	if (!spec)
		return;
	char *strings[] = {
		spec->os,     spec->architecture, spec->variant,     spec->os_version, spec->author,
		spec->created, spec->user,	  spec->working_dir, spec->stop_signal,
	};
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	char **lists[] = {
		spec->os_features, spec->entrypoint,	spec->cmd,
		spec->env,	   spec->exposed_ports, spec->volumes,
	};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_free(lists[i]);
	for (size_t i = 0; i < spec->n_labels; i++) {
		free(spec->labels[i].key);
		free(spec->labels[i].value);
	}
	free(spec->labels);
	*spec = (struct image_spec){0};
}

static int get_str(const json_t *object, const char *key, char **ret, struct err *err)
{
	const char *text = NULL;
	int r = json_get_str(object, key, JSON_MAY, &text, err);
	if (r < 0 || !text || text[0] == '\0')
		return r;
	*ret = strdup(text);
	return *ret ? 0 : err_set(err, -ENOMEM, "copy \"%s\"", key);
}

/* A list to be filled, NULL-terminated from the beginning. */
static int list_make(size_t n, const char *key, char ***ret, struct err *err)
{
	if (n > IMAGE_SPEC_LIST_MAX)
		return err_say(err, -E2BIG, "\"%s\" has %zu members; the limit is %d", key, n,
			       IMAGE_SPEC_LIST_MAX);
	*ret = calloc(n + 1, sizeof(**ret));
	return *ret ? 0 : err_set(err, -ENOMEM, "copy \"%s\"", key);
}

static int get_list(const json_t *object, const char *key, char ***ret, struct err *err)
{
	json_t *array = NULL;
	int r = json_get_array(object, key, JSON_MAY, &array, err);
	if (r < 0 || !array || (r = list_make(json_array_size(array), key, ret, err)) < 0)
		return r;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);
		const char *text = json_string_value(item);
		if (!text)
			return err_say(err, -EINVAL, "member %zu of \"%s\" is not a string", i, key);
		if (strlen(text) != json_string_length(item))
			return err_say(err, -EINVAL, "member %zu of \"%s\" holds a NUL", i, key);
		(*ret)[i] = strdup(text);
		if (!(*ret)[i])
			return err_set(err, -ENOMEM, "copy \"%s\"", key);
	}
	return 0;
}

/* A set is written as an object whose members are empty objects. */
static int get_set(const json_t *object, const char *key, char ***ret, struct err *err)
{
	json_t *set = NULL, *value;
	const char *name;
	size_t i = 0;
	int r = json_get_object(object, key, JSON_MAY, &set, err);
	if (r < 0 || !set || (r = list_make(json_object_size(set), key, ret, err)) < 0)
		return r;
	json_object_foreach(set, name, value) {
		if (!json_is_object(value) && !json_is_null(value))
			return err_say(err, -EINVAL, "\"%.100s\" in \"%s\" is not an object", name, key);
		(*ret)[i] = strdup(name);
		if (!(*ret)[i++])
			return err_set(err, -ENOMEM, "copy \"%s\"", key);
	}
	return 0;
}

static int get_labels(const json_t *object, struct image_spec *spec, struct err *err)
{
	json_t *labels = NULL, *value;
	const char *key;
	int r = json_get_object(object, "Labels", JSON_MAY, &labels, err);
	if (r < 0 || !labels)
		return r;
	size_t n = json_object_size(labels);
	if (n > IMAGE_SPEC_LIST_MAX)
		return err_say(err, -E2BIG, "\"Labels\" has %zu members; the limit is %d", n,
			       IMAGE_SPEC_LIST_MAX);
	spec->labels = calloc(n ? n : 1, sizeof(*spec->labels));
	if (!spec->labels)
		return err_set(err, -ENOMEM, "copy \"Labels\"");
	json_object_foreach(labels, key, value) {
		const char *text = json_string_value(value);
		struct image_label *label = &spec->labels[spec->n_labels++];
		if (!text)
			return err_say(err, -EINVAL, "the label \"%.100s\" is not a string", key);
		if (strlen(text) != json_string_length(value))
			return err_say(err, -EINVAL, "the label \"%.100s\" holds a NUL", key);
		label->key = strdup(key);
		label->value = strdup(text);
		if (!label->key || !label->value)
			return err_set(err, -ENOMEM, "copy \"Labels\"");
	}
	return 0;
}

static int get_config(const json_t *config, struct image_spec *spec, struct err *err)
{
	int r;
	if ((r = get_str(config, "User", &spec->user, err)) < 0 ||
	    (r = get_str(config, "WorkingDir", &spec->working_dir, err)) < 0 ||
	    (r = get_str(config, "StopSignal", &spec->stop_signal, err)) < 0 ||
	    (r = get_list(config, "Entrypoint", &spec->entrypoint, err)) < 0 ||
	    (r = get_list(config, "Cmd", &spec->cmd, err)) < 0 ||
	    (r = get_list(config, "Env", &spec->env, err)) < 0 ||
	    (r = get_set(config, "ExposedPorts", &spec->exposed_ports, err)) < 0 ||
	    (r = get_set(config, "Volumes", &spec->volumes, err)) < 0)
		return r;
	return get_labels(config, spec, err);
}

static int get_image(const json_t *json, struct image_spec *spec, struct err *err)
{
	json_t *config = NULL;
	int r;
	if ((r = get_str(json, "os", &spec->os, err)) < 0 ||
	    (r = get_str(json, "architecture", &spec->architecture, err)) < 0 ||
	    (r = get_str(json, "variant", &spec->variant, err)) < 0 ||
	    (r = get_str(json, "os.version", &spec->os_version, err)) < 0 ||
	    (r = get_list(json, "os.features", &spec->os_features, err)) < 0 ||
	    (r = get_str(json, "author", &spec->author, err)) < 0 ||
	    (r = get_str(json, "created", &spec->created, err)) < 0 ||
	    (r = json_get_object(json, "config", JSON_MAY, &config, err)) < 0)
		return r;
	return config ? get_config(config, spec, err) : 0;
}

int image_spec_parse(const void *data, size_t n, struct image_spec *ret, struct err *err)
{
	AUTO_FINISH(image_spec) struct image_spec spec = {0};
	AUTO_JSON json_t *json = NULL;
	int r = 0;
	if (n > IMAGE_SPEC_MAX)
		r = err_say(err, -E2BIG, "it is larger than %d bytes", IMAGE_SPEC_MAX);
	else if ((r = json_parse_object(data, n, "the document", &json, err)) == 0)
		r = get_image(json, &spec, err);
	if (r < 0)
		return err_prefix(err, r, "bad image configuration");
	*ret = spec;
	spec = (struct image_spec){0};
	return 0;
}
