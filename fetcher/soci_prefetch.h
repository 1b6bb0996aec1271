/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * SOCI's prefetch list (awslabs/soci-snapshotter, docs/prefetch.md): for one
 * layer, the spans of its zTOC to be fetched before anything reads them. It is
 * a JSON blob among the layers of the SOCI index, annotated with the digest of
 * the layer (fetcher/soci.h finds it):
 *
 *   {"version": "1.0",
 *    "prefetch_spans": [{"start_span": N, "end_span": N, "priority": N?}, …]}
 *
 * Both ends are in the list; lower priorities come first, and none is 0.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

enum {
	SOCI_PREFETCH_MAX = 8 << 20,	  /* bytes of a list */
	SOCI_PREFETCH_RUNS_MAX = 65536,
};

/* Spans that follow each other. */
struct soci_run {
	uint64_t first, last;
	int64_t priority;
};

struct soci_runs {
	struct soci_run *items; /* owned */
	size_t n, room;
};
void soci_runs_finish(struct soci_runs *runs);
DEFINE_FINISH(soci_runs, soci_runs_finish);

/* Adds a run to the end. -E2BIG past SOCI_PREFETCH_RUNS_MAX, -ENOMEM. */
int soci_runs_add(struct soci_runs *runs, const struct soci_run *run);

/* Reads a list, in its order. -EBADMSG names what is wrong; -ENOMEM. */
int soci_prefetch_parse(const void *data, size_t n, struct soci_runs *ret, struct err *err);

/* Appends the text of a list. -E2BIG, -ENOMEM. */
int soci_prefetch_emit(const struct soci_runs *runs, struct buf *ret, struct err *err);
