/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Archives as `docker save` wrote them before Docker 1.10, after the Docker
 * Image Specification v1.0: `repositories` names the topmost layer of each
 * image, and every layer is a folder ID/ with layer.tar and a json that names
 * its parent.
 */

#include "fetcher/local_priv.h"

enum {
	V1_ID_LEN = 64, /* hex digits of a layer's ID; told by no content, unlike a digest */
};

struct v1_image {
	char (*ids)[V1_ID_LEN + 1]; /* owned; the layers, topmost first */
	size_t n_ids;
	json_t *config; /* owned; the topmost layer's json without what is only about the chain */
};

void v1_image_finish(struct v1_image *image);
DEFINE_FINISH(v1_image, v1_image_finish);

/*
 * Finds the image that the reference means and walks its chain. -ENOENT when
 * there is none of that name; -EINVAL for several to choose from, for a
 * document that is not what it should be, and for a chain that is broken or
 * comes back to itself; -E2BIG past MANIFEST_LAYERS_MAX layers; -ENOMEM.
 */
int v1_image_load(struct local *local, struct v1_image *ret, struct err *err);
