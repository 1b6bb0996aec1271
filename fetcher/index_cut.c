/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/index_cut.h"

#include <string.h>

#include "base/num.h"

/* A span whose bytes are done, but not yet its compressed range. */
struct index_span {
	uint32_t len;
	uint8_t sha256[SHA256_BYTES];
};

int index_cut_init(struct index_cut *cut, const struct indexer_options *options)
{
	*cut = (struct index_cut){.options = *options, .pending = buf_make(INDEX_PENDING_MAX)};
	int r = seek_builder_create(&cut->builder);
	if (r >= 0)
		r = digest_ctx_create(DIGEST_SHA256, &cut->span_sum);
	if (r >= 0)
		r = digest_ctx_create(DIGEST_SHA256, &cut->diff_sum);
	return r;
}

void index_cut_finish(struct index_cut *cut)
{
	seek_builder_destroy(cut->builder);
	digest_ctx_destroy(cut->span_sum);
	digest_ctx_destroy(cut->diff_sum);
	buf_finish(&cut->pending);
}

static int end_span(struct index_cut *cut, struct err *err)
{
	if (cut->out == cut->span_out)
		return 0;
	struct digest sum;
	struct index_span span = {.len = (uint32_t)(cut->out - cut->span_out)};
	int r = digest_ctx_final(cut->span_sum, &sum);
	if (r < 0)
		return err_set(err, r, "sum a span of the layer");
	memcpy(span.sha256, sum.bytes, SHA256_BYTES);
	r = buf_append(&cut->pending, &span, sizeof(span));
	if (r < 0)
		return err_set(err, r, "index the layer");
	cut->span_out = cut->out;
	return 0;
}

static int check_caps(const struct index_cut *cut, size_t n, struct err *err)
{
	const struct indexer_options *o = &cut->options;
	if (n > o->out_max - cut->out)
		return err_say(err, -EFBIG, "the layer unpacks to more than %llu bytes",
			       (unsigned long long)o->out_max);
	uint64_t out = cut->out + n;
	if (out > o->ratio_from && out / o->ratio_max > cut->in)
		return err_say(err, -EFBIG,
			       "the layer unpacks to more than %llu times its size: %llu bytes out "
			       "of %llu",
			       (unsigned long long)o->ratio_max, (unsigned long long)out,
			       (unsigned long long)cut->in);
	return 0;
}

/* At most up to where the span must be cut. */
static int take(struct index_cut *cut, const void *bytes, size_t n, struct err *err)
{
	int r = digest_ctx_update(cut->span_sum, bytes, n);
	if (r >= 0)
		r = digest_ctx_update(cut->diff_sum, bytes, n);
	if (r < 0)
		return err_set(err, r, "sum the layer");
	cut->out += n;
	if (cut->out - cut->span_out < INDEX_SPAN_MAX)
		return 0;
	return end_span(cut, err);
}

int index_cut_bytes(struct index_cut *cut, const void *bytes, size_t n, struct err *err)
{
	int r = check_caps(cut, n, err);
	if (r < 0)
		return r;
	const uint8_t *p = bytes;
	size_t left = n;
	while (left > 0) {
		size_t part = (size_t)u64_min(left, cut->span_out + INDEX_SPAN_MAX - cut->out);
		r = take(cut, p, part, err);
		if (r < 0)
			return r;
		p += part;
		left -= part;
	}
	if (n == 0 || !cut->options.out.write)
		return 0;
	r = cut->options.out.write(cut->options.out.data, bytes, n);
	return r < 0 ? err_set(err, r, "keep the layer's bytes") : 0;
}

static int write_window(struct index_cut *cut, const void *window, size_t n, struct err *err)
{
	cut->windows_size += n;
	if (!cut->options.windows.write)
		return 0;
	int r = cut->options.windows.write(cut->options.windows.data, window, n);
	return r < 0 ? err_set(err, r, "keep a window of the layer") : 0;
}

int index_cut_unit(struct index_cut *cut, const struct span *unit, const void *window, size_t n,
		   struct err *err)
{
	int r = end_span(cut, err);
	if (r < 0)
		return r;
	struct span span = *unit;
	span.sum = SEEK_SUM_OUT;
	span.out_off = cut->unit_out;
	span.win_off = n ? cut->windows_size : 0;
	span.win_len = (uint32_t)n;
	size_t count = cut->pending.len / sizeof(struct index_span);
	for (size_t i = 0; i < count; i++) {
		struct index_span done;
		memcpy(&done, cut->pending.data + i * sizeof(done), sizeof(done));
		span.out_len = done.len;
		memcpy(span.sha256, done.sha256, SHA256_BYTES);
		r = seek_builder_add(cut->builder, &span, err);
		if (r < 0)
			return r;
		span.out_off += done.len;
		span.skip += done.len;
	}
	buf_clear(&cut->pending);
	cut->unit_out = cut->out;
	if (count == 0 || n == 0)
		return 0;
	return write_window(cut, window, n, err);
}
