/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/bundle.h"

#include <string.h>
#include <zstd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/le.h"
#include "base/num.h"

enum {
	BUNDLE_LEVEL = 9,     /* made once, read often */
	BUNDLE_HEAD_BYTES = 12,
	BUNDLE_RAW_FREE = 64 << 10, /* bytes that a section may have whatever its size */
	ZSTD_SKIP_HEAD = 8,	    /* of a skippable frame, RFC 8878, 3.1.2 */
};

static const char bundle_magic[8] = {'S', 'L', 'B', 'U', 'N', 'D', 'L', '1'};

struct section {
	uint64_t off, size, raw;
};

struct bundle {
	const unsigned char *payload; /* borrowed */
	size_t payload_len;
	struct section tree;
	size_t n_layers;
	struct {
		struct bundle_layer head;
		struct section section;
	} layers[];
};

/* The fewest compressed bytes with which a reader believes so many raw ones. */
static uint64_t section_size_min(uint64_t raw)
{
	if (raw <= BUNDLE_RAW_FREE)
		return 0;
	return (raw - BUNDLE_RAW_FREE + BUNDLE_RATIO_MAX - 1) / BUNDLE_RATIO_MAX;
}

/* ---- making ---- */

/*
 * Metadata may be all alike, and then packs tighter than a reader believes: a
 * skippable frame makes up for it.
 */
static int section_pad(struct buf *payload, size_t off, size_t raw)
{
	static const unsigned char zeros[4096];
	unsigned char head[ZSTD_SKIP_HEAD];
	uint64_t size = payload->len - off;
	uint64_t min = section_size_min(raw);
	if (size >= min)
		return 0;
	uint64_t left = min - u64_min(min, size + ZSTD_SKIP_HEAD);
	le32_put(head, ZSTD_MAGIC_SKIPPABLE_START);
	le32_put(head + 4, (uint32_t)left);
	int r = buf_append(payload, head, sizeof(head));
	while (r == 0 && left > 0) {
		size_t n = (size_t)u64_min(left, sizeof(zeros));
		r = buf_append(payload, zeros, n);
		left -= n;
	}
	return r;
}

/* Compresses one section to the end of the payload and describes it in `object`. */
static int section_add(struct buf *payload, const void *data, size_t n, json_t *object)
{
	size_t off = payload->len;
	size_t bound = ZSTD_compressBound(n);
	int r = buf_reserve(payload, bound);
	if (r < 0)
		return r;
	size_t size = ZSTD_compress(payload->data + off, bound, data, n, BUNDLE_LEVEL);
	if (ZSTD_isError(size))
		return -ENOMEM;
	payload->len = off + size;
	payload->data[payload->len] = '\0';
	r = section_pad(payload, off, n);
	if (r < 0)
		return r;
	size = payload->len - off;
	if (json_object_set_new(object, "offset", json_integer((json_int_t)off)) < 0 ||
	    json_object_set_new(object, "size", json_integer((json_int_t)size)) < 0 ||
	    json_object_set_new(object, "raw", json_integer((json_int_t)n)) < 0)
		return -ENOMEM;
	return 0;
}

static int bundle_add_tree(json_t *root, int tree_fd, struct buf *payload, struct err *err)
{
	AUTO_FINISH(buf) struct buf tree = buf_make(BUNDLE_TREE_MAX);
	uint64_t size = 0;
	int r = file_size(tree_fd, &size);
	if (r == 0 && size > BUNDLE_TREE_MAX)
		r = -E2BIG;
	if (r == 0)
		r = buf_reserve(&tree, (size_t)size);
	if (r < 0)
		return err_set(err, r, "read the image's metadata");
	ssize_t n = file_pread(tree_fd, tree.data, (size_t)size, 0);
	if (n != (ssize_t)size)
		return err_set(err, n < 0 ? (int)n : -EIO, "read the image's metadata");
	json_t *object = json_object();
	if (json_object_set_new(root, "tree", object) < 0)
		return -ENOMEM;
	return section_add(payload, tree.data, (size_t)size, object);
}

