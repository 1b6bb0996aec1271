/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#include "base/le.h"
#include "base/num.h"
#include "fetcher/span_decoder.h"
#include "fetcher/ztoc_priv.h"

/*
 * Checkpoints of gzip, packed and little-endian (ztoc/compression/gzip_zinfo.c):
 *
 *   0  4  count          then each
 *   4  8  span size        0      8  in: where its deflate block begins, rounded up to a byte
 *                          8      8  out
 *                         16      1  bits of the byte before `in` that are its first
 *                         17  32768  window
 *
 * Version 1 leaves the first one out, which stands behind the gzip header.
 * SOCI takes that for 10 bytes when it reads such a zTOC, but the digest of the
 * first span is that of where the stream does begin. Only the length tells the
 * versions apart.
 *
 * Of an uncompressed layer: 4 bytes version (2), 8 span size, 8 size.
 */
enum {
	GZIP_HEAD = 12,
	POINT_IN = 0,
	POINT_OUT = 8,
	POINT_BITS = 16,
	POINT_WINDOW = 17,
	POINT_BYTES = POINT_WINDOW + SEEK_WINDOW_BYTES,

	TAR_SPAN_SIZE = 4,
	TAR_SIZE = 12,
	TAR_BYTES = 20,
	TAR_VERSION = 2,
};

enum { WINDOW_LEVEL = 3 };

struct point {
	uint64_t in, out;
	unsigned int bits;
	const uint8_t *window; /* NULL: none is needed */
};

/* A table in the making. */
struct ztoc_cut {
	const struct ztoc *ztoc;
	const struct byte_sink *windows;
	struct seek_builder *builder; /* owned */
	ZSTD_CCtx *zstd;	      /* owned */
	uint64_t windows_size;
	uint64_t start; /* of the deflate stream, for version 1 */
	bool v1;
};

static void ztoc_cut_finish(struct ztoc_cut *cut)
{
	seek_builder_destroy(cut->builder);
	(void)ZSTD_freeCCtx(cut->zstd);
}
DEFINE_FINISH(ztoc_cut, ztoc_cut_finish);

static const uint8_t *checkpoint_bytes(const struct ztoc *ztoc)
{
	return (const uint8_t *)ztoc->checkpoints.data;
}

static int bad_point(struct err *err, size_t i, const char *why)
{
	return err_say(err, -EBADMSG, "checkpoint %zu of the zTOC is wrong: %s", i, why);
}

static int point_get(const struct ztoc_cut *cut, size_t i, struct point *ret, struct err *err)
{
	if (cut->v1 && i == 0) {
		*ret = (struct point){.in = cut->start};
		return cut->start > 0 && cut->start < cut->ztoc->in_size ?
			       0 : bad_point(err, i, "in is outside the layer");
	}
	const uint8_t *p =
		checkpoint_bytes(cut->ztoc) + GZIP_HEAD + (i - cut->v1) * (size_t)POINT_BYTES;
	*ret = (struct point){
		.in = le64_get(p + POINT_IN),
		.out = le64_get(p + POINT_OUT),
		.bits = p[POINT_BITS],
	};
	if (ret->out > 0)
		ret->window = p + POINT_WINDOW;
	if (ret->bits > 7)
		return bad_point(err, i, "bits is above 7");
	if (ret->in < 1 || ret->in >= cut->ztoc->in_size)
		return bad_point(err, i, "in is outside the layer");
	if (ret->out >= cut->ztoc->out_size)
		return bad_point(err, i, "out is outside the layer");
	return 0;
}

/* One past the last span: where the layer ends. */
static int point_next(const struct ztoc_cut *cut, size_t i, struct point *ret, struct err *err)
{
	if (i < cut->ztoc->digests.count)
		return point_get(cut, i, ret, err);
	*ret = (struct point){.in = cut->ztoc->in_size, .out = cut->ztoc->out_size};
	return 0;
}

