/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An intrusive hash table that grows with its content. Items embed a struct
 * hnode and are owned by the caller; the table owns only its buckets. Not
 * thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hnode {
	struct hnode *next;
	uint64_t hash;
};

struct htab {
	struct hnode **buckets; /* owned; NULL until the first insert */
	size_t n_buckets;	/* a power of two */
	size_t count;
};

/* Whether the item is the one that key describes. */
typedef bool (*htab_match_fn)(const struct hnode *node, const void *key);

/* A zeroed struct htab is an empty table. Frees the buckets, not the items; accepts NULL. */
void htab_finish(struct htab *tab);

/* The item with this hash that matches, or NULL. */
struct hnode *htab_find(const struct htab *tab, uint64_t hash, htab_match_fn match,
			const void *key);

/* Adds an item; the caller has made sure it is not there yet. -ENOMEM. */
int htab_insert(struct htab *tab, struct hnode *node, uint64_t hash);

/* Takes out an item that is in the table. */
void htab_remove(struct htab *tab, struct hnode *node);

/* The item after another one, NULL: the first; NULL at the end. For a walk without changes. */
struct hnode *htab_next(const struct htab *tab, const struct hnode *after);

/* Takes out and returns any one item, NULL when empty: to drain a table. */
struct hnode *htab_pop(struct htab *tab);

/* A good mix of bytes; not for input an attacker may choose against a fixed table size. */
uint64_t hash_bytes(const void *data, size_t n);
uint64_t hash_u64(uint64_t v);
