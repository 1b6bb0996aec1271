/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/seek.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/le.h"
#include "base/num.h"

/*
 * The file, all numbers little-endian:
 *
 *   header, 216 bytes            record, 84 bytes, one a span
 *     0   8  magic "SLSEEK01"      0  8  in_off
 *     8   4  flags, bit 0: tar     8  8  in_len
 *    12   4  count of records     16  8  out_off
 *    16   8  in_size              24  8  skip
 *    24   8  out_size             32  8  win_off
 *    32   8  windows_size         40  4  out_len
 *    40   4  layer algorithm      44  4  win_len
 *    44   4  diff_id algorithm    48  1  bits
 *    48  64  layer digest         49  1  codec
 *   112  64  diff_id digest       50  1  sum
 *   176   8  zero                 51  1  zero
 *   184  32  SHA-256              52 32  sha256
 *
 * The SHA-256 is that of the header's first 184 bytes and of all records, so
 * that a torn or damaged table is found before it is used. Algorithms are
 * enum digest_algo, codecs enum seek_codec, sums enum seek_sum; unused tails
 * of digests are zero. A change of the layout changes the magic.
 */
enum {
	HDR_FLAGS = 8,
	HDR_COUNT = 12,
	HDR_IN_SIZE = 16,
	HDR_OUT_SIZE = 24,
	HDR_WINDOWS_SIZE = 32,
	HDR_LAYER_ALGO = 40,
	HDR_DIFF_ALGO = 44,
	HDR_LAYER = 48,
	HDR_DIFF = 112,
	HDR_ZERO = 176,
	HDR_SHA256 = 184,
	HDR_BYTES = 216,

	REC_IN_OFF = 0,
	REC_IN_LEN = 8,
	REC_OUT_OFF = 16,
	REC_SKIP = 24,
	REC_WIN_OFF = 32,
	REC_OUT_LEN = 40,
	REC_WIN_LEN = 44,
	REC_BITS = 48,
	REC_CODEC = 49,
	REC_SUM = 50,
	REC_ZERO = 51,
	REC_SHA256 = 52,
	REC_BYTES = 84,

	FLAG_TAR = 1 << 0,
};

static const char magic[8] = {'S', 'L', 'S', 'E', 'E', 'K', '0', '1'};

struct seek {
	const uint8_t *data; /* header and records */
	size_t n;
	bool mapped; /* munmap() rather than free() */
	size_t count;
	struct seek_totals totals;
};

struct seek_builder {
	struct buf buf; /* header, to be filled in at the end, and records */
	size_t count;
	struct span last; /* valid when count > 0 */
};

static const uint8_t *record_at(const struct seek *seek, size_t i)
{
	return seek->data + HDR_BYTES + i * REC_BYTES;
}

static uint64_t record_end(const uint8_t *rec)
{
	return le64_get(rec + REC_OUT_OFF) + le32_get(rec + REC_OUT_LEN);
}

static void record_get(const uint8_t *rec, struct span *ret)
{
	ret->in_off = le64_get(rec + REC_IN_OFF);
	ret->in_len = le64_get(rec + REC_IN_LEN);
	ret->out_off = le64_get(rec + REC_OUT_OFF);
	ret->out_len = le32_get(rec + REC_OUT_LEN);
	ret->skip = le64_get(rec + REC_SKIP);
	ret->win_off = le64_get(rec + REC_WIN_OFF);
	ret->win_len = le32_get(rec + REC_WIN_LEN);
	ret->bits = rec[REC_BITS];
	ret->codec = rec[REC_CODEC];
	ret->sum = rec[REC_SUM];
	memcpy(ret->sha256, rec + REC_SHA256, SHA256_BYTES);
}

static void record_put(uint8_t *rec, const struct span *span)
{
	le64_put(rec + REC_IN_OFF, span->in_off);
	le64_put(rec + REC_IN_LEN, span->in_len);
	le64_put(rec + REC_OUT_OFF, span->out_off);
	le32_put(rec + REC_OUT_LEN, (uint32_t)span->out_len);
	le64_put(rec + REC_SKIP, span->skip);
	le64_put(rec + REC_WIN_OFF, span->win_off);
	le32_put(rec + REC_WIN_LEN, span->win_len);
	rec[REC_BITS] = span->bits;
	rec[REC_CODEC] = (uint8_t)span->codec;
	rec[REC_SUM] = (uint8_t)span->sum;
	rec[REC_ZERO] = 0;
	memcpy(rec + REC_SHA256, span->sha256, SHA256_BYTES);
}

