/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The zTOC of SOCI (awslabs/soci-snapshotter, ztoc/fbs/ztoc.fbs): for one
 * layer, gzip or plain tar, its files and where decompression can begin. It is
 * a FlatBuffer that stands beside the layer (fetcher/soci.h finds it). Its
 * offsets are those of the tar, so the layer's device is the tar itself.
 *
 * What is wrong with a zTOC is -EBADMSG with the name of the field. What it
 * cannot tell, or no seek table can express, is -EFBIG: the layer is then to
 * be read as if it had none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "fetcher/entry.h"
#include "fetcher/origin.h"
#include "fetcher/seek.h"

struct ztoc;

/*
 * Takes a zTOC (borrowed until the destroy) that must be of a layer of
 * layer_size compressed bytes. -EBADMSG, -ENOMEM. The caller destroys it.
 */
int ztoc_parse(const void *data, size_t n, uint64_t layer_size, struct ztoc **ret,
	       struct err *err);
void ztoc_destroy(struct ztoc *ztoc);
DEFINE_CLEANUP(ztoc, ztoc_destroy);

/*
 * Emits the entries in the order of the zTOC. -EBADMSG with the entry's name,
 * -EFBIG for a sparse file (its map is not told), -ENOMEM, or what fn returned.
 */
int ztoc_entries(const struct ztoc *ztoc, entry_fn fn, void *data, struct err *err);

/*
 * Whether ztoc_seek() has to be told where the layer's deflate stream begins: version 1 of the
 * checkpoints does not say.
 */
bool ztoc_needs_start(const struct ztoc *ztoc);

/*
 * The seek table of the layer: spans are checked by the digests of their
 * compressed ranges. The packed windows go into `windows` in order. diff_id
 * may be NULL. start: the bytes of the first member's gzip header, looked at
 * when ztoc_needs_start() only. -EBADMSG, -EFBIG, -ENOMEM, or what the sink returned.
 */
int ztoc_seek(const struct ztoc *ztoc, const struct digest *layer, const struct digest *diff_id,
	      uint64_t start, const struct byte_sink *windows, struct seek **ret,
	      struct err *err);

/*
 * Bytes of the device. SOCI stops counting where the archive ends, so that
 * padding after the end of a gzip layer's tar may not be among them.
 */
uint64_t ztoc_device_size(const struct ztoc *ztoc);