static int bundle_add_layer(json_t *list, const struct bundle_layer *layer, struct buf *payload)
{
	struct digest_text text;
	size_t n = 0;
	const void *table = seek_bytes(layer->seek, &n);
	json_t *object = json_object();
	if (json_array_append_new(list, object) < 0)
		return -ENOMEM;
	if (json_object_set_new(object, "digest",
				json_string(digest_str(&layer->digest, text.s))) < 0)
		return -ENOMEM;
	if (!digest_is_none(&layer->windows_digest)) {
		json_t *windows = json_pack("{s:s,s:I}", "digest",
					    digest_str(&layer->windows_digest, text.s), "size",
					    (json_int_t)layer->windows_size);
		if (json_object_set_new(object, "windows", windows) < 0)
			return -ENOMEM;
	}
	return section_add(payload, table, n, object);
}

int bundle_make(const struct digest *image, int tree_fd, const struct bundle_layer *layers,
		size_t n_layers, struct buf *ret, struct err *err)
{
	struct digest_text text;
	AUTO_FINISH(buf) struct buf payload = buf_make(BUNDLE_MAX);
	json_t *list = json_array();
	AUTO_JSON json_t *root = json_pack("{s:s,s:o}", "image", digest_str(image, text.s),
					   "layers", list);
	if (!root)
		return err_set(err, -ENOMEM, "make an index");
	int r = bundle_add_tree(root, tree_fd, &payload, err);
	for (size_t i = 0; i < n_layers && r == 0; i++)
		r = bundle_add_layer(list, &layers[i], &payload);
	AUTO_FREE char *json = r == 0 ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (r == 0 && !json)
		r = -ENOMEM;
	if (r == 0 && strlen(json) > BUNDLE_JSON_MAX)
		r = -E2BIG;
	unsigned char head[BUNDLE_HEAD_BYTES];
	memcpy(head, bundle_magic, sizeof(bundle_magic));
	le32_put(head + sizeof(bundle_magic), json ? (uint32_t)strlen(json) : 0);
	if (r == 0)
		r = buf_reserve(ret, sizeof(head) + strlen(json) + payload.len);
	if (r == 0)
		r = buf_append(ret, head, sizeof(head));
	if (r == 0)
		r = buf_puts(ret, json);
	if (r == 0)
		r = buf_append(ret, payload.data, payload.len);
	return r < 0 ? err_set(err, r, "make an index") : 0;
}

/* ---- reading ---- */

static int section_parse(const json_t *object, uint64_t payload_len, uint64_t raw_max,
			 struct section *ret, struct err *err)
{
	struct section s = {0};
	if (json_get_u64(object, "offset", JSON_NEED, &s.off, err) < 0 ||
	    json_get_u64(object, "size", JSON_NEED, &s.size, err) < 0 ||
	    json_get_u64(object, "raw", JSON_NEED, &s.raw, err) < 0)
		return -EBADMSG;
	if (!range_within(s.off, s.size, payload_len))
		return err_say(err, -EBADMSG, "a section lies outside the index");
	if (s.raw > raw_max || s.size < section_size_min(s.raw))
		return err_say(err, -EBADMSG, "a section claims %llu bytes, which is too many",
			       (unsigned long long)s.raw);
	*ret = s;
	return 0;
}

static int bundle_parse_layer(struct bundle *b, size_t i, const json_t *object, struct err *err)
{
	json_t *windows = NULL;
	struct bundle_layer *head = &b->layers[i].head;
	if (!json_is_object(object))
		return err_say(err, -EBADMSG, "a layer of the index is not an object");
	if (json_get_digest(object, "digest", JSON_NEED, &head->digest, err) < 0 ||
	    json_get_object(object, "windows", JSON_MAY, &windows, err) < 0)
		return -EBADMSG;
	if (windows &&
	    (json_get_digest(windows, "digest", JSON_NEED, &head->windows_digest, err) < 0 ||
	     json_get_u64(windows, "size", JSON_NEED, &head->windows_size, err) < 0))
		return -EBADMSG;
	return section_parse(object, b->payload_len, BUNDLE_TREE_MAX, &b->layers[i].section, err);
}

/* The document and what follows it, taken apart into ret; the JSON is the caller's. */
static int bundle_split(const unsigned char *data, size_t n, json_t **ret_json,
			const unsigned char **ret_payload, size_t *ret_len, struct err *err)
{
	if (n < BUNDLE_HEAD_BYTES || memcmp(data, bundle_magic, sizeof(bundle_magic)) != 0)
		return err_say(err, -EBADMSG, "this is not an index bundle");
	uint32_t len = le32_get(data + sizeof(bundle_magic));
	if (len > BUNDLE_JSON_MAX || len > n - BUNDLE_HEAD_BYTES)
		return err_say(err, -EBADMSG, "the index bundle is cut short");
	if (json_parse_object(data + BUNDLE_HEAD_BYTES, len, "the index bundle", ret_json, err) < 0)
		return -EBADMSG;
	*ret_payload = data + BUNDLE_HEAD_BYTES + len;
	*ret_len = n - BUNDLE_HEAD_BYTES - len;
	return 0;
}

