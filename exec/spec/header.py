# SPDX-License-Identifier: Apache-2.0
"""The text of oci.h that is the same for all types, and its forms for a type and for a member."""

PREAMBLE = """#pragma once

/*
 * The OCI runtime specification 1.3 (config.json, state, features) as C types.
 * Made by exec/spec/generate.py from the descriptions beside it.
 *
 * A struct has a field for each member, named as in the specification, in
 * snake case. What is absent is told from what is zero:
 *
 *	bool, intN_t x		has_x is false
 *	char *, struct oci_y *	NULL
 *	lists and maps		x is NULL; n_x elements otherwise, none if it is empty
 *
 * A list of objects is an array of pointers, which stay valid as it grows. A
 * map is an array of struct oci_entry in the order of the keys' bytes, whose
 * value is a char * or the struct said beside it. Unknown members are in
 * residual. Words of a closed set are strings as they stand in JSON:
 * oci_words_... lists those that the specification knows. Every struct owns all
 * that it points at. Fields may be read as they are, and written where they are
 * bools and integers (with has_x); strings, lists, maps and objects are changed
 * by the functions below, or must come from malloc().
 *
 * Nothing has a default, and nothing is filled in by itself. For every struct
 * oci_T and its members x there are, of those that make sense:
 *
 *	oci_T_create()		  a struct with everything absent; NULL: no memory
 *	oci_T_free(t)		  AUTO(oci_T) at the end of a scope
 *	oci_T_parse(bytes, n, &t, err), oci_T_emit(t, &buf, err)
 *	oci_T_clone(t)		  NULL: no memory
 *	oci_T_equal(a, b), oci_T_merge(dst, src)
 *				  see oci_value_... in exec/spec/type.h for all of these
 *	oci_T_set_x(t, value)	  copies; NULL for a string makes it absent; -ENOMEM
 *	oci_T_need_x(t)		  an object: what is there, or fresh; NULL: no memory
 *				  a list or map: makes it present, if empty; -ENOMEM
 *	oci_T_add_x(t, value)	  appends to a list, copies; -ENOMEM
 *	oci_T_add_x(t)		  appends a fresh object to a list; NULL: no memory
 *	oci_T_remove_x(t, i)	  takes the ith (i < n_x) out of a list
 *	oci_T_put_x(t, key, text) copies into a map, over what was there; -ENOMEM
 *	oci_T_put_x(t, key)	  the object at the key, or a fresh one; NULL: no memory
 *	oci_T_get_x(t, key)	  what a map has at the key, NULL when nothing
 *	oci_T_drop_x(t, key)	  takes a key out of a map; whether it was there
 *	oci_T_clear_x(t)	  makes the member absent
 *
 * What they return is borrowed but for create, parse and clone. A failed call
 * changes nothing. A struct belongs to one thread at a time; any number may read.
 *
 *	AUTO(oci_config) struct oci_config *config = oci_config_create();
 *	struct oci_process *process = config ? oci_config_need_process(config) : NULL;
 *	if (!process)
 *		return -ENOMEM;
 *	int r = oci_process_add_args(process, "/bin/sh");
 *	if (r == 0)
 *		r = oci_process_set_cwd(process, "/");
 *	oci_process_set_no_new_privileges(process, true);
 *	struct oci_mount *mount = r == 0 ? oci_config_add_mounts(config) : NULL;
 *	...
 *	r = oci_config_emit(config, &buf, err);
 *
 *	AUTO(oci_config) struct oci_config *read = NULL;
 *	r = oci_config_parse(bytes, n, &read, err);
 *	for (size_t i = 0; r == 0 && i < read->n_mounts; i++)
 *		show(read->mounts[i]->destination);
 *	if (r == 0 && read->process && read->process->has_oom_score_adj)
 *		...
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "exec/spec/slot.h"
#include "exec/spec/type.h"

/* The compilers' GNU dialects define this, and the specification has a member of the name. */
#undef linux
"""

