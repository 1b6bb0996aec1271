/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/flat.h"

#include <errno.h>

#include "base/le.h"
#include "base/num.h"

/*
 * All numbers are little-endian. The buffer begins with the place of the root
 * table. Offsets of 32 bits point forward from where they stand, to a table,
 * a string or a vector; a table begins with the distance back to its vtable
 * (signed), which holds its own size, the table's, and the place of each field
 * in the table, 0 for one that was left out. A string or vector is its count
 * and its elements.
 */
enum {
	OFFSET_BYTES = 4,
	VTABLE_HEAD = 4,
	VTABLE_SLOT = 2,
};

static int outside(const struct flat *flat, const char *name, struct err *err)
{
	return err_say(err, -EBADMSG, "%s of %s points outside of it", name, flat->what);
}

/* Follows the offset that stands at `at`, which is within the buffer. */
static int follow(const struct flat *flat, size_t at, const char *name, size_t *ret,
		  struct err *err)
{
	uint32_t off = le32_get(flat->data + at);
	if (!range_within(at, off, flat->n) || !range_within(at + off, OFFSET_BYTES, flat->n))
		return outside(flat, name, err);
	*ret = at + off;
	return 0;
}

/* The table at `at`, whose first four bytes are within the buffer. */
static int table_open(const struct flat *flat, size_t at, const char *name, struct flat_table *ret,
		      struct err *err)
{
	int64_t vtable = (int64_t)at - (int32_t)le32_get(flat->data + at);
	if (vtable < 0 || !range_within((uint64_t)vtable, VTABLE_HEAD, flat->n))
		return outside(flat, name, err);
	const uint8_t *head = flat->data + vtable;
	size_t size = le16_get(head);
	size_t len = le16_get(head + 2);
	if (size < VTABLE_HEAD || size % VTABLE_SLOT || len < OFFSET_BYTES)
		return err_say(err, -EBADMSG, "%s of %s has a broken vtable", name, flat->what);
	if (!range_within((uint64_t)vtable, size, flat->n) || !range_within(at, len, flat->n))
		return outside(flat, name, err);
	*ret = (struct flat_table){
		.flat = flat,
		.at = at,
		.len = len,
		.vtable = (size_t)vtable + VTABLE_HEAD,
		.fields = (size - VTABLE_HEAD) / VTABLE_SLOT,
	};
	return 0;
}

int flat_root(const struct flat *flat, struct flat_table *ret, struct err *err)
{
	size_t at = 0;
	if (flat->n < OFFSET_BYTES)
		return err_say(err, -EBADMSG, "%s of %zu bytes is too short", flat->what, flat->n);
	int r = follow(flat, 0, "the root", &at, err);
	return r < 0 ? r : table_open(flat, at, "the root", ret, err);
}

/* Where a field of `width` bytes stands: 1, 0 or -EBADMSG. */
static int field_find(const struct flat_table *t, size_t field, size_t width, const char *name,
		      size_t *ret, struct err *err)
{
	if (field >= t->fields)
		return 0;
	size_t off = le16_get(t->flat->data + t->vtable + field * VTABLE_SLOT);
	if (off == 0)
		return 0;
	if (off < OFFSET_BYTES || !range_within(off, width, t->len))
		return err_say(err, -EBADMSG, "%s of %s is outside its table", name,
			       t->flat->what);
	*ret = t->at + off;
	return 1;
}

int flat_i8(const struct flat_table *t, size_t field, const char *name, int8_t *ret,
	    struct err *err)
{
	size_t at = 0;
	int r = field_find(t, field, sizeof(*ret), name, &at, err);
	if (r > 0)
		*ret = (int8_t)t->flat->data[at];
	return r;
}

int flat_u32(const struct flat_table *t, size_t field, const char *name, uint32_t *ret,
	     struct err *err)
{
	size_t at = 0;
	int r = field_find(t, field, sizeof(*ret), name, &at, err);
	if (r > 0)
		*ret = le32_get(t->flat->data + at);
	return r;
}

int flat_i32(const struct flat_table *t, size_t field, const char *name, int32_t *ret,
	     struct err *err)
{
	uint32_t v = 0;
	int r = flat_u32(t, field, name, &v, err);
	if (r > 0)
		*ret = (int32_t)v;
	return r;
}

int flat_i64(const struct flat_table *t, size_t field, const char *name, int64_t *ret,
	     struct err *err)
{
	size_t at = 0;
	int r = field_find(t, field, sizeof(*ret), name, &at, err);
	if (r > 0)
		*ret = (int64_t)le64_get(t->flat->data + at);
	return r;
}

/* Where the child that a field names begins: 1, 0 or -EBADMSG. */
static int child_find(const struct flat_table *t, size_t field, const char *name, size_t *ret,
		      struct err *err)
{
	size_t at = 0;
	int r = field_find(t, field, OFFSET_BYTES, name, &at, err);
	if (r <= 0)
		return r;
	r = follow(t->flat, at, name, ret, err);
	return r < 0 ? r : 1;
}

int flat_table(const struct flat_table *t, size_t field, const char *name, struct flat_table *ret,
	       struct err *err)
{
	size_t at = 0;
	int r = child_find(t, field, name, &at, err);
	if (r <= 0)
		return r;
	r = table_open(t->flat, at, name, ret, err);
	return r < 0 ? r : 1;
}

/* A count and that many elements of `width` bytes, at `at`. */
static int elements(const struct flat *flat, size_t at, size_t width, const char *name,
		    size_t *ret_at, size_t *ret_count, struct err *err)
{
	uint64_t count = le32_get(flat->data + at);
	if (!range_within(at + OFFSET_BYTES, count * width, flat->n))
		return outside(flat, name, err);
	*ret_at = at + OFFSET_BYTES;
	*ret_count = (size_t)count;
	return 0;
}

static int bytes_open(const struct flat *flat, size_t at, const char *name, struct flat_bytes *ret,
		      struct err *err)
{
	size_t start = 0;
	size_t len = 0;
	int r = elements(flat, at, 1, name, &start, &len, err);
	if (r == 0)
		*ret = (struct flat_bytes){.data = (const char *)flat->data + start, .len = len};
	return r;
}

int flat_bytes(const struct flat_table *t, size_t field, const char *name, struct flat_bytes *ret,
	       struct err *err)
{
	size_t at = 0;
	int r = child_find(t, field, name, &at, err);
	if (r <= 0)
		return r;
	r = bytes_open(t->flat, at, name, ret, err);
	return r < 0 ? r : 1;
}

int flat_vector(const struct flat_table *t, size_t field, const char *name,
		struct flat_vector *ret, struct err *err)
{
	struct flat_vector v = {.flat = t->flat, .name = name};
	size_t at = 0;
	int r = child_find(t, field, name, &at, err);
	if (r <= 0)
		return r;
	r = elements(t->flat, at, OFFSET_BYTES, name, &v.at, &v.count, err);
	if (r < 0)
		return r;
	*ret = v;
	return 1;
}

int flat_vector_table(const struct flat_vector *v, size_t i, struct flat_table *ret,
		      struct err *err)
{
	size_t at = 0;
	int r = follow(v->flat, v->at + i * OFFSET_BYTES, v->name, &at, err);
	return r < 0 ? r : table_open(v->flat, at, v->name, ret, err);
}

int flat_vector_bytes(const struct flat_vector *v, size_t i, struct flat_bytes *ret,
		      struct err *err)
{
	size_t at = 0;
	int r = follow(v->flat, v->at + i * OFFSET_BYTES, v->name, &at, err);
	return r < 0 ? r : bytes_open(v->flat, at, v->name, ret, err);
}
