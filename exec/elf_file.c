/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NATIVE_DATA ELFDATA2LSB
#else
#define NATIVE_DATA ELFDATA2MSB
#endif

/* Which of them this machine runs: a compiler knows no list, only whether a macro is there. */
#if defined(__x86_64__)
#define NATIVE_64 EM_X86_64
#define NATIVE_32 EM_386
#elif defined(__i386__)
#define NATIVE_64 EM_NONE
#define NATIVE_32 EM_386
#elif defined(__aarch64__)
#define NATIVE_64 EM_AARCH64
#define NATIVE_32 EM_ARM
#elif defined(__arm__)
#define NATIVE_64 EM_NONE
#define NATIVE_32 EM_ARM
#elif defined(__riscv)
#define NATIVE_64 EM_RISCV
#define NATIVE_32 EM_NONE
#elif defined(__powerpc64__)
#define NATIVE_64 EM_PPC64
#define NATIVE_32 EM_NONE
#elif defined(__s390x__)
#define NATIVE_64 EM_S390
#define NATIVE_32 EM_NONE
#elif defined(__loongarch64)
#define NATIVE_64 EM_LOONGARCH
#define NATIVE_32 EM_NONE
#else
#error "exec/elf_file.c does not know this machine"
#endif

/* Go's names, which images use, too. */
static const struct machine {
	uint16_t machine;
	uint8_t class, data;
	const char *name;
} machines[] = {
	{EM_X86_64, ELFCLASS64, ELFDATA2LSB, "amd64"},
	{EM_X86_64, ELFCLASS32, ELFDATA2LSB, "x32"},
	{EM_386, ELFCLASS32, ELFDATA2LSB, "386"},
	{EM_AARCH64, ELFCLASS64, ELFDATA2LSB, "arm64"},
	{EM_ARM, ELFCLASS32, ELFDATA2LSB, "arm"},
	{EM_RISCV, ELFCLASS64, ELFDATA2LSB, "riscv64"},
	{EM_PPC64, ELFCLASS64, ELFDATA2LSB, "ppc64le"},
	{EM_PPC64, ELFCLASS64, ELFDATA2MSB, "ppc64"},
	{EM_S390, ELFCLASS64, ELFDATA2MSB, "s390x"},
	{EM_LOONGARCH, ELFCLASS64, ELFDATA2LSB, "loong64"},
};

static bool is_native(const struct machine *m)
{
	return (m->machine == NATIVE_64 || m->machine == NATIVE_32) && m->data == NATIVE_DATA;
}

const char *elf_native(void)
{
	for (size_t i = 0; i < ARRAY_LEN(machines); i++)
		if (is_native(&machines[i]))
			return machines[i].name;
	return "unknown";
}

bool elf_is(const void *head, size_t n)
{
	return n >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

/* Bytes of the file, from what is known of it where that is enough. */
static int elf_bytes(int fd, const void *head, size_t n, uint64_t off, void *out, size_t len)
{
	if (range_within(off, len, n)) {
		memcpy(out, (const char *)head + off, len);
		return 0;
	}
	if (off > INT64_MAX - len)
		return -ENOEXEC;
	ssize_t got = file_pread(fd, out, len, off);
	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : -ENOEXEC;
}

static int elf_loader(int fd, const void *head, size_t n, uint64_t off, uint64_t size,
		      struct elf *elf)
{
	/* As the kernel: with its NUL, and not empty. */
	if (size < 2 || size > sizeof(elf->loader))
		return -ENOEXEC;
	int r = elf_bytes(fd, head, n, off, elf->loader, (size_t)size);
	if (r < 0)
		return r;
	return elf->loader[size - 1] == '\0' ? 0 : -ENOEXEC;
}

/* Finds PT_INTERP. The two classes differ in the sizes of their fields alone. */
static int elf_headers(int fd, const void *head, size_t n, struct elf *elf)
{
	Elf64_Ehdr e64;
	Elf32_Ehdr e32;
	uint64_t off, step;
	size_t count;
	int r = elf->is_32bit ? elf_bytes(fd, head, n, 0, &e32, sizeof(e32))
			      : elf_bytes(fd, head, n, 0, &e64, sizeof(e64));
	if (r < 0)
		return r;
	off = elf->is_32bit ? e32.e_phoff : e64.e_phoff;
	step = elf->is_32bit ? e32.e_phentsize : e64.e_phentsize;
	count = elf->is_32bit ? e32.e_phnum : e64.e_phnum;
	if (step != (elf->is_32bit ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr)) || count == 0 ||
	    off > INT64_MAX / 2)
		return -ENOEXEC;
	for (size_t i = 0; i < count && i < ELF_HEADERS_MAX; i++) {
		Elf64_Phdr p64;
		Elf32_Phdr p32;
		r = elf->is_32bit ? elf_bytes(fd, head, n, off + i * step, &p32, sizeof(p32))
				  : elf_bytes(fd, head, n, off + i * step, &p64, sizeof(p64));
		if (r < 0)
			return r;
		if ((elf->is_32bit ? p32.p_type : p64.p_type) == PT_INTERP)
			return elf_loader(fd, head, n, elf->is_32bit ? p32.p_offset : p64.p_offset,
					  elf->is_32bit ? p32.p_filesz : p64.p_filesz, elf);
	}
	return 0;
}

int elf_parse(int fd, const void *head, size_t n, struct elf *ret)
{
	const unsigned char *ident = head;
	struct elf elf = {0};
	if (!elf_is(head, n) || n < EI_NIDENT + 4)
		return -ENOEXEC;
	unsigned int machine = ident[EI_DATA] == ELFDATA2MSB
				       ? (unsigned int)ident[EI_NIDENT + 2] << 8 | ident[EI_NIDENT + 3]
				       : (unsigned int)ident[EI_NIDENT + 3] << 8 | ident[EI_NIDENT + 2];
	elf.is_32bit = ident[EI_CLASS] == ELFCLASS32;
	(void)snprintf(elf.machine, sizeof(elf.machine), "machine %u", machine);
	for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
		const struct machine *m = &machines[i];
		if (m->machine != machine || m->class != ident[EI_CLASS] ||
		    m->data != ident[EI_DATA])
			continue;
		(void)snprintf(elf.machine, sizeof(elf.machine), "%s", m->name);
		elf.native = is_native(m);
	}
	int r = elf.native ? elf_headers(fd, head, n, &elf) : 0;
	if (r < 0)
		return r;
	*ret = elf;
	return 0;
}
