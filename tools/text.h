/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How verbs print things. */

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

enum { TEXT_MODE_MAX = 11 };

/* "drwxr-xr-t", as ls(1). Returns out. */
const char *text_mode(uint32_t mode, char out[static TEXT_MODE_MAX]);

/* Prints a file name so that a terminal cannot be driven by it: control bytes as \ooo. */
void text_print_name(const char *name, size_t n);

/*
 * A name as text that JSON can hold: each byte that is not UTF-8 becomes
 * U+FFFD. The caller frees it; NULL without memory.
 */
char *text_json(const char *name, size_t n);

/* Prints a document, indented, with a newline. -ENOMEM, -EIO. */
int text_print_json(const json_t *json, struct err *err);

/*
 * Prints a document that has no spaces between its tokens, as oci_value_emit()
 * writes them, one member a line: what it says stays to the byte. -ENOMEM, -EIO.
 */
int text_print_compact(const char *json, size_t n, struct err *err);
