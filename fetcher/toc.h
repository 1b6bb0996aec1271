/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of contents that eStargz (stargz-snapshotter, docs/estargz.md) and
 * zstd:chunked (containers/storage, pkg/chunked) layers carry: where it is,
 * how to check it, and the files and chunks that it tells of.
 *
 * A TOC does not say where files stand in the tar, so the device of such a
 * layer is a synthetic space: each file with content begins at the next
 * multiple of ENTRY_ALIGN, in the order of the TOC. toc_entries() points into
 * it and toc_seek() maps it to the chunks.
 *
 * What is wrong with a TOC is -EBADMSG, and what no seek table can express
 * -EFBIG: the layer is then to be read as the plain gzip or zstd it is too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "fetcher/entry.h"
#include "fetcher/seek.h"

enum {
	TOC_FOOTER_MAX = 64,	    /* bytes of the tail that toc_find() wants */
	TOC_JSON_MAX = 150 << 20,   /* bytes of the JSON, as in containers/storage */
	TOC_PACKED_MAX = 64 << 20,  /* bytes of it compressed */
	TOC_RATIO_MAX = 1032,	    /* JSON is no better packed than deflate can */
};

/* On the layer's descriptor: the digest of the TOC. */
#define TOC_ESTARGZ_DIGEST	"containerd.io/snapshot/stargz/toc.digest"
#define TOC_ZSTD_CHECKSUM	"io.github.containers.zstd-chunked.manifest-checksum"
#define TOC_ZSTD_POSITION	"io.github.containers.zstd-chunked.manifest-position"
/* The same as older writers name them (skopeo and podman of 2022, stargz-snapshotter). */
#define TOC_ZSTD_OLD_CHECKSUM	"io.containers.zstd-chunked.manifest-checksum"
#define TOC_ZSTD_OLD_POSITION	"io.containers.zstd-chunked.manifest-position"

enum toc_kind { TOC_ESTARGZ, TOC_ZSTD_CHUNKED };

/* Where the compressed TOC is. */
struct toc_place {
	enum toc_kind kind;
	bool external;	   /* not in this blob, but the only layer of the image `<ref>-esgztoc` */
	uint64_t off, len; /* in the blob */
	uint64_t raw_len;  /* of the JSON; 0: not told */
};

/*
 * Looks for a footer of eStargz (51 bytes, 47 in old layers, 46 with an
 * external TOC) or of zstd:chunked (64 bytes, 40 in old layers) in the last n
 * bytes of a blob, of which TOC_FOOTER_MAX are enough. -ENOENT: there is none.
 * -EBADMSG: it points outside the blob. Pure.
 */
int toc_find(const void *tail, size_t n, uint64_t blob_size, struct toc_place *ret,
	     struct err *err);

/* The annotation TOC_ZSTD_POSITION, "offset:length:raw length:1". -EBADMSG. Pure. */
int toc_parse_position(const char *text, uint64_t blob_size, struct toc_place *ret,
		       struct err *err);

/*
 * Checks the compressed TOC (n bytes) against the digest its annotation gives,
 * and appends the JSON to ret. The digest is that of the JSON for eStargz, of
 * the compressed bytes for zstd:chunked. -EBADMSG, -EFBIG past the caps, -ENOMEM.
 */
int toc_unpack(const struct toc_place *place, const void *data, size_t n,
	       const struct digest *want, struct buf *ret, struct err *err);

struct toc;

/*
 * Takes the JSON of a TOC. data_end: the offset in the blob where chunks end
 * at the latest, which is where the TOC begins (the footer, when external).
 * -EBADMSG also when a chunk has no digest to check it by; -EFBIG for a chunk
 * longer than SEEK_SPAN_OUT_MAX; -ENOMEM. The caller destroys it.
 */
int toc_parse(const void *json, size_t n, enum toc_kind kind, uint64_t data_end,
	      struct toc **ret, struct err *err);
void toc_destroy(struct toc *toc);
DEFINE_CLEANUP(toc, toc_destroy);

/*
 * Emits the entries in the order of the TOC, without the TOC itself and the
 * landmarks. -EBADMSG with the entry's name, -ENOMEM, or what fn returned.
 */
int toc_entries(const struct toc *toc, entry_fn fn, void *data, struct err *err);

/* The seek table of the synthetic device. blob_size is that of the layer. -EBADMSG, -ENOMEM. */
int toc_seek(const struct toc *toc, const struct digest *layer, uint64_t blob_size,
	     struct seek **ret, struct err *err);

/* Bytes of the synthetic device. */
uint64_t toc_device_size(const struct toc *toc);

/*
 * eStargz: true when [0, *ret_end) of the blob is what a start needs, false
 * when the layer does not say or says that there is nothing.
 */
bool toc_prefetch(const struct toc *toc, uint64_t *ret_end);
