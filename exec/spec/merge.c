/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

static int merge_into(const struct oci_type *type, void *dst, const void *src);

static int merge_map(const struct oci_member *m, void *dst, const void *src)
{
	int r = oci_slot_need(dst, m);
	for (size_t i = 0; r == 0 && i < oci_slot_count(src, m); i++) {
		const char *key = oci_slot_key(src, m, i);
		const void *from = oci_slot_pointer(src, m, i);
		if (m->kind == OCI_STRING) {
			r = oci_slot_put_string(dst, m, key, from);
			continue;
		}
		void *to = oci_slot_put_object(dst, m, key);
		r = to ? merge_into(m->type, to, from) : -ENOMEM;
	}
	return r;
}

/* Lays one JSON object over another, members that are objects in both likewise. */
static int merge_json(json_t *dst, const json_t *src)
{
	json_t *copy = json_deep_copy(src);
	int r = copy ? json_object_update_recursive(dst, copy) : -1;
	json_decref(copy);
	return r < 0 ? -ENOMEM : 0;
}

static int merge_member(const struct oci_member *m, void *dst, const void *src)
{
	if (m->shape == OCI_MAP)
		return merge_map(m, dst, src);
	if (m->shape == OCI_ONE && m->kind == OCI_OBJECT) {
		void *to = oci_slot_need_object(dst, m);
		return to ? merge_into(m->type, to, oci_slot_pointer(src, m, 0)) : -ENOMEM;
	}
	if (m->kind == OCI_JSON && oci_slot_present(dst, m))
		return merge_json(oci_slot_pointer(dst, m, 0), oci_slot_pointer(src, m, 0));
	oci_slot_clear(dst, m);
	return raw_clone_member(m, dst, src);
}

static int merge_into(const struct oci_type *type, void *dst, const void *src)
{
	for (size_t i = 0; i < type->n_members; i++) {
		const struct oci_member *m = &type->members[i];
		int r = oci_slot_present(src, m) ? merge_member(m, dst, src) : 0;
		if (r < 0)
			return r;
	}
	const json_t *more = raw_load(src, type->residual);
	if (json_object_size(more) == 0)
		return 0;
	json_t *residual = raw_load(dst, type->residual);
	if (!residual) {
		residual = json_object();
		raw_store(dst, type->residual, residual);
	}
	return residual ? merge_json(residual, more) : -ENOMEM;
}

/* On a copy, which then takes the place of dst: it is all or nothing. */
int oci_value_merge(const struct oci_type *type, void *dst, const void *src)
{
	void *merged = oci_value_clone(type, dst);
	int r = merged ? merge_into(type, merged, src) : -ENOMEM;
	if (r == 0) {
		oci_value_finish(type, dst);
		memcpy(dst, merged, type->size);
		memset(merged, 0, type->size);
	}
	oci_value_free(type, merged);
	return r;
}
