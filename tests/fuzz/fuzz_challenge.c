/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetcher/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO_FINISH(challenges) struct challenges list = {0};
	char *text = strndup((const char *)data, n);
	if (!text)
		abort();
	/* One header a line. */
	char *save = NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t before = list.count;
		if (challenges_parse(line, &list, &err) < 0 && list.count != before)
			abort();
	}
	free(text);
	return 0;
}
