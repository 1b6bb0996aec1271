/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/toc.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "fetcher/toc_priv.h"

/* Far above any layer, far below what could overflow an offset. */
#define DEVICE_MAX (UINT64_C(1) << 60)

/* A piece of a file. */
struct chunk {
	uint64_t in_off, in_end; /* of the member or frame; in_end 0: not told */
	uint64_t skip;
	uint64_t out_off, out_len;
	bool zeros;
	uint8_t sha256[SHA256_BYTES];
};

struct toc {
	json_t *root;
	json_t *entries; /* borrowed from root */
	enum toc_kind kind;
	uint64_t data_end;
	uint64_t device_size;
	uint64_t landmark; /* 0: none */
	struct chunk *chunks; /* owned, in the order of the device */
	size_t n_chunks, chunks_room;
	uint64_t *bases;   /* owned: where the content of each entry begins */
	uint64_t *offsets; /* owned: where members and frames begin, sorted */
	size_t n_offsets;
};

void toc_destroy(struct toc *toc)
{
	if (!toc)
		return;
	json_decref(toc->root);
	free(toc->chunks);
	free(toc->bases);
	free(toc->offsets);
	free(toc);
}

uint64_t toc_device_size(const struct toc *toc)
{
	return toc->device_size;
}

bool toc_prefetch(const struct toc *toc, uint64_t *ret_end)
{
	if (toc->landmark == 0)
		return false;
	*ret_end = toc->landmark;
	return true;
}

/* A file whose chunks are being gathered. */
struct gather {
	size_t index;	    /* of its reg entry */
	uint64_t base, size, have, end_off;
	size_t first_chunk; /* in toc->chunks */
	bool open, landmark;
	const char *digest; /* of the whole; NULL: none */
};

static int chunk_push(struct toc *toc, const struct chunk *c)
{
	if (toc->n_chunks == toc->chunks_room) {
		size_t room = toc->chunks_room ? toc->chunks_room * 2 : 256;
		struct chunk *chunks = reallocarray(toc->chunks, room, sizeof(*chunks));
		if (!chunks)
			return -ENOMEM;
		toc->chunks = chunks;
		toc->chunks_room = room;
	}
	toc->chunks[toc->n_chunks++] = *c;
	return 0;
}

static int get_sha256(const char *text, uint8_t out[static SHA256_BYTES])
{
	struct digest d;
	if (!text || digest_parse(text, &d, NULL) < 0 || d.algo != DIGEST_SHA256)
		return -EBADMSG;
	memcpy(out, d.bytes, SHA256_BYTES);
	return 0;
}

/* Ends the file in hand, whose chunks must make up its size. */
static int gather_close(struct toc *toc, struct gather *g, struct err *err)
{
	if (!g->open)
		return 0;
	g->open = false;
	if (g->have != g->size)
		return err_say(err, -EBADMSG,
			       "TOC entry %zu has chunks of %" PRIu64 " bytes in all, not %" PRIu64,
			       g->index, g->have, g->size);
	/* Frames of one file follow each other; the last ends where the file does. */
	uint64_t end = g->end_off;
	for (size_t i = toc->n_chunks; end > 0 && i-- > g->first_chunk;) {
		struct chunk *c = &toc->chunks[i];
		if (c->zeros)
			continue;
		c->in_end = end;
		end = c->in_off;
	}
	return 0;
}

/* Reads what a reg or chunk entry says of a piece of content. */
static int chunk_add(struct toc *toc, struct gather *g, const json_t *e, struct err *err)
{
	struct chunk c = {0};
	const char *type = "";
	const char *sum = NULL;
	uint64_t at = 0;
	uint64_t len = 0;
	int r = json_get_u64(e, "offset", JSON_MAY, &c.in_off, err);
	r = r < 0 ? r : json_get_u64(e, "innerOffset", JSON_MAY, &c.skip, err);
	r = r < 0 ? r : json_get_u64(e, "chunkOffset", JSON_MAY, &at, err);
	r = r < 0 ? r : json_get_u64(e, "chunkSize", JSON_MAY, &len, err);
	r = r < 0 ? r : json_get_str(e, "chunkType", JSON_MAY, &type, err);
	r = r < 0 ? r : json_get_str(e, "chunkDigest", JSON_MAY, &sum, err);
	if (r < 0)
		return -EBADMSG;
	if (at != g->have)
		return err_say(err, -EBADMSG, "its chunk at %" PRIu64 " should be at %" PRIu64, at,
			       g->have);
	c.out_len = len ? len : g->size - at;
	if (c.out_len > g->size - at)
		return err_say(err, -EBADMSG, "its chunk at %" PRIu64 " goes past its end", at);
	if (c.out_len > SEEK_SPAN_OUT_MAX)
		return err_say(err, -EFBIG, "its chunk of %" PRIu64 " bytes is longer than %d",
			       c.out_len, SEEK_SPAN_OUT_MAX);
	c.out_off = g->base + at;
	g->have += c.out_len;
	c.zeros = toc->kind == TOC_ZSTD_CHUNKED && strcmp(type, "zeros") == 0;
	if (!c.zeros && *type)
		return err_say(err, -EBADMSG, "its chunk is of unknown type \"%.32s\"", type);
	if (!c.zeros && c.in_off >= toc->data_end)
		return err_say(err, -EBADMSG, "its chunk at %" PRIu64 " is outside the layer", at);
	if (toc->kind == TOC_ZSTD_CHUNKED && c.skip)
		return err_say(err, -EBADMSG, "its chunk stands inside a frame");
	/* The digest of the file is that of its only chunk. */
	if (!sum && c.out_len == g->size)
		sum = g->digest;
	if (!c.zeros && get_sha256(sum, c.sha256) < 0)
		return err_say(err, -EBADMSG, "its chunk at %" PRIu64 " has no SHA-256", at);
	return g->landmark || c.out_len == 0 ? 0 : chunk_push(toc, &c);
}

