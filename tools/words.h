/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A list of words that grows: a command line, or the values of an option. Not thread-safe. */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct words {
	char **items; /* owned, each; NULL-terminated, or NULL while there was never a word */
	size_t count;
};

/* Frees the words, and leaves an empty list. Accepts NULL. */
void words_finish(struct words *words);
DEFINE_FINISH(words, words_finish);

/* Adds a copy of a word, or one that becomes the list's also when this fails. -ENOMEM. */
int words_add(struct words *words, const char *text);
int words_take(struct words *words, char *text);

/* Adds an option and its value, unless that is NULL, or 0. -ENOMEM. */
int words_add_text(struct words *words, const char *option, const char *value);
int words_add_number(struct words *words, const char *option, uint64_t value, const char *unit);
