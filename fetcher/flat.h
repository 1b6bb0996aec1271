/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reads FlatBuffers (flatbuffers.dev, "FlatBuffer Internals") without trust:
 * every offset, vtable, length and number is checked against the buffer where
 * it is followed, so any bytes may be given. Nothing is copied; what the
 * getters return is borrowed from the buffer. Fields are counted from 0 in the
 * order of the schema; `name` is how errors call them.
 *
 * Getters return 1 for a field that is there, 0 for one that was left out
 * (*ret is then untouched), and -EBADMSG for one that is broken.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The whole buffer, and what it is, for errors. */
struct flat {
	const uint8_t *data;
	size_t n;
	const char *what;
};

struct flat_table {
	const struct flat *flat;
	size_t at, len;	       /* of the table itself */
	size_t vtable, fields; /* where the fields' places stand, how many there are */
};

struct flat_bytes {
	const char *data; /* not terminated */
	size_t len;
};

struct flat_vector {
	const struct flat *flat;
	const char *name;
	size_t at, count;
};

int flat_root(const struct flat *flat, struct flat_table *ret, struct err *err);

int flat_i8(const struct flat_table *t, size_t field, const char *name, int8_t *ret,
	    struct err *err);
int flat_i32(const struct flat_table *t, size_t field, const char *name, int32_t *ret,
	     struct err *err);
int flat_u32(const struct flat_table *t, size_t field, const char *name, uint32_t *ret,
	     struct err *err);
int flat_i64(const struct flat_table *t, size_t field, const char *name, int64_t *ret,
	     struct err *err);
int flat_table(const struct flat_table *t, size_t field, const char *name, struct flat_table *ret,
	       struct err *err);

/* A string, or a vector of bytes. */
int flat_bytes(const struct flat_table *t, size_t field, const char *name, struct flat_bytes *ret,
	       struct err *err);

/* A vector of tables or strings. */
int flat_vector(const struct flat_table *t, size_t field, const char *name,
		struct flat_vector *ret, struct err *err);

/* The i-th of a vector (i < count): 0 or -EBADMSG. */
int flat_vector_table(const struct flat_vector *v, size_t i, struct flat_table *ret,
		      struct err *err);
int flat_vector_bytes(const struct flat_vector *v, size_t i, struct flat_bytes *ret,
		      struct err *err);