static bool is_landmark(const char *name, bool *ret_prefetch)
{
	char path[ENTRY_PATH_MAX];
	if (entry_clean_path(name, strlen(name), path, NULL) < 0)
		return false;
	*ret_prefetch = strcmp(path, ".prefetch.landmark") == 0;
	return *ret_prefetch || strcmp(path, ".no.prefetch.landmark") == 0 ||
	       strcmp(path, "stargz.index.json") == 0;
}

static int gather_open(struct toc *toc, struct gather *g, size_t i, const json_t *e,
		       const char *name, struct err *err)
{
	bool prefetch = false;
	*g = (struct gather){
		.index = i, .open = true, .first_chunk = toc->n_chunks, .base = toc->device_size};
	int r = json_get_u64(e, "size", JSON_MAY, &g->size, err);
	r = r < 0 ? r : json_get_str(e, "digest", JSON_MAY, &g->digest, err);
	if (r == 0 && toc->kind == TOC_ZSTD_CHUNKED)
		r = json_get_u64(e, "endOffset", JSON_MAY, &g->end_off, err);
	if (r < 0)
		return -EBADMSG;
	if (g->size > DEVICE_MAX || toc->device_size + g->size > DEVICE_MAX)
		return err_say(err, -EBADMSG, "its size is out of range");
	if (g->end_off > toc->data_end)
		return err_say(err, -EBADMSG, "its end is outside the layer");
	g->landmark = is_landmark(name, &prefetch);
	if (prefetch) {
		r = json_get_u64(e, "offset", JSON_MAY, &toc->landmark, err);
		if (r < 0 || toc->landmark > toc->data_end)
			return err_say(err, -EBADMSG, "its offset is outside the layer");
	}
	toc->bases[i] = g->base;
	if (!g->landmark)
		toc->device_size = u64_align(g->base + g->size, ENTRY_ALIGN);
	return 0;
}

static int scan_entry(struct toc *toc, struct gather *g, size_t i, struct err *err)
{
	const json_t *e = json_array_get(toc->entries, i);
	const char *type = NULL;
	const char *name = NULL;
	if (!json_is_object(e))
		return err_say(err, -EBADMSG, "it is not an object");
	int r = json_get_str(e, "type", JSON_NEED, &type, err);
	r = r < 0 ? r : json_get_str(e, "name", JSON_NEED, &name, err);
	if (r < 0)
		return -EBADMSG;
	if (strcmp(type, "chunk") == 0) {
		if (!g->open)
			return err_say(err, -EBADMSG, "a chunk without a file before it");
		return chunk_add(toc, g, e, err);
	}
	r = gather_close(toc, g, err);
	if (r < 0 || strcmp(type, "reg") != 0)
		return r;
	r = gather_open(toc, g, i, e, name, err);
	if (r < 0 || g->size == 0)
		return r;
	return chunk_add(toc, g, e, err);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

/* What is left out of the device still begins a member. */
static int offsets_gather(struct toc *toc)
{
	size_t n = json_array_size(toc->entries);
	toc->offsets = calloc(n + 1, sizeof(*toc->offsets));
	if (!toc->offsets)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint64_t off = 0;
		const json_t *e = json_array_get(toc->entries, i);
		(void)json_get_u64(e, "offset", JSON_MAY, &off, NULL);
		if (off > 0 && off < toc->data_end)
			toc->offsets[toc->n_offsets++] = off;
	}
	toc->offsets[toc->n_offsets++] = toc->data_end;
	qsort(toc->offsets, toc->n_offsets, sizeof(*toc->offsets), compare_u64);
	return 0;
}

/* The first offset after off; off is below data_end, so there is one. */
static uint64_t offset_after(const struct toc *toc, uint64_t off)
{
	size_t low = 0;
	size_t high = toc->n_offsets - 1;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (toc->offsets[mid] > off)
			high = mid;
		else
			low = mid + 1;
	}
	return toc->offsets[low];
}

