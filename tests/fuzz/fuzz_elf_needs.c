/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "fs/elf_needs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct bytes {
	const uint8_t *data;
	size_t n;
};

static ssize_t read_bytes(void *data, void *ret, size_t len, uint64_t off)
{
	const struct bytes *b = data;
	if (off >= b->n)
		return 0;
	size_t n = (size_t)u64_min(len, b->n - off);
	memcpy(ret, b->data + off, n);
	return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct bytes bytes = {data, n};
	struct elf_needs needs;
	struct err err = {0};
	if (elf_needs_parse(read_bytes, &bytes, &needs, &err) < 0) {
		if (err.code == 0)
			abort();
		return 0;
	}
	/* Every name ends, and none is empty that is counted. */
	for (size_t i = 0; i < needs.n_needed; i++)
		if (strnlen(needs.needed[i], ELF_NEEDS_NAME_MAX) % ELF_NEEDS_NAME_MAX == 0)
			abort();
	if (strnlen(needs.interpreter, ELF_NEEDS_NAME_MAX) == ELF_NEEDS_NAME_MAX ||
	    strnlen(needs.runpath, ELF_NEEDS_NAME_MAX) == ELF_NEEDS_NAME_MAX)
		abort();
	return 0;
}