FUNCTIONS = """\
static inline struct oci_TYPE *oci_TYPE_create(void)
{
	return oci_value_create(&oci_TYPE_type);
}
static inline void oci_TYPE_free(struct oci_TYPE *value)
{
	oci_value_free(&oci_TYPE_type, value);
}
DEFINE_CLEANUP(oci_TYPE, oci_TYPE_free);
static inline int oci_TYPE_parse(const char *bytes, size_t n, struct oci_TYPE **ret,
				 struct err *err)
{
	void *value = NULL;
	int r = oci_value_parse(&oci_TYPE_type, bytes, n, &value, err);
	if (r < 0)
		return r;
	*ret = value;
	return 0;
}
static inline int oci_TYPE_emit(const struct oci_TYPE *value, struct buf *out, struct err *err)
{
	return oci_value_emit(&oci_TYPE_type, value, out, err);
}
static inline struct oci_TYPE *oci_TYPE_clone(const struct oci_TYPE *value)
{
	return oci_value_clone(&oci_TYPE_type, value);
}
static inline bool oci_TYPE_equal(const struct oci_TYPE *a, const struct oci_TYPE *b)
{
	return oci_value_equal(&oci_TYPE_type, a, b);
}
static inline int oci_TYPE_merge(struct oci_TYPE *dst, const struct oci_TYPE *src)
{
	return oci_value_merge(&oci_TYPE_type, dst, src);
}
"""

CLEAR = """\
static inline void oci_TYPE_clear_MEMBER(struct oci_TYPE *t)
{
	oci_slot_clear(t, &oci_TYPE_type.members[INDEX]);
}
"""

SCALAR = """\
static inline void oci_TYPE_set_MEMBER(struct oci_TYPE *t, VALUE value)
{
	t->MEMBER = value;
	t->has_MEMBER = true;
}
""" + CLEAR

STRING = """\
static inline int oci_TYPE_set_MEMBER(struct oci_TYPE *t, const char *value)
{
	return oci_slot_set_string(t, &oci_TYPE_type.members[INDEX], value);
}
""" + CLEAR

OBJECT = """\
static inline struct oci_TARGET *oci_TYPE_need_MEMBER(struct oci_TYPE *t)
{
	return oci_slot_need_object(t, &oci_TYPE_type.members[INDEX]);
}
""" + CLEAR

NEED = """\
static inline int oci_TYPE_need_MEMBER(struct oci_TYPE *t)
{
	return oci_slot_need(t, &oci_TYPE_type.members[INDEX]);
}
""" + CLEAR

LIST = """\
static inline void oci_TYPE_remove_MEMBER(struct oci_TYPE *t, size_t i)
{
	oci_slot_remove(t, &oci_TYPE_type.members[INDEX], i);
}
""" + NEED

LIST_STRING = """\
static inline int oci_TYPE_add_MEMBER(struct oci_TYPE *t, const char *value)
{
	return oci_slot_add_string(t, &oci_TYPE_type.members[INDEX], value);
}
""" + LIST

LIST_INTEGER = """\
static inline int oci_TYPE_add_MEMBER(struct oci_TYPE *t, VALUE value)
{
	return oci_slot_add_number(t, &oci_TYPE_type.members[INDEX], &value);
}
""" + LIST

LIST_OBJECT = """\
static inline struct oci_TARGET *oci_TYPE_add_MEMBER(struct oci_TYPE *t)
{
	return oci_slot_add_object(t, &oci_TYPE_type.members[INDEX]);
}
""" + LIST

MAP = """\
static inline bool oci_TYPE_drop_MEMBER(struct oci_TYPE *t, const char *key)
{
	return oci_slot_drop(t, &oci_TYPE_type.members[INDEX], key);
}
""" + NEED

MAP_STRING = """\
static inline int oci_TYPE_put_MEMBER(struct oci_TYPE *t, const char *key, const char *value)
{
	return oci_slot_put_string(t, &oci_TYPE_type.members[INDEX], key, value);
}
static inline const char *oci_TYPE_get_MEMBER(const struct oci_TYPE *t, const char *key)
{
	return oci_slot_get(t, &oci_TYPE_type.members[INDEX], key);
}
""" + MAP

MAP_OBJECT = """\
static inline struct oci_TARGET *oci_TYPE_put_MEMBER(struct oci_TYPE *t, const char *key)
{
	return oci_slot_put_object(t, &oci_TYPE_type.members[INDEX], key);
}
static inline struct oci_TARGET *oci_TYPE_get_MEMBER(const struct oci_TYPE *t, const char *key)
{
	return oci_slot_get(t, &oci_TYPE_type.members[INDEX], key);
}
""" + MAP

# By shape and kind of the member.
MEMBERS = {
    ("one", "bool"): SCALAR,
    ("one", "integer"): SCALAR,
    ("one", "string"): STRING,
    ("one", "object"): OBJECT,
    ("one", "json"): CLEAR,
    ("list", "string"): LIST_STRING,
    ("list", "integer"): LIST_INTEGER,
    ("list", "object"): LIST_OBJECT,
    ("map", "string"): MAP_STRING,
    ("map", "object"): MAP_OBJECT,
}
