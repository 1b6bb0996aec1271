/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "exec/spec/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { OUT_RATIO = 8, OUT_ROOM = 1024 }; /* a byte may become \u00XX */

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* What was read is written, read again and written the same; laid over anything less, it wins. */
static void check_value(const struct oci_type *type, const void *value, size_t n)
{
	struct err err = {0};
	AUTO_FINISH(buf) struct buf text = buf_make(n * OUT_RATIO + OUT_ROOM);
	AUTO_FINISH(buf) struct buf again = buf_make(n * OUT_RATIO + OUT_ROOM);
	void *second = NULL, *copy = oci_value_clone(type, value), *empty = oci_value_create(type);
	must(copy && empty);
	must(oci_value_emit(type, value, &text, &err) == 0);
	must(oci_value_parse(type, text.data, text.len, &second, &err) == 0);
	must(oci_value_emit(type, second, &again, &err) == 0);
	must(strcmp(text.data, again.data) == 0);
	must(oci_value_equal(type, value, second) && oci_value_equal(type, value, copy));
	must(oci_value_merge(type, copy, value) == 0 && oci_value_equal(type, value, copy));
	must(oci_value_merge(type, empty, value) == 0 && oci_value_equal(type, value, empty));
	oci_value_free(type, second);
	oci_value_free(type, copy);
	oci_value_free(type, empty);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct oci_type *const types[] = {&oci_config_type, &oci_features_type,
						       &oci_state_type};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct err err = {0};
		void *value = NULL;
		int r = oci_value_parse(types[i], (const char *)data, n, &value, &err);
		must(r == 0 || ((r == -EINVAL || r == -E2BIG) && err.text[0] != '\0' && !value));
		if (r == 0)
			check_value(types[i], value, n);
		oci_value_free(types[i], value);
	}
	return 0;
}