static int span_sum(const struct ztoc *ztoc, size_t i, struct span *span, struct err *err)
{
	struct flat_bytes bytes = {0};
	struct digest digest = {0};
	char text[DIGEST_STR_MAX] = "";
	int r = flat_vector_bytes(&ztoc->digests, i, &bytes, err);
	if (r < 0)
		return r;
	if (bytes.len < sizeof(text))
		memcpy(text, bytes.data, bytes.len);
	if (strlen(text) != bytes.len || digest_parse(text, &digest, NULL) < 0 ||
	    digest.algo != DIGEST_SHA256)
		return err_say(err, -EBADMSG, "span_digests of the zTOC: number %zu is no SHA-256",
			       i);
	span->sum = SEEK_SUM_IN;
	memcpy(span->sha256, digest.bytes, SHA256_BYTES);
	return 0;
}

static int pack_window(struct ztoc_cut *cut, const uint8_t *window, struct span *span,
		       struct err *err)
{
	uint8_t packed[SEEK_WINDOW_PACKED_MAX];
	if (!window)
		return 0;
	size_t n = ZSTD_compress2(cut->zstd, packed, sizeof(packed), window, SEEK_WINDOW_BYTES);
	if (ZSTD_isError(n))
		return err_say(err, -EIO, "pack a window: %s", ZSTD_getErrorName(n));
	span->win_off = cut->windows_size;
	span->win_len = (uint32_t)n;
	cut->windows_size += n;
	return cut->windows->write(cut->windows->data, packed, n);
}

/* Adds the unit of out_len bytes that `unit` begins, in spans that fit into memory. */
static int add_unit(struct ztoc_cut *cut, const struct span *unit, uint64_t out_len,
		    struct err *err)
{
	struct span span = *unit;
	int r = 0;
	while (r == 0 && out_len > 0) {
		span.out_len = u64_min(out_len, SEEK_SPAN_OUT_MAX);
		r = seek_builder_add(cut->builder, &span, err);
		span.out_off += span.out_len;
		span.skip += span.out_len;
		out_len -= span.out_len;
	}
	return r;
}

static int gzip_span(struct ztoc_cut *cut, size_t i, const struct point *at,
		     const struct point *next, struct err *err)
{
	struct span span = {
		.in_off = at->in - (at->bits ? 1 : 0),
		.out_off = at->out,
		.bits = (uint8_t)at->bits,
		.codec = SEEK_DEFLATE,
	};
	if (next->in <= at->in)
		return bad_point(err, i, "in is not before that of the next");
	if (next->out <= at->out)
		return bad_point(err, i, "out is not before that of the next");
	span.in_len = next->in - span.in_off;
	if (span.in_len > SPAN_SUM_IN_BYTES_MAX)
		return err_say(err, -EFBIG,
			       "span %zu of the zTOC has %" PRIu64
			       " compressed bytes, more than %d",
			       i, span.in_len, SPAN_SUM_IN_BYTES_MAX);
	int r = span_sum(cut->ztoc, i, &span, err);
	if (r == 0)
		r = pack_window(cut, at->window, &span, err);
	return r < 0 ? r : add_unit(cut, &span, next->out - at->out, err);
}

bool ztoc_needs_start(const struct ztoc *z)
{
	if (z->codec != ZTOC_GZIP || z->checkpoints.len < GZIP_HEAD)
		return false;
	uint64_t count = le32_get(checkpoint_bytes(z));
	return count > 0 && z->checkpoints.len == GZIP_HEAD + (count - 1) * POINT_BYTES;
}

/* How many checkpoints there are, and of which version. */
static int gzip_head(struct ztoc_cut *cut, struct err *err)
{
	const struct ztoc *z = cut->ztoc;
	if (z->checkpoints.len < GZIP_HEAD)
		return err_say(err, -EBADMSG, "checkpoints of the zTOC are too short");
	uint64_t count = le32_get(checkpoint_bytes(z));
	if (count != z->digests.count)
		return err_say(err, -EBADMSG,
			       "checkpoints of the zTOC: there are %" PRIu64
			       ", and %zu span_digests",
			       count, z->digests.count);
	uint64_t full = GZIP_HEAD + count * POINT_BYTES;
	cut->v1 = ztoc_needs_start(z);
	if (!cut->v1 && z->checkpoints.len != full)
		return err_say(err, -EBADMSG,
			       "checkpoints of the zTOC: %zu bytes do not hold %" PRIu64
			       " of them",
			       z->checkpoints.len, count);
	return 0;
}

