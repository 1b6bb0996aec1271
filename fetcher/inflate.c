/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/inflate.h"

#include <stdlib.h>
#include <string.h>
#if HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "base/num.h"
#include "fetcher/span_decoder.h"

/* No call is given more, since zlib and ISA-L count in 32 bits. */
enum { CALL_MAX = 1 << 30 };

int inflate_init(struct inflate *inf, bool isal)
{
	*inf = (struct inflate){0};
	if (isal) {
#if HAVE_ISAL
		inf->isal = malloc(sizeof(*inf->isal));
		if (!inf->isal)
			return -ENOMEM;
#else
		return -EOPNOTSUPP;
#endif
	} else {
		inf->z_ready = inflateInit2(&inf->z, -MAX_WBITS) == Z_OK;
		if (!inf->z_ready)
			return -ENOMEM;
	}
	inf->zstd = ZSTD_createDCtx();
	if (!inf->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(inf->zstd, ZSTD_d_windowLogMax,
							      SPAN_ZSTD_WINDOW_LOG_MAX)))
		return -ENOMEM;
	return 0;
}

void inflate_finish(struct inflate *inf)
{
	if (inf->z_ready)
		(void)inflateEnd(&inf->z);
	free(inf->isal);
	(void)ZSTD_freeDCtx(inf->zstd);
	*inf = (struct inflate){0};
}

#if HAVE_ISAL
static void isal_reset(struct inflate *inf)
{
	isal_inflate_init(inf->isal);
	inf->isal->crc_flag = ISAL_DEFLATE;
}

static void isal_prime(struct inflate *inf, uint8_t byte)
{
	inf->isal->read_in = byte;
	inf->isal->read_in_length = inf->bits;
}

static bool isal_window(struct inflate *inf, const void *window)
{
	/* Declared without const, but only copied from. */
	uint8_t *dict = (uint8_t *)(uintptr_t)window;
	return isal_inflate_set_dict(inf->isal, dict, SEEK_WINDOW_BYTES) == COMP_OK;
}

static const char *isal_reason(int r)
{
	switch (r) {
	case ISAL_INVALID_BLOCK:
		return "invalid deflate block";
	case ISAL_INVALID_SYMBOL:
		return "invalid deflate symbol";
	case ISAL_INVALID_LOOKBACK:
		return "invalid distance too far back";
	default:
		return "invalid deflate stream";
	}
}

static int isal_body(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out,
		     size_t *room, struct err *err)
{
	struct inflate_state *s = inf->isal;
	uint32_t avail_in = (uint32_t)u64_min(*n, CALL_MAX);
	uint32_t avail_out = (uint32_t)u64_min(*room, CALL_MAX);
	s->next_in = (uint8_t *)(uintptr_t)*in;
	s->avail_in = avail_in;
	s->next_out = *out;
	s->avail_out = avail_out;
	int r = isal_inflate(s);
	*in += avail_in - s->avail_in;
	*n -= avail_in - s->avail_in;
	*out += avail_out - s->avail_out;
	*room -= avail_out - s->avail_out;
	if (r < 0)
		return err_say(err, -EBADMSG, "%s", isal_reason(r));
	if (s->block_state == ISAL_BLOCK_FINISH) {
		/* It has read ahead by up to eight bytes: the trailer's, which is as long. */
		size_t ahead = (size_t)s->read_in_length / 8;
		inf->trailer_left = GZIP_TRAILER_BYTES - u64_min(ahead, GZIP_TRAILER_BYTES);
		inf->phase = INFLATE_TRAILER;
	}
	return 0;
}
#else
/* Never called: inflate_init() has refused. */
static void isal_reset(struct inflate *inf)
{
	(void)inf;
}

static void isal_prime(struct inflate *inf, uint8_t byte)
{
	(void)inf;
	(void)byte;
}

static bool isal_window(struct inflate *inf, const void *window)
{
	(void)inf;
	(void)window;
	return false;
}

static int isal_body(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out,
		     size_t *room, struct err *err)
{
	(void)inf;
	(void)in;
	(void)n;
	(void)out;
	(void)room;
	return err_say(err, -EOPNOTSUPP, "built without ISA-L");
}
#endif

static int zlib_body(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out,
		     size_t *room, struct err *err)
{
	z_stream *z = &inf->z;
	uInt avail_in = (uInt)u64_min(*n, CALL_MAX);
	uInt avail_out = (uInt)u64_min(*room, CALL_MAX);
	z->next_in = (z_const Bytef *)(uintptr_t)*in;
	z->avail_in = avail_in;
	z->next_out = *out;
	z->avail_out = avail_out;
	int r = inflate(z, Z_NO_FLUSH);
	*in += avail_in - z->avail_in;
	*n -= avail_in - z->avail_in;
	*out += avail_out - z->avail_out;
	*room -= avail_out - z->avail_out;
	if (r == Z_STREAM_END) {
		inf->trailer_left = GZIP_TRAILER_BYTES;
		inf->phase = INFLATE_TRAILER;
		return 0;
	}
	if (r == Z_MEM_ERROR)
		return err_set(err, -ENOMEM, "inflate");
	if (r != Z_OK && r != Z_BUF_ERROR)
		return err_say(err, -EBADMSG, "%s", z->msg ? z->msg : "invalid deflate stream");
	return 0;
}

