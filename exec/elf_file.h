/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * As much of an ELF program as tells whether this machine runs it, and by
 * which loader (elf(5)). The bytes are an image's: hostile. Pure but for
 * reading the file.
 */

#include <stdbool.h>
#include <stddef.h>

enum {
	ELF_HEADERS_MAX = 128,	/* program headers that are looked at */
	ELF_LOADER_MAX = 4096,	/* the name of a loader with its NUL: PATH_MAX */
	ELF_MACHINE_MAX = 24,
};

struct elf {
	bool native;   /* this machine runs it, maybe in its 32-bit mode */
	bool is_32bit;
	char machine[ELF_MACHINE_MAX]; /* "amd64", or "machine 1234" */
	char loader[ELF_LOADER_MAX];   /* "": linked statically */
};

/* Whether a file that begins with these bytes says that it is ELF. */
bool elf_is(const void *head, size_t n);

/*
 * Reads a program of which the first n bytes are known. -ENOEXEC where the
 * kernel would refuse it for its form; what reading gives.
 */
int elf_parse(int fd, const void *head, size_t n, struct elf *ret);

/* The name of this machine, as in elf.machine. */
const char *elf_native(void);