static int gzip_spans(struct ztoc_cut *cut, struct err *err)
{
	struct point at = {0};
	struct point next = {0};
	int r = gzip_head(cut, err);
	if (r == 0)
		r = point_get(cut, 0, &at, err);
	if (r == 0 && at.out != 0)
		return bad_point(err, 0, "out is not 0");
	for (size_t i = 0; r == 0 && i < cut->ztoc->digests.count; i++) {
		r = point_next(cut, i + 1, &next, err);
		if (r == 0)
			r = gzip_span(cut, i, &at, &next, err);
		at = next;
	}
	return r;
}

static int tar_spans(struct ztoc_cut *cut, struct err *err)
{
	const struct ztoc *z = cut->ztoc;
	const uint8_t *p = checkpoint_bytes(z);
	if (z->checkpoints.len != TAR_BYTES || le32_get(p) != TAR_VERSION)
		return err_say(err, -EBADMSG,
			       "checkpoints of the zTOC are not those of an uncompressed layer");
	uint64_t size = le64_get(p + TAR_SIZE);
	uint64_t step = le64_get(p + TAR_SPAN_SIZE);
	if (size != z->in_size)
		return err_say(err, -EBADMSG,
			       "checkpoints of the zTOC: size is %" PRIu64
			       ", but the layer has %" PRIu64 " bytes",
			       size, z->in_size);
	if (step == 0 || size == 0 || (size - 1) / step + 1 != z->digests.count)
		return err_say(err, -EBADMSG,
			       "checkpoints of the zTOC: spans of %" PRIu64
			       " bytes do not make %zu span_digests",
			       step, z->digests.count);
	if (u64_min(step, size) > SEEK_SPAN_OUT_MAX)
		return err_say(err, -EFBIG, "the zTOC has spans of %" PRIu64 " bytes, more than %d",
			       step, SEEK_SPAN_OUT_MAX);
	int r = 0;
	for (size_t i = 0; r == 0 && i < z->digests.count; i++) {
		struct span span = {.codec = SEEK_COPY, .in_off = i * step, .out_off = i * step};
		span.in_len = span.out_len = u64_min(step, size - span.in_off);
		r = span_sum(z, i, &span, err);
		r = r < 0 ? r : seek_builder_add(cut->builder, &span, err);
	}
	return r;
}

int ztoc_seek(const struct ztoc *ztoc, const struct digest *layer, const struct digest *diff_id,
	      uint64_t start, const struct byte_sink *windows, struct seek **ret, struct err *err)
{
	AUTO_FINISH(ztoc_cut) struct ztoc_cut cut = {.ztoc = ztoc, .windows = windows, .start = start};
	int r = seek_builder_create(&cut.builder);
	cut.zstd = ZSTD_createCCtx();
	/* What comes out of a span is not checked, so its window has to be. */
	if (r < 0 || !cut.zstd ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(cut.zstd, ZSTD_c_compressionLevel, WINDOW_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(cut.zstd, ZSTD_c_checksumFlag, 1)))
		return err_set(err, -ENOMEM, "read a zTOC");
	r = ztoc->codec == ZTOC_GZIP ? gzip_spans(&cut, err) : tar_spans(&cut, err);
	if (r == 0) {
		struct seek_totals totals = {
			.layer = *layer,
			.in_size = ztoc->in_size,
			.out_size = ztoc->out_size,
			.windows_size = cut.windows_size,
			.is_tar = true,
		};
		if (diff_id)
			totals.diff_id = *diff_id;
		r = seek_builder_finish(cut.builder, &totals, ret, err);
	}
	if (r == -EINVAL || r == -E2BIG)
		return err_prefix(err, -EBADMSG, "the checkpoints of the zTOC make no sense");
	return r;
}
