/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fs/layer_prepare.h"

/*
 * Prepares a layer from the TOC that it carries (eStargz, zstd:chunked), when
 * an annotation of its descriptor binds one: some kilobytes of the layer are
 * fetched instead of all of it. -ENOENT when there is none, or none that can
 * be used (an external one, chunks without digests, chunks too long): the layer
 * is then as good as an ordinary one. -EBADMSG for a TOC that is not what the
 * annotation says, or lies.
 */
int layer_toc_run(const struct layer_prepare *job, struct err *err);
