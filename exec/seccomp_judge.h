/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a profile does about one system call: the verdict, by running the compiled
 * filter, and the rule that it comes from. For people who ask why.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "exec/seccomp_resolve.h"

/* A filter with its program. Any thread may use it once it is made. */
struct seccomp_judge;

/* The caller destroys it; the profile must outlive it. The errors of seccomp_compile(). */
int seccomp_judge_create(const struct seccomp_profile *profile, const struct seccomp_target *target,
			 struct seccomp_judge **ret, struct err *err);
void seccomp_judge_destroy(struct seccomp_judge *judge);
DEFINE_CLEANUP(seccomp_judge, seccomp_judge_destroy);

/* What the program was compiled from; disabled: there is none, and all is allowed. Borrowed. */
const struct seccomp_filter *seccomp_judge_filter(const struct seccomp_judge *judge);

/* The length of the program in instructions. */
size_t seccomp_judge_insns(const struct seccomp_judge *judge);

struct seccomp_verdict {
	int nr;				 /* of the call on the architecture */
	uint32_t action;		 /* of the program: SECCOMP_RET_* with its data */
	const struct seccomp_call *call; /* the rule that says so; NULL: the default action */
};

/*
 * The verdict on a call by name, on an architecture that the filter need not cover.
 * -ENOENT when there is no such call on it.
 */
int seccomp_judge_call(const struct seccomp_judge *judge, enum seccomp_arch arch, const char *name,
		       const uint64_t args[static SECCOMP_ARGS], struct seccomp_verdict *ret);

/* Whether all conditions of the rule hold for these arguments. Pure. */
bool seccomp_call_matches(const struct seccomp_call *call,
			  const uint64_t args[static SECCOMP_ARGS]);

/* "arg0 < 38 and arg1 & 0xff == 0x12". Appends; -E2BIG, -ENOMEM. */
int seccomp_call_text(const struct seccomp_call *call, struct buf *out);

/*
 * The arguments at which rules on one call may change their minds: calls back with
 * zeros and then with every choice of one boundary for each argument that n filters
 * look at; after SECCOMP_PROBES_MAX, no more. Ends early with what probe() returns
 * when that is not 0. -ENOMEM.
 */
enum { SECCOMP_PROBES_MAX = 4096 };
int seccomp_probe(const struct seccomp_filter *const *filters, size_t n, const char *name,
		  int (*probe)(void *to, const uint64_t args[static SECCOMP_ARGS]), void *to);
