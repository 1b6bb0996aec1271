/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an ELF file needs to start: its interpreter and its libraries (System V
 * ABI, "Dynamic Linking"). Little-endian files of both classes. Nothing of the
 * file is believed: every offset and length is checked, and each part has a
 * limit.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum {
	ELF_NEEDS_SEGMENTS_MAX = 64,
	ELF_NEEDS_DYNAMIC_MAX = 4096, /* entries */
	ELF_NEEDS_LIBS_MAX = 64,
	ELF_NEEDS_NAME_MAX = 256,	/* of a library, an interpreter, a search path */
};

/* Reads up to len bytes at off: how many came, fewer at the end; or -errno. */
typedef ssize_t (*elf_read_fn)(void *data, void *ret, size_t len, uint64_t off);

struct elf_needs {
	char interpreter[ELF_NEEDS_NAME_MAX]; /* empty: none */
	char runpath[ELF_NEEDS_NAME_MAX];	/* DT_RUNPATH, else DT_RPATH; empty: none, or too long */
	char needed[ELF_NEEDS_LIBS_MAX][ELF_NEEDS_NAME_MAX];
	size_t n_needed; /* those past the limit are left out */
};

/* -ENOEXEC: not such a file. -EBADMSG: one that is broken. Otherwise what reading failed with. */
int elf_needs_parse(elf_read_fn read, void *data, struct elf_needs *ret, struct err *err);
