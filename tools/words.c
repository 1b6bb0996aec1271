/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void words_finish(struct words *words)
{
	if (!words)
		return;
	for (size_t i = 0; i < words->count; i++)
		free(words->items[i]);
	free(words->items);
	*words = (struct words){0};
}

int words_take(struct words *words, char *text)
{
	AUTO_FREE char *owned = text;
	char **items = reallocarray(words->items, words->count + 2, sizeof(*items));
	if (!items)
		return -ENOMEM;
	words->items = items;
	items[words->count++] = steal_ptr(&owned);
	items[words->count] = NULL;
	return 0;
}

int words_add(struct words *words, const char *text)
{
	char *copy = strdup(text);
	return copy ? words_take(words, copy) : -ENOMEM;
}

int words_add_text(struct words *words, const char *option, const char *value)
{
	if (!value)
		return 0;
	int r = words_add(words, option);
	return r < 0 ? r : words_add(words, value);
}

int words_add_number(struct words *words, const char *option, uint64_t value,
		     const char *unit)
{
	char text[40];
	if (value == 0)
		return 0;
	(void)snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value, unit);
	return words_add_text(words, option, text);
}
