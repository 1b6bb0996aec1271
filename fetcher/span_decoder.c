/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/span_decoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "fetcher/inflate.h"

enum { DISCARD_BYTES = 64 << 10 }; /* decoded at a time when nobody wants it */

struct span_scratch {
	struct inflate inf;
	struct digest_ctx *sum; /* owned */
	uint8_t discard[DISCARD_BYTES];
};

struct span_decoder {
	struct span_scratch *scratch; /* borrowed */
	const struct seek *seek;      /* borrowed */
	size_t i, end;                /* the span being decoded, one past the last */
	struct span span;             /* the i-th */
	uint64_t decoded;             /* output of the unit so far */
	uint64_t taken;               /* input of the unit so far */
	span_fn fn;
	void *data;
	uint8_t *out;    /* owned; the span so far */
	struct buf held; /* SEEK_SUM_IN: the range, until it has been checked */
};

int span_scratch_create(enum span_engine engine, struct span_scratch **ret)
{
	bool isal = engine == SPAN_ENGINE_ISAL || (engine == SPAN_ENGINE_BEST && HAVE_ISAL);
	AUTO(span_scratch) struct span_scratch *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int r = inflate_init(&s->inf, isal);
	if (r >= 0)
		r = digest_ctx_create(DIGEST_SHA256, &s->sum);
	if (r < 0)
		return r;
	*ret = steal_ptr(&s);
	return 0;
}

void span_scratch_destroy(struct span_scratch *scratch)
{
	if (!scratch)
		return;
	inflate_finish(&scratch->inf);
	digest_ctx_destroy(scratch->sum);
	free(scratch);
}

int span_window_unpack(struct span_scratch *scratch, const void *packed, size_t n,
		       uint8_t ret[static SEEK_WINDOW_BYTES], struct err *err)
{
	if (n == 0 || n > SEEK_WINDOW_PACKED_MAX)
		return err_say(err, -EBADMSG, "a packed window of %zu bytes", n);
	ZSTD_DCtx *zstd = scratch->inf.zstd;
	(void)ZSTD_DCtx_reset(zstd, ZSTD_reset_session_only);
	size_t got = ZSTD_decompressDCtx(zstd, ret, SEEK_WINDOW_BYTES, packed, n);
	if (ZSTD_isError(got))
		return err_say(err, -EBADMSG, "a packed window is corrupt: %s",
			       ZSTD_getErrorName(got));
	if (got != SEEK_WINDOW_BYTES)
		return err_say(err, -EBADMSG,
			       "a packed window is corrupt: it has %zu bytes, not %d", got,
			       SEEK_WINDOW_BYTES);
	return 0;
}

/* Checks the SHA-256 of what (the compressed range or the bytes) of span i. */
static int check_sum(struct span_scratch *s, const struct span *span, size_t i, const char *what,
		     const void *bytes, size_t n, struct err *err)
{
	struct digest got, want = {.algo = DIGEST_SHA256};
	memcpy(want.bytes, span->sha256, SHA256_BYTES);
	int r = digest_ctx_update(s->sum, bytes, n);
	if (r >= 0)
		r = digest_ctx_final(s->sum, &got);
	if (r < 0)
		return err_set(err, r, "check span %zu", i);
	r = digest_match(&want, &got, what, err);
	return r < 0 ? err_prefix(err, r, "span %zu", i) : 0;
}

/*
 * Goes on from *decoded bytes of the unit towards the end of span, whose bytes
 * go to out and those before it nowhere. Stops at its end or without input.
 */
static int advance(struct span_scratch *s, const struct span *span, size_t i, uint64_t *decoded,
		   uint8_t *out, const uint8_t **in, size_t *n, struct err *err)
{
	uint64_t end = span->skip + span->out_len;
	while (*decoded < end) {
		uint8_t *to = s->discard;
		size_t room = (size_t)u64_min(sizeof(s->discard), span->skip - *decoded);
		if (*decoded >= span->skip) {
			to = out + (*decoded - span->skip);
			room = (size_t)(end - *decoded);
		}
		size_t left = room;
		int r = inflate_run(&s->inf, in, n, &to, &left, err);
		if (r < 0)
			return err_prefix(err, r, "span %zu is corrupt", i);
		*decoded += room - left;
		if (left > 0)
			break;
	}
	return 0;
}

