/* SPDX-License-Identifier: Apache-2.0 */

/* The changes of one field: what the typed functions of oci.h call. */

#include "base/cleanup.h"
#include "exec/spec/raw.h"
#include "exec/spec/slot.h"

int oci_slot_set_string(void *value, const struct oci_member *m, const char *text)
{
	char *copy = text ? strdup(text) : NULL;
	if (text && !copy)
		return -ENOMEM;
	free(raw_load(value, m->at));
	raw_store(value, m->at, copy);
	return 0;
}

void *oci_slot_need_object(void *value, const struct oci_member *m)
{
	void *object = raw_load(value, m->at);
	if (!object) {
		object = oci_value_create(m->type);
		raw_store(value, m->at, object);
	}
	return object;
}

int oci_slot_need(void *value, const struct oci_member *m)
{
	if (oci_slot_present(value, m))
		return 0;
	void *array = raw_array(m, 0);
	raw_store(value, m->at, array);
	raw_store_size(value, m->beside, 0);
	return array ? 0 : -ENOMEM;
}

/* Room for one more element at the ith place: where it goes. NULL: no memory. */
static char *make_room(void *value, const struct oci_member *m, size_t i)
{
	size_t n = oci_slot_count(value, m), width = raw_width(m);
	char *array = reallocarray(raw_load(value, m->at), n + 1, width);
	if (!array)
		return NULL;
	raw_store(value, m->at, array);
	raw_store_size(value, m->beside, n + 1);
	memmove(array + (i + 1) * width, array + i * width, (n - i) * width);
	return array + i * width;
}

int oci_slot_add_number(void *value, const struct oci_member *m, const void *number)
{
	char *to = make_room(value, m, oci_slot_count(value, m));
	if (!to)
		return -ENOMEM;
	memcpy(to, number, raw_width(m));
	return 0;
}

int oci_slot_add_string(void *value, const struct oci_member *m, const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	char *to = copy ? make_room(value, m, oci_slot_count(value, m)) : NULL;
	if (!to)
		return -ENOMEM;
	raw_store(to, 0, steal_ptr(&copy));
	return 0;
}

void *oci_slot_add_object(void *value, const struct oci_member *m)
{
	AUTO_FREE void *object = oci_value_create(m->type);
	char *to = object ? make_room(value, m, oci_slot_count(value, m)) : NULL;
	if (!to)
		return NULL;
	raw_store(to, 0, object);
	return steal_ptr(&object);
}

/* Closes the gap that the ith element leaves. */
static void close_gap(void *value, const struct oci_member *m, size_t i)
{
	size_t n = oci_slot_count(value, m), width = raw_width(m);
	char *array = raw_load(value, m->at);
	memmove(array + i * width, array + (i + 1) * width, (n - i - 1) * width);
	raw_store_size(value, m->beside, n - 1);
}

void oci_slot_remove(void *value, const struct oci_member *m, size_t i)
{
	if (m->kind != OCI_INTEGER)
		raw_free_one(m, oci_slot_pointer(value, m, i));
	close_gap(value, m, i);
}

/* Puts an entry into a map that does not have the key; the map takes what. -ENOMEM. */
static int insert(void *value, const struct oci_member *m, size_t i, const char *key, void *what)
{
	AUTO_FREE char *copy = strdup(key);
	char *to = copy ? make_room(value, m, i) : NULL;
	if (!to)
		return -ENOMEM;
	struct oci_entry entry = {.key = steal_ptr(&copy), .value = what};
	memcpy(to, &entry, sizeof(entry));
	return 0;
}

int oci_slot_put_string(void *value, const struct oci_member *m, const char *key,
			const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	bool found;
	size_t i = oci_slot_find(value, m, key, &found);
	if (found) {
		struct oci_entry *entry = (struct oci_entry *)raw_load(value, m->at) + i;
		free(entry->value);
		entry->value = steal_ptr(&copy);
		return 0;
	}
	int r = insert(value, m, i, key, copy);
	if (r == 0)
		copy = NULL;
	return r;
}

void *oci_slot_put_object(void *value, const struct oci_member *m, const char *key)
{
	bool found;
	size_t i = oci_slot_find(value, m, key, &found);
	if (found)
		return oci_slot_pointer(value, m, i);
	AUTO_FREE void *object = oci_value_create(m->type);
	if (!object || insert(value, m, i, key, object) < 0)
		return NULL;
	return steal_ptr(&object);
}

bool oci_slot_drop(void *value, const struct oci_member *m, const char *key)
{
	bool found;
	size_t i = oci_slot_find(value, m, key, &found);
	if (!found)
		return false;
	struct oci_entry *entry = (struct oci_entry *)raw_load(value, m->at) + i;
	free(entry->key);
	raw_free_one(m, entry->value);
	close_gap(value, m, i);
	return true;
}
