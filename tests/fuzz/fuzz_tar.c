/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/num.h"
#include "fetcher/tar.h"
#include "tests/unit/entrydump.h"
#include "tests/unit/tarmake.h"

enum { OUT_MAX = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Any entry that comes out keeps the promises of entry.h. */
static int take(void *data, const struct entry *entry, struct err *err)
{
	char clean[ENTRY_PATH_MAX];
	if (entry_check(entry, err) < 0 ||
	    entry_clean_path(entry->path, strlen(entry->path), clean, err) < 0 ||
	    strcmp(clean, entry->path) != 0 || entry->mtime_nsec >= 1000000000)
		abort();
	return dump_entry(data, entry, err);
}

static int read_tar(const uint8_t *data, size_t n, size_t step, struct buf *out)
{
	struct err err = {0};
	AUTO(tar_reader) struct tar_reader *t = NULL;
	int r = tar_reader_create(take, out, &t);
	for (size_t at = 0; r == 0 && at < n; at += step)
		r = tar_reader_push(t, data + at, (size_t)u64_min(step, n - at), &err);
	r = r < 0 ? r : tar_reader_finish(t, &err);
	if (r < 0 && err.text[0] == '\0')
		abort();
	return r;
}

/* The first byte says in what pieces the rest is pushed; pieces make no difference. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_FINISH(buf) struct buf in = buf_make(OUT_MAX);
	AUTO_FINISH(buf) struct buf whole = buf_make(OUT_MAX);
	AUTO_FINISH(buf) struct buf pieces = buf_make(OUT_MAX);
	if (n < 2 || buf_append(&in, data + 1, n - 1) < 0)
		return 0;
	/* Headers get the checksum that chance would not find. */
	for (size_t at = 0; in.len - at >= TAR_BLOCK; at += TAR_BLOCK) {
		struct tar_block h;
		memcpy(&h, in.data + at, sizeof(h));
		if (memcmp(h.b + 257, "ustar", 5) != 0)
			continue;
		tar_seal(&h);
		memcpy(in.data + at, &h, sizeof(h));
	}
	int a = read_tar((const uint8_t *)in.data, in.len, in.len, &whole);
	int b = read_tar((const uint8_t *)in.data, in.len, 1 + data[0] * 3U, &pieces);
	if (a != b || strcmp(buf_str(&whole), buf_str(&pieces)) != 0)
		abort();
	return 0;
}
