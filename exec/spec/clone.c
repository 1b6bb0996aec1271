/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

void *raw_clone_one(const struct oci_member *m, const void *one)
{
	if (m->kind == OCI_OBJECT)
		return oci_value_clone(m->type, one);
	return m->kind == OCI_JSON ? (void *)json_deep_copy(one) : (void *)strdup(one);
}

/* Clones the elements one by one, each counted as it comes, so that a part can be freed. */
static int clone_elements(const struct oci_member *m, void *dst, const void *src)
{
	size_t n = oci_slot_count(src, m);
	char *to = raw_load(dst, m->at);
	for (size_t i = 0; i < n; i++) {
		struct oci_entry entry = {.value = raw_clone_one(m, oci_slot_pointer(src, m, i))};
		if (!entry.value)
			return -ENOMEM;
		if (m->shape == OCI_LIST) {
			raw_store(to, i * sizeof(void *), entry.value);
		} else {
			entry.key = strdup(oci_slot_key(src, m, i));
			memcpy(to + i * sizeof(entry), &entry, sizeof(entry));
		}
		raw_store_size(dst, m->beside, i + 1);
		if (m->shape == OCI_MAP && !entry.key)
			return -ENOMEM;
	}
	return 0;
}

int raw_clone_member(const struct oci_member *m, void *dst, const void *src)
{
	size_t n = oci_slot_count(src, m);
	if (raw_has_flag(m)) {
		memcpy((char *)dst + m->at, (const char *)src + m->at, raw_width(m));
		raw_store_bool(dst, m->beside, true);
		return 0;
	}
	if (m->shape == OCI_ONE) {
		raw_store(dst, m->at, raw_clone_one(m, raw_load(src, m->at)));
		return oci_slot_present(dst, m) ? 0 : -ENOMEM;
	}
	void *array = raw_array(m, n);
	if (!array)
		return -ENOMEM;
	raw_store(dst, m->at, array);
	if (m->kind != OCI_INTEGER)
		return clone_elements(m, dst, src);
	memcpy(array, raw_load(src, m->at), n * raw_width(m));
	raw_store_size(dst, m->beside, n);
	return 0;
}

static int clone_into(const struct oci_type *type, void *dst, const void *src)
{
	for (size_t i = 0; i < type->n_members; i++) {
		const struct oci_member *m = &type->members[i];
		int r = oci_slot_present(src, m) ? raw_clone_member(m, dst, src) : 0;
		if (r < 0)
			return r;
	}
	json_t *residual = raw_load(src, type->residual);
	if (!residual)
		return 0;
	json_t *copy = json_deep_copy(residual);
	raw_store(dst, type->residual, copy);
	return copy ? 0 : -ENOMEM;
}

void *oci_value_clone(const struct oci_type *type, const void *value)
{
	void *copy = value ? oci_value_create(type) : NULL;
	if (copy && clone_into(type, copy, value) < 0) {
		oci_value_free(type, copy);
		return NULL;
	}
	return copy;
}
