/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/json.h"
#include "fetcher/manifest.h"

void image_config_finish(struct image_config *config)
{
	if (!config)
		return;
	free(config->os);
	free(config->architecture);
	free(config->variant);
	free(config->diff_ids);
	json_decref(config->json);
	*config = (struct image_config){0};
}

static int dup_str(const json_t *object, const char *key, char **ret, struct err *err)
{
	const char *text = NULL;
	int r = json_get_str(object, key, JSON_MAY, &text, err);
	if (r < 0 || !text || text[0] == '\0')
		return r;
	*ret = strdup(text);
	return *ret ? 0 : err_set(err, -ENOMEM, "copy \"%s\"", key);
}

static int get_diff_ids(struct image_config *config, size_t n_layers, struct err *err)
{
	json_t *rootfs = NULL, *list = NULL;
	const char *type = NULL;
	int r;
	if ((r = json_get_object(config->json, "rootfs", JSON_NEED, &rootfs, err)) < 0 ||
	    (r = json_get_str(rootfs, "type", JSON_MAY, &type, err)) < 0 ||
	    (r = json_get_array(rootfs, "diff_ids", n_layers ? JSON_NEED : JSON_MAY, &list, err)) < 0)
		return r;
	if (type && strcmp(type, "layers") != 0)
		return err_say(err, -EINVAL, "\"rootfs\" is of type '%.100s', not 'layers'", type);
	size_t n = json_array_size(list);
	if (n != n_layers)
		return err_say(err, -EINVAL, "it has %zu diff_ids for %zu layers", n, n_layers);
	config->diff_ids = calloc(n ? n : 1, sizeof(*config->diff_ids));
	if (!config->diff_ids)
		return err_set(err, -ENOMEM, "copy \"diff_ids\"");
	config->n_diff_ids = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(list, i);
		const char *text = json_string_value(item);
		if (!text || strlen(text) != json_string_length(item))
			return err_say(err, -EINVAL, "diff_id %zu is not a string", i);
		r = digest_parse(text, &config->diff_ids[i], err);
		if (r < 0)
			return err_prefix(err, r, "diff_id %zu", i);
	}
	return 0;
}

static int parse_config(const void *data, size_t n, size_t n_layers, struct image_config *config,
			struct err *err)
{
	if (n > CONFIG_MAX)
		return err_say(err, -E2BIG, "it is larger than %d bytes", CONFIG_MAX);
	int r;
	if ((r = json_parse_object(data, n, "the document", &config->json, err)) < 0 ||
	    (r = dup_str(config->json, "os", &config->os, err)) < 0 ||
	    (r = dup_str(config->json, "architecture", &config->architecture, err)) < 0 ||
	    (r = dup_str(config->json, "variant", &config->variant, err)) < 0)
		return r;
	return get_diff_ids(config, n_layers, err);
}

int image_config_parse(const void *data, size_t n, size_t n_layers, struct image_config *ret,
		       struct err *err)
{
	AUTO_FINISH(image_config) struct image_config config = {0};
	int r = parse_config(data, n, n_layers, &config, err);
	if (r < 0)
		return err_prefix(err, r, "bad image configuration");
	*ret = config;
	config = (struct image_config){0};
	return 0;
}
