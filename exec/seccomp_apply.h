/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Puts a seccomp profile into the config of a container, in the way that starts
 * soonest on the runtime that will read it. Safe from any thread.
 *
 * crun takes a compiled filter in the annotation run.oci.seccomp_bpf_data (crun(1)):
 * base64 of the program. It then compiles nothing, and keeps the program for what is
 * executed in the container later; linux.seccomp still gives it flags and the listener.
 * Other runtimes ignore the annotation and compile linux.seccomp, which costs less the
 * fewer architectures it has. Both are always written, and say the same.
 */

#include <stdbool.h>

#include "base/err.h"
#include "exec/seccomp_resolve.h"
#include "exec/spec/oci.h"

#define SECCOMP_UNCONFINED "unconfined"

struct seccomp_choice {
	const char *profile; /* a file, SECCOMP_UNCONFINED, or NULL: the default profile */
	bool native_only;    /* the image has no program of another architecture */
	bool crun;	     /* the runtime is crun */
	int cache_dirfd; /* where compiled filters are kept, a directory of ours alone; -1: nowhere */
};

/*
 * Replaces linux.seccomp and the annotations of crun that concern seccomp. The rules
 * are those for the bounding capabilities, which are in the config already, and for
 * this host. An empty profile, and SECCOMP_UNCONFINED, leave none. The errors of
 * seccomp_profile_load() and seccomp_cache_get(); -EINVAL for a capability that does
 * not exist; -ENOMEM. The config may then have been changed in part.
 */
int seccomp_apply(struct oci_config *config, const struct seccomp_choice *choice, struct err *err);

/* The filter as linux.seccomp; the caller frees it. -ENOMEM. */
int seccomp_to_oci(const struct seccomp_filter *filter, struct oci_linux_seccomp **ret,
		   struct err *err);

/* Adds the annotation for crun: n bytes of a compiled filter. -ENOMEM, -E2BIG. */
int seccomp_to_crun(struct oci_config *config, const void *code, size_t n, struct err *err);
