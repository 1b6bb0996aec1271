/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What Sluice reads and writes of the runtime-spec, as a document of the kind
 * that runtimes describe themselves by (features.md). It says nothing of the
 * machine, nor of the runtime that follows the configuration in the end.
 */

#include "base/err.h"
#include "exec/spec/oci.h"

/* Makes the document; the caller frees it. -ENOMEM. Safe from any thread. */
int features_create(struct oci_features **ret, struct err *err);

enum { FEATURES_MAX = 1 << 20 }; /* bytes of a runtime's document */

/*
 * Asks a runtime, the program at an absolute path, for the document about
 * itself and appends it to out as it came. It is one by validate.h, or the
 * call fails. -EOPNOTSUPP: the runtime does not tell its features, and what it
 * said instead. -EBADMSG: what it tells is no such document. -ETIMEDOUT, the
 * errors of spawn_run(), -ENOMEM.
 */
int features_ask(const char *path, struct buf *out, struct err *err);
