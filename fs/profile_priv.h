/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the profile share; nobody else includes this. */

#include "fs/profile.h"

struct profile {
	struct profile_range *items; /* owned; in the order of first demand */
	uint32_t *sorted;	     /* owned; places in items, by layer and offset */
	size_t n, room;
	uint64_t bytes;
};

/* Makes room for n ranges. -ENOMEM. */
int profile_reserve(struct profile *p, size_t n);

/*
 * Fills `sorted` and `bytes` from items. Returns whether no two ranges overlap;
 * otherwise *ret_overlap is one (a place in items) that overlaps another.
 */
bool profile_sort(struct profile *p, size_t *ret_overlap);

/* The order of items: by place. */
int profile_order_compare(const struct profile_range *a, const struct profile_range *b);
/* The order of `sorted`: by layer and offset. */
int profile_address_compare(const struct profile_range *a, const struct profile_range *b);

/* The place in `sorted` of the first range of the layer that ends after off, or of what follows. */
size_t profile_seek(const struct profile *p, uint32_t layer, uint64_t off);
