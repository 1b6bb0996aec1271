/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The way from the root of a JSON document to a value, kept on the stack of
 * whoever walks down, and its text as a JSON pointer (RFC 6901).
 */

#include <stddef.h>

#include "base/buf.h"

/* A longer one is cut and ends in "...": an error is for a person. */
enum { OCI_POINTER_MAX = 384 };

/* One step down; the root has neither up nor key. Everything is borrowed. */
struct oci_path {
	const struct oci_path *up;
	const char *key; /* of an object's member; NULL for an array's element */
	size_t index;	 /* of an array's element */
};

/* The step from up to the member of an object. Nothing is copied. */
static inline struct oci_path oci_path_key(const struct oci_path *up, const char *key)
{
	return (struct oci_path){.up = up, .key = key};
}

/* The step from up to the element of an array. */
static inline struct oci_path oci_path_index(const struct oci_path *up, size_t index)
{
	return (struct oci_path){.up = up, .index = index};
}

/* Appends the pointer: "" for the root, "/process/args/0", with ~0 and ~1. -ENOMEM, -E2BIG. */
int oci_path_append(const struct oci_path *path, struct buf *out);

/* The same for a sentence: "/" for the root, and never more than fits. Returns out. */
char *oci_path_text(const struct oci_path *path, char out[static OCI_POINTER_MAX]);

/* The steps from the root, which is 0. */
size_t oci_path_depth(const struct oci_path *path);
