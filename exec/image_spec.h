/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an image's configuration says about the process to be (image-spec
 * config.md; Docker's own form of it is the same here). Only read and checked
 * for its types; what it means for a container is exec/convert.h.
 */

#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

enum {
	IMAGE_SPEC_MAX = 8 << 20,    /* bytes of a configuration */
	IMAGE_SPEC_LIST_MAX = 16384, /* members of a list in it */
};

struct image_label {
	char *key, *value;
};

/*
 * A string is NULL where the configuration has none or an empty one; a list is
 * NULL-terminated, NULL where there is none. All of it is owned.
 */
struct image_spec {
	char *os, *architecture, *variant, *os_version;
	char **os_features;
	char *author, *created;

	char *user; /* as written */
	char *working_dir;
	char *stop_signal;
	char **entrypoint, **cmd, **env;
	char **exposed_ports, **volumes; /* the keys, in their order */
	struct image_label *labels;	 /* in their order */
	size_t n_labels;
};

void image_spec_finish(struct image_spec *spec);
DEFINE_FINISH(image_spec, image_spec_finish);

/*
 * Parses the n bytes of a configuration; unknown members are passed over. The
 * caller finishes *ret. -EINVAL with the place, -E2BIG past a limit, -ENOMEM.
 */
int image_spec_parse(const void *data, size_t n, struct image_spec *ret, struct err *err);
