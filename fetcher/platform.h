/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Platforms, `os[/arch[/variant]]`, and the choice among those of an image
 * index (image-spec image-index.md). Names are normalised as containerd does:
 * arm means arm/v7, arm64/v8 is arm64, amd64/v1 is amd64, x86_64 and aarch64
 * are known by their Go names.
 */

#include <stdbool.h>

#include "base/err.h"
#include "fetcher/manifest.h"

enum { PLATFORM_PART_MAX = 32 };

struct platform {
	char os[PLATFORM_PART_MAX];
	char arch[PLATFORM_PART_MAX];
	char variant[PLATFORM_PART_MAX]; /* "" : none */
};

enum { PLATFORM_TEXT_MAX = 3 * PLATFORM_PART_MAX };

/*
 * Parses text; NULL means this machine's. Missing parts are this machine's: one word is an architecture
 * or an operating system. -EINVAL.
 */
int platform_parse(const char *text, struct platform *ret, struct err *err);

/* "linux/arm/v7". Returns out. */
char *platform_text(const struct platform *platform, char out[static PLATFORM_TEXT_MAX]);

/*
 * Whether an image of this configuration serves the platform, as platform_choose() would have it;
 * what the configuration leaves out is not held against it. -ENOENT names both.
 */
int platform_check(const struct platform *platform, const struct image_config *config,
		   struct err *err);

/*
 * The entry of an index for a platform: the first that is it exactly, else the
 * first of the nearest lower variant (arm/v7 takes v6 and v5, amd64/v3 takes
 * v2 and plain amd64, …). An entry without a platform is taken only when it is
 * the only one. NULL: none; *ret_offers (freed by the caller, may be NULL)
 * then lists what there is.
 */
const struct descriptor *platform_choose(const struct platform *platform,
					 const struct descriptors *entries, char **ret_offers);