/* Whether two neighbours come out of one compressed range. */
static bool same_unit(const struct span *a, const struct span *b)
{
	return a->codec != SEEK_ZEROS && b->codec != SEEK_ZEROS && a->in_off == b->in_off &&
	       a->in_len == b->in_len;
}

static int bad_span(struct err *err, size_t i, const char *what)
{
	return err_say(err, -EBADMSG, "span %zu of the seek table is wrong: %s", i, what);
}

/* What a SEEK_ZEROS span may say: nothing but its range. */
static int check_zeros(const struct span *s, size_t i, struct err *err)
{
	static const uint8_t none[SHA256_BYTES];
	if (s->in_off || s->in_len || s->skip || s->win_off || s->win_len || s->bits)
		return bad_span(err, i, "zeros have no compressed range");
	if (s->sum != SEEK_SUM_NONE || memcmp(s->sha256, none, sizeof(none)) != 0)
		return bad_span(err, i, "zeros have no checksum");
	return 0;
}

/* The fields that say how a span is decoded. */
static int check_decoding(const struct span *s, size_t i, struct err *err)
{
	if (s->in_len == 0)
		return bad_span(err, i, "in_len is 0");
	if (s->sum != SEEK_SUM_OUT && s->sum != SEEK_SUM_IN)
		return bad_span(err, i, "sum is missing or unknown");
	if (s->codec != SEEK_DEFLATE && s->bits)
		return bad_span(err, i, "bits is set without a deflate stream");
	if (s->codec != SEEK_DEFLATE && (s->win_len || s->win_off))
		return bad_span(err, i, "a window is set without a deflate stream");
	if (s->bits > 7)
		return bad_span(err, i, "bits is above 7");
	if (s->win_len > SEEK_WINDOW_PACKED_MAX)
		return bad_span(err, i, "win_len is above its limit");
	if (!s->win_len && s->win_off)
		return bad_span(err, i, "win_off is set without a window");
	if (s->codec == SEEK_COPY && (s->skip || s->in_len != s->out_len))
		return bad_span(err, i, "a stored span has other lengths in and out");
	if (s->skip > SEEK_SKIP_MAX)
		return bad_span(err, i, "skip is above its limit");
	/* Deflate cannot do better, so more is a wish to make us allocate. */
	if ((s->codec == SEEK_DEFLATE || s->codec == SEEK_GZIP) &&
	    (s->skip + s->out_len - 1) / SEEK_DEFLATE_RATIO >= s->in_len)
		return bad_span(err, i, "out_len is more than deflate can make of in_len");
	return 0;
}

static int check_unit(const struct span *prev, const struct span *s, size_t i, struct err *err)
{
	if (s->codec != prev->codec || s->sum != prev->sum || s->bits != prev->bits ||
	    s->win_off != prev->win_off || s->win_len != prev->win_len)
		return bad_span(err, i, "it differs from the span before, of the same unit");
	if (s->sum == SEEK_SUM_IN && memcmp(s->sha256, prev->sha256, SHA256_BYTES) != 0)
		return bad_span(err, i, "its unit has two checksums for one compressed range");
	if (s->skip < prev->skip + prev->out_len)
		return bad_span(err, i, "skip overlaps the span before, of the same unit");
	return 0;
}

/* Everything about one span; prev is NULL for the first. */
static int check_span(const struct span *s, const struct span *prev,
		      const struct seek_totals *totals, size_t i, struct err *err)
{
	if (s->codec < 0 || s->codec >= SEEK_CODECS)
		return bad_span(err, i, "codec is unknown");
	if (s->out_len == 0 || s->out_len > SEEK_SPAN_OUT_MAX)
		return bad_span(err, i, "out_len is 0 or above its limit");
	if (!range_within(s->out_off, s->out_len, totals->out_size))
		return bad_span(err, i, "out_off and out_len go past the device");
	if (prev && s->out_off < prev->out_off + prev->out_len)
		return bad_span(err, i, "out_off overlaps or precedes the span before");
	if (s->codec == SEEK_ZEROS)
		return check_zeros(s, i, err);
	if (!range_within(s->in_off, s->in_len, totals->in_size))
		return bad_span(err, i, "in_off and in_len go past the layer");
	if (!range_within(s->win_off, s->win_len, totals->windows_size))
		return bad_span(err, i, "win_off and win_len go past the windows");
	int r = check_decoding(s, i, err);
	if (r < 0)
		return r;
	if (prev && same_unit(prev, s))
		return check_unit(prev, s, i, err);
	return 0;
}

