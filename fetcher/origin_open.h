/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From a reference of any kind to its origin. */

#include "fetcher/registry.h"

/*
 * Opens the origin of ref: registry_open(), layout_open() or archive_open(),
 * whose errors it returns. registry is needed for registries only.
 */
int origin_open(const struct registry_config *registry, const struct ref *ref,
		struct origin **ret, struct err *err);
