/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fetcher/soci_prefetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is read can be written, and says the same again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO_FINISH(soci_runs) struct soci_runs runs = {0};
	AUTO_FINISH(soci_runs) struct soci_runs again = {0};
	AUTO_FINISH(buf) struct buf text = buf_make((size_t)2 * SOCI_PREFETCH_MAX);
	int r = soci_prefetch_parse(data, n, &runs, &err);
	if (r < 0 && (r != -EBADMSG || err.text[0] == '\0'))
		abort();
	if (r < 0)
		return 0;
	if (soci_prefetch_emit(&runs, &text, &err) < 0 ||
	    soci_prefetch_parse(text.data, text.len, &again, &err) < 0 || again.n != runs.n)
		abort();
	for (size_t i = 0; i < runs.n; i++) {
		const struct soci_run *a = &runs.items[i], *b = &again.items[i];
		if (a->first > a->last || a->first != b->first || a->last != b->last ||
		    a->priority != b->priority)
			abort();
	}
	return 0;
}
