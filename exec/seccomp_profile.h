/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Seccomp profiles as people write them, in both public dialects: that of Moby
 * (docs.docker.com, "Seccomp security profiles") and that of containers-common
 * (defaultErrno, errno by name). A file may mix them. Reading is strict: a key, a
 * name or a value that is not understood is refused, with its line and column,
 * because a typing error in a profile would open what it should close.
 *
 * Actions are kept as the kernel has them: a SECCOMP_RET_* of <linux/seccomp.h>
 * with its data in the lower 16 bits. A profile is never changed once it is read;
 * any thread may use it then.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "exec/cap.h"
#include "exec/seccomp_arch.h"

enum {
	SECCOMP_PROFILE_BYTES_MAX = 1 << 20,
	SECCOMP_RULES_MAX = 4096,
	SECCOMP_NAMES_MAX = 4096,  /* of one rule */
	SECCOMP_NAME_LEN_MAX = 64, /* of a system call */
	SECCOMP_ARGS = 6,	   /* arguments that a system call has */
	SECCOMP_CONDS_MAX = 64,	   /* conditions of one rule */
	SECCOMP_ACTION_TEXT_MAX = 48,
};

enum seccomp_op {
	SECCOMP_OP_NE,
	SECCOMP_OP_LT,
	SECCOMP_OP_LE,
	SECCOMP_OP_EQ,
	SECCOMP_OP_GE,
	SECCOMP_OP_GT,
	SECCOMP_OP_MASKED_EQ, /* (argument & value) == value_two */
	SECCOMP_OP_COUNT,
};

/* One condition on one argument; comparisons are unsigned. */
struct seccomp_cond {
	unsigned int index; /* below SECCOMP_ARGS */
	enum seccomp_op op;
	uint64_t value, value_two;
};

struct seccomp_kernel {
	unsigned int major, minor;
};

/* "includes" or "excludes" of a rule. */
struct seccomp_when {
	cap_set_t caps;
	uint32_t arches; /* bit N: enum seccomp_arch N */
	bool has_kernel;
	struct seccomp_kernel kernel;
};

struct seccomp_rule {
	char **names; /* owned; of system calls, as written */
	size_t n_names;
	uint32_t action;	    /* SECCOMP_RET_* and its data */
	struct seccomp_cond *conds; /* owned; NULL: none */
	size_t n_conds;
	bool any; /* an argument stands twice: each condition is a rule of its own */
	struct seccomp_when includes, excludes;
	unsigned int line; /* where the rule begins in the text */
};

struct seccomp_arch_map {
	enum seccomp_arch arch;
	enum seccomp_arch subs[SECCOMP_ARCH_COUNT];
	size_t n_subs;
};

struct seccomp_profile {
	bool disabled;	       /* the profile is empty: no filter at all; nothing below is set */
	bool has_kernel_rules; /* some rule asks for a kernel version */
	uint32_t default_action;
	enum seccomp_arch arches[SECCOMP_ARCH_COUNT]; /* "architectures" */
	size_t n_arches;
	struct seccomp_arch_map maps[SECCOMP_ARCH_COUNT]; /* "archMap"; never beside arches */
	size_t n_maps;
	char **flags; /* owned; SECCOMP_FILTER_FLAG_*, NULL-terminated; NULL: none */
	char *listener_path, *listener_metadata; /* owned or NULL */
	struct seccomp_rule *rules;		 /* owned, in the order of the text */
	size_t n_rules;
	struct digest digest; /* SHA-256 of the text */
};

/*
 * Reads a profile; `what` names it in errors. The caller destroys it. -EINVAL with
 * line and column, and the JSON pointer of what is wrong; -E2BIG; -ENOMEM.
 */
int seccomp_profile_parse(const void *text, size_t n, const char *what,
			  struct seccomp_profile **ret, struct err *err);

/* The same for a file below dirfd (AT_FDCWD is allowed). The errors of openat(2), too. */
int seccomp_profile_load(int dirfd, const char *path, struct seccomp_profile **ret,
			 struct err *err);

void seccomp_profile_destroy(struct seccomp_profile *profile);
DEFINE_CLEANUP(seccomp_profile, seccomp_profile_destroy);

/* "SCMP_CMP_EQ". Static. */
const char *seccomp_op_name(enum seccomp_op op);

/* "SCMP_ACT_ERRNO", without its data; NULL for what is no action. Static. */
const char *seccomp_action_name(uint32_t action);

/* "allow", "EPERM" (the caller gets this error), "kill process"; for people. Returns out. */
char *seccomp_action_text(uint32_t action, char out[static SECCOMP_ACTION_TEXT_MAX]);

/* Whether the action carries a number: ERRNO and TRACE. */
bool seccomp_action_has_errno(uint32_t action);

/* "6.1" and on, as uname(2) gives a release. -EINVAL. */
int seccomp_kernel_parse(const char *release, struct seccomp_kernel *ret);
