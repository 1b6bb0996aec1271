/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What `sluice run` notes in a container's state (container_state.extra), for
 * its monitor and for the verbs that come later.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tools/words.h"

struct run_record {
	char *name;	/* owned, as all strings here */
	char *image;	/* as it was named; a directory with --rootfs */
	char *runtime;	/* as --runtime; NULL: the default */
	char *pidfile;	/* NULL: none */
	char *view;	/* where the runtime alone sees the root filesystem; NULL: where it is */
	struct words command; /* what runs: the entrypoint included */
	struct words volumes; /* the names of those it uses */
	bool remove;	/* when it is over */
	bool detach, tty, interactive;
	bool mounted;	/* something is mounted at its rootfs */
	bool poststop;	/* it has hooks that run when it is over */
	int stop_signal;
	int64_t stop_timeout_ms; /* -1: for ever */
	uint64_t timeout_ms;	 /* 0: none */
	uint64_t preserve_fds;
	uint16_t rows, columns;	 /* of the terminal that it began with; 0: none */
};

/* Accepts NULL and a zeroed one. */
void run_record_finish(struct run_record *record);
DEFINE_FINISH(run_record, run_record_finish);

/* As JSON, a new reference of the caller's. NULL: no memory. */
json_t *run_record_json(const struct run_record *record);

/* What JSON says; the caller finishes *ret. -EINVAL: it is no such object. -ENOMEM. */
int run_record_parse(const json_t *json, struct run_record *ret, struct err *err);
