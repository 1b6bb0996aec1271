/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { RAW_MAX = 16 << 20 }; /* what a section may claim is 200 times its size; time is short */

static void check_layers(const struct bundle *b)
{
	for (size_t i = 0; i < bundle_layer_count(b); i++) {
		struct err err = {0};
		struct bundle_layer head;
		AUTO(seek) struct seek *seek = NULL;
		bundle_layer(b, i, &head);
		int r = bundle_layer_seek(b, i, &seek, &err);
		if (r < 0 && (r != -EBADMSG || err.text[0] == '\0'))
			abort();
		if (r == 0 && (!digest_equal(seek_layer(seek), &head.digest) ||
			       seek_windows_size(seek) != head.windows_size))
			abort();
	}
}

/* The corpus has bundles of the image whose digest is that of "i". */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct digest image;
	struct err err = {0};
	AUTO(bundle) struct bundle *b = NULL;
	if (n > RAW_MAX / BUNDLE_RATIO_MAX)
		return 0;
	if (digest_of(DIGEST_SHA256, "i", 1, &image) < 0)
		abort();
	int r = bundle_parse(&image, data, n, &b, &err);
	if (r < 0 && (r != -EBADMSG || err.text[0] == '\0'))
		abort();
	if (r < 0)
		return 0;
	check_layers(b);
	AUTO_CLOSE int fd = memfd_create("tree", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	r = bundle_write_tree(b, fd, &err);
	if (r < 0 && r != -EBADMSG)
		abort();
	return 0;
}
