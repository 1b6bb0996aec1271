/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fetcher/toc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { BLOB = 1 << 30 };

/* Content stays within the device; data is the TOC. */
static int take(void *data, const struct entry *entry, struct err *err)
{
	const struct toc *toc = data;
	if (entry_check(entry, err) < 0)
		abort();
	for (size_t i = 0; i < entry->n_extents; i++) {
		if (entry->extents[i].dev_off + entry->extents[i].len > toc_device_size(toc))
			abort();
	}
	return 0;
}

/* The first byte is the kind; the rest is the JSON. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO(toc) struct toc *toc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	const struct digest layer = {.algo = DIGEST_SHA256};
	struct toc_place place;
	if (n == 0)
		return 0;
	(void)toc_find(data, n, n, &place, &err);
	if (toc_parse(data + 1, n - 1, data[0] % 2, BLOB, &toc, &err) < 0)
		return 0;
	(void)toc_entries(toc, take, toc, &err);
	int r = toc_seek(toc, &layer, BLOB, &seek, &err);
	if (r < 0 && r != -EBADMSG)
		abort();
	return 0;
}