static int toc_scan(struct toc *toc, struct err *err)
{
	struct gather g = {0};
	size_t n = json_array_size(toc->entries);
	if (n > ENTRIES_MAX)
		return err_say(err, -EBADMSG, "the TOC has more than %d entries", ENTRIES_MAX);
	toc->bases = calloc(n + 1, sizeof(*toc->bases));
	if (!toc->bases)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = scan_entry(toc, &g, i, err);
		if (r < 0)
			return err_prefix(err, r, "TOC entry %zu", i);
	}
	int r = gather_close(toc, &g, err);
	if (r < 0)
		return r;
	r = offsets_gather(toc);
	if (r < 0)
		return r;
	for (size_t i = 0; i < toc->n_chunks; i++) {
		struct chunk *c = &toc->chunks[i];
		if (c->zeros)
			continue;
		if (c->in_end == 0)
			c->in_end = offset_after(toc, c->in_off);
		if (c->in_end <= c->in_off)
			return err_say(err, -EBADMSG, "the TOC has a chunk that ends at %" PRIu64
				       ", before it begins", c->in_end);
	}
	return 0;
}

int toc_parse(const void *json, size_t n, enum toc_kind kind, uint64_t data_end,
	      struct toc **ret, struct err *err)
{
	AUTO(toc) struct toc *toc = calloc(1, sizeof(*toc));
	uint64_t version = 0;
	if (!toc)
		return -ENOMEM;
	toc->kind = kind;
	toc->data_end = data_end;
	int r = n <= TOC_JSON_MAX ? json_parse_object(json, n, "the TOC", &toc->root, err)
				  : err_say(err, -EFBIG, "the TOC is larger than %d bytes",
					    TOC_JSON_MAX);
	r = r < 0 ? r : json_get_u64(toc->root, "version", JSON_NEED, &version, err);
	r = r < 0 ? r : json_get_array(toc->root, "entries", JSON_MAY, &toc->entries, err);
	if (r < 0)
		return r == -EINVAL ? err_prefix(err, -EBADMSG, "the TOC is broken") : r;
	if (version != 1)
		return err_say(err, -EBADMSG, "version %" PRIu64 " of the TOC is not known",
			       version);
	r = toc_scan(toc, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&toc);
	return 0;
}

int toc_entries(const struct toc *toc, entry_fn fn, void *data, struct err *err)
{
	AUTO_FINISH(toc_text) struct toc_text text = {
		.xattr_bytes = buf_make(ENTRY_XATTR_BYTES_MAX + ENTRY_XATTRS_MAX)};
	size_t n = json_array_size(toc->entries);
	for (size_t i = 0; i < n; i++) {
		struct entry entry;
		struct entry_extent whole;
		bool prefetch = false;
		char label[ENTRY_LABEL_MAX];
		const json_t *e = json_array_get(toc->entries, i);
		const char *name = json_string_value(json_object_get(e, "name"));
		const char *type = json_string_value(json_object_get(e, "type"));
		if (strcmp(type, "chunk") == 0 || is_landmark(name, &prefetch))
			continue;
		int r = toc_entry_read(e, &text, &entry, err);
		if (r == 0 && entry.size > 0) {
			whole = (struct entry_extent){.dev_off = toc->bases[i], .len = entry.size};
			entry.extents = &whole;
			entry.n_extents = 1;
		}
		r = r < 0 ? r : entry_check(&entry, err);
		if (r < 0)
			return err_prefix(err, r, "TOC entry %zu, \"%s\"", i,
					  entry_label(name, strlen(name), label));
		r = fn(data, &entry, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int toc_seek(const struct toc *toc, const struct digest *layer, uint64_t blob_size,
	     struct seek **ret, struct err *err)
{
	AUTO(seek_builder) struct seek_builder *builder = NULL;
	int r = seek_builder_create(&builder);
	for (size_t i = 0; r == 0 && i < toc->n_chunks; i++) {
		const struct chunk *c = &toc->chunks[i];
		struct span span = {
			.out_off = c->out_off, .out_len = c->out_len, .codec = SEEK_ZEROS};
		if (!c->zeros) {
			span.codec = toc->kind == TOC_ESTARGZ ? SEEK_GZIP : SEEK_ZSTD;
			span.in_off = c->in_off;
			span.in_len = c->in_end - c->in_off;
			span.skip = c->skip;
			span.sum = SEEK_SUM_OUT;
			memcpy(span.sha256, c->sha256, SHA256_BYTES);
		}
		r = seek_builder_add(builder, &span, err);
	}
	if (r == 0) {
		const struct seek_totals totals = {
			.layer = *layer, .in_size = blob_size, .out_size = toc->device_size};
		r = seek_builder_finish(builder, &totals, ret, err);
	}
	if (r == -EINVAL || r == -E2BIG)
		return err_prefix(err, -EBADMSG, "the chunks of the TOC make no sense");
	return r;
}
