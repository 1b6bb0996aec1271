/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_arch.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/elf-em.h>
#include <seccomp.h>
#include <string.h>

#include "base/num.h"

#ifndef EM_LOONGARCH
#define EM_LOONGARCH 258
#endif

enum { X32_BIT = 0x40000000 };

static const struct row {
	const char *name, *brief;
	uint32_t audit;
	bool narrow;
} rows[SECCOMP_ARCH_COUNT] = {
	[SECCOMP_ARCH_X86] = {"SCMP_ARCH_X86", "x86", AUDIT_ARCH_I386, true},
	[SECCOMP_ARCH_X86_64] = {"SCMP_ARCH_X86_64", "amd64", AUDIT_ARCH_X86_64, false},
	[SECCOMP_ARCH_X32] = {"SCMP_ARCH_X32", "x32", AUDIT_ARCH_X86_64, true},
	[SECCOMP_ARCH_ARM] = {"SCMP_ARCH_ARM", "arm", AUDIT_ARCH_ARM, true},
	[SECCOMP_ARCH_AARCH64] = {"SCMP_ARCH_AARCH64", "arm64", AUDIT_ARCH_AARCH64, false},
	[SECCOMP_ARCH_MIPS] = {"SCMP_ARCH_MIPS", "mips", AUDIT_ARCH_MIPS, true},
	[SECCOMP_ARCH_MIPS64] = {"SCMP_ARCH_MIPS64", "mips64", AUDIT_ARCH_MIPS64, false},
	[SECCOMP_ARCH_MIPS64N32] = {"SCMP_ARCH_MIPS64N32", "mips64n32", SCMP_ARCH_MIPS64N32, true},
	[SECCOMP_ARCH_MIPSEL] = {"SCMP_ARCH_MIPSEL", "mipsel", AUDIT_ARCH_MIPSEL, true},
	[SECCOMP_ARCH_MIPSEL64] = {"SCMP_ARCH_MIPSEL64", "mipsel64", AUDIT_ARCH_MIPSEL64, false},
	[SECCOMP_ARCH_MIPSEL64N32] = {"SCMP_ARCH_MIPSEL64N32", "mipsel64n32", SCMP_ARCH_MIPSEL64N32,
				      true},
	[SECCOMP_ARCH_PPC] = {"SCMP_ARCH_PPC", "ppc", AUDIT_ARCH_PPC, true},
	[SECCOMP_ARCH_PPC64] = {"SCMP_ARCH_PPC64", "ppc64", AUDIT_ARCH_PPC64, false},
	[SECCOMP_ARCH_PPC64LE] = {"SCMP_ARCH_PPC64LE", "ppc64le", AUDIT_ARCH_PPC64LE, false},
	[SECCOMP_ARCH_S390] = {"SCMP_ARCH_S390", "s390", AUDIT_ARCH_S390, true},
	[SECCOMP_ARCH_S390X] = {"SCMP_ARCH_S390X", "s390x", AUDIT_ARCH_S390X, false},
	[SECCOMP_ARCH_PARISC] = {"SCMP_ARCH_PARISC", "parisc", AUDIT_ARCH_PARISC, true},
	[SECCOMP_ARCH_PARISC64] = {"SCMP_ARCH_PARISC64", "parisc64", AUDIT_ARCH_PARISC64, false},
	[SECCOMP_ARCH_RISCV64] = {"SCMP_ARCH_RISCV64", "riscv64", AUDIT_ARCH_RISCV64, false},
	[SECCOMP_ARCH_LOONGARCH64] = {"SCMP_ARCH_LOONGARCH64", "loong64",
				      EM_LOONGARCH | __AUDIT_ARCH_64BIT | __AUDIT_ARCH_LE, false},
	[SECCOMP_ARCH_M68K] = {"SCMP_ARCH_M68K", "m68k", EM_68K, true},
	[SECCOMP_ARCH_SH] = {"SCMP_ARCH_SH", "sh", EM_SH | __AUDIT_ARCH_LE, true},
	[SECCOMP_ARCH_SHEB] = {"SCMP_ARCH_SHEB", "sheb", EM_SH, true},
};

const char *seccomp_arch_name(enum seccomp_arch arch)
{
	return rows[arch].name;
}

const char *seccomp_arch_short(enum seccomp_arch arch)
{
	return rows[arch].brief;
}

int seccomp_arch_parse(const char *name, enum seccomp_arch *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strcmp(rows[i].name, name) == 0) {
			*ret = (enum seccomp_arch)i;
			return 0;
		}
	return -EINVAL;
}

int seccomp_arch_parse_short(const char *name, enum seccomp_arch *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strcmp(rows[i].brief, name) == 0) {
			*ret = (enum seccomp_arch)i;
			return 0;
		}
	return -EINVAL;
}

uint32_t seccomp_arch_token(enum seccomp_arch arch)
{
	uint32_t token = arch == SECCOMP_ARCH_X32 ? SCMP_ARCH_X32 : rows[arch].audit;
	/* Asked with a name that every architecture has: it is the architecture that is in doubt. */
	return seccomp_syscall_resolve_name_arch(token, "read") == __NR_SCMP_ERROR ? 0 : token;
}

uint32_t seccomp_arch_audit(enum seccomp_arch arch)
{
	return rows[arch].audit;
}

uint32_t seccomp_arch_nr_bit(enum seccomp_arch arch)
{
	return arch == SECCOMP_ARCH_X32 ? (uint32_t)X32_BIT : 0;
}

bool seccomp_arch_big_endian(enum seccomp_arch arch)
{
	return !(rows[arch].audit & __AUDIT_ARCH_LE);
}

bool seccomp_arch_narrow(enum seccomp_arch arch)
{
	return rows[arch].narrow;
}

int seccomp_arch_of_host(enum seccomp_arch *ret)
{
	uint32_t token = seccomp_arch_native();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (seccomp_arch_token((enum seccomp_arch)i) == token) {
			*ret = (enum seccomp_arch)i;
			return 0;
		}
	return -EOPNOTSUPP;
}
