/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/slot.h"

#include "exec/spec/raw.h"

bool oci_slot_present(const void *value, const struct oci_member *m)
{
	return raw_has_flag(m) ? raw_load_bool(value, m->beside) : raw_load(value, m->at) != NULL;
}

size_t oci_slot_count(const void *value, const struct oci_member *m)
{
	if (!oci_slot_present(value, m))
		return 0;
	return m->shape == OCI_ONE ? 1 : raw_load_size(value, m->beside);
}

/* Where the ith integer is. */
static const void *integer_at(const void *value, const struct oci_member *m, size_t i)
{
	if (m->shape == OCI_ONE)
		return (const char *)value + m->at;
	return (const char *)raw_load(value, m->at) + i * raw_width(m);
}

int64_t oci_slot_i64(const void *value, const struct oci_member *m, size_t i)
{
	uint64_t bits = oci_slot_u64(value, m, i);
	int64_t number;
	memcpy(&number, &bits, sizeof(number));
	return number;
}

/* A narrower one is widened by the rules of its own type. */
uint64_t oci_slot_u64(const void *value, const struct oci_member *m, size_t i)
{
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
		int8_t i8;
		int16_t i16;
		int32_t i32;
	} n;
	memcpy(&n, integer_at(value, m, i), m->bits / 8);
	switch (m->bits) {
	case 8:
		return m->is_signed ? (uint64_t)n.i8 : n.u8;
	case 16:
		return m->is_signed ? (uint64_t)n.i16 : n.u16;
	case 32:
		return m->is_signed ? (uint64_t)n.i32 : n.u32;
	default:
		return n.u64;
	}
}

void raw_store_integer(void *to, const struct oci_member *m, uint64_t bits)
{
	uint8_t u8 = (uint8_t)bits;
	uint16_t u16 = (uint16_t)bits;
	uint32_t u32 = (uint32_t)bits;
	const void *from = m->bits == 8 ? (const void *)&u8 :
			   m->bits == 16 ? (const void *)&u16 :
			   m->bits == 32 ? (const void *)&u32 :
					   (const void *)&bits;
	memcpy(to, from, m->bits / 8);
}

bool oci_slot_bool(const void *value, const struct oci_member *m)
{
	return oci_slot_present(value, m) && raw_load_bool(value, m->at);
}

static struct oci_entry *entries(const void *value, const struct oci_member *m)
{
	return raw_load(value, m->at);
}

void *oci_slot_pointer(const void *value, const struct oci_member *m, size_t i)
{
	void *p = raw_load(value, m->at);
	if (m->shape == OCI_ONE || !p)
		return p;
	return m->shape == OCI_MAP ? entries(value, m)[i].value : raw_load(p, i * sizeof(p));
}

const char *oci_slot_key(const void *value, const struct oci_member *m, size_t i)
{
	return entries(value, m)[i].key;
}

size_t oci_slot_find(const void *value, const struct oci_member *m, const char *key,
		     bool *ret_found)
{
	const struct oci_entry *all = entries(value, m);
	size_t from = 0, to = oci_slot_count(value, m);
	*ret_found = false;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		int order = strcmp(key, all[middle].key);
		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return from;
}

void *oci_slot_get(const void *value, const struct oci_member *m, const char *key)
{
	bool found;
	size_t i = oci_slot_find(value, m, key, &found);
	return found ? entries(value, m)[i].value : NULL;
}

int raw_compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct oci_entry *)a)->key, ((const struct oci_entry *)b)->key);
}

void oci_slot_clear(void *value, const struct oci_member *m)
{
	if (!oci_slot_present(value, m))
		return;
	if (raw_has_flag(m)) {
		memset((char *)value + m->at, 0, raw_width(m));
		raw_store_bool(value, m->beside, false);
		return;
	}
	if (m->shape == OCI_ONE) {
		raw_free_one(m, raw_load(value, m->at));
		raw_store(value, m->at, NULL);
		return;
	}
	for (size_t i = oci_slot_count(value, m); i > 0; i--) {
		if (m->shape == OCI_MAP)
			free(entries(value, m)[i - 1].key);
		if (m->kind != OCI_INTEGER)
			raw_free_one(m, oci_slot_pointer(value, m, i - 1));
	}
	free(raw_load(value, m->at));
	raw_store(value, m->at, NULL);
	raw_store_size(value, m->beside, 0);
}
