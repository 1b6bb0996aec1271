/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_compile.h"

#include <byteswap.h>
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "exec/seccomp_bpf.h"

static void release_ctx(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static const enum scmp_compare op_to_scmp[SECCOMP_OP_COUNT] = {
	[SECCOMP_OP_NE] = SCMP_CMP_NE,
	[SECCOMP_OP_LT] = SCMP_CMP_LT,
	[SECCOMP_OP_LE] = SCMP_CMP_LE,
	[SECCOMP_OP_EQ] = SCMP_CMP_EQ,
	[SECCOMP_OP_GE] = SCMP_CMP_GE,
	[SECCOMP_OP_GT] = SCMP_CMP_GT,
	[SECCOMP_OP_MASKED_EQ] = SCMP_CMP_MASKED_EQ,
};

bool seccomp_name_is_known(const char *name)
{
	return seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR;
}

char *seccomp_library_version(char out[static SECCOMP_VERSION_TEXT_MAX])
{
	const struct scmp_version *version = seccomp_version();
	(void)snprintf(out, SECCOMP_VERSION_TEXT_MAX, "%u.%u.%u", version->major, version->minor,
		       version->micro);
	return out;
}

static int add_arches(scmp_filter_ctx ctx, const struct seccomp_filter *filter, struct err *err)
{
	/* A new filter has the host's architecture, which may have the other byte order. */
	int r = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
	for (size_t i = 0; i < filter->n_arches && r == 0; i++) {
		enum seccomp_arch arch = filter->arches[i];
		uint32_t token = seccomp_arch_token(arch);
		if (token == 0)
			return err_say(err, -EOPNOTSUPP, "libseccomp does not know %s",
				       seccomp_arch_name(arch));
		r = seccomp_arch_add(ctx, token);
		if (r == -EDOM)
			return err_say(
				err, -EOPNOTSUPP,
				"%s and %s cannot be in one filter: their byte orders differ",
				seccomp_arch_name(arch), seccomp_arch_name(filter->native));
	}
	return r < 0 ? err_set(err, r, "add an architecture to a seccomp filter") : 0;
}

static int add_call(scmp_filter_ctx ctx, const struct seccomp_call *call, struct err *err)
{
	struct scmp_arg_cmp args[SECCOMP_ARGS];
	for (size_t i = 0; i < call->n_conds; i++)
		args[i] = (struct scmp_arg_cmp){
			.arg = call->conds[i].index,
			.op = op_to_scmp[call->conds[i].op],
			.datum_a = call->conds[i].value,
			.datum_b = call->conds[i].value_two,
		};
	for (size_t i = 0; i < call->rule->n_names; i++) {
		/* The number on this host, or a negative one that stands for the name. */
		int nr = seccomp_syscall_resolve_name(call->rule->names[i]);
		if (nr == __NR_SCMP_ERROR)
			continue;
		int r = seccomp_rule_add_array(ctx, call->action, nr, (unsigned int)call->n_conds,
					       args);
		if (r < 0)
			return err_set(err, r, "add %s of line %u to a seccomp filter",
				       call->rule->names[i], call->rule->line);
	}
	return 0;
}

static bool is_action(const struct seccomp_filter *filter, uint32_t action)
{
	bool found = action == filter->default_action || action == SCMP_ACT_KILL_THREAD;
	for (size_t i = 0; i < filter->n_calls && !found; i++)
		found = filter->calls[i].action == action;
	return found;
}

/*
 * Compiled for the other byte order, libseccomp (2.5.4) turns the value of a return
 * twice where it puts a copy of one into a long program. A value that is no action of
 * the filter, and turned is one, is such a copy.
 */
static void mend_returns(const struct seccomp_filter *filter, struct buf *code)
{
	if (seccomp_arch_big_endian(filter->native) == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
		return;
	for (size_t at = 0; at + SECCOMP_BPF_INSN_BYTES <= code->len;
	     at += SECCOMP_BPF_INSN_BYTES) {
		struct sock_filter insn;
		memcpy(&insn, code->data + at, sizeof(insn));
		if (bswap_16(insn.code) == (BPF_RET | BPF_K) &&
		    !is_action(filter, bswap_32(insn.k)) && is_action(filter, insn.k)) {
			insn.k = bswap_32(insn.k);
			memcpy(code->data + at, &insn, sizeof(insn));
		}
	}
}

static int export(scmp_filter_ctx ctx, const struct seccomp_filter *filter, struct buf *out,
		  struct err *err)
{
	AUTO_CLOSE int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "make room for a seccomp filter");
	int r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_set(err, r, "compile a seccomp filter");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_set(err, -errno, "read a seccomp filter");
	struct buf got = buf_make(SECCOMP_BPF_BYTES_MAX);
	r = file_slurp_fd(fd, &got);
	if (r == -E2BIG)
		(void)err_say(err, r, "the seccomp filter has more than %d instructions",
			      SECCOMP_BPF_INSNS_MAX);
	else if (r < 0)
		(void)err_set(err, r, "read a seccomp filter");
	mend_returns(filter, &got);
	if (r == 0 && (r = buf_append(out, got.data, got.len)) < 0)
		(void)err_set(err, r, "keep a seccomp filter");
	buf_finish(&got);
	return r;
}

int seccomp_compile(const struct seccomp_filter *filter, struct buf *out, struct err *err)
{
	__attribute__((cleanup(release_ctx))) scmp_filter_ctx ctx =
		seccomp_init(filter->default_action);
	char text[SECCOMP_ACTION_TEXT_MAX];
	if (!ctx)
		return err_say(err, -EINVAL, "libseccomp takes no filter whose default is '%s'",
			       seccomp_action_text(filter->default_action, text));
	int r = add_arches(ctx, filter, err);
	for (size_t i = 0; i < filter->n_calls && r == 0; i++)
		r = add_call(ctx, &filter->calls[i], err);
	return r < 0 ? r : export(ctx, filter, out, err);
}