int bundle_parse(const struct digest *image, const void *data, size_t n, struct bundle **ret,
		 struct err *err)
{
	AUTO_JSON json_t *json = NULL;
	const unsigned char *payload = NULL;
	size_t len = 0;
	struct digest of = {0};
	json_t *layers = NULL, *tree = NULL;
	int r = bundle_split(data, n, &json, &payload, &len, err);
	if (r < 0)
		return r;
	if (json_get_digest(json, "image", JSON_NEED, &of, err) < 0 ||
	    json_get_object(json, "tree", JSON_NEED, &tree, err) < 0 ||
	    json_get_array(json, "layers", JSON_NEED, &layers, err) < 0)
		return -EBADMSG;
	if (!digest_equal(image, &of))
		return err_say(err, -EBADMSG, "the index is one of another image");
	size_t n_layers = json_array_size(layers);
	if (n_layers > BUNDLE_LAYERS_MAX)
		return err_say(err, -EBADMSG, "the index names %zu layers", n_layers);

	AUTO(bundle) struct bundle *b = calloc(1, sizeof(*b) + n_layers * sizeof(b->layers[0]));
	if (!b)
		return err_set(err, -ENOMEM, "read an index");
	b->payload = payload;
	b->payload_len = len;
	b->n_layers = n_layers;
	r = section_parse(tree, len, BUNDLE_TREE_MAX, &b->tree, err);
	for (size_t i = 0; i < n_layers && r == 0; i++)
		r = bundle_parse_layer(b, i, json_array_get(layers, i), err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&b);
	return 0;
}

void bundle_destroy(struct bundle *b)
{
	free(b);
}

/* The section's bytes, the caller's to free. */
static int section_unpack(const struct bundle *b, const struct section *s, void **ret,
			  struct err *err)
{
	AUTO_FREE void *raw = malloc(s->raw + 1);
	if (!raw)
		return err_set(err, -ENOMEM, "unpack a section of an index");
	size_t got = ZSTD_decompress(raw, s->raw, b->payload + s->off, s->size);
	if (ZSTD_isError(got))
		return err_say(err, -EBADMSG, "unpack a section of an index: %s",
			       ZSTD_getErrorName(got));
	if (got != s->raw)
		return err_say(err, -EBADMSG, "a section of an index has %zu bytes and claims %llu",
			       got, (unsigned long long)s->raw);
	*ret = steal_ptr(&raw);
	return 0;
}

int bundle_write_tree(const struct bundle *b, int fd, struct err *err)
{
	AUTO_FREE void *raw = NULL;
	int r = section_unpack(b, &b->tree, &raw, err);
	if (r < 0)
		return r;
	r = file_write(fd, raw, b->tree.raw);
	return r < 0 ? err_set(err, r, "write the image's metadata") : 0;
}

size_t bundle_layer_count(const struct bundle *b)
{
	return b->n_layers;
}

void bundle_layer(const struct bundle *b, size_t i, struct bundle_layer *ret)
{
	*ret = b->layers[i].head;
}

int bundle_layer_seek(const struct bundle *b, size_t i, struct seek **ret, struct err *err)
{
	AUTO_FREE void *raw = NULL;
	AUTO(seek) struct seek *seek = NULL;
	int r = section_unpack(b, &b->layers[i].section, &raw, err);
	if (r < 0)
		return r;
	r = seek_parse(raw, b->layers[i].section.raw, &seek, err);
	if (r < 0)
		return r;
	if (!digest_equal(seek_layer(seek), &b->layers[i].head.digest))
		return err_say(err, -EBADMSG, "a seek table of the index is another layer's");
	const struct bundle_layer *head = &b->layers[i].head;
	if (head->windows_size != seek_windows_size(seek) ||
	    digest_is_none(&head->windows_digest) != (head->windows_size == 0))
		return err_say(err, -EBADMSG,
			       "the index names %llu bytes of windows, and the seek table has %llu",
			       (unsigned long long)head->windows_size,
			       (unsigned long long)seek_windows_size(seek));
	*ret = steal_ptr(&seek);
	return 0;
}