static int check_records(const struct seek *seek, struct err *err)
{
	struct span two[2];
	const struct span *prev = NULL;
	for (size_t i = 0; i < seek->count; i++) {
		const uint8_t *rec = record_at(seek, i);
		struct span *s = &two[i % 2];
		record_get(rec, s);
		if (rec[REC_ZERO])
			return bad_span(err, i, "its unused byte is set");
		int r = check_span(s, prev, &seek->totals, i, err);
		if (r < 0)
			return r;
		prev = s;
	}
	return 0;
}

static int check_digest(const uint8_t *bytes, uint32_t algo, bool need, const char *what,
			struct digest *ret, struct err *err)
{
	static const uint8_t none[DIGEST_BYTES_MAX];
	if (algo > DIGEST_SHA512 || (need && algo == DIGEST_NONE))
		return err_say(err, -EBADMSG,
			       "the seek table is wrong: the algorithm of %s is unknown", what);
	size_t size = digest_size(algo);
	if (memcmp(bytes + size, none, DIGEST_BYTES_MAX - size) != 0)
		return err_say(err, -EBADMSG, "the seek table is wrong: %s is too long", what);
	ret->algo = algo;
	memcpy(ret->bytes, bytes, DIGEST_BYTES_MAX);
	return 0;
}

/* The checksum that the header holds, over everything else. -EIO, -ENOMEM. */
static int table_sum(const uint8_t *data, size_t n, struct digest *ret)
{
	AUTO(digest_ctx) struct digest_ctx *ctx = NULL;
	int r = digest_ctx_create(DIGEST_SHA256, &ctx);
	if (r < 0)
		return r;
	r = digest_ctx_update(ctx, data, HDR_SHA256);
	if (r < 0)
		return r;
	r = digest_ctx_update(ctx, data + HDR_BYTES, n - HDR_BYTES);
	if (r < 0)
		return r;
	return digest_ctx_final(ctx, ret);
}

/* Fills in count and totals from the header. */
static int parse_header(struct seek *seek, struct err *err)
{
	const uint8_t *hdr = seek->data;
	if (seek->n < HDR_BYTES)
		return err_say(err, -EBADMSG,
			       "a seek table of %zu bytes is too short for its header", seek->n);
	if (memcmp(hdr, magic, sizeof(magic)) != 0)
		return err_say(err, -EBADMSG, "not a seek table: the magic number is missing");
	seek->count = le32_get(hdr + HDR_COUNT);
	if (seek->count > SEEK_SPANS_MAX)
		return err_say(err, -EBADMSG,
			       "the seek table is wrong: it has %zu spans, more than %d",
			       seek->count, SEEK_SPANS_MAX);
	if (seek->n != HDR_BYTES + seek->count * REC_BYTES)
		return err_say(err, -EBADMSG,
			       "the seek table is wrong: %zu bytes do not hold exactly %zu spans",
			       seek->n, seek->count);

	struct seek_totals *t = &seek->totals;
	uint32_t flags = le32_get(hdr + HDR_FLAGS);
	if (flags & ~(uint32_t)FLAG_TAR)
		return err_say(err, -EBADMSG, "the seek table is wrong: unknown flags 0x%x", flags);
	if (le64_get(hdr + HDR_ZERO))
		return err_say(err, -EBADMSG,
			       "the seek table is wrong: unused header bytes are set");
	t->is_tar = flags & FLAG_TAR;
	t->in_size = le64_get(hdr + HDR_IN_SIZE);
	t->out_size = le64_get(hdr + HDR_OUT_SIZE);
	t->windows_size = le64_get(hdr + HDR_WINDOWS_SIZE);
	if (t->in_size > INT64_MAX || t->out_size > INT64_MAX || t->windows_size > INT64_MAX)
		return err_say(err, -EBADMSG, "the seek table is wrong: a size is no file size");
	int r = check_digest(hdr + HDR_LAYER, le32_get(hdr + HDR_LAYER_ALGO), true, "the layer",
			     &t->layer, err);
	if (r < 0)
		return r;
	return check_digest(hdr + HDR_DIFF, le32_get(hdr + HDR_DIFF_ALGO), false, "the diff_id",
			    &t->diff_id, err);
}

