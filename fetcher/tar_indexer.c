/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/index_cut.h"

/* A layer that is not compressed: what goes in comes out, in spans of one MiB. */

#include "base/num.h"

static int tar_create(struct index_cut *cut, void **ret_state)
{
	*ret_state = cut;
	return 0;
}

static int end_unit(struct index_cut *cut, struct err *err)
{
	struct span unit = {
		.in_off = cut->unit_out, .in_len = index_cut_len(cut), .codec = SEEK_COPY};
	return index_cut_unit(cut, &unit, NULL, 0, err);
}

static int tar_push(void *state, const uint8_t *bytes, size_t n, struct err *err)
{
	struct index_cut *cut = state;
	while (n > 0) {
		uint64_t room = SEEK_SPAN_BYTES - index_cut_len(cut);
		size_t part = (size_t)u64_min(u64_min(n, room), INDEX_STEP_BYTES);
		cut->in += part;
		int r = index_cut_bytes(cut, bytes, part, err);
		if (r >= 0 && part == room)
			r = end_unit(cut, err);
		if (r < 0)
			return r;
		bytes += part;
		n -= part;
	}
	return 0;
}

static int tar_finish(void *state, struct err *err)
{
	return end_unit(state, err);
}

static void tar_destroy(void *state)
{
	(void)state;
}

const struct index_format index_tar = {
	.create = tar_create,
	.push = tar_push,
	.finish = tar_finish,
	.destroy = tar_destroy,
};
