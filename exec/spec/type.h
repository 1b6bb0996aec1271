/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the runtime-spec's types are made of, as tables: one struct oci_type a
 * C struct, one struct oci_member a field. The tables are generated from the
 * .spec files, and everything that works on all types alike walks them: the
 * functions below, the validator, a printer. They are constant; any thread
 * may read them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	OCI_JSON_MAX = 8 << 20,  /* bytes of a document */
	OCI_DEPTH_MAX = 128,	 /* objects and arrays within each other */
};

enum oci_kind {
	OCI_BOOL,    /* bool and has_x */
	OCI_INTEGER, /* intN_t or uintN_t and has_x */
	OCI_STRING,  /* char *, owned */
	OCI_OBJECT,  /* struct oci_Y *, owned */
	OCI_JSON,    /* json_t *, owned: an object of no stated members */
};

enum oci_shape {
	OCI_ONE,  /* the kind itself */
	OCI_LIST, /* an array of n_x of them: integers, char * or struct oci_Y * */
	OCI_MAP,  /* an array of n_x struct oci_entry, by key, of char * or struct oci_Y * */
};

/* An element of a map. What value points at is told by the member. */
struct oci_entry {
	char *key;
	void *value;
};

struct oci_member {
	const char *key;	     /* as in the specification: "oomScoreAdj" */
	const char *section;	     /* of the specification: "config.md#linux-process" */
	const struct oci_type *type; /* of OCI_OBJECT */
	const char *const *words;    /* the strings allowed, ended by NULL; NULL: any */
	const char *pattern;	     /* an ECMA regular expression for the strings; NULL: none */
	size_t at;		     /* of x in the struct */
	size_t beside;		     /* of has_x or n_x */
	enum oci_kind kind;
	enum oci_shape shape;
	unsigned bits; /* of an integer in C, 8 to 64 */
	bool is_signed;
	bool required; /* by the specification; parsing does without */
	bool has_min;  /* a range narrower than the integer's own, for the validator */
	bool has_max;
	int64_t min;
	int64_t max;
	size_t items_min; /* elements that a list has at least, for the validator */
};

struct oci_type {
	const char *name;		  /* "process" of struct oci_process */
	const char *section;		  /* of the specification */
	const struct oci_member *members; /* by key, in the order of strcmp() */
	size_t n_members;
	size_t size;
	size_t residual; /* where the unknown members are: a json_t *, NULL when there are none */
};

/* The member with this key, NULL when the type has none. */
const struct oci_member *oci_type_member(const struct oci_type *type, const char *key);

/*
 * Reads an object of a type from JSON text; the caller owns the result and
 * frees it with oci_value_free(). Members that the type does not know are kept
 * in the residual. Integers are exact over the whole range of their type, and
 * in unknown members over any range. A member that is absent is absent,
 * required or not, and words and patterns are not looked at: that is the
 * validator's.
 *
 * -EINVAL: not JSON (with line and column), a key that stands twice, a value of
 * another type (null is of none), an integer that does not fit, a string with
 * a NUL, each with the JSON pointer; too deep a document. -E2BIG past
 * OCI_JSON_MAX. -ENOMEM.
 */
int oci_value_parse(const struct oci_type *type, const char *bytes, size_t n, void **ret,
		    struct err *err);

/*
 * Appends the object as JSON in its one canonical form: members by key in the
 * order of their bytes, no spaces, strings in UTF-8 with nothing escaped that
 * need not be. A required member that is absent is left out. On failure the
 * buffer is as it was. -EINVAL with the JSON pointer: a string that is not
 * UTF-8, an unknown member that has the key of a known one. -E2BIG, -ENOMEM.
 */
int oci_value_emit(const struct oci_type *type, const void *value, struct buf *out,
		   struct err *err);

/* A zeroed object: everything absent. NULL: no memory. */
void *oci_value_create(const struct oci_type *type);

/* Frees the object with all it owns. Accepts NULL. */
void oci_value_free(const struct oci_type *type, void *value);

/* Frees all that the object owns and zeroes it. Accepts NULL. */
void oci_value_finish(const struct oci_type *type, void *value);

/* A copy that shares nothing with the original. NULL: no memory, or value was NULL. */
void *oci_value_clone(const struct oci_type *type, const void *value);

/*
 * Whether both say the same: absent is not the same as empty, false or 0; the
 * order counts in lists and not in maps. NULL equals NULL alone.
 */
bool oci_value_equal(const struct oci_type *type, const void *a, const void *b);

/*
 * Lays src over dst: what is present in src replaces what dst has, except that
 * objects are merged member by member and maps key by key, unknown members
 * likewise. Lists are replaced as a whole; what is absent in src stays. src is
 * unchanged and nothing is shared. What was borrowed from dst is gone, though
 * dst itself stays where it is. -ENOMEM: dst is as it was.
 */
int oci_value_merge(const struct oci_type *type, void *dst, const void *src);
