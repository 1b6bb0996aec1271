/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fs/layer_prepare.h"

/*
 * Prepares a layer from its zTOC in the image's SOCI index. -ENOENT when the
 * index leaves the layer out, or the zTOC is gone or cannot be used (a sparse
 * file, spans too long): the layer is then as good as an ordinary one.
 * -EBADMSG for a zTOC that is not what the index says, or lies.
 */
int layer_soci_run(const struct layer_prepare *job, struct err *err);