static int check_sum(const struct seek *seek, struct err *err)
{
	struct digest got;
	int r = table_sum(seek->data, seek->n, &got);
	if (r < 0)
		return err_set(err, r, "check a seek table");
	if (memcmp(got.bytes, seek->data + HDR_SHA256, SHA256_BYTES) != 0)
		return err_say(err, -EBADMSG, "the seek table is damaged: its checksum is wrong");
	return 0;
}

static int seek_check(struct seek *seek, struct err *err)
{
	int r = parse_header(seek, err);
	if (r < 0)
		return r;
	r = check_sum(seek, err);
	if (r < 0)
		return r;
	return check_records(seek, err);
}

int seek_parse(const void *data, size_t n, struct seek **ret, struct err *err)
{
	AUTO(seek) struct seek *seek = calloc(1, sizeof(*seek));
	uint8_t *copy = malloc(n ? n : 1);
	if (!seek || !copy) {
		free(copy);
		return err_set(err, -ENOMEM, "read a seek table");
	}
	if (n)
		memcpy(copy, data, n);
	seek->data = copy;
	seek->n = n;
	int r = seek_check(seek, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&seek);
	return 0;
}

int seek_map(int fd, struct seek **ret, struct err *err)
{
	uint64_t size;
	int r = file_size(fd, &size);
	if (r < 0)
		return err_set(err, r, "read a seek table");
	if (size < HDR_BYTES || size > HDR_BYTES + (uint64_t)SEEK_SPANS_MAX * REC_BYTES)
		return err_say(err, -EBADMSG, "a file of %llu bytes is no seek table",
			       (unsigned long long)size);
	AUTO(seek) struct seek *seek = calloc(1, sizeof(*seek));
	if (!seek)
		return err_set(err, -ENOMEM, "read a seek table");
	void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "map a seek table");
	seek->data = map;
	seek->n = (size_t)size;
	seek->mapped = true;
	r = seek_check(seek, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(&seek);
	return 0;
}

void seek_destroy(struct seek *seek)
{
	if (!seek)
		return;
	void *data = (void *)(uintptr_t)seek->data;
	if (seek->mapped)
		(void)munmap(data, seek->n);
	else
		free(data);
	free(seek);
}

const struct digest *seek_layer(const struct seek *seek)
{
	return &seek->totals.layer;
}

const struct digest *seek_diff_id(const struct seek *seek)
{
	return &seek->totals.diff_id;
}

uint64_t seek_in_size(const struct seek *seek)
{
	return seek->totals.in_size;
}

uint64_t seek_out_size(const struct seek *seek)
{
	return seek->totals.out_size;
}

uint64_t seek_windows_size(const struct seek *seek)
{
	return seek->totals.windows_size;
}

bool seek_is_tar(const struct seek *seek)
{
	return seek->totals.is_tar;
}

size_t seek_count(const struct seek *seek)
{
	return seek->count;
}

void seek_get(const struct seek *seek, size_t i, struct span *ret)
{
	record_get(record_at(seek, i), ret);
}

