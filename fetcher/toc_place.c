/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/le.h"
#include "base/num.h"
#include "fetcher/tar.h"
#include "fetcher/toc.h"

/* Footers of eStargz: an empty gzip member whose extra field says where the TOC is. */
enum {
	STARGZ_FOOTER = 51,
	STARGZ_OLD_FOOTER = 47,
	STARGZ_EXTERNAL_FOOTER = 46,
	STARGZ_HEX = 16, /* digits of the offset */
};

/* Footers of zstd:chunked: the content of a skippable frame. */
enum {
	ZSTD_FOOTER = 64,
	ZSTD_OLD_FOOTER = 40,
	ZSTD_TYPE = 24, /* where the type stands, behind offset, length, raw length */
	ZSTD_TYPE_CRFS = 1,
};

enum { TOC_TAR_EXTRA = 1 << 20 }; /* what the tar around an eStargz TOC may add to it */

static const uint8_t gzip_start[] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff};
static const uint8_t gzip_end[] = {1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0};

/* Whether at holds a footer of n bytes whose extra field has this head and tail. */
static bool stargz_match(const uint8_t *at, size_t n, const char *head, size_t head_len,
			 const char *tail)
{
	size_t tail_len = strlen(tail);
	return memcmp(at, gzip_start, sizeof(gzip_start)) == 0 &&
	       memcmp(at + sizeof(gzip_start), head, head_len) == 0 &&
	       memcmp(at + n - sizeof(gzip_end) - tail_len, tail, tail_len) == 0 &&
	       memcmp(at + n - sizeof(gzip_end), gzip_end, sizeof(gzip_end)) == 0;
}

static int hex_parse(const uint8_t *text, size_t n, uint64_t *ret)
{
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++) {
		const char *digits = "0123456789abcdef";
		int c = text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i];
		const char *at = c ? strchr(digits, c) : NULL;
		if (!at)
			return -EBADMSG;
		v = v << 4 | (uint64_t)(at - digits);
	}
	*ret = v;
	return 0;
}

static int stargz_find(const uint8_t *end, size_t n, uint64_t blob_size, struct toc_place *ret,
		       struct err *err)
{
	const uint8_t *hex = NULL;
	size_t footer = 0;
	if (n >= STARGZ_FOOTER && stargz_match(end - STARGZ_FOOTER, STARGZ_FOOTER,
					       "\x1a\0SG\x16\0", 6, "STARGZ")) {
		footer = STARGZ_FOOTER;
		hex = end - footer + sizeof(gzip_start) + 6;
	} else if (n >= STARGZ_OLD_FOOTER && stargz_match(end - STARGZ_OLD_FOOTER, STARGZ_OLD_FOOTER,
							  "\x16\0", 2, "STARGZ")) {
		footer = STARGZ_OLD_FOOTER;
		hex = end - footer + sizeof(gzip_start) + 2;
	} else if (n >= STARGZ_EXTERNAL_FOOTER &&
		   stargz_match(end - STARGZ_EXTERNAL_FOOTER, STARGZ_EXTERNAL_FOOTER,
				"\x15\0SG\x11\0", 6, "STARGZEXTERNALTOC")) {
		*ret = (struct toc_place){.kind = TOC_ESTARGZ, .external = true,
					  .off = blob_size - STARGZ_EXTERNAL_FOOTER};
		return 0;
	} else {
		return -ENOENT;
	}
	uint64_t off = 0;
	if (hex_parse(hex, STARGZ_HEX, &off) < 0 || off >= blob_size - footer)
		return err_say(err, -EBADMSG, "the eStargz footer does not point into the layer");
	*ret = (struct toc_place){.kind = TOC_ESTARGZ, .off = off, .len = blob_size - footer - off};
	return 0;
}

static int zstd_place(uint64_t off, uint64_t len, uint64_t raw_len, uint64_t type,
		      uint64_t blob_size, struct toc_place *ret, struct err *err)
{
	if (type != ZSTD_TYPE_CRFS || len == 0 || !range_within(off, len, blob_size))
		return err_say(err, -EBADMSG,
			       "the place of the zstd:chunked TOC, %" PRIu64 " bytes at %" PRIu64
			       " of type %" PRIu64 ", is not in the layer", len, off, type);
	*ret = (struct toc_place){
		.kind = TOC_ZSTD_CHUNKED, .off = off, .len = len, .raw_len = raw_len};
	return 0;
}

static int zstd_find(const uint8_t *end, size_t n, uint64_t blob_size, struct toc_place *ret,
		     struct err *err)
{
	if (n < ZSTD_OLD_FOOTER || memcmp(end - 8, "GNUlInUx", 8) != 0)
		return -ENOENT;
	const uint8_t *f = end - ZSTD_OLD_FOOTER;
	/* The type stands at different places, and in the old footer nothing else can be 1 there. */
	if (n >= ZSTD_FOOTER && le64_get(end - ZSTD_FOOTER + ZSTD_TYPE) == ZSTD_TYPE_CRFS &&
	    range_within(le64_get(end - ZSTD_FOOTER), le64_get(end - ZSTD_FOOTER + 8), blob_size))
		f = end - ZSTD_FOOTER;
	return zstd_place(le64_get(f), le64_get(f + 8), le64_get(f + 16), le64_get(f + ZSTD_TYPE),
			  blob_size, ret, err);
}

