/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/index_cut.h"

/*
 * zstd layers (RFC 8878): frames end where ZSTD_decompressStream() returns 0,
 * and every frame can be decoded by itself. Small frames are put together
 * until they give a MiB; a long frame is one unit of several spans.
 */

#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>

#include "fetcher/span_decoder.h"

struct zstd_index {
	struct index_cut *cut; /* borrowed */
	ZSTD_DCtx *zstd;       /* owned */
	uint64_t unit_in;      /* where the open unit begins */
	uint64_t frame_end;    /* after the last whole frame with output */
	uint64_t frame_out;    /* output before the current frame */
	bool in_frame;
	uint8_t step[INDEX_STEP_BYTES];
};

static void zstd_destroy(void *state)
{
	struct zstd_index *z = state;
	if (!z)
		return;
	(void)ZSTD_freeDCtx(z->zstd);
	free(z);
}

static int zstd_create(struct index_cut *cut, void **ret_state)
{
	struct zstd_index *z = malloc(sizeof(*z));
	if (!z)
		return -ENOMEM;
	*z = (struct zstd_index){.cut = cut, .zstd = ZSTD_createDCtx()};
	if (!z->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(z->zstd, ZSTD_d_windowLogMax,
							    SPAN_ZSTD_WINDOW_LOG_MAX))) {
		zstd_destroy(z);
		return -ENOMEM;
	}
	*ret_state = z;
	return 0;
}

static int end_unit(struct zstd_index *z, struct err *err)
{
	struct span unit = {
		.in_off = z->unit_in, .in_len = z->frame_end - z->unit_in, .codec = SEEK_ZSTD};
	return index_cut_unit(z->cut, &unit, NULL, 0, err);
}

static int end_frame(struct zstd_index *z, struct err *err)
{
	z->in_frame = false;
	/* Skippable and empty frames belong to no unit, unless in the midst of one. */
	if (z->cut->out != z->frame_out) {
		z->frame_out = z->cut->out;
		z->frame_end = z->cut->in;
	}
	if (index_cut_len(z->cut) >= SEEK_SPAN_BYTES) {
		int r = end_unit(z, err);
		if (r < 0)
			return r;
	}
	if (index_cut_len(z->cut) == 0)
		z->unit_in = z->cut->in;
	return 0;
}

static int zstd_push(void *state, const uint8_t *bytes, size_t n, struct err *err)
{
	struct zstd_index *z = state;
	ZSTD_inBuffer in = {.src = bytes, .size = n};
	bool full = false;
	/* A full step may have left output inside the decoder. */
	while (in.pos < in.size || (full && z->in_frame)) {
		ZSTD_outBuffer out = {.dst = z->step, .size = sizeof(z->step)};
		size_t before = in.pos;
		size_t r = ZSTD_decompressStream(z->zstd, &out, &in);
		if (ZSTD_isError(r))
			return err_say(err, -EBADMSG,
				       "the zstd stream is corrupt near byte %llu: %s",
				       (unsigned long long)z->cut->in, ZSTD_getErrorName(r));
		z->cut->in += in.pos - before;
		z->in_frame = true;
		full = out.pos == out.size;
		int e = index_cut_bytes(z->cut, z->step, out.pos, err);
		if (e >= 0 && r == 0)
			e = end_frame(z, err);
		if (e < 0)
			return e;
	}
	return 0;
}

static int zstd_finish(void *state, struct err *err)
{
	struct zstd_index *z = state;
	if (z->in_frame)
		return err_say(err, -EBADMSG,
			       "the zstd stream is truncated: it ends inside a frame, at byte %llu",
			       (unsigned long long)z->cut->in);
	return end_unit(z, err);
}

const struct index_format index_zstd = {
	.create = zstd_create,
	.push = zstd_push,
	.finish = zstd_finish,
	.destroy = zstd_destroy,
};
