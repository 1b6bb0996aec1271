/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What reading a profile needs of JSON: whole numbers of 64 bits without a sign,
 * which jansson has not, and errors that name the line. One thread.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "exec/spec/pointer.h"

struct seccomp_reader {
	const char *text; /* borrowed */
	size_t n;
	const char *what; /* borrowed; for errors */
	struct err *err;
};

/*
 * Parses the text, an object, into *ret, which the caller releases. Numbers without
 * a fraction are in it modulo 2^64: read them with (uint64_t)json_integer_value().
 * A negative number, which no profile has, is refused. -EINVAL, -ENOMEM.
 */
int seccomp_reader_parse(const struct seccomp_reader *reader, json_t **ret);

/* Sets the error "WHAT: line L, column C: /pointer: words". Returns r. */
int seccomp_reader_fail(const struct seccomp_reader *reader, const struct oci_path *path, int r,
			const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Refuses members of the object that are not among the keys (NULL-terminated). */
int seccomp_reader_keys(const struct seccomp_reader *reader, const struct oci_path *at,
			const json_t *object, const char *const *keys);

/* A member, NULL when it is absent or null; -EINVAL when it is not of the type. Borrowed. */
int seccomp_reader_array(const struct seccomp_reader *reader, const struct oci_path *at,
			 const json_t *object, const char *key, json_t **ret);
int seccomp_reader_object(const struct seccomp_reader *reader, const struct oci_path *at,
			  const json_t *object, const char *key, json_t **ret);
int seccomp_reader_str(const struct seccomp_reader *reader, const struct oci_path *at,
		       const json_t *object, const char *key, const char **ret);

/* Whether the member is there and not null; its number. -EINVAL for anything but one up to max. */
int seccomp_reader_number(const struct seccomp_reader *reader, const struct oci_path *at,
			  const json_t *object, const char *key, uint64_t max, bool *ret_has,
			  uint64_t *ret);

/* An element of an array, which must be a string. Borrowed. */
int seccomp_reader_item(const struct seccomp_reader *reader, const struct oci_path *at,
			const json_t *array, size_t index, const char **ret);
