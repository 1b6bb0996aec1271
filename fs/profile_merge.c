/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two profiles into one. Both are swept by address and cut where either has an
 * end, so that each piece is in one of them or in both, whole. A piece has a
 * score by the rule of the merge, and a place that is the mean of what both say.
 */

#include <string.h>

#include "base/num.h"
#include "fs/profile.h"
#include "fs/profile_priv.h"

struct pieces {
	struct profile_range *items; /* borrowed */
	size_t n;
};

/* One of the two while they are swept. */
struct sweep {
	const struct profile *p;
	size_t at;     /* in sorted */
	uint64_t done; /* bytes of that range that are dealt with */
};

/* The score of a piece from what each side says; 0: not in it. 0: the piece goes. */
typedef uint8_t (*score_fn)(uint8_t into, uint8_t other);

static uint8_t score_learn(uint8_t into, uint8_t run)
{
	unsigned int score = into - into / 4U + (run ? PROFILE_SCORE_RUN : 0U);
	if (score < PROFILE_SCORE_MIN)
		return 0;
	return score > PROFILE_SCORE_MAX ? PROFILE_SCORE_MAX : (uint8_t)score;
}

static uint8_t score_join(uint8_t into, uint8_t other)
{
	return into > other ? into : other;
}

/* What is left of the range under way. False: nothing is left at all. */
static bool sweep_peek(const struct sweep *s, struct profile_range *ret)
{
	if (s->at == s->p->n)
		return false;
	*ret = s->p->items[s->p->sorted[s->at]];
	ret->off += s->done;
	ret->len -= s->done;
	ret->place = u64_min(ret->place + s->done, PROFILE_BYTES_MAX);
	return true;
}

static void sweep_take(struct sweep *s, uint64_t len)
{
	s->done += len;
	if (s->done < s->p->items[s->p->sorted[s->at]].len)
		return;
	s->done = 0;
	s->at++;
}

static uint64_t place_mean(const struct profile_range *a, const struct profile_range *b)
{
	uint64_t wa = a->score, wb = b->score;
	return (a->place * wa + b->place * wb) / (wa + wb);
}

/* The next piece, without its score; what it has on each side goes to ret_into and ret_other. */
static bool sweep_next(struct sweep *into, struct sweep *other, struct profile_range *ret,
		       uint8_t *ret_into, uint8_t *ret_other)
{
	struct profile_range a, b;
	bool has_a = sweep_peek(into, &a), has_b = sweep_peek(other, &b);
	if (!has_a && !has_b)
		return false;
	int order = !has_a ? 1 : !has_b ? -1 : profile_address_compare(&a, &b);
	*ret = order <= 0 ? a : b;
	uint64_t len = ret->len;
	/* Up to where the other one begins. */
	if (order < 0 && has_b && b.layer == a.layer)
		len = u64_min(len, b.off - a.off);
	if (order > 0 && has_a && a.layer == b.layer)
		len = u64_min(len, a.off - b.off);
	if (order == 0) {
		len = u64_min(a.len, b.len);
		ret->place = place_mean(&a, &b);
	}
	*ret_into = order <= 0 ? a.score : 0;
	*ret_other = order >= 0 ? b.score : 0;
	ret->len = len;
	if (order <= 0)
		sweep_take(into, len);
	if (order >= 0)
		sweep_take(other, len);
	return true;
}

static int compare_pieces(const void *a, const void *b)
{
	return profile_order_compare(a, b);
}

/* Joins what is one range again. */
static void pieces_join(struct pieces *list)
{
	size_t n = 0;
	for (size_t i = 0; i < list->n; i++) {
		const struct profile_range *range = &list->items[i];
		struct profile_range *last = n > 0 ? &list->items[n - 1] : NULL;
		if (last && last->layer == range->layer && last->score == range->score &&
		    last->off + last->len == range->off)
			last->len += range->len;
		else
			list->items[n++] = list->items[i];
	}
	list->n = n;
}

/* The least score that may stay; of those that have just this one, so much room is left. */
static unsigned int pieces_floor(const struct pieces *list, size_t *ret_n, uint64_t *ret_bytes)
{
	size_t count[PROFILE_SCORE_MAX + 1] = {0};
	uint64_t bytes[PROFILE_SCORE_MAX + 1] = {0};
	size_t n = PROFILE_RANGES_MAX;
	uint64_t left = PROFILE_BYTES_MAX;
	for (size_t i = 0; i < list->n; i++) {
		count[list->items[i].score]++;
		bytes[list->items[i].score] += list->items[i].len;
	}
	unsigned int score = PROFILE_SCORE_MAX;
	for (; score > 0 && count[score] <= n && bytes[score] <= left; score--) {
		n -= count[score];
		left -= bytes[score];
	}
	*ret_n = n;
	*ret_bytes = left;
	return score;
}

/* Keeps to the limits of a profile. */
static void pieces_bound(struct pieces *list)
{
	size_t n_left = 0, n = 0;
	uint64_t left = 0;
	unsigned int least = pieces_floor(list, &n_left, &left);
	for (size_t i = 0; i < list->n; i++) {
		const struct profile_range *range = &list->items[i];
		if (range->score < least)
			continue;
		if (range->score == least) {
			if (n_left == 0 || range->len > left)
				continue;
			n_left--;
			left -= range->len;
		}
		list->items[n++] = list->items[i];
	}
	list->n = n;
}

static int pieces_to_profile(const struct pieces *list, struct profile *into)
{
	size_t overlap;
	int r = profile_reserve(into, list->n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list->n; i++)
		into->items[i] = list->items[i];
	into->n = list->n;
	(void)profile_sort(into, &overlap);
	return 0;
}

static int profile_merge(struct profile *into, const struct profile *other, score_fn score)
{
	struct sweep a = {.p = into}, b = {.p = other};
	struct profile_range piece;
	uint8_t score_a = 0, score_b = 0;
	/* Each end of a range, of either, ends at most one piece. */
	size_t room = 2 * (into->n + other->n) + 1;
	AUTO_FREE struct profile_range *items = calloc(room, sizeof(*items));
	struct pieces list = {.items = items};
	if (!items)
		return -ENOMEM;
	while (sweep_next(&a, &b, &piece, &score_a, &score_b)) {
		piece.score = score(score_a, score_b);
		if (piece.score > 0)
			items[list.n++] = piece;
	}
	if (list.n > 1)
		qsort(items, list.n, sizeof(*items), compare_pieces);
	pieces_join(&list);
	pieces_bound(&list);
	return pieces_to_profile(&list, into);
}

int profile_learn_run(struct profile *into, const struct profile *run)
{
	return profile_merge(into, run, score_learn);
}

int profile_join(struct profile *into, const struct profile *other)
{
	return profile_merge(into, other, score_join);
}
