/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "exec/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The first byte is the kind of the document; what is found is bounded, and each has a place. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO_FINISH(findings) struct findings found = {0};
	struct err err = {0};
	if (n == 0)
		return 0;
	enum validate_kind kind = data[0] == 's'   ? VALIDATE_STATE
				  : data[0] == 'f' ? VALIDATE_FEATURES
						   : VALIDATE_CONFIG;
	if (validate_bytes(kind, data + 1, n - 1, &found, &err) < 0)
		abort();
	if (found.count > VALIDATE_FINDINGS_MAX ||
	    (found.left_off > 0 && found.count < VALIDATE_FINDINGS_MAX))
		abort();
	for (size_t i = 0; i < found.count; i++)
		if (!found.items[i].pointer || !found.items[i].text || !found.items[i].section)
			abort();
	return 0;
}
