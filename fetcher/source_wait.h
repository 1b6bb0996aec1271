/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fetcher/source.h"

/*
 * Reads [off, off + len) of a source, local or not, on the calling thread: 0
 * once all of it is in data. -EIO past the source's end, -ETIMEDOUT after
 * timeout_ms (0: never), and what the read itself may give.
 */
int source_read_wait(struct source *source, void *data, size_t len, uint64_t off,
		     uint64_t timeout_ms, struct err *err);
