/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The bytes of a field, for the code that walks the tables; nobody else
 * includes this. A field is read and written by memcpy(), since its type in C
 * is not known here.
 */

#include <stdlib.h>
#include <string.h>

#include "exec/spec/type.h"

static inline void *raw_load(const void *value, size_t at)
{
	void *p;
	memcpy(&p, (const char *)value + at, sizeof(p));
	return p;
}

static inline void raw_store(void *value, size_t at, const void *p)
{
	memcpy((char *)value + at, &p, sizeof(p));
}

static inline size_t raw_load_size(const void *value, size_t at)
{
	size_t n;
	memcpy(&n, (const char *)value + at, sizeof(n));
	return n;
}

static inline void raw_store_size(void *value, size_t at, size_t n)
{
	memcpy((char *)value + at, &n, sizeof(n));
}

static inline bool raw_load_bool(const void *value, size_t at)
{
	bool b;
	memcpy(&b, (const char *)value + at, sizeof(b));
	return b;
}

static inline void raw_store_bool(void *value, size_t at, bool b)
{
	memcpy((char *)value + at, &b, sizeof(b));
}

/* Whether the member is a bool or an integer, with a has_x beside it. */
static inline bool raw_has_flag(const struct oci_member *m)
{
	return m->shape == OCI_ONE && (m->kind == OCI_BOOL || m->kind == OCI_INTEGER);
}

/* The bytes of one element of a list or map, or of the bool or integer itself. */
static inline size_t raw_width(const struct oci_member *m)
{
	if (m->shape == OCI_MAP)
		return sizeof(struct oci_entry);
	if (m->kind == OCI_BOOL)
		return sizeof(bool);
	return m->kind == OCI_INTEGER ? m->bits / 8 : sizeof(void *);
}

/* A fresh array of n elements, zeroed and not NULL for none. NULL: no memory. */
static inline void *raw_array(const struct oci_member *m, size_t n)
{
	return calloc(n ? n : 1, raw_width(m));
}

/* Writes an integer of the member's width. The caller knows that it fits. */
void raw_store_integer(void *to, const struct oci_member *m, uint64_t bits);

/* Frees one string, object or json_t of the member's kind. Accepts NULL. */
void raw_free_one(const struct oci_member *m, void *one);

/* A copy of one such. NULL: no memory. */
void *raw_clone_one(const struct oci_member *m, const void *one);

/* Copies one member, present in src and absent in dst. -ENOMEM: dst may hold some of it. */
int raw_clone_member(const struct oci_member *m, void *dst, const void *src);

/* For qsort() of struct oci_entry. */
int raw_compare_entries(const void *a, const void *b);
