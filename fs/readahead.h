/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Decides how far ahead of a reader to fetch. Each file that is being read has
 * a stream: where its reader is, and up to where fetching was asked for. Reads
 * that go on where the last one ended make the stream sequential; its window
 * starts at READAHEAD_FIRST and doubles, each time the reader comes within
 * half a window of its end, up to READAHEAD_MAX. A read anywhere else starts
 * the stream over and asks for nothing.
 *
 * Where the "file" is a whole device (READAHEAD_DEVICE), several of its parts are
 * read at once, each a stream of its own, and nobody knows where the file that
 * is read ends: nothing is asked for before READAHEAD_DEVICE_FIRST was read in a
 * row, and no window is larger than half of what was.
 *
 * The kernel cuts one large read into several requests, which arrive on
 * several threads in any order; READAHEAD_SLACK is how far out of order a
 * request may be and still count as going on.
 *
 * Pure arithmetic over a small table; one short lock, safe from any thread.
 */

#include <stdint.h>

#include "base/cleanup.h"

enum {
	READAHEAD_STREAMS = 64, /* files remembered; the one longest unused makes room */
	READAHEAD_FIRST = 1 << 20,
	READAHEAD_MAX = 16 << 20,
	READAHEAD_SLACK = 1 << 20,
	READAHEAD_DEVICE_FIRST = 5 << 18,
	READAHEAD_DEVICE_SLACK = 256 << 10, /* what is near in a device may be another file */
	READAHEAD_RUN = 2, /* reads in a row before anything is asked for */
};
/* In the key of a stream of whole files, as a layer has them; no inode's number has it. */
#define READAHEAD_LAYER (UINT64_C(1) << 63)
/* In the key of a stream in a file that is a device; nor this. */
#define READAHEAD_DEVICE (UINT64_C(1) << 62)

struct readahead;

/* -ENOMEM. */
int readahead_create(struct readahead **ret);
void readahead_destroy(struct readahead *ra);
DEFINE_CLEANUP(readahead, readahead_destroy);

/*
 * Notes a read of [off, off + len) in the file `key` of `size` bytes, with
 * off + len <= size. Returns the bytes to ask for, from *ret_off on; 0 (and
 * *ret_off untouched) when there is nothing to ask for. No byte is asked for
 * twice while the stream goes on.
 */
uint64_t readahead_note(struct readahead *ra, uint64_t key, uint64_t off, uint64_t len,
			uint64_t size, uint64_t *ret_off);