/* The span's unit has given less than the table states, and has nothing more to give. */
static int too_short(const struct span_scratch *s, const struct span *span, size_t i,
		     uint64_t decoded, struct err *err)
{
	unsigned long long want = span->skip + span->out_len, got = decoded;
	if (s->inf.phase == INFLATE_BODY || s->inf.phase == INFLATE_PRIME)
		return err_say(
			err, -EBADMSG,
			"span %zu is truncated: %llu compressed bytes give %llu bytes of %llu", i,
			(unsigned long long)span->in_len, got, want);
	return err_say(err, -EBADMSG, "span %zu yields %llu bytes, not the %llu of the seek table",
		       i, got, want);
}

/*
 * A deflate unit is cut exactly, so a byte after its last span means that the
 * table is wrong. Members and frames of chunked layers may hold padding, and
 * SOCI does not count what follows the end of the archive.
 */
static int check_no_more(struct span_scratch *s, const struct seek *seek, const struct span *span,
			 size_t i, const uint8_t *in, size_t n, struct err *err)
{
	size_t first, end;
	if (span->codec != SEEK_DEFLATE)
		return 0;
	seek_unit(seek, i, &first, &end);
	if (i + 1 < end || (span->sum == SEEK_SUM_IN && end == seek_count(seek)))
		return 0;
	uint8_t byte, *out = &byte;
	size_t room = sizeof(byte);
	/* What does not decode any more is no output. */
	(void)inflate_run(&s->inf, &in, &n, &out, &room, NULL);
	if (room == sizeof(byte))
		return 0;
	return err_say(err, -EBADMSG, "span %zu yields more than the %llu bytes of the seek table",
		       i, (unsigned long long)span->out_len);
}

static int check_window(const struct span *span, size_t i, const void *window, struct err *err)
{
	if (!window != !span->win_len)
		return err_say(err, -EINVAL, "span %zu %s", i,
			       window ? "takes no window" : "cannot be decoded without its window");
	return 0;
}

int span_decode(struct span_scratch *scratch, const struct seek *seek, size_t i, const void *in,
		size_t n, const void *window, void *out, struct err *err)
{
	struct span span;
	seek_get(seek, i, &span);
	if (n != span.in_len)
		return err_say(err, -EINVAL, "span %zu takes %llu compressed bytes, not %zu", i,
			       (unsigned long long)span.in_len, n);
	int r = check_window(&span, i, window, err);
	if (r < 0)
		return r;
	if (span.codec == SEEK_ZEROS) {
		memset(out, 0, (size_t)span.out_len);
		return 0;
	}
	if (span.sum == SEEK_SUM_IN) {
		r = check_sum(scratch, &span, i, "the compressed range", in, n, err);
		if (r < 0)
			return r;
	}

	const uint8_t *p = in;
	uint64_t decoded = 0;
	r = inflate_begin(&scratch->inf, &span, window, err);
	if (r < 0)
		return err_prefix(err, r, "span %zu", i);
	r = advance(scratch, &span, i, &decoded, out, &p, &n, err);
	if (r < 0)
		return r;
	if (decoded < span.skip + span.out_len)
		return too_short(scratch, &span, i, decoded, err);
	r = check_no_more(scratch, seek, &span, i, p, n, err);
	if (r < 0 || span.sum != SEEK_SUM_OUT)
		return r;
	return check_sum(scratch, &span, i, "the content", out, (size_t)span.out_len, err);
}

/* The first span is known; whether the others are of its unit too. */
static int check_spans(const struct seek *seek, size_t first, size_t end, uint64_t *ret_len_max,
		       struct err *err)
{
	size_t unit_first, unit_end;
	if (first >= end || end > seek_count(seek))
		return err_say(err, -EINVAL, "there are no spans %zu to %zu", first, end);
	seek_unit(seek, first, &unit_first, &unit_end);
	if (end > unit_end)
		return err_say(err, -EINVAL, "spans %zu to %zu are not of one unit", first, end);
	uint64_t max = 0;
	for (size_t i = first; i < end; i++) {
		struct span span;
		seek_get(seek, i, &span);
		max = u64_max(max, span.out_len);
	}
	*ret_len_max = max;
	return 0;
}

