/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a start of an image will read, as far as the image itself tells: the
 * program that its configuration names, the interpreter of that if it is a
 * script, the ELF interpreter, and the libraries that these need, found as
 * ld.so(8) finds them. What is guessed is kept small: it is a help when nobody
 * has recorded a start yet (fs/profile.h), and must not cost what it saves.
 */

#include "base/cleanup.h"
#include "base/err.h"
#include "fetcher/source.h"
#include "fs/erofs.h"
#include "fs/plan.h"

enum {
	EXPECT_FILES_MAX = 96,
	EXPECT_DEPTH_MAX = 6,		    /* scripts and libraries that lead to further ones */
	EXPECT_WHOLE_MAX = 8 << 20,	    /* a file up to this is expected whole … */
	EXPECT_HEAD_BYTES = 1 << 20,	    /* … of a larger one only the beginning */
	EXPECT_BYTES_MAX = 64 << 20,	    /* of all files together */
	EXPECT_LINE_MAX = 256,		    /* of a script's first line: the kernel reads no more */
	EXPECT_CONFIG_MAX = 4 << 20,	    /* of the image's configuration */
	EXPECT_DIRS_MAX = 64,		    /* of a search path */
	EXPECT_PATH_MAX = 4096,
};

struct expect;

struct expect_config {
	const struct erofs *image; /* all borrowed until the destroy */
	struct source **sources;
	size_t n_sources;
	const void *config;	   /* the image's configuration, JSON; borrowed during create */
	size_t config_len;
	uint64_t read_timeout_ms;
};

/* -EINVAL for a configuration that is none; -ENOMEM. */
int expect_create(const struct expect_config *config, struct expect **ret, struct err *err);
void expect_destroy(struct expect *expect);
DEFINE_CLEANUP(expect, expect_destroy);

/*
 * Adds to the plan what is known by now. 1: once that is under way, more can be
 * found out, by reading it; 0: that was all. -ENOMEM. What cannot be read or
 * understood leads nowhere, and is no failure.
 */
int expect_next(struct expect *expect, struct plan *plan, struct err *err);
