/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "exec/convert.h"
#include "exec/defaults.h"
#include "exec/elf_file.h"

enum { CONFIG_MAX = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is converted is a configuration that can be written and read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct convert_options options = {.volumes = CONVERT_VOLUMES_TMPFS};
	AUTO_FINISH(image_spec) struct image_spec spec = {0};
	AUTO_FINISH(buf) struct buf json = buf_make(CONFIG_MAX);
	AUTO(oci_config) struct oci_config *config = NULL;
	AUTO(oci_config) struct oci_config *again = NULL;
	struct err err = {0};
	if (image_spec_parse(data, n, &spec, &err) < 0)
		return 0;
	if (defaults_create(&config, &err) < 0)
		abort();
	if (convert_image(&spec, &options, config, &err) < 0)
		return 0;
	if (oci_config_emit(config, &json, &err) < 0)
		abort();
	if (oci_config_parse(json.data, json.len, &again, &err) < 0 ||
	    !oci_config_equal(config, again))
		abort();
	for (size_t i = 0; i < config->n_mounts; i++)
		if (config->mounts[i]->destination[0] != '/')
			abort();
	return 0;
}
