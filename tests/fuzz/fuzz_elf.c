/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "exec/binfmt.h"
#include "exec/elf_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Both ways to the same bytes, from the head and from the file, tell the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct elf near = {0}, far = {0};
	AUTO_CLOSE int fd = memfd_create("elf", MFD_CLOEXEC);
	if (fd < 0 || file_write(fd, data, n) < 0)
		abort();
	size_t head = n < BINFMT_HEAD_MAX ? n : BINFMT_HEAD_MAX;
	int r = elf_parse(fd, data, n, &near);
	if (elf_parse(fd, data, head, &far) != r)
		abort();
	if (r == 0 && (near.native != far.native || near.is_32bit != far.is_32bit ||
		       strcmp(near.loader, far.loader) != 0 ||
		       strcmp(near.machine, far.machine) != 0))
		abort();
	return 0;
}
