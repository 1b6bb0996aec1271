/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The architectures of seccomp profiles. Each has the name that profiles and the
 * runtime-spec use (SCMP_ARCH_X86_64), the one that "arches" in includes and
 * excludes use (amd64), and the tokens of libseccomp and of the kernel. Pure; safe
 * from any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum seccomp_arch {
	SECCOMP_ARCH_X86,
	SECCOMP_ARCH_X86_64,
	SECCOMP_ARCH_X32,
	SECCOMP_ARCH_ARM,
	SECCOMP_ARCH_AARCH64,
	SECCOMP_ARCH_MIPS,
	SECCOMP_ARCH_MIPS64,
	SECCOMP_ARCH_MIPS64N32,
	SECCOMP_ARCH_MIPSEL,
	SECCOMP_ARCH_MIPSEL64,
	SECCOMP_ARCH_MIPSEL64N32,
	SECCOMP_ARCH_PPC,
	SECCOMP_ARCH_PPC64,
	SECCOMP_ARCH_PPC64LE,
	SECCOMP_ARCH_S390,
	SECCOMP_ARCH_S390X,
	SECCOMP_ARCH_PARISC,
	SECCOMP_ARCH_PARISC64,
	SECCOMP_ARCH_RISCV64,
	SECCOMP_ARCH_LOONGARCH64,
	SECCOMP_ARCH_M68K,
	SECCOMP_ARCH_SH,
	SECCOMP_ARCH_SHEB,
	SECCOMP_ARCH_COUNT,
};

/* "SCMP_ARCH_X86_64". Static. */
const char *seccomp_arch_name(enum seccomp_arch arch);

/* "amd64". Static. */
const char *seccomp_arch_short(enum seccomp_arch arch);

/* By either name; -EINVAL for any other. */
int seccomp_arch_parse(const char *name, enum seccomp_arch *ret);
int seccomp_arch_parse_short(const char *name, enum seccomp_arch *ret);

/* What libseccomp calls it (SCMP_ARCH_*), 0 when this libseccomp does not know it. */
uint32_t seccomp_arch_token(enum seccomp_arch arch);

/* What the kernel puts into seccomp_data.arch (AUDIT_ARCH_*); that of x32 is that of x86_64. */
uint32_t seccomp_arch_audit(enum seccomp_arch arch);

/* What the kernel adds to the numbers of its system calls: 0 but for x32. */
uint32_t seccomp_arch_nr_bit(enum seccomp_arch arch);

bool seccomp_arch_big_endian(enum seccomp_arch arch);

/* Whether libseccomp compares 32 bits of its arguments only; x32 is among them. */
bool seccomp_arch_narrow(enum seccomp_arch arch);

/* That of this process, by libseccomp. -EOPNOTSUPP when it is none of these. */
int seccomp_arch_of_host(enum seccomp_arch *ret);
