/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "fetcher/ztoc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LAYER_BYTES = 5000 }; /* what the zTOCs of the corpus describe */

/* Content stays within the device; data is the zTOC. */
static int take(void *data, const struct entry *entry, struct err *err)
{
	const struct ztoc *ztoc = data;
	if (entry_check(entry, err) < 0)
		abort();
	for (size_t i = 0; i < entry->n_extents; i++) {
		if (entry->extents[i].dev_off + entry->extents[i].len > ztoc_device_size(ztoc))
			abort();
	}
	return 0;
}

static int window(void *data, const void *bytes, size_t n)
{
	uint64_t *total = data;
	(void)bytes;
	*total += n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO(ztoc) struct ztoc *ztoc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	const struct digest layer = {.algo = DIGEST_SHA256};
	uint64_t windows = 0;
	struct byte_sink sink = {.write = window, .data = &windows};
	int r = ztoc_parse(data, n, LAYER_BYTES, &ztoc, &err);
	if (r == 0) {
		r = ztoc_entries(ztoc, take, ztoc, &err);
		if (r < 0 && r != -EBADMSG && r != -EFBIG)
			abort();
		r = ztoc_seek(ztoc, &layer, NULL, 10, &sink, &seek, &err);
		if (r == 0 && seek_windows_size(seek) != windows)
			abort();
	}
	if (r < 0 && r != -EBADMSG && r != -EFBIG)
		abort();
	return 0;
}