int span_decoder_create(struct span_scratch *scratch, const struct seek *seek, size_t first,
			size_t end, const void *window, span_fn fn, void *data,
			struct span_decoder **ret, struct err *err)
{
	uint64_t len_max = 0;
	int r = check_spans(seek, first, end, &len_max, err);
	if (r < 0)
		return r;
	AUTO(span_decoder) struct span_decoder *d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, -ENOMEM, "decode span %zu", first);
	d->scratch = scratch;
	d->seek = seek;
	d->i = first;
	d->end = end;
	d->fn = fn;
	d->data = data;
	d->held = buf_make(SPAN_SUM_IN_BYTES_MAX);
	seek_get(seek, first, &d->span);
	r = check_window(&d->span, first, window, err);
	if (r < 0)
		return r;
	if (d->span.sum == SEEK_SUM_IN && d->span.in_len > SPAN_SUM_IN_BYTES_MAX)
		return err_say(err, -E2BIG,
			       "span %zu has %llu compressed bytes to be checked at once", first,
			       (unsigned long long)d->span.in_len);
	d->out = malloc((size_t)len_max);
	if (!d->out)
		return err_set(err, -ENOMEM, "decode span %zu", first);
	r = inflate_begin(&scratch->inf, &d->span, window, err);
	if (r < 0)
		return err_prefix(err, r, "span %zu", first);
	*ret = steal_ptr(&d);
	return 0;
}

void span_decoder_destroy(struct span_decoder *decoder)
{
	if (!decoder)
		return;
	buf_finish(&decoder->held);
	free(decoder->out);
	free(decoder);
}

/* The span is complete: checks it and hands it out. */
static int hand_out(struct span_decoder *d, struct err *err)
{
	if (d->span.sum == SEEK_SUM_OUT) {
		int r = check_sum(d->scratch, &d->span, d->i, "the content", d->out,
				  (size_t)d->span.out_len, err);
		if (r < 0)
			return r;
	}
	int r = d->fn(d->data, d->i, d->out, (size_t)d->span.out_len);
	if (r < 0)
		return err_set(err, r, "take span %zu", d->i);
	d->i++;
	if (d->i < d->end)
		seek_get(d->seek, d->i, &d->span);
	return 0;
}

/* Decodes from input that needs no further check before it is decoded. */
static int decode(struct span_decoder *d, const uint8_t *in, size_t n, struct err *err)
{
	while (d->i < d->end) {
		int r = advance(d->scratch, &d->span, d->i, &d->decoded, d->out, &in, &n, err);
		if (r < 0)
			return r;
		if (d->decoded < d->span.skip + d->span.out_len)
			return 0;
		/* Only where the whole range is here; else the SHA-256 alone decides. */
		if (d->i + 1 == d->end && d->taken == d->span.in_len)
			r = check_no_more(d->scratch, d->seek, &d->span, d->i, in, n, err);
		if (r >= 0)
			r = hand_out(d, err);
		if (r < 0)
			return r;
	}
	return 1;
}

int span_decoder_push(struct span_decoder *decoder, const void *bytes, size_t n, struct err *err)
{
	struct span_decoder *d = decoder;
	if (d->i == d->end)
		return 1;
	if (n > d->span.in_len - d->taken)
		return err_say(err, -EINVAL, "span %zu takes %llu compressed bytes, not more", d->i,
			       (unsigned long long)d->span.in_len);
	if (n == 0)
		return 0;
	d->taken += n;
	if (d->span.sum != SEEK_SUM_IN)
		return decode(d, bytes, n, err);

	int r = buf_append(&d->held, bytes, n);
	if (r < 0)
		return err_set(err, r, "decode span %zu", d->i);
	if (d->taken < d->span.in_len)
		return 0;
	const void *whole = d->held.data;
	r = check_sum(d->scratch, &d->span, d->i, "the compressed range", whole, d->held.len, err);
	return r < 0 ? r : decode(d, whole, d->held.len, err);
}

int span_decoder_finish(struct span_decoder *decoder, struct err *err)
{
	struct span_decoder *d = decoder;
	if (d->i == d->end)
		return 0;
	if (d->span.codec == SEEK_ZEROS) {
		memset(d->out, 0, (size_t)d->span.out_len);
		return hand_out(d, err);
	}
	if (d->taken < d->span.in_len)
		return err_say(err, -EBADMSG,
			       "span %zu is truncated: %llu of %llu compressed bytes arrived", d->i,
			       (unsigned long long)d->taken, (unsigned long long)d->span.in_len);
	return too_short(d->scratch, &d->span, d->i, d->decoded, err);
}
