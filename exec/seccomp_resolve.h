/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A seccomp profile as it is for one container: the rules that its capabilities, its
 * architecture and the kernel select, and the architectures that the filter covers.
 * This is both what is compiled and what linux.seccomp of the runtime-spec says.
 *
 * How rules are read, when several name one system call:
 *   - a rule with the profile's default action says nothing;
 *   - of rules without conditions the first one counts, whatever conditions others have;
 *   - else a rule counts when all its conditions hold. Where two with different actions
 *     do at once, a profile contradicts itself (seccomp_lint.h), and libseccomp decides.
 * Runtimes read them like this, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "exec/cap.h"
#include "exec/seccomp_arch.h"
#include "exec/seccomp_profile.h"

/* What a container is run as. */
struct seccomp_target {
	cap_set_t caps; /* its bounding set */
	enum seccomp_arch native;
	struct seccomp_kernel kernel;
	bool native_only; /* leave the other architectures of the profile out */
};

/* One rule of the filter: at most one condition for an argument. */
struct seccomp_call {
	const struct seccomp_rule *rule; /* where it comes from; borrowed from the profile */
	uint32_t action;
	struct seccomp_cond conds[SECCOMP_ARGS];
	size_t n_conds;
};

struct seccomp_filter {
	const struct seccomp_profile *profile; /* borrowed: it must outlive the filter */
	bool disabled;			       /* no filter at all; nothing below is set */
	uint32_t default_action;
	enum seccomp_arch native;
	enum seccomp_arch arches[SECCOMP_ARCH_COUNT]; /* never empty */
	size_t n_arches;
	struct seccomp_call *calls; /* owned; in the order of the profile */
	size_t n_calls;
};

/* Fills the host's: no capabilities, its architecture and its kernel. -EOPNOTSUPP, -EINVAL. */
int seccomp_target_of_host(struct seccomp_target *ret, struct err *err);

/* The caller destroys the filter. -ENOMEM. */
int seccomp_resolve(const struct seccomp_profile *profile, const struct seccomp_target *target,
		    struct seccomp_filter **ret, struct err *err);

void seccomp_filter_destroy(struct seccomp_filter *filter);
DEFINE_CLEANUP(seccomp_filter, seccomp_filter_destroy);

/* Whether one of the rule's names is this one. */
bool seccomp_rule_names(const struct seccomp_rule *rule, const char *name);