size_t seek_find(const struct seek *seek, uint64_t off)
{
	size_t lo = 0, hi = seek->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (record_end(record_at(seek, mid)) > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* same_unit() on the records themselves. */
static bool records_share(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, REC_OUT_OFF) == 0 && a[REC_CODEC] != SEEK_ZEROS &&
	       b[REC_CODEC] != SEEK_ZEROS;
}

void seek_unit(const struct seek *seek, size_t i, size_t *ret_first, size_t *ret_end)
{
	const uint8_t *rec = record_at(seek, i);
	size_t first = i, end = i + 1;
	while (first > 0 && records_share(rec, record_at(seek, first - 1)))
		first--;
	while (end < seek->count && records_share(rec, record_at(seek, end)))
		end++;
	*ret_first = first;
	*ret_end = end;
}

const void *seek_bytes(const struct seek *seek, size_t *ret_n)
{
	*ret_n = seek->n;
	return seek->data;
}

int seek_builder_create(struct seek_builder **ret)
{
	static const uint8_t header[HDR_BYTES];
	AUTO(seek_builder) struct seek_builder *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->buf = buf_make(HDR_BYTES + (size_t)SEEK_SPANS_MAX * REC_BYTES);
	int r = buf_append(&b->buf, header, sizeof(header));
	if (r < 0)
		return r;
	*ret = steal_ptr(&b);
	return 0;
}

void seek_builder_destroy(struct seek_builder *builder)
{
	if (!builder)
		return;
	buf_finish(&builder->buf);
	free(builder);
}

/* Our own span is wrong, not bytes that we were given. */
static int as_invalid(struct err *err, int r)
{
	if (r != -EBADMSG)
		return r;
	if (err)
		err->code = -EINVAL;
	return -EINVAL;
}

int seek_builder_add(struct seek_builder *builder, const struct span *span, struct err *err)
{
	/* The sizes are not known before the end. */
	static const struct seek_totals open_end = {
		.in_size = INT64_MAX, .out_size = INT64_MAX, .windows_size = INT64_MAX};
	if (builder->count == SEEK_SPANS_MAX)
		return err_say(err, -E2BIG, "a seek table holds no more than %d spans",
			       SEEK_SPANS_MAX);
	int r = check_span(span, builder->count ? &builder->last : NULL, &open_end, builder->count,
			   err);
	if (r < 0)
		return as_invalid(err, r);
	uint8_t rec[REC_BYTES];
	record_put(rec, span);
	r = buf_append(&builder->buf, rec, sizeof(rec));
	if (r < 0)
		return err_set(err, r, "add span %zu to a seek table", builder->count);
	builder->last = *span;
	builder->count++;
	return 0;
}

static void header_put(uint8_t *hdr, size_t count, const struct seek_totals *totals)
{
	memcpy(hdr, magic, sizeof(magic));
	le32_put(hdr + HDR_FLAGS, totals->is_tar ? FLAG_TAR : 0);
	le32_put(hdr + HDR_COUNT, (uint32_t)count);
	le64_put(hdr + HDR_IN_SIZE, totals->in_size);
	le64_put(hdr + HDR_OUT_SIZE, totals->out_size);
	le64_put(hdr + HDR_WINDOWS_SIZE, totals->windows_size);
	le32_put(hdr + HDR_LAYER_ALGO, totals->layer.algo);
	le32_put(hdr + HDR_DIFF_ALGO, totals->diff_id.algo);
	memcpy(hdr + HDR_LAYER, totals->layer.bytes, DIGEST_BYTES_MAX);
	memcpy(hdr + HDR_DIFF, totals->diff_id.bytes, DIGEST_BYTES_MAX);
}

int seek_builder_finish(struct seek_builder *builder, const struct seek_totals *totals,
			struct seek **ret, struct err *err)
{
	AUTO(seek) struct seek *seek = calloc(1, sizeof(*seek));
	if (!seek)
		return err_set(err, -ENOMEM, "finish a seek table");
	size_t n = builder->buf.len;
	uint8_t *data = (uint8_t *)builder->buf.data;
	header_put(data, builder->count, totals);
	struct digest sum;
	int r = table_sum(data, n, &sum);
	if (r < 0)
		return err_set(err, r, "finish a seek table");
	memcpy(data + HDR_SHA256, sum.bytes, SHA256_BYTES);

	seek->data = (uint8_t *)buf_steal(&builder->buf);
	seek->n = n;
	r = parse_header(seek, err);
	if (r >= 0)
		r = check_records(seek, err);
	if (r < 0)
		return as_invalid(err, r);
	/* The buffer grew in steps; a table lives long. */
	uint8_t *tight = realloc((void *)(uintptr_t)seek->data, n);
	if (tight)
		seek->data = tight;
	*ret = steal_ptr(&seek);
	return 0;
}
