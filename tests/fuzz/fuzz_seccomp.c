/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "exec/seccomp_bpf.h"
#include "exec/seccomp_resolve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The bytes as a profile, and as a program, which runs if the kernel might take it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	AUTO(seccomp_profile) struct seccomp_profile *profile = NULL;
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	struct seccomp_target target = {.native = SECCOMP_ARCH_X86_64, .kernel = {6, 1}};
	struct seccomp_bpf bpf = {.code = data, .n = n};
	static const uint64_t args[SECCOMP_ARGS] = {1, 2, 3, 4, 5, UINT64_MAX};
	struct err err = {0};
	if (seccomp_bpf_check(&bpf, &err) == 0)
		(void)seccomp_bpf_call(&bpf, SECCOMP_ARCH_X86_64, 1, args);
	if (seccomp_profile_parse(data, n, "input", &profile, &err) == 0 &&
	    seccomp_resolve(profile, &target, &filter, &err) < 0)
		abort();
	return 0;
}
