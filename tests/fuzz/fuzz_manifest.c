/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "fetcher/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = {0};
	AUTO_FINISH(manifest) struct manifest manifest = {0};
	AUTO_FINISH(image_config) struct image_config config = {0};
	(void)manifest_parse(data, n, NULL, &manifest, &err);
	(void)image_config_parse(data, n, 1, &config, &err);
	return 0;
}
