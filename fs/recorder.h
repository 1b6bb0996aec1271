/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Notes which parts of the devices a young mount's readers ask for, in the
 * order in which they first do, until a word says that what was started is
 * ready, or nothing new was asked for during a while, or a limit is reached.
 * Then the run is learnt from (fs/profile_store.h), on a thread of the
 * recorder's own. Who is told nothing new, and who comes later, pays a few
 * loads; what was noted is lost with the process, and nothing else is.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "fetcher/source.h"
#include "fs/profile.h"

enum {
	RECORDER_QUIET_MS = 10000,  /* defaults: nothing new for so long … */
	RECORDER_MAX_MS = 120000,   /* … or after so long … */
	RECORDER_BYTES_MAX_MIB = 4096, /* … or so much */
	RECORDER_GRAIN = 512,	    /* bytes of a device that are noted as one … */
	RECORDER_BITS_MAX = 1 << 28, /* … or more of them, where a device has more than this of them */
};

struct recorder_config {
	struct source *const *sources; /* borrowed during create */
	size_t n_sources;
	uint64_t quiet_ms, max_ms, max_bytes; /* 0: the defaults */
	int ready_fd; /* borrowed; readable once what was started is ready; -1: none */
	/* Takes what was noted, which may be nothing, on the recorder's thread, once. */
	void (*learn)(void *data, const struct profile *run);
	void *data;
};

struct recorder;

/* Begins to record. -ENOMEM, -EAGAIN. */
int recorder_create(const struct recorder_config *config, struct recorder **ret, struct err *err);

/* Ends the recording unless it is over, and waits until it is learnt. Accepts NULL. */
void recorder_destroy(struct recorder *recorder);
DEFINE_CLEANUP(recorder, recorder_destroy);

/* Whether it goes on. Any thread. */
bool recorder_is_on(const struct recorder *recorder);

/* Somebody asks for a part of source i, within its size. Any thread; nothing once it is over. */
void recorder_note(struct recorder *recorder, size_t i, uint64_t off, uint64_t len);

/* What was started is ready: the recording ends. Any thread; does not wait. */
void recorder_ready(struct recorder *recorder);
