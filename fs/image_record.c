/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/image_record.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"

enum {
	RECORD_BYTES_MAX = 1 << 20,
	RECORD_DIGESTS_MAX = 8192,
};

void image_record_finish(struct image_record *record)
{
	if (!record)
		return;
	free(record->reference);
	free(record->media_type);
	free(record->layers);
	free(record->blobs);
	*record = (struct image_record){0};
}

int image_dir_open(struct store *store, const struct digest *manifest, bool make, int *ret_fd,
		   struct err *err)
{
	char name[DIGEST_STR_MAX];
	store_entry_name(manifest, name);
	if (make)
		return dir_make_at(store_dir_images(store), name, 0700, ret_fd, err);
	int fd = openat(store_dir_images(store), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open image %s in the store", name);
	*ret_fd = fd;
	return 0;
}

static int digests_load(const json_t *root, const char *key, struct digest **ret, size_t *ret_n,
			struct err *err)
{
	json_t *array = NULL;
	int r = json_get_array(root, key, JSON_NEED, &array, err);
	if (r < 0)
		return -EBADMSG;
	size_t n = json_array_size(array);
	if (n > RECORD_DIGESTS_MAX)
		return err_say(err, -EBADMSG, "\"%s\" has %zu entries", key, n);
	AUTO_FREE struct digest *list = calloc(n + 1, sizeof(*list));
	if (!list)
		return err_set(err, -ENOMEM, "read \"%s\"", key);
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(array, i));
		if (!text)
			return err_say(err, -EBADMSG, "\"%s\" holds something else than text", key);
		if (digest_parse(text, &list[i], err) < 0)
			return -EBADMSG;
	}
	*ret = steal_ptr(&list);
	*ret_n = n;
	return 0;
}

static int record_parse(const json_t *root, struct image_record *record, struct err *err)
{
	const char *reference = NULL, *media_type = NULL, *index = NULL;
	if (json_get_str(root, "reference", JSON_NEED, &reference, err) < 0 ||
	    json_get_str(root, "media_type", JSON_NEED, &media_type, err) < 0 ||
	    json_get_str(root, "index", JSON_NEED, &index, err) < 0 ||
	    json_get_digest(root, "manifest", JSON_NEED, &record->manifest, err) < 0 ||
	    json_get_digest(root, "config", JSON_NEED, &record->config, err) < 0 ||
	    json_get_digest(root, "artifact", JSON_MAY, &record->artifact, err) < 0)
		return -EBADMSG;
	int r = digests_load(root, "layers", &record->layers, &record->n_layers, err);
	if (r == 0)
		r = digests_load(root, "blobs", &record->blobs, &record->n_blobs, err);
	if (r < 0)
		return r;
	record->from_bundle = strcmp(index, "sluice") == 0;
	record->reference = strdup(reference);
	record->media_type = strdup(media_type);
	if (!record->reference || !record->media_type)
		return err_set(err, -ENOMEM, "read image.json");
	return 0;
}

int image_record_load(int image_dir, struct image_record *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf bytes = buf_make(RECORD_BYTES_MAX);
	AUTO_JSON json_t *root = NULL;
	AUTO_FINISH(image_record) struct image_record record = {0};
	int r = file_slurp(image_dir, "image.json", &bytes, err);
	if (r < 0)
		return r;
	if (json_parse_object(bytes.data, bytes.len, "image.json", &root, err) < 0)
		return -EBADMSG;
	r = record_parse(root, &record, err);
	if (r < 0)
		return err_prefix(err, r, "image.json");
	*ret = record;
	record = (struct image_record){0};
	return 0;
}

static json_t *digests_json(const struct digest *list, size_t n)
{
	json_t *array = json_array();
	for (size_t i = 0; i < n; i++) {
		struct digest_text text;
		if (json_array_append_new(array, json_string(digest_str(&list[i], text.s))) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

int image_record_save(int image_dir, const struct image_record *record, struct err *err)
{
	return image_record_keep(image_dir, record, COMMIT_REPLACE, err);
}

int image_record_keep(int image_dir, const struct image_record *record, enum commit_mode mode,
		      struct err *err)
{
	struct digest_text manifest, config;
	AUTO_JSON json_t *root = json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:o,s:o}", "reference", record->reference, "media_type",
		record->media_type, "manifest", digest_str(&record->manifest, manifest.s), "config",
		digest_str(&record->config, config.s), "index",
		record->from_bundle ? "sluice" : "layers", "layers",
		digests_json(record->layers, record->n_layers), "blobs",
		digests_json(record->blobs, record->n_blobs));
	struct digest_text artifact;
	if (root && !digest_is_none(&record->artifact) &&
	    json_object_set_new(root, "artifact",
				json_string(digest_str(&record->artifact, artifact.s))) < 0)
		return err_set(err, -ENOMEM, "write image.json");
	AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	if (!text)
		return err_set(err, -ENOMEM, "write image.json");
	return file_commit(image_dir, "image.json", text, strlen(text), mode, err);
}

int image_record_add_blob(struct image_record *record, const struct digest *blob)
{
	for (size_t i = 0; i < record->n_blobs; i++)
		if (digest_equal(&record->blobs[i], blob))
			return 0;
	struct digest *blobs = reallocarray(record->blobs, record->n_blobs + 1, sizeof(*blobs));
	if (!blobs)
		return -ENOMEM;
	record->blobs = blobs;
	blobs[record->n_blobs++] = *blob;
	return 0;
}
