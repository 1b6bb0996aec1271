/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/profile.h"

#include <string.h>

#include "base/num.h"
#include "fs/profile_priv.h"

enum {
	PROFILE_ROOM_MIN = 64,
	/* Readers of several files take turns: what continues one of the last ranges joins it … */
	PROFILE_JOIN_BACK = 16,
	/* … as long as it stays this short, so that the order still says what came first. */
	PROFILE_JOIN_BYTES = 4 << 20,
};

int profile_create(struct profile **ret)
{
	struct profile *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	*ret = p;
	return 0;
}

void profile_destroy(struct profile *p)
{
	if (!p)
		return;
	free(p->items);
	free(p->sorted);
	free(p);
}

size_t profile_count(const struct profile *p)
{
	return p->n;
}

uint64_t profile_bytes(const struct profile *p)
{
	return p->bytes;
}

void profile_get(const struct profile *p, size_t i, struct profile_range *ret)
{
	*ret = p->items[i];
}

bool profile_equal(const struct profile *a, const struct profile *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct profile_range *x = &a->items[i], *y = &b->items[i];
		if (x->layer != y->layer || x->off != y->off || x->len != y->len ||
		    x->score != y->score || x->place != y->place)
			return false;
	}
	return true;
}

int profile_reserve(struct profile *p, size_t n)
{
	if (n <= p->room)
		return 0;
	size_t room = p->room ? p->room : PROFILE_ROOM_MIN;
	while (room < n)
		room *= 2;
	struct profile_range *items = reallocarray(p->items, room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	p->items = items;
	uint32_t *sorted = reallocarray(p->sorted, room, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	p->sorted = sorted;
	p->room = room;
	return 0;
}

int profile_address_compare(const struct profile_range *a, const struct profile_range *b)
{
	if (a->layer != b->layer)
		return a->layer < b->layer ? -1 : 1;
	if (a->off != b->off)
		return a->off < b->off ? -1 : 1;
	return 0;
}

int profile_order_compare(const struct profile_range *a, const struct profile_range *b)
{
	if (a->place != b->place)
		return a->place < b->place ? -1 : 1;
	return profile_address_compare(a, b);
}

static int compare_sorted(const void *a, const void *b, void *items)
{
	const struct profile_range *list = items;
	return profile_address_compare(&list[*(const uint32_t *)a], &list[*(const uint32_t *)b]);
}

bool profile_sort(struct profile *p, size_t *ret_overlap)
{
	p->bytes = 0;
	for (size_t i = 0; i < p->n; i++) {
		p->sorted[i] = (uint32_t)i;
		p->bytes += p->items[i].len;
	}
	if (p->n > 1)
		qsort_r(p->sorted, p->n, sizeof(*p->sorted), compare_sorted, p->items);
	for (size_t i = 1; i < p->n; i++) {
		const struct profile_range *a = &p->items[p->sorted[i - 1]];
		const struct profile_range *b = &p->items[p->sorted[i]];
		if (a->layer == b->layer && a->off + a->len > b->off) {
			*ret_overlap = p->sorted[i];
			return false;
		}
	}
	return true;
}

size_t profile_seek(const struct profile *p, uint32_t layer, uint64_t off)
{
	size_t low = 0, high = p->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct profile_range *range = &p->items[p->sorted[mid]];
		if (range->layer < layer || (range->layer == layer && range->off + range->len <= off))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Adds bytes that no range has to one of the last ranges, if they touch it. */
static bool profile_extend(struct profile *p, uint32_t layer, uint64_t off, uint64_t len)
{
	for (size_t back = 1; back <= PROFILE_JOIN_BACK && back <= p->n; back++) {
		struct profile_range *range = &p->items[p->n - back];
		if (range->layer != layer || range->score != PROFILE_SCORE_RUN ||
		    (back > 1 && range->len + len > PROFILE_JOIN_BYTES))
			continue;
		bool after = range->off + range->len == off;
		if (!after && off + len != range->off)
			continue;
		/* No other range lies between, so `sorted` stays as it is. */
		range->off = after ? range->off : off;
		range->len += len;
		p->bytes += len;
		return true;
	}
	return false;
}

/* Adds bytes that no range has; `at` is their place in `sorted`. */
static int profile_append(struct profile *p, size_t at, uint32_t layer, uint64_t off, uint64_t len)
{
	if (len > PROFILE_BYTES_MAX - p->bytes)
		return -E2BIG;
	if (profile_extend(p, layer, off, len))
		return 0;
	if (p->n == PROFILE_RANGES_MAX)
		return -E2BIG;
	int r = profile_reserve(p, p->n + 1);
	if (r < 0)
		return r;
	memmove(&p->sorted[at + 1], &p->sorted[at], (p->n - at) * sizeof(*p->sorted));
	p->sorted[at] = (uint32_t)p->n;
	p->items[p->n++] = (struct profile_range){layer, off, len, PROFILE_SCORE_RUN, p->bytes};
	p->bytes += len;
	return 0;
}

int profile_add(struct profile *p, uint32_t layer, uint64_t off, uint64_t len)
{
	if (layer >= PROFILE_LAYERS_MAX || len == 0 || !range_within(off, len, PROFILE_DEVICE_MAX))
		return -EINVAL;
	uint64_t end = u64_align(off + len, PROFILE_GRAIN);
	uint64_t cur = off - off % PROFILE_GRAIN;
	while (cur < end) {
		size_t at = profile_seek(p, layer, cur);
		const struct profile_range *next = at < p->n ? &p->items[p->sorted[at]] : NULL;
		uint64_t stop = next && next->layer == layer ? u64_min(end, next->off) : end;
		if (stop <= cur) {
			cur = next->off + next->len;
			continue;
		}
		int r = profile_append(p, at, layer, cur, stop - cur);
		if (r < 0)
			return r;
		cur = stop;
	}
	return 0;
}
