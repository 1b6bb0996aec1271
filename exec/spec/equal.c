/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

static bool equal_one(const struct oci_member *m, const void *a, const void *b, size_t i)
{
	switch (m->kind) {
	case OCI_BOOL:
		return oci_slot_bool(a, m) == oci_slot_bool(b, m);
	case OCI_INTEGER:
		return oci_slot_u64(a, m, i) == oci_slot_u64(b, m, i);
	case OCI_STRING:
		return strcmp(oci_slot_pointer(a, m, i), oci_slot_pointer(b, m, i)) == 0;
	case OCI_OBJECT:
		return oci_value_equal(m->type, oci_slot_pointer(a, m, i),
				       oci_slot_pointer(b, m, i));
	case OCI_JSON:
		return json_equal(oci_slot_pointer(a, m, i), oci_slot_pointer(b, m, i)) != 0;
	}
	return false;
}

static bool equal_member(const struct oci_member *m, const void *a, const void *b)
{
	size_t n = oci_slot_count(a, m);
	if (oci_slot_present(a, m) != oci_slot_present(b, m) || n != oci_slot_count(b, m))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (m->shape == OCI_MAP &&
		    strcmp(oci_slot_key(a, m, i), oci_slot_key(b, m, i)) != 0)
			return false;
		if (!equal_one(m, a, b, i))
			return false;
	}
	return true;
}

bool oci_value_equal(const struct oci_type *type, const void *a, const void *b)
{
	if (!a || !b)
		return a == b;
	for (size_t i = 0; i < type->n_members; i++)
		if (!equal_member(&type->members[i], a, b))
			return false;
	const json_t *more_a = raw_load(a, type->residual), *more_b = raw_load(b, type->residual);
	/* An empty residual is none. */
	if (json_object_size(more_a) == 0 || json_object_size(more_b) == 0)
		return json_object_size(more_a) == json_object_size(more_b);
	return json_equal(more_a, more_b) != 0;
}
