/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/archive_v1.h"

#include <string.h>

#include "base/json.h"
#include "fetcher/manifest.h"

void v1_image_finish(struct v1_image *image)
{
	if (!image)
		return;
	free(image->ids);
	json_decref(image->config);
	*image = (struct v1_image){0};
}

/* What becomes part of a name is only ever hex. */
static bool is_id(const char *text)
{
	return text && strlen(text) == V1_ID_LEN && strspn(text, "0123456789abcdef") == V1_ID_LEN;
}

static int load_json(struct local *local, const char *name, size_t max, json_t **ret,
		     struct err *err)
{
	AUTO_FINISH(local_file) struct local_file file = {.fd = -1};
	AUTO_FINISH(buf) struct buf text = buf_make(max);
	int r = local->open(local, name, &file, err);
	if (r == 0)
		r = local_slurp(&file, NULL, &text, name, err);
	return r < 0 ? r : json_parse_object(buf_str(&text), text.len, name, ret, err);
}

/* The ID that `repositories` gives for the tag; two names for one image are no contradiction. */
static int choose_tag(const struct local *local, const char *name, const json_t *tags,
		      const char **found, struct err *err)
{
	const char *tag;
	const json_t *value;
	if (!json_is_object(tags))
		return err_say(err, -EINVAL, "its repositories: \"%.200s\" is not an object", name);
	json_object_foreach((json_t *)(uintptr_t)tags, tag, value) {
		AUTO_FREE char *full = NULL;
		if (asprintf(&full, "%s:%s", name, tag) < 0) {
			full = NULL; /* undefined otherwise */
			return err_set(err, -ENOMEM, "read its repositories");
		}
		if (local->tag && !local_tag_matches(full, local->tag))
			continue;
		const char *id = json_string_value(value);
		if (!is_id(id))
			return err_say(err, -EINVAL, "its repositories: \"%.300s\" is no layer ID",
				       full);
		if (*found && strcmp(*found, id) != 0)
			return err_say(err, -EINVAL,
				       "it holds several images; name one with %s:NAME:TAG",
				       local->path);
		*found = id;
	}
	return 0;
}

static int choose_top(const struct local *local, json_t *repositories, const char **ret,
		      struct err *err)
{
	const char *name;
	const json_t *tags;
	const char *found = NULL;
	json_object_foreach(repositories, name, tags) {
		int r = choose_tag(local, name, tags, &found, err);
		if (r < 0)
			return r;
	}
	if (!found)
		return err_say(err, -ENOENT, "it holds no image%s%s", local->tag ? " called " : "",
			       local->tag ? local->tag : "");
	*ret = found;
	return 0;
}

/* Adds a layer to the chain, unless it stands there already. */
static int add_id(struct v1_image *image, const char *id, struct err *err)
{
	if (image->n_ids >= MANIFEST_LAYERS_MAX)
		return err_say(err, -E2BIG, "more layers than the limit of %d", MANIFEST_LAYERS_MAX);
	for (size_t i = 0; i < image->n_ids; i++)
		if (strcmp(image->ids[i], id) == 0)
			return err_say(err, -EINVAL, "its layer %s is its own ancestor", id);
	memcpy(image->ids[image->n_ids++], id, V1_ID_LEN + 1);
	return 0;
}

/* One layer's json, and the parent that it names: "" for none. */
static int load_layer(struct local *local, const char *id, json_t **ret, char *parent,
		      struct err *err)
{
	char name[V1_ID_LEN + sizeof("/json")];
	AUTO_JSON json_t *json = NULL;
	const char *text = NULL;
	(void)snprintf(name, sizeof(name), "%s/json", id);
	int r = load_json(local, name, CONFIG_MAX, &json, err);
	if (r == -ENOENT)
		return err_say(err, -EINVAL, "its layer %s is missing", id);
	if (r < 0)
		return r;
	r = json_get_str(json, "parent", JSON_MAY, &text, err);
	if (r < 0)
		return err_prefix(err, r, "%s", name);
	parent[0] = '\0';
	if (text && text[0]) {
		if (!is_id(text))
			return err_say(err, -EINVAL, "the parent of its layer %s is no layer ID", id);
		memcpy(parent, text, V1_ID_LEN + 1);
	}
	*ret = steal_ptr(&json);
	return 0;
}

static int walk_chain(struct local *local, const char *top, struct v1_image *image, struct err *err)
{
	char id[V1_ID_LEN + 1];
	memcpy(id, top, sizeof(id));
	while (id[0]) {
		AUTO_JSON json_t *json = NULL;
		int r = add_id(image, id, err);
		if (r == 0)
			r = load_layer(local, image->ids[image->n_ids - 1], &json, id, err);
		if (r < 0)
			return r;
		if (!image->config)
			image->config = steal_ptr(&json);
	}
	return 0;
}

/* Of the rest, all that a configuration does not know is kept, as Docker does. */
static int clean_config(json_t *config)
{
	static const char *const chain[] = {"id", "parent", "parent_id", "layer_id", "throwaway",
					    "Size"};
	for (size_t i = 0; i < sizeof(chain) / sizeof(chain[0]); i++)
		(void)json_object_del(config, chain[i]);
	/* Older than any other system with containers. */
	if (json_object_get(config, "os"))
		return 0;
	return json_object_set_new(config, "os", json_string("linux")) < 0 ? -ENOMEM : 0;
}

int v1_image_load(struct local *local, struct v1_image *ret, struct err *err)
{
	AUTO_FINISH(v1_image) struct v1_image image = {0};
	AUTO_JSON json_t *repositories = NULL;
	const char *top = NULL;
	int r = load_json(local, "repositories", LOCAL_INDEX_MAX, &repositories, err);
	if (r == 0)
		r = choose_top(local, repositories, &top, err);
	if (r != 0)
		return r;
	image.ids = calloc(MANIFEST_LAYERS_MAX, sizeof(*image.ids));
	if (!image.ids)
		return err_set(err, -ENOMEM, "read its layers");
	r = walk_chain(local, top, &image, err);
	if (r < 0)
		return r;
	r = clean_config(image.config);
	if (r < 0)
		return err_set(err, r, "read its layers");
	*ret = image;
	image = (struct v1_image){0};
	return 0;
}