static int zstd_body(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out,
		     size_t *room, struct err *err)
{
	ZSTD_inBuffer src = {.src = *in, .size = *n};
	ZSTD_outBuffer dst = {.dst = *out, .size = *room};
	size_t r = ZSTD_decompressStream(inf->zstd, &dst, &src);
	*in += src.pos;
	*n -= src.pos;
	*out += dst.pos;
	*room -= dst.pos;
	if (ZSTD_isError(r))
		return err_say(err, -EBADMSG, "%s", ZSTD_getErrorName(r));
	return 0;
}

static void copy_body(const uint8_t **in, size_t *n, uint8_t **out, size_t *room)
{
	size_t part = (size_t)u64_min(*n, *room);
	memcpy(*out, *in, part);
	*in += part;
	*n -= part;
	*out += part;
	*room -= part;
}

int inflate_begin(struct inflate *inf, const struct span *span, const void *window, struct err *err)
{
	inf->codec = span->codec;
	inf->bits = span->bits;
	inf->again = false;
	inf->phase = INFLATE_BODY;
	if (span->codec == SEEK_ZSTD)
		(void)ZSTD_DCtx_reset(inf->zstd, ZSTD_reset_session_only);
	if (span->codec != SEEK_DEFLATE && span->codec != SEEK_GZIP)
		return 0;

	if (inf->isal)
		isal_reset(inf);
	else if (inflateReset(&inf->z) != Z_OK)
		return err_say(err, -EIO, "zlib does not begin anew");
	if (span->codec == SEEK_GZIP) {
		inf->phase = INFLATE_HEADER;
		inf->header = (struct gzip_header){0};
	} else if (span->bits) {
		inf->phase = INFLATE_PRIME;
	}
	if (!window)
		return 0;
	bool ok = inf->isal ? isal_window(inf, window)
			    : inflateSetDictionary(&inf->z, window, SEEK_WINDOW_BYTES) == Z_OK;
	return ok ? 0 : err_say(err, -EIO, "the decoder does not take a window");
}

static int prime(struct inflate *inf, const uint8_t **in, size_t *n, struct err *err)
{
	uint8_t byte = (uint8_t)(**in >> (8 - inf->bits));
	(*in)++;
	(*n)--;
	inf->phase = INFLATE_BODY;
	if (inf->isal)
		isal_prime(inf, byte);
	else if (inflatePrime(&inf->z, inf->bits, byte) != Z_OK)
		return err_say(err, -EIO, "zlib does not take a checkpoint");
	return 0;
}

static int header(struct inflate *inf, const uint8_t **in, size_t *n, struct err *err)
{
	size_t used = 0;
	int r = gzip_header_push(&inf->header, *in, *n, &used);
	if (r < 0) {
		/* After a member, what is no header is padding. */
		if (!inf->again)
			return err_say(err, r, "wrong gzip header");
		inf->phase = INFLATE_END;
		return 0;
	}
	*in += used;
	*n -= used;
	if (r == 0)
		return 0;
	inf->phase = INFLATE_BODY;
	if (inf->isal)
		isal_reset(inf);
	else if (inflateReset(&inf->z) != Z_OK)
		return err_say(err, -EIO, "zlib does not begin anew");
	return 0;
}

static void trailer(struct inflate *inf, const uint8_t **in, size_t *n)
{
	size_t part = (size_t)u64_min(*n, inf->trailer_left);
	*in += part;
	*n -= part;
	inf->trailer_left -= part;
	if (inf->trailer_left > 0)
		return;
	inf->phase = INFLATE_HEADER;
	inf->header = (struct gzip_header){0};
	inf->again = true;
}

static int body(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out, size_t *room,
		struct err *err)
{
	switch (inf->codec) {
	case SEEK_DEFLATE:
	case SEEK_GZIP:
		return inf->isal ? isal_body(inf, in, n, out, room, err)
				 : zlib_body(inf, in, n, out, room, err);
	case SEEK_ZSTD:
		return zstd_body(inf, in, n, out, room, err);
	case SEEK_COPY:
		copy_body(in, n, out, room);
		return 0;
	case SEEK_ZEROS:
	case SEEK_CODECS:
		break;
	}
	return err_say(err, -EINVAL, "a codec that reads nothing was given input");
}

int inflate_run(struct inflate *inf, const uint8_t **in, size_t *n, uint8_t **out, size_t *room,
		struct err *err)
{
	bool moved = true;
	while (*room > 0 && inf->phase != INFLATE_END && (*n > 0 || moved)) {
		size_t n_before = *n, room_before = *room;
		int r = 0;
		if (inf->phase == INFLATE_BODY)
			r = body(inf, in, n, out, room, err);
		else if (*n == 0)
			break;
		else if (inf->phase == INFLATE_PRIME)
			r = prime(inf, in, n, err);
		else if (inf->phase == INFLATE_HEADER)
			r = header(inf, in, n, err);
		else
			trailer(inf, in, n);
		if (r < 0)
			return r;
		moved = *n != n_before || *room != room_before;
		if (!moved && inf->phase == INFLATE_BODY && *n > 0)
			return err_say(err, -EBADMSG, "the decoder stopped before the end");
	}
	return 0;
}
