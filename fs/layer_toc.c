/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/layer_toc.h"

#include "base/log.h"
#include "base/num.h"
#include "fetcher/toc.h"
#include "fs/layer_table.h"

enum {
	TOC_TAIL_BYTES = 64 << 10, /* asked for with the footer: small TOCs come with it */
};

/* What binds the TOC, and where it is as far as the descriptor says. */
struct toc_claim {
	struct digest digest;
	bool placed; /* `place` is known */
	struct toc_place place;
};

static int claim_zstd(const struct descriptor *desc, const char *checksum, const char *position,
		      struct toc_claim *ret, struct err *err)
{
	int r = digest_parse(checksum, &ret->digest, err);
	if (r == 0)
		r = toc_parse_position(position, desc->size, &ret->place, err);
	ret->placed = true;
	return r < 0 ? -EBADMSG : 0;
}

static int toc_claim_read(const struct descriptor *desc, struct toc_claim *ret, struct err *err)
{
	const char *estargz = descriptor_annotation(desc, TOC_ESTARGZ_DIGEST);
	const char *checksum = descriptor_annotation(desc, TOC_ZSTD_CHECKSUM);
	const char *position = descriptor_annotation(desc, TOC_ZSTD_POSITION);
	if (!checksum || !position) {
		checksum = descriptor_annotation(desc, TOC_ZSTD_OLD_CHECKSUM);
		position = descriptor_annotation(desc, TOC_ZSTD_OLD_POSITION);
	}
	if (checksum && position)
		return claim_zstd(desc, checksum, position, ret, err);
	if (!estargz)
		return -ENOENT;
	return digest_parse(estargz, &ret->digest, err) < 0 ? -EBADMSG : 0;
}

static int toc_append(void *data, const void *bytes, size_t n)
{
	return buf_append(data, bytes, n);
}

static int toc_fetch(const struct layer_prepare *job, uint64_t off, uint64_t len, struct buf *ret,
		     struct err *err)
{
	struct byte_sink sink = {.write = toc_append, .data = ret};
	int r = origin_range(job->request->origin, job->desc, off, len, &sink,
			     deadline_in_ms(job->timeout_ms), err);
	return r < 0 ? err_prefix(err, r, "fetch the table of contents") : 0;
}

/* The compressed TOC into ret, its place into claim. */
static int toc_collect(const struct layer_prepare *job, struct toc_claim *claim, struct buf *ret,
		       struct err *err)
{
	uint64_t size = job->desc->size;
	if (!claim->placed) {
		AUTO_FINISH(buf) struct buf tail = buf_make(TOC_TAIL_BYTES);
		uint64_t n = u64_min(size, TOC_TAIL_BYTES);
		int r = toc_fetch(job, size - n, n, &tail, err);
		if (r == 0)
			r = toc_find(tail.data, tail.len, size, &claim->place, err);
		if (r < 0)
			return r;
		if (claim->place.external)
			return err_say(err, -ENOENT, "its table of contents is in another image");
		if (claim->place.off >= size - n)
			return buf_append(ret, tail.data + (claim->place.off - (size - n)),
					  claim->place.len);
	}
	return toc_fetch(job, claim->place.off, claim->place.len, ret, err);
}

static int toc_open(const struct layer_prepare *job, struct toc_claim *claim, struct toc **ret,
		    struct err *err)
{
	AUTO_FINISH(buf) struct buf packed = buf_make(TOC_PACKED_MAX);
	AUTO_FINISH(buf) struct buf json = buf_make(TOC_JSON_MAX);
	int r = toc_collect(job, claim, &packed, err);
	if (r == 0)
		r = toc_unpack(&claim->place, packed.data, packed.len, &claim->digest, &json, err);
	if (r < 0)
		return r;
	return toc_parse(json.data, json.len, claim->place.kind, claim->place.off, ret, err);
}

struct toc_layer {
	const struct descriptor *desc;
	const struct toc *toc;
};

static int toc_layer_entries(const void *index, entry_fn fn, void *data, struct err *err)
{
	const struct toc_layer *layer = index;
	return toc_entries(layer->toc, fn, data, err);
}

/* There are no windows: each chunk is compressed by itself. */
static int toc_layer_seek(const void *index, struct store_layer_new *ignored, struct seek **ret,
			  struct err *err)
{
	const struct toc_layer *layer = index;
	(void)ignored;
	return toc_seek(layer->toc, &layer->desc->digest, layer->desc->size, ret, err);
}

static int toc_publish(const struct layer_prepare *job, const struct toc_claim *claim,
		       const struct toc *toc, struct err *err)
{
	const struct toc_layer layer = {.desc = job->desc, .toc = toc};
	const struct layer_table index = {
		.index = &layer,
		.entries = toc_layer_entries,
		.seek = toc_layer_seek,
		.device_size = toc_device_size(toc),
		.info.index = claim->place.kind == TOC_ESTARGZ ? LAYER_INDEX_ESTARGZ :
								 LAYER_INDEX_ZSTD_CHUNKED,
		.info.index_digest = claim->digest,
	};
	return layer_table_publish(job->request->store, &job->desc->digest, &index, err);
}

int layer_toc_run(const struct layer_prepare *job, struct err *err)
{
	struct toc_claim claim = {0};
	AUTO(toc) struct toc *toc = NULL;
	struct digest_text text;
	int r = toc_claim_read(job->desc, &claim, err);
	if (r == -ENOENT)
		return r;
	if (r == 0)
		r = toc_open(job, &claim, &toc, err);
	/* What no seek table can express is no fault of the layer's. */
	if (r == -ENOENT || r == -EFBIG) {
		log_debug("layer %s: %s", digest_str(&job->desc->digest, text.s), err_text(err));
		return -ENOENT;
	}
	if (r == 0)
		r = toc_publish(job, &claim, toc, err);
	if (r < 0)
		return err_prefix(err, r, "layer %s: its table of contents",
				  digest_str(&job->desc->digest, text.s));
	return 0;
}
