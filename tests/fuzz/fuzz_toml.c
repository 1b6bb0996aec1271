/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "base/json.h"
#include "fetcher/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO_JSON json_t *root = NULL;
	(void)toml_parse((const char *)data, n, "input", &root, &err);
	return 0;
}
