/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the subverbs of `sluice seccomp` share. One thread. */

#include "exec/seccomp_resolve.h"
#include "tools/verb.h"

struct seccomp_options {
	const char *profile, *arch, *output, *runtime;
	struct opt_list caps, args;
	bool strict, native_only;
};

/* What --cap, --arch and --native-only ask for, over what a container gets by itself. -EINVAL. */
int seccomp_options_target(const struct seccomp_options *options, struct seccomp_target *ret,
			   struct err *err);

/* A file, "default", or NULL for that: the caller destroys it. */
int seccomp_options_profile(const char *path, struct seccomp_profile **ret, struct err *err);

int seccomp_check(struct ctx *ctx, const struct seccomp_options *options, int argc, char **argv,
		  struct err *err);
int seccomp_explain(struct ctx *ctx, const struct seccomp_options *options, const char *name,
		    struct err *err);
int seccomp_record(struct ctx *ctx, const struct seccomp_options *options, char **argv,
		   struct err *err);
int seccomp_diff(struct ctx *ctx, const struct seccomp_options *options, const char *a,
		 const char *b, struct err *err);
