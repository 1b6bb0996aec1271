/* SPDX-License-Identifier: Apache-2.0 */
#include "base/htab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HTAB_FIRST_BUCKETS = 16 };

void htab_finish(struct htab *tab)
{
	if (!tab)
		return;
	free(tab->buckets);
	*tab = (struct htab){0};
}

static struct hnode **htab_bucket(const struct htab *tab, uint64_t hash)
{
	return &tab->buckets[hash & (tab->n_buckets - 1)];
}

struct hnode *htab_find(const struct htab *tab, uint64_t hash, htab_match_fn match,
			const void *key)
{
	if (tab->count == 0)
		return NULL;
	for (struct hnode *node = *htab_bucket(tab, hash); node; node = node->next)
		if (node->hash == hash && match(node, key))
			return node;
	return NULL;
}

static int htab_grow(struct htab *tab)
{
	size_t n = tab->n_buckets ? tab->n_buckets * 2 : HTAB_FIRST_BUCKETS;
	struct htab grown = {.buckets = calloc(n, sizeof(*grown.buckets)), .n_buckets = n};
	if (!grown.buckets)
		return -ENOMEM;
	for (size_t i = 0; i < tab->n_buckets; i++) {
		for (struct hnode *node = tab->buckets[i]; node;) {
			struct hnode *next = node->next;
			struct hnode **bucket = htab_bucket(&grown, node->hash);
			node->next = *bucket;
			*bucket = node;
			node = next;
		}
	}
	grown.count = tab->count;
	free(tab->buckets);
	*tab = grown;
	return 0;
}

int htab_insert(struct htab *tab, struct hnode *node, uint64_t hash)
{
	if (tab->count >= tab->n_buckets) {
		int r = htab_grow(tab);
		/* A table that could not grow still works, only slower. */
		if (r < 0 && tab->n_buckets == 0)
			return r;
	}
	struct hnode **bucket = htab_bucket(tab, hash);
	node->hash = hash;
	node->next = *bucket;
	*bucket = node;
	tab->count++;
	return 0;
}

void htab_remove(struct htab *tab, struct hnode *node)
{
	struct hnode **slot = htab_bucket(tab, node->hash);
	while (*slot != node)
		slot = &(*slot)->next;
	*slot = node->next;
	node->next = NULL;
	tab->count--;
}

struct hnode *htab_next(const struct htab *tab, const struct hnode *after)
{
	if (after && after->next)
		return after->next;
	size_t i = after ? (after->hash & (tab->n_buckets - 1)) + 1 : 0;
	while (i < tab->n_buckets && !tab->buckets[i])
		i++;
	return i < tab->n_buckets ? tab->buckets[i] : NULL;
}

struct hnode *htab_pop(struct htab *tab)
{
	if (tab->count == 0)
		return NULL;
	for (size_t i = 0; i < tab->n_buckets; i++) {
		struct hnode *node = tab->buckets[i];
		if (!node)
			continue;
		htab_remove(tab, node);
		return node;
	}
	return NULL;
}

uint64_t hash_u64(uint64_t v)
{
	/* The finaliser of splitmix64: every input bit reaches every output bit. */
	v ^= v >> 30;
	v *= UINT64_C(0xbf58476d1ce4e5b9);
	v ^= v >> 27;
	v *= UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

uint64_t hash_bytes(const void *data, size_t n)
{
	const unsigned char *p = data;
	uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15);
	for (; n >= sizeof(uint64_t); n -= sizeof(uint64_t), p += sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, p, sizeof(word));
		h = hash_u64(h ^ word);
	}
	uint64_t tail = 0;
	memcpy(&tail, p, n);
	return hash_u64(h ^ tail ^ (uint64_t)n << 56);
}
