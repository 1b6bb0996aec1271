/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/index_cut.h"

/*
 * gzip layers (RFC 1951, 1952). zlib decodes, because it can stop at the end
 * of a deflate block, where decoding can start again given the 32 KiB before
 * it. It is only asked to once a MiB has come out since the last such point;
 * until then it runs freely. Where a member ends nothing is needed but the
 * place. A deflate block that goes on and on gives several spans in one unit.
 */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#if HAVE_ISAL
#include <isa-l/crc.h>
#endif

#include "base/le.h"
#include "base/num.h"
#include "fetcher/gzip_header.h"

enum gzip_phase { PHASE_HEADER, PHASE_BODY, PHASE_TRAILER, PHASE_GARBAGE };

enum {
	BLOCK_END = 1 << 7, /* zlib's data_type: inflate() stopped after a block */
	BITS_LEFT = 7,      /* and the bits it has not used of the last byte */
	WINDOW_LEVEL = 3,
};

struct gzip_index {
	struct index_cut *cut; /* borrowed */
	z_stream z;
	bool z_ready;
	ZSTD_CCtx *zstd; /* owned; packs windows */
	enum gzip_phase phase;
	struct gzip_header header;
	uint8_t trailer[GZIP_TRAILER_BYTES];
	size_t trailer_len;
	uint64_t members;    /* complete ones */
	uint64_t member_out; /* where the member's output began */
	uint32_t crc;
	uint64_t unit_in; /* the open unit: where it begins, from which bit, with which window */
	uint8_t unit_bits;
	size_t window_len;
	uint64_t body_end; /* after the last whole deflate stream */
	uint8_t window[SEEK_WINDOW_PACKED_MAX];
	uint8_t step[INDEX_STEP_BYTES];
};

static void gzip_destroy(void *state)
{
	struct gzip_index *g = state;
	if (!g)
		return;
	if (g->z_ready)
		(void)inflateEnd(&g->z);
	(void)ZSTD_freeCCtx(g->zstd);
	free(g);
}

static int gzip_create(struct index_cut *cut, void **ret_state)
{
	struct gzip_index *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->cut = cut;
	g->zstd = ZSTD_createCCtx();
	g->z_ready = inflateInit2(&g->z, -MAX_WBITS) == Z_OK;
	/* A window may be the only thing that is damaged: its checksum tells. */
	if (!g->zstd || !g->z_ready ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(g->zstd, ZSTD_c_compressionLevel, WINDOW_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(g->zstd, ZSTD_c_checksumFlag, 1))) {
		gzip_destroy(g);
		return -ENOMEM;
	}
	*ret_state = g;
	return 0;
}

static uint32_t crc_add(uint32_t crc, const uint8_t *bytes, size_t n)
{
#if HAVE_ISAL
	return crc32_gzip_refl(crc, bytes, n);
#else
	return (uint32_t)crc32(crc, bytes, (uInt)n);
#endif
}

static int corrupt(const struct gzip_index *g, struct err *err, const char *why)
{
	return err_say(err, -EBADMSG, "the gzip stream is corrupt near byte %llu: %s",
		       (unsigned long long)g->cut->in, why);
}

static int end_unit(struct gzip_index *g, uint64_t in_end, struct err *err)
{
	struct span unit = {
		.in_off = g->unit_in,
		.in_len = in_end - g->unit_in,
		.bits = g->unit_bits,
		.codec = SEEK_DEFLATE,
	};
	return index_cut_unit(g->cut, &unit, g->window, g->window_len, err);
}

static void begin_unit(struct gzip_index *g, uint8_t bits)
{
	g->unit_in = g->cut->in - (bits ? 1 : 0);
	g->unit_bits = bits;
	g->window_len = 0;
}

/* A deflate block has ended, and a new unit can begin: keep what it needs. */
static int checkpoint(struct gzip_index *g, struct err *err)
{
	int r = end_unit(g, g->cut->in, err);
	if (r < 0)
		return r;
	begin_unit(g, (uint8_t)(g->z.data_type & BITS_LEFT));

	/* The step's bytes have been handed on. A short history is padded in front. */
	uint8_t *dict = g->step;
	uInt len = 0;
	if (inflateGetDictionary(&g->z, dict, &len) != Z_OK || len > SEEK_WINDOW_BYTES)
		return err_say(err, -EIO, "zlib does not give its history");
	if (len == 0)
		return 0;
	memmove(dict + SEEK_WINDOW_BYTES - len, dict, len);
	memset(dict, 0, SEEK_WINDOW_BYTES - len);
	size_t n = ZSTD_compress2(g->zstd, g->window, sizeof(g->window), dict, SEEK_WINDOW_BYTES);
	if (ZSTD_isError(n))
		return err_say(err, -EIO, "pack a window: %s", ZSTD_getErrorName(n));
	g->window_len = n;
	return 0;
}

/* Where a member ends, the next unit needs no window. */
static int end_body(struct gzip_index *g, struct err *err)
{
	g->body_end = g->cut->in;
	g->phase = PHASE_TRAILER;
	g->trailer_len = 0;
	if (index_cut_len(g->cut) < SEEK_SPAN_BYTES)
		return 0;
	return end_unit(g, g->body_end, err);
}

