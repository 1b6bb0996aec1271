/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/spec/type.h"

#include <stdlib.h>
#include <string.h>

#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

static int compare_key(const void *key, const void *member)
{
	return strcmp(key, ((const struct oci_member *)member)->key);
}

const struct oci_member *oci_type_member(const struct oci_type *type, const char *key)
{
	return bsearch(key, type->members, type->n_members, sizeof(type->members[0]), compare_key);
}

void *oci_value_create(const struct oci_type *type)
{
	return calloc(1, type->size);
}

void raw_free_one(const struct oci_member *m, void *one)
{
	if (m->kind == OCI_OBJECT)
		oci_value_free(m->type, one);
	else if (m->kind == OCI_JSON)
		json_decref(one);
	else
		free(one);
}

void oci_value_finish(const struct oci_type *type, void *value)
{
	if (!value)
		return;
	for (size_t i = 0; i < type->n_members; i++)
		oci_slot_clear(value, &type->members[i]);
	json_decref(raw_load(value, type->residual));
	memset(value, 0, type->size);
}

void oci_value_free(const struct oci_type *type, void *value)
{
	oci_value_finish(type, value);
	free(value);
}
