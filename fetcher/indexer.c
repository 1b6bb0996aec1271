/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/indexer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/num.h"
#include "fetcher/index_cut.h"

enum { SNIFF_BYTES = 6 }; /* the longest magic number: xz */

struct indexer {
	struct index_cut cut;
	const struct index_format *format; /* NULL until sniffed */
	void *state;                       /* the format's, owned */
	uint8_t head[SNIFF_BYTES];         /* what came before the format was known */
	size_t head_len;
};

int indexer_create(const struct indexer_options *options, struct indexer **ret, struct err *err)
{
	struct indexer_options o = *options;
	if (o.out_max > INDEXER_OUT_MAX)
		return err_say(err, -EINVAL, "an indexer takes at most %llu bytes",
			       (unsigned long long)INDEXER_OUT_MAX);
	if (o.out_max == 0)
		o.out_max = INDEXER_OUT_MAX;
	if (o.ratio_max == 0)
		o.ratio_max = INDEXER_RATIO_MAX;
	if (o.ratio_from == 0)
		o.ratio_from = INDEXER_RATIO_FROM;

	AUTO(indexer) struct indexer *x = calloc(1, sizeof(*x));
	if (!x)
		return err_set(err, -ENOMEM, "prepare to index a layer");
	int r = index_cut_init(&x->cut, &o);
	if (r < 0)
		return err_set(err, r, "prepare to index a layer");
	*ret = steal_ptr(&x);
	return 0;
}

void indexer_destroy(struct indexer *indexer)
{
	if (!indexer)
		return;
	if (indexer->state)
		indexer->format->destroy(indexer->state);
	index_cut_finish(&indexer->cut);
	free(indexer);
}

/* NULL: one that we know by name only. */
static const struct index_format *sniff(const uint8_t *head, size_t n, const char **ret_name)
{
	static const struct {
		const char *name, *magic;
		size_t len;
		const struct index_format *format;
	} known[] = {
		{"gzip", "\x1f\x8b", 2, &index_gzip},
		{"zstd", "\x28\xb5\x2f\xfd", 4, &index_zstd},
		{"xz",
		 "\xfd"
		 "7zXZ\0",
		 6, NULL},
		{"bzip2", "BZh", 3, NULL},
		{"lz4", "\x04\x22\x4d\x18", 4, NULL},
		{"lzip", "LZIP", 4, NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (n < known[i].len || memcmp(head, known[i].magic, known[i].len) != 0)
			continue;
		*ret_name = known[i].name;
		return known[i].format;
	}
	/* A skippable frame in front; its magic number has a free digit. */
	bool skippable = n >= 4 && (le32_get(head) & 0xfffffff0) == 0x184d2a50;
	return skippable ? &index_zstd : &index_tar;
}

/* Decides on the format, and gives it what was held back. */
static int begin(struct indexer *x, struct err *err)
{
	const char *name = NULL;
	const struct index_format *format = sniff(x->head, x->head_len, &name);
	if (!format)
		return err_say(err, -EOPNOTSUPP,
			       "layers compressed with %s are not supported, only gzip, zstd and plain tar",
			       name);
	int r = format->create(&x->cut, &x->state);
	if (r < 0)
		return err_set(err, r, "prepare to index a layer");
	x->format = format;
	return format->push(x->state, x->head, x->head_len, err);
}

int indexer_push(struct indexer *indexer, const void *bytes, size_t n, struct err *err)
{
	const uint8_t *p = bytes;
	if (!indexer->format) {
		size_t part = (size_t)u64_min(n, SNIFF_BYTES - indexer->head_len);
		if (part > 0)
			memcpy(indexer->head + indexer->head_len, p, part);
		indexer->head_len += part;
		p += part;
		n -= part;
		if (indexer->head_len < SNIFF_BYTES)
			return 0;
		int r = begin(indexer, err);
		if (r < 0)
			return r;
	}
	return n > 0 ? indexer->format->push(indexer->state, p, n, err) : 0;
}

int indexer_finish(struct indexer *indexer, const struct digest *layer, struct seek **ret,
		   struct seek_totals *ret_totals, struct err *err)
{
	struct index_cut *cut = &indexer->cut;
	int r = indexer->format ? 0 : begin(indexer, err);
	if (r >= 0)
		r = indexer->format->finish(indexer->state, err);
	if (r < 0)
		return r;
	struct seek_totals totals = {
		.layer = *layer,
		.in_size = cut->in,
		.out_size = cut->out,
		.windows_size = cut->windows_size,
		.is_tar = true,
	};
	r = digest_ctx_final(cut->diff_sum, &totals.diff_id);
	if (r < 0)
		return err_set(err, r, "sum the layer");
	r = seek_builder_finish(cut->builder, &totals, ret, err);
	if (r < 0)
		return r;
	if (ret_totals)
		*ret_totals = totals;
	return 0;
}