/* One call of inflate(). *ret_full: there may be more output without more input. */
static int inflate_step(struct gzip_index *g, const uint8_t **bytes, size_t *n, bool *ret_full,
			struct err *err)
{
	uint64_t unit = index_cut_len(g->cut);
	/* One byte early: a free run may go over the end of a block just after its last byte. */
	bool seeking = unit >= SEEK_SPAN_BYTES - 1;
	size_t room = sizeof(g->step);
	if (!seeking)
		room = (size_t)u64_min(room, SEEK_SPAN_BYTES - 1 - unit);
	z_stream *z = &g->z;
	z->next_in = (z_const Bytef *)(uintptr_t)*bytes;
	z->avail_in = (uInt)u64_min(*n, UINT32_MAX);
	z->next_out = g->step;
	z->avail_out = (uInt)room;
	uInt avail = z->avail_in;
	int r = inflate(z, seeking ? Z_BLOCK : Z_NO_FLUSH);
	size_t used = avail - z->avail_in, got = room - z->avail_out;
	g->cut->in += used;
	*bytes += used;
	*n -= used;
	*ret_full = z->avail_out == 0;
	if (r == Z_MEM_ERROR)
		return err_set(err, -ENOMEM, "index the layer");
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return corrupt(g, err, z->msg ? z->msg : "zlib refuses it");

	g->crc = crc_add(g->crc, g->step, got);
	int e = index_cut_bytes(g->cut, g->step, got, err);
	if (e < 0)
		return e;
	if (r == Z_STREAM_END)
		return end_body(g, err);
	if (z->data_type & BLOCK_END && index_cut_len(g->cut) >= SEEK_SPAN_BYTES)
		return checkpoint(g, err);
	return 0;
}

static int push_body(struct gzip_index *g, const uint8_t **bytes, size_t *n, struct err *err)
{
	bool full = false;
	while (g->phase == PHASE_BODY && (*n > 0 || full)) {
		int r = inflate_step(g, bytes, n, &full, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int push_header(struct gzip_index *g, const uint8_t **bytes, size_t *n, struct err *err)
{
	/* After a member, what does not begin like one is padding or garbage. */
	static const uint8_t start[] = {0x1f, 0x8b};
	if (g->members > 0 && g->header.field == 0 && g->header.pos < sizeof(start) &&
	    **bytes != start[g->header.pos]) {
		g->phase = PHASE_GARBAGE;
		return 0;
	}
	size_t part = g->header.field == 0 ? 1 : *n, used = 0;
	int r = gzip_header_push(&g->header, *bytes, part, &used);
	if (r < 0)
		return corrupt(g, err, "a wrong gzip header");
	g->cut->in += used;
	*bytes += used;
	*n -= used;
	if (r == 0)
		return 0;
	if (inflateReset(&g->z) != Z_OK)
		return err_say(err, -EIO, "zlib does not begin anew");
	g->phase = PHASE_BODY;
	g->crc = 0;
	g->member_out = g->cut->out;
	if (index_cut_len(g->cut) == 0)
		begin_unit(g, 0);
	return 0;
}

static int push_trailer(struct gzip_index *g, const uint8_t **bytes, size_t *n, struct err *err)
{
	size_t part = (size_t)u64_min(*n, GZIP_TRAILER_BYTES - g->trailer_len);
	memcpy(g->trailer + g->trailer_len, *bytes, part);
	g->trailer_len += part;
	g->cut->in += part;
	*bytes += part;
	*n -= part;
	if (g->trailer_len < GZIP_TRAILER_BYTES)
		return 0;
	if (le32_get(g->trailer) != g->crc)
		return corrupt(g, err, "the CRC of a member is wrong");
	if (le32_get(g->trailer + 4) != (uint32_t)(g->cut->out - g->member_out))
		return corrupt(g, err, "the length of a member is wrong");
	g->members++;
	g->header = (struct gzip_header){0};
	g->phase = PHASE_HEADER;
	return 0;
}

static int gzip_push(void *state, const uint8_t *bytes, size_t n, struct err *err)
{
	struct gzip_index *g = state;
	int r = 0;
	while (n > 0 && r >= 0) {
		switch (g->phase) {
		case PHASE_HEADER:
			r = push_header(g, &bytes, &n, err);
			break;
		case PHASE_BODY:
			r = push_body(g, &bytes, &n, err);
			break;
		case PHASE_TRAILER:
			r = push_trailer(g, &bytes, &n, err);
			break;
		case PHASE_GARBAGE:
			g->cut->in += n;
			n = 0;
			break;
		}
	}
	return r;
}

static int gzip_finish(void *state, struct err *err)
{
	struct gzip_index *g = state;
	/* One stray byte 0x1f after a member is garbage as any other. */
	bool between = g->phase == PHASE_HEADER && g->members > 0 && g->header.field == 0 &&
		       g->header.pos < 2;
	if (g->phase != PHASE_GARBAGE && !between)
		return err_say(
			err, -EBADMSG,
			"the gzip stream is truncated: it ends inside a member, at byte %llu",
			(unsigned long long)g->cut->in);
	return end_unit(g, g->body_end, err);
}

const struct index_format index_gzip = {
	.create = gzip_create,
	.push = gzip_push,
	.finish = gzip_finish,
	.destroy = gzip_destroy,
};
