/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A compiled seccomp filter and its interpreter: classic BPF as the kernel runs it on
 * a struct seccomp_data (Documentation/userspace-api/seccomp_filter.rst). The program
 * is in the byte order of the architecture that it is for. Pure; a program may be run
 * by any number of threads at once.
 */

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "exec/seccomp_arch.h"

enum {
	SECCOMP_BPF_INSNS_MAX = 4096, /* BPF_MAXINSNS */
	SECCOMP_BPF_INSN_BYTES = 8,
	SECCOMP_BPF_BYTES_MAX = SECCOMP_BPF_INSNS_MAX * SECCOMP_BPF_INSN_BYTES,
};

/* A program as bytes; borrowed. */
struct seccomp_bpf {
	const void *code;
	size_t n; /* bytes */
	bool big_endian;
};

/*
 * Checks what the kernel checks: whole instructions that seccomp allows, jumps within
 * the program, aligned loads within seccomp_data, a return at the end. -EINVAL with
 * the number of the instruction; -E2BIG.
 */
int seccomp_bpf_check(const struct seccomp_bpf *bpf, struct err *err);

/*
 * What the kernel would get from the filter for this system call: a SECCOMP_RET_*
 * with its data. The program has been checked. *ret_insns, unless NULL, is how many
 * instructions that took.
 */
uint32_t seccomp_bpf_run(const struct seccomp_bpf *bpf, const struct seccomp_data *data,
			 size_t *ret_insns);

/* The same for a call by its number in the table of the architecture (x32: without the bit). */
uint32_t seccomp_bpf_call(const struct seccomp_bpf *bpf, enum seccomp_arch arch, int nr,
			  const uint64_t args[static 6]);
