/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a mount has done so far, counted by its server and read by anybody: the
 * structure is mapped from a file of the mount (fs/mount_stats.h), so
 * it outlives a server that crashes. Every word is on its own; readers may see
 * two of them at slightly different moments.
 */

#include <stdint.h>

#include "base/counter.h"

struct mount_counters {
	_Atomic uint64_t reads;		/* READ requests answered */
	_Atomic uint64_t bytes_served;	/* bytes of those answers */
	_Atomic uint64_t cache_hits;	/* reads whose bytes were all local */
	_Atomic uint64_t cache_misses;	/* reads that waited for a source */
	_Atomic uint64_t interrupted;	/* reads given up by their reader */
	_Atomic uint64_t errors;	/* reads answered with an error */
	_Atomic uint64_t timeouts;	/* of these, for the deadline */
	_Atomic uint64_t lookups;	/* LOOKUP requests answered */
	_Atomic uint64_t advised_bytes; /* bytes that read-ahead asked for */
	_Atomic uint64_t takeovers;	/* servers that took over from an earlier one */
};

/* How the start of a mount went. */
struct start_counters {
	_Atomic uint64_t recordings;	/* begun (fs/recorder.h) */
	_Atomic uint64_t recorded;	/* of these, over, and learnt from as far as that was possible */
	_Atomic uint64_t filled;	/* times that a fill found everything local */
};
