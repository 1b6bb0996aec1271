/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the writer and the reader of a log share. */

enum { LOGS_NAME_MAX = 256 };

/* NAME, NAME.1, NAME.2, … */
void logs_file_name(const char *name, unsigned int index, char out[static LOGS_NAME_MAX]);
