/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A seek table: where in a compressed layer the bytes of its device are, and
 * how to check them. One record a span; spans are sorted by out_off and do not
 * overlap; bytes between spans are zero (padding of a synthetic device).
 *
 * To produce span i: take [in_off, in_off + in_len) of the blob, decode it
 * with `codec` (for gzip: from bit offset `bits` of the byte before, with the
 * window as dictionary), drop `skip` bytes, take out_len. Spans that come out
 * of one compressed range (a zstd frame longer than a span, an eStargz member
 * with several chunks) follow each other, carry the same in_off and in_len,
 * and differ in skip: they form one *unit*, which is fetched and decoded once.
 *
 * On disk: a header, then fixed-size records, little-endian, mapped and read
 * in place; seek.c holds the exact layout. A table is immutable and may be
 * read by any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"

enum {
	SEEK_SPAN_BYTES = 1 << 20,	/* what we aim at when we cut spans ourselves */
	SEEK_SPAN_OUT_MAX = 64 << 20,	/* a longer span is refused: it must fit in memory */
	SEEK_WINDOW_BYTES = 32768,	/* deflate's history, RFC 1951 */
	SEEK_SPANS_MAX = 1 << 24,
	SEEK_WINDOW_PACKED_MAX = SEEK_WINDOW_BYTES + 256, /* at least ZSTD_COMPRESSBOUND of a window */
	SEEK_DEFLATE_RATIO = 1032,	/* 258 bytes from 2 bits is the most that deflate can do */
};
#define SEEK_SKIP_MAX (UINT64_C(1) << 40) /* a unit decodes to no more than this */

enum seek_codec {
	SEEK_COPY,	    /* stored as it is: a plain tar */
	SEEK_DEFLATE,	    /* raw deflate from a checkpoint; may run over member boundaries */
	SEEK_GZIP,	    /* whole gzip members */
	SEEK_ZSTD,	    /* whole zstd frames */
	SEEK_ZEROS,	    /* nothing is fetched: out_len zeros */
	SEEK_CODECS,
};

enum seek_sum {
	SEEK_SUM_NONE, /* refused by seek_builder_add() except for SEEK_ZEROS */
	SEEK_SUM_OUT,  /* SHA-256 of the uncompressed span */
	SEEK_SUM_IN,   /* SHA-256 of the compressed range (SOCI) */
};

struct span {
	uint64_t in_off, in_len;   /* compressed range of the blob */
	uint64_t out_off, out_len; /* range of the device */
	uint64_t skip;		   /* decoded bytes of the unit before this span */
	uint64_t win_off;	   /* of the zstd-compressed window in the windows blob */
	uint32_t win_len;	   /* 0: no history is needed */
	uint8_t bits;		   /* SEEK_DEFLATE: bits of the first byte that are used, 0-7; see below */
	enum seek_codec codec;
	enum seek_sum sum;
	uint8_t sha256[SHA256_BYTES];
};
/*
 * bits: as zlib's zran.c: when not 0, in_off names the byte that holds the
 * first bits, of which the upper `bits` bits belong to this span
 * (inflatePrime(bits, byte >> (8 - bits))); neighbours then share that byte.
 */

struct seek;

/*
 * Takes a table from memory (copied) or maps it from a file. Everything is
 * checked once here, so the getters cannot fail: -EBADMSG with the record and
 * the field that is wrong. The caller destroys it.
 */
int seek_parse(const void *data, size_t n, struct seek **ret, struct err *err);
int seek_map(int fd, struct seek **ret, struct err *err);
void seek_destroy(struct seek *seek);
DEFINE_CLEANUP(seek, seek_destroy);

/* The layer blob the table belongs to. */
const struct digest *seek_layer(const struct seek *seek);
/* The digest of the uncompressed tar where it is known, else DIGEST_NONE. */
const struct digest *seek_diff_id(const struct seek *seek);
uint64_t seek_in_size(const struct seek *seek);	  /* of the blob */
uint64_t seek_out_size(const struct seek *seek);  /* of the device */
uint64_t seek_windows_size(const struct seek *seek); /* of the windows blob, 0: none */
/* Whether the device is the layer's tar itself, so that diff_id can be checked over it. */
bool seek_is_tar(const struct seek *seek);
size_t seek_count(const struct seek *seek);

/* The i-th span (i < count). */
void seek_get(const struct seek *seek, size_t i, struct span *ret);

/* The first span that ends after off; seek_count() when none does. Binary search. */
size_t seek_find(const struct seek *seek, uint64_t off);

/* The first and one past the last span of the unit that span i belongs to. */
void seek_unit(const struct seek *seek, size_t i, size_t *ret_first, size_t *ret_end);

/* The table as bytes, to store or push; borrowed. */
const void *seek_bytes(const struct seek *seek, size_t *ret_n);

/* Makes a table, span after span. Belongs to one thread. */
struct seek_builder;
int seek_builder_create(struct seek_builder **ret);
void seek_builder_destroy(struct seek_builder *builder);
DEFINE_CLEANUP(seek_builder, seek_builder_destroy);

/* Adds the next span. -EINVAL for one that seek_parse() would refuse, -E2BIG, -ENOMEM. */
int seek_builder_add(struct seek_builder *builder, const struct span *span, struct err *err);

struct seek_totals {
	struct digest layer, diff_id; /* diff_id may be none */
	uint64_t in_size, out_size, windows_size;
	bool is_tar;
};
/*
 * Ends the table; the builder can then only be destroyed, also after a failure.
 * -EINVAL when a span lies outside the sizes, or layer is none. -ENOMEM.
 */
int seek_builder_finish(struct seek_builder *builder, const struct seek_totals *totals,
			struct seek **ret, struct err *err);
