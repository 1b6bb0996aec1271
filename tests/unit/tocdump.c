/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Prints what the TOC of a layer says, and its seek table; see check_toc.py.
 * usage: tocdump LAYER TOC-DIGEST [POSITION]
 */

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "fetcher/toc.h"
#include "tests/unit/entrydump.h"

static void print_spans(const struct seek *seek)
{
	for (size_t i = 0; i < seek_count(seek); i++) {
		struct span s;
		struct digest d = {.algo = DIGEST_SHA256};
		struct digest_text text;
		seek_get(seek, i, &s);
		memcpy(d.bytes, s.sha256, SHA256_BYTES);
		printf("span %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n",
		       s.codec, s.in_off, s.in_len, s.skip, s.out_off, s.out_len,
		       s.sum == SEEK_SUM_OUT ? digest_hex(&d, text.s) : "-");
	}
}

static int dump(const struct buf *blob, const char *digest, const char *position, struct buf *out,
		struct err *err)
{
	AUTO_FINISH(buf) struct buf json = buf_make(TOC_JSON_MAX);
	AUTO(toc) struct toc *toc = NULL;
	AUTO(seek) struct seek *seek = NULL;
	struct toc_place place;
	struct digest want;
	uint64_t end = 0;
	size_t tail = (size_t)u64_min(blob->len, TOC_FOOTER_MAX);
	int r = digest_parse(digest, &want, err);
	if (r == 0)
		r = position ? toc_parse_position(position, blob->len, &place, err)
			     : toc_find(blob->data + blob->len - tail, tail, blob->len, &place, err);
	r = r < 0 ? r : toc_unpack(&place, blob->data + place.off, place.len, &want, &json, err);
	r = r < 0 ? r : toc_parse(json.data, json.len, place.kind, place.off, &toc, err);
	r = r < 0 ? r : toc_entries(toc, dump_entry, out, err);
	r = r < 0 ? r : toc_seek(toc, &want, blob->len, &seek, err);
	if (r < 0)
		return r;
	(void)fputs(buf_str(out), stdout);
	print_spans(seek);
	if (toc_prefetch(toc, &end))
		printf("prefetch %" PRIu64 "\n", end);
	return 0;
}

int main(int argc, char **argv)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf blob = buf_make(GIB(1));
	AUTO_FINISH(buf) struct buf out = buf_make(GIB(1));
	if (argc < 3)
		return 2;
	int r = file_slurp(AT_FDCWD, argv[1], &blob, &err);
	r = r < 0 ? r : dump(&blob, argv[2], argc > 3 ? argv[3] : NULL, &out, &err);
	if (r < 0)
		(void)fprintf(stderr, "%d: %s\n", -r, err_text(&err));
	return r < 0 ? 1 : 0;
}
