/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts of compiled filters as a table, for check_seccomp.py, which knows what they
 * should be: seccomptab PROFILE reads lines from standard input and answers on standard
 * output. PROFILE may be "default".
 *
 *   args NAME A0 … A5               one more set of arguments to try the call NAME with
 *   target ARCH CAPS KERNEL         compile; for each architecture of the filter "arch
 *                                   NAME", for each call there "NAME VERDICT…", a
 *                                   verdict for zeros and then one for each set, and
 *                                   "- VERDICT" for each that a number without a name
 *                                   gets; at last "end", or "error WORDS"
 *   disabled                        "yes" or "no"
 *   text                            the default profile, as JSON, and "end"
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "exec/seccomp_bpf.h"
#include "exec/seccomp_compile.h"
#include "exec/seccomp_default.h"

enum {
	LINE_MAX_BYTES = 1024,
	SETS_MAX = 4096,
	/* Numbers that no architecture has lie between those that some have. */
	NUMBERS_END = 6600,
	MIPS_NUMBERS = 4000,
	ARM_PRIVATE = 0xf0000,
	ARM_PRIVATE_END = ARM_PRIVATE + 16,
};

struct set {
	char name[SECCOMP_NAME_LEN_MAX + 1];
	uint64_t args[6];
};

struct table {
	struct seccomp_profile *profile;
	struct set sets[SETS_MAX];
	size_t n_sets;
};

/* What numbers without a name get: all the same, if all is well. */
struct nameless {
	bool any;
	uint32_t verdict;
};

static void print_call(const struct table *table, const struct seccomp_bpf *bpf,
		       enum seccomp_arch arch, int nr, struct nameless *nameless)
{
	static const uint64_t zeros[6];
	int number = (int)((uint32_t)nr | seccomp_arch_nr_bit(arch));
	uint32_t verdict = seccomp_bpf_call(bpf, arch, nr, zeros);
	uint32_t token = seccomp_arch_token(arch);
	char *name = seccomp_syscall_resolve_num_arch(token, number);
	/* libseccomp also knows a call of MIPS by its place in the table, which is no number. */
	if (name && nr < MIPS_NUMBERS && strstr(seccomp_arch_name(arch), "MIPS")) {
		free(name);
		name = NULL;
	}
	if (!name && nameless->any && nameless->verdict == verdict)
		return;
	if (!name)
		*nameless = (struct nameless){.any = true, .verdict = verdict};
	(void)printf("%s %x", name ? name : "-", verdict);
	for (size_t i = 0; name && i < table->n_sets; i++)
		if (strcmp(table->sets[i].name, name) == 0)
			(void)printf(" %x", seccomp_bpf_call(bpf, arch, nr, table->sets[i].args));
	(void)putchar('\n');
	free(name);
}

static int print_target(const struct table *table, const struct seccomp_target *target,
			struct err *err)
{
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	AUTO_FINISH(buf) struct buf code = buf_make(SECCOMP_BPF_BYTES_MAX);
	int r = seccomp_resolve(table->profile, target, &filter, err);
	if (r == 0)
		r = seccomp_compile(filter, &code, err);
	if (r < 0)
		return r;
	struct seccomp_bpf bpf = {.code = code.data, .n = code.len,
				  .big_endian = seccomp_arch_big_endian(target->native)};
	r = seccomp_bpf_check(&bpf, err);
	for (size_t i = 0; i < filter->n_arches && r == 0; i++) {
		struct nameless nameless = {0};
		(void)printf("arch %s\n", seccomp_arch_name(filter->arches[i]));
		for (int nr = 0; nr < NUMBERS_END; nr++)
			print_call(table, &bpf, filter->arches[i], nr, &nameless);
		for (int nr = ARM_PRIVATE; nr < ARM_PRIVATE_END; nr++)
			print_call(table, &bpf, filter->arches[i], nr, &nameless);
	}
	if (r == 0)
		(void)puts("end");
	return r;
}

static int answer(struct table *table, char *line, struct err *err)
{
	char arch[32], kernel[32];
	struct seccomp_target target = {0};
	if (table->n_sets < SETS_MAX) {
		struct set *set = &table->sets[table->n_sets];
		if (sscanf(line, "args %64s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
				 " %" SCNu64, // NOLINT
			   set->name, &set->args[0], &set->args[1], &set->args[2], &set->args[3],
			   &set->args[4], &set->args[5]) == 7) {
			table->n_sets++;
			return 0;
		}
	}
	if (sscanf(line, "target %31s %" SCNx64 " %31s", arch, &target.caps, kernel) == 3) { // NOLINT
		if (seccomp_arch_parse(arch, &target.native) < 0 ||
		    seccomp_kernel_parse(kernel, &target.kernel) < 0)
			return err_say(err, -EINVAL, "not a target: %s", line);
		return print_target(table, &target, err);
	}
	if (strcmp(line, "disabled\n") == 0)
		return puts(table->profile->disabled ? "yes" : "no") < 0 ? -EIO : 0;
	if (strcmp(line, "text\n") == 0)
		return printf("%send\n", seccomp_default_text) < 0 ? -EIO : 0;
	return err_say(err, -EINVAL, "not understood: %s", line);
}

int main(int argc, char **argv)
{
	static struct table table;
	static char line[LINE_MAX_BYTES];
	struct err err = {0};
	int r = argc != 2 ? err_say(&err, -EINVAL, "usage: seccomptab PROFILE")
		: strcmp(argv[1], "default") == 0
			? seccomp_default_profile(&table.profile, &err)
			: seccomp_profile_load(AT_FDCWD, argv[1], &table.profile, &err);
	while (r == 0 && fgets(line, sizeof(line), stdin)) {
		int told = answer(&table, line, &err);
		if (told < 0)
			(void)printf("error %s\n", err_text(&err));
		(void)fflush(stdout);
	}
	if (r < 0)
		(void)fprintf(stderr, "seccomptab: %s\n", err_text(&err));
	seccomp_profile_destroy(table.profile);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
