/* SPDX-License-Identifier: Apache-2.0 */

/* Any text as a CDI file, both as JSON and as YAML, and what it would do to a config.json. */

#include <stdlib.h>
#include <string.h>

#include "exec/cdi_edit.h"
#include "exec/cdi_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is let through has every promise of the header, and can be applied and emitted. */
static void check(const struct cdi_spec *spec)
{
	AUTO(oci_config) struct oci_config *config = oci_config_create();
	AUTO_FINISH(buf) struct buf out = buf_make(OCI_JSON_MAX);
	const char *kind = cdi_spec_kind(spec);
	struct err err = {0};
	if (!config || !cdi_kind_valid(kind, strlen(kind)) || cdi_spec_count(spec) == 0)
		abort();
	for (size_t i = 0; i < cdi_spec_count(spec); i++) {
		const json_t *edits[] = {cdi_spec_edits(spec), cdi_spec_device_edits(spec, i)};
		size_t at = 0;
		if (!cdi_device_valid(cdi_spec_device(spec, i)) ||
		    !cdi_spec_find(spec, cdi_spec_device(spec, i), &at) || at != i)
			abort();
		/* The device may not be there, and that is all that may be wrong. */
		int r = cdi_edit(config, edits, 2, &err);
		if (r == -ENOMEM || (r < 0 && err.text[0] == '\0'))
			abort();
	}
	if (oci_config_emit(config, &out, &err) == -EINVAL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	for (enum cdi_form form = CDI_JSON; form <= CDI_YAML; form++) {
		AUTO(cdi_spec) struct cdi_spec *spec = NULL;
		struct err err = {0};
		int r = cdi_spec_parse(data, n, form, "text", &spec, &err);
		if (r < 0 && (err.text[0] == '\0' || spec))
			abort();
		if (r == 0)
			check(spec);
	}
	return 0;
}
