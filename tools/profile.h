/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of `sluice profile` share. */

#include "fs/profile.h"
#include "tools/opened.h"
#include "tools/profile_flags.h"

struct profile_options {
	struct profile_flags flags; /* record: when the start is over */
	bool soci;
};

/* 'show IMAGE'. */
int profile_show(struct ctx *ctx, const char *text, struct err *err);

/* 'record IMAGE [CMD…]': argv is IMAGE and the command; the exit status is the container's. */
int profile_record(struct ctx *ctx, const struct profile_options *options, char **argv,
		   struct err *err);

/* 'push --soci IMAGE' and 'export --soci IMAGE DIR'. */
int profile_soci_do_push(struct ctx *ctx, const char *text, struct err *err);
int profile_soci_export(struct ctx *ctx, const char *text, const char *dir, struct err *err);

/* Bytes of all devices of an image. */
uint64_t profile_total(const struct opened *opened);
