/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the parts of the validator share: a place in a document, and the check
 * that is under way. A part looks at one section of the specification; it takes
 * places of any type and passes over what the schema has refused already.
 */

#include <jansson.h>
#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "exec/form.h"
#include "exec/spec/pointer.h"
#include "exec/spec/type.h"
#include "exec/validate.h"

/* A place in a document, and what stands there. It lives on the stack, above those below it. */
struct at {
	struct oci_path path;
	const json_t *value; /* borrowed; NULL: nothing does, or null */
};

/* Wide enough for both kinds of 64-bit numbers. */
typedef __int128 wide_t;

enum namespace_bit {
	NS_MOUNT = 1 << 0,
	NS_PID = 1 << 1,
	NS_NETWORK = 1 << 2,
	NS_UTS = 1 << 3,
	NS_IPC = 1 << 4,
	NS_USER = 1 << 5,
	NS_CGROUP = 1 << 6,
	NS_TIME = 1 << 7,
};

enum {
	CHECK_PATTERNS_MAX = 8,
	COMPARED_MAX = 1024, /* entries of a list that are compared with each other */
};

/* An expression of the schema, compiled when it is first met. */
struct check_pattern {
	const char *text; /* borrowed; what it is known by */
	regex_t regex;
};

struct check {
	const struct oci_type *type; /* of the document */
	const char *section;	     /* of the whole of it */
	struct findings *found;
	size_t n_schema;     /* findings of the schema: no other is added at their places */
	int r;		     /* -ENOMEM, and nothing more is added */
	unsigned namespaces; /* those of linux.namespaces */
	bool on_linux;	     /* what the document is for, by its sections */
	bool on_windows;
	struct check_pattern patterns[CHECK_PATTERNS_MAX];
	size_t n_patterns;
};

/* Places. at_member() of what is no object, and at_item() of what is no array, hold nothing. */
struct at at_document(const json_t *document);
struct at at_member(const struct at *object, const char *key);
struct at at_item(const struct at *array, size_t index);

/* The members of an object one after the other: value is NULL behind the last. */
struct at at_first(const struct at *object);
struct at at_next(const struct at *object, const struct at *before);

#define at_each_item(item, array)                                    \
	for (struct at item = at_item((array), 0); item.path.up;     \
	     item = at_item((array), item.path.index + 1))
#define at_each_member(member, object) \
	for (struct at member = at_first(object); member.path.up; member = at_next((object), &member))

/* The string at a place, borrowed; NULL when there is none, or it holds a NUL. */
const char *at_string(const struct at *at);
/* The same for a member. */
const char *at_member_string(const struct at *object, const char *key);
/* Whether there is a whole number, and which. */
bool at_number(const struct at *at, wide_t *ret);
bool at_member_number(const struct at *object, const char *key, wide_t *ret);
/* How many elements an array has; 0 when there is none. */
size_t at_count(const struct at *array);
/* Whether an array of strings holds this one. */
bool at_holds(const struct at *array, const char *text);

/* A finding: "asks, but is VALUE" or "asks, but is missing". */
void find(struct check *check, const struct at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A finding in exactly these words. */
void find_exactly(struct check *check, const struct at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The section of the specification that a place in a document of this type belongs to; static. */
const char *section_of(const struct oci_type *document, const struct oci_path *path);

/* Checks that more than one part needs. Each takes a place that may hold nothing. */
void check_absolute(struct check *check, const struct at *path);
void check_each_absolute(struct check *check, const struct at *paths);
void check_assignments(struct check *check, const struct at *env);
void check_range(struct check *check, const struct at *number, wide_t low, wide_t high);
void check_mappings(struct check *check, const struct at *mappings);
void check_namespaces(struct check *check, const struct at *namespaces);
void check_annotations(struct check *check, const struct at *annotations);
/* No two objects of a list have the same string in this member. */
void check_unique(struct check *check, const struct at *list, const char *key);
/* Whether there is a version, and which. */
bool check_version(struct check *check, const struct at *version, struct semver *ret);
/* Says so when a member that the text, not the schema, requires is not there. */
bool check_there(struct check *check, const struct at *member);

/* The parts. */
void check_schema(struct check *check, const struct at *document);
void check_config(struct check *check, const struct at *document);
void check_process(struct check *check, const struct at *process);
void check_mounts(struct check *check, const struct at *mounts);
void check_linux(struct check *check, const struct at *linux_);
void check_resources(struct check *check, const struct at *resources);
void check_seccomp(struct check *check, const struct at *seccomp);
void check_windows(struct check *check, const struct at *windows);
void check_vm(struct check *check, const struct at *vm);
void check_freebsd(struct check *check, const struct at *freebsd);
void check_zos(struct check *check, const struct at *zos);
void check_state(struct check *check, const struct at *document);
void check_features(struct check *check, const struct at *document);
