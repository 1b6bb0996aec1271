/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where in the text of a JSON document a value stands, for errors that name a line. */

#include <stddef.h>

#include "exec/spec/pointer.h"

/*
 * The line and the column (from 1, in bytes) at which the value of this path begins;
 * of the innermost one on the way that is there. The text has been parsed before: of
 * text that is no JSON, the result is some place inside it. Pure.
 */
void oci_place(const char *text, size_t n, const struct oci_path *path, size_t *ret_line,
	       size_t *ret_column);

/* The lines at which the first n_lines elements of the array at this path begin; 0: there is none. */
void oci_place_elements(const char *text, size_t n, const struct oci_path *path,
			unsigned int *lines, size_t n_lines);