int toc_find(const void *tail, size_t n, uint64_t blob_size, struct toc_place *ret,
	     struct err *err)
{
	const uint8_t *end = (const uint8_t *)tail + n;
	if (n > blob_size)
		return err_say(err, -EINVAL, "the tail of a layer is longer than the layer");
	int r = stargz_find(end, n, blob_size, ret, err);
	if (r == -ENOENT)
		r = zstd_find(end, n, blob_size, ret, err);
	return r == -ENOENT ? err_say(err, r, "the layer has no TOC") : r;
}

int toc_parse_position(const char *text, uint64_t blob_size, struct toc_place *ret,
		       struct err *err)
{
	uint64_t v[4] = {0};
	const char *at = text;
	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		char number[24];
		size_t n = strspn(at, "0123456789");
		if (n >= sizeof(number) || at[n] != (i + 1 < ARRAY_LEN(v) ? ':' : '\0'))
			return err_say(err, -EBADMSG, "\"%.64s\" is not the place of a TOC", text);
		memcpy(number, at, n);
		number[n] = '\0';
		if (u64_parse(number, INT64_MAX, &v[i]) < 0)
			return err_say(err, -EBADMSG, "\"%.64s\" is not the place of a TOC", text);
		at += n + 1;
	}
	return zstd_place(v[0], v[1], v[2], v[3], blob_size, ret, err);
}

/* What n compressed bytes may become. */
static size_t unpacked_max(size_t n, size_t cap)
{
	return (size_t)u64_min(cap, (uint64_t)n * TOC_RATIO_MAX + 4096);
}

static int too_big(struct err *err, size_t max)
{
	return err_say(err, -EFBIG, "the TOC unpacks to more than %zu bytes", max);
}

static int gunzip(const void *data, size_t n, struct buf *to, struct err *err)
{
	uint8_t out[32768];
	z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)n};
	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return -ENOMEM;
	int r = 0;
	int status = Z_OK;
	while (r == 0 && status == Z_OK) {
		z.next_out = out;
		z.avail_out = sizeof(out);
		status = inflate(&z, Z_NO_FLUSH);
		r = buf_append(to, out, sizeof(out) - z.avail_out);
	}
	(void)inflateEnd(&z);
	if (r == -E2BIG)
		return too_big(err, to->max);
	if (r == 0 && status != Z_STREAM_END)
		return err_say(err, -EBADMSG, "the TOC is not whole gzip");
	return r;
}

/* Notes where the JSON stands in the tar; data is a struct entry_extent. */
static int note_json(void *data, const struct entry *entry, struct err *err)
{
	struct entry_extent *found = data;
	(void)err;
	if (strcmp(entry->path, "stargz.index.json") == 0 && entry->n_extents == 1)
		*found = entry->extents[0];
	return 0;
}

static int stargz_unpack(const void *data, size_t n, struct buf *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf tar = buf_make(unpacked_max(n, TOC_JSON_MAX + TOC_TAR_EXTRA));
	AUTO(tar_reader) struct tar_reader *reader = NULL;
	struct entry_extent found = {0};
	int r = gunzip(data, n, &tar, err);
	if (r < 0)
		return r;
	r = tar_reader_create(note_json, &found, &reader);
	r = r < 0 ? r : tar_reader_push(reader, buf_str(&tar), tar.len, err);
	r = r < 0 ? r : tar_reader_finish(reader, err);
	if (r < 0)
		return r;
	if (found.len == 0)
		return err_say(err, -EBADMSG, "there is no stargz.index.json where the TOC should be");
	return buf_append(ret, tar.data + found.dev_off, found.len);
}

static int zstd_unpack(const void *data, size_t n, struct buf *ret, struct err *err)
{
	size_t max = unpacked_max(n, TOC_JSON_MAX);
	AUTO_FREE void *room = malloc(ZSTD_DStreamOutSize());
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	ZSTD_inBuffer in = {.src = data, .size = n};
	size_t left = 1;
	int r = room && ctx ? 0 : -ENOMEM;
	while (r == 0 && left != 0) {
		ZSTD_outBuffer out = {.dst = room, .size = ZSTD_DStreamOutSize()};
		left = ZSTD_decompressStream(ctx, &out, &in);
		if (ZSTD_isError(left) || (left != 0 && in.pos == n && out.pos < out.size))
			r = err_say(err, -EBADMSG, "the TOC is not whole zstd");
		else if (ret->len + out.pos > max)
			r = too_big(err, max);
		else
			r = buf_append(ret, room, out.pos);
	}
	ZSTD_freeDCtx(ctx);
	return r;
}

int toc_unpack(const struct toc_place *place, const void *data, size_t n,
	       const struct digest *want, struct buf *ret, struct err *err)
{
	AUTO_FINISH(buf) struct buf json = buf_make(TOC_JSON_MAX);
	bool zstd = place->kind == TOC_ZSTD_CHUNKED;
	if (n > TOC_PACKED_MAX)
		return err_say(err, -EFBIG, "a TOC of %zu bytes is larger than %d", n,
			       TOC_PACKED_MAX);
	int r = zstd ? digest_check(want, data, n, "the TOC", err) : 0;
	if (r < 0)
		return r;
	r = zstd ? zstd_unpack(data, n, &json, err) : stargz_unpack(data, n, &json, err);
	if (r == -E2BIG)
		return too_big(err, TOC_JSON_MAX);
	if (r < 0)
		return r;
	if (!zstd)
		r = digest_check(want, json.data, json.len, "the TOC", err);
	else if (place->raw_len != 0 && json.len != place->raw_len)
		r = err_say(err, -EBADMSG, "the TOC unpacks to %zu bytes, not %" PRIu64, json.len,
			    place->raw_len);
	return r < 0 ? r : buf_append(ret, buf_str(&json), json.len);
}
