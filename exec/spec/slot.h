/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Access to one field of a struct through its struct oci_member. `value` is
 * always the struct that has the field. The generated functions of oci.h give
 * these their types; code that walks all types alike uses them as they are.
 * None is safe against another thread that changes the same struct.
 */

#include <string.h>

#include "exec/spec/type.h"

/* Whether the member is there. */
bool oci_slot_present(const void *value, const struct oci_member *m);

/* How many: elements of a list or a map (0 when absent), otherwise 1 or 0. */
size_t oci_slot_count(const void *value, const struct oci_member *m);

/* The integer, or the ith of a list; unsigned ones past INT64_MAX by the second. Must be there. */
int64_t oci_slot_i64(const void *value, const struct oci_member *m, size_t i);
uint64_t oci_slot_u64(const void *value, const struct oci_member *m, size_t i);

/* The bool, false when absent. */
bool oci_slot_bool(const void *value, const struct oci_member *m);

/*
 * The string, object or json_t, or the ith of a list or map. NULL when
 * absent; i must be below the count of a list or map. Borrowed.
 */
void *oci_slot_pointer(const void *value, const struct oci_member *m, size_t i);

/* The key of the ith of a map. Borrowed. */
const char *oci_slot_key(const void *value, const struct oci_member *m, size_t i);

/* The place of the key in a map, or the one at which it would be. */
size_t oci_slot_find(const void *value, const struct oci_member *m, const char *key,
		     bool *ret_found);

/* What a map has under the key, NULL when nothing. Borrowed. */
void *oci_slot_get(const void *value, const struct oci_member *m, const char *key);

/* Makes the member absent and frees what it had. */
void oci_slot_clear(void *value, const struct oci_member *m);

/* A copy of text in the place of what was there; NULL makes it absent. -ENOMEM: as before. */
int oci_slot_set_string(void *value, const struct oci_member *m, const char *text);

/* The object that is there, or a fresh one. Borrowed. NULL: no memory. */
void *oci_slot_need_object(void *value, const struct oci_member *m);

/* Makes a list or map present, if empty. -ENOMEM. */
int oci_slot_need(void *value, const struct oci_member *m);

/* Appends to a list: a copy of text, the integer at number, a fresh object. */
int oci_slot_add_string(void *value, const struct oci_member *m, const char *text);
int oci_slot_add_number(void *value, const struct oci_member *m, const void *number);
void *oci_slot_add_object(void *value, const struct oci_member *m);

/* Takes the ith out of a list and frees it. i is below the count. */
void oci_slot_remove(void *value, const struct oci_member *m, size_t i);

/* Copies of key and text into a map, over what was under the key. -ENOMEM: as before. */
int oci_slot_put_string(void *value, const struct oci_member *m, const char *key,
			const char *text);

/* The object under the key, or a fresh one put there. Borrowed. NULL: no memory. */
void *oci_slot_put_object(void *value, const struct oci_member *m, const char *key);

/* Takes the key out of a map and frees what was there; whether it was. */
bool oci_slot_drop(void *value, const struct oci_member *m, const char *key);
