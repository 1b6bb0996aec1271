/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A startup profile: what starts of an image touched, as ranges of the devices
 * of its layers (uncompressed bytes, so that it holds for any seek table of a
 * layer), in the order of their first demand. The ranges never overlap, and
 * their number and their bytes are bounded. Its text, one JSON document, is
 * described in fs/README.md; the same profile gives the same bytes.
 *
 * A profile belongs to one thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"

enum {
	PROFILE_VERSION = 1,
	PROFILE_GRAIN = 512,		/* what ranges are rounded out to: a block of a device */
	PROFILE_RANGES_MAX = 65536,
	PROFILE_LAYERS_MAX = 1024,
	PROFILE_TEXT_MAX = 8 << 20,	/* bytes of the JSON document */
	PROFILE_SCORE_RUN = 64,		/* the score of what one run touched */
	PROFILE_SCORE_MIN = 24,		/* what falls below it goes */
	PROFILE_SCORE_MAX = 255,
};
#define PROFILE_BYTES_MAX  ((uint64_t)16 << 30) /* of all ranges together */
#define PROFILE_DEVICE_MAX ((uint64_t)1 << 41)	/* no device is larger: fs/README.md */

struct profile_range {
	uint32_t layer;	   /* 0: the bottom */
	uint64_t off, len; /* bytes of the layer's device; off is a multiple of PROFILE_GRAIN */
	uint8_t score;	   /* PROFILE_SCORE_MIN to _MAX: how often, and how lately, runs touched it */
	uint64_t place;	   /* bytes demanded before it, the mean of the runs; ranges are sorted by it */
};

struct profile;

/* An empty profile. -ENOMEM. */
int profile_create(struct profile **ret);
/* Accepts NULL. */
void profile_destroy(struct profile *p);
DEFINE_CLEANUP(profile, profile_destroy);

/*
 * Notes that a run touched a range. It is rounded out to PROFILE_GRAIN; what
 * the profile has of it already keeps its place, and the rest goes to the end,
 * or into the last range, or a short one of late, that it touches. -EINVAL for
 * an empty range and one outside any device; -E2BIG when the profile is full,
 * which then has as much of the range as it had room for; -ENOMEM.
 */
int profile_add(struct profile *p, uint32_t layer, uint64_t off, uint64_t len);

/* Ranges, and the bytes of all of them. */
size_t profile_count(const struct profile *p);
uint64_t profile_bytes(const struct profile *p);

/* Range i (below the count), in the order of first demand. */
void profile_get(const struct profile *p, size_t i, struct profile_range *ret);

/*
 * Learns from one more run. A quarter of every score goes; what the run touched
 * gets PROFILE_SCORE_RUN more, and what falls below PROFILE_SCORE_MIN leaves.
 * Ranges are split where runs disagree, and joined where they agree again.
 * The order is that of the mean place, weighted by score, so a run like those
 * before changes nothing in it. Past the limits, what
 * has the least score goes. -ENOMEM: `into` is then as it was.
 */
int profile_learn_run(struct profile *into, const struct profile *run);

/*
 * Takes in another profile of the same image, made of other runs: the higher
 * score counts, and the order is the mean one as above; what both agree on stays
 * as it is, so joining twice is as good as once. -ENOMEM: `into` is then as it was.
 */
int profile_join(struct profile *into, const struct profile *other);

/* Whether both have the same ranges, with the same scores and places. */
bool profile_equal(const struct profile *a, const struct profile *b);

/*
 * Appends the text of a profile of the image whose manifest has the digest
 * `image` and whose n layers, bottom first, have these digests. -EINVAL when
 * the profile has a range of a layer that is not there; -E2BIG, -ENOMEM.
 */
int profile_emit(const struct profile *p, const struct digest *image, const struct digest *layers,
		 size_t n, struct buf *ret, struct err *err);

/*
 * Reads a text. Layer k has the digest layers[k], and its device sizes[k]
 * bytes: no range ends after that (one that does by less than PROFILE_GRAIN is
 * cut). -EBADMSG names what is wrong: another version, image or layer, a range
 * outside its device, too large, out of order, or that overlaps another, broken JSON; -ENOMEM.
 */
int profile_parse(const struct digest *image, const struct digest *layers, const uint64_t *sizes,
		  size_t n, const void *data, size_t len, struct profile **ret, struct err *err);
