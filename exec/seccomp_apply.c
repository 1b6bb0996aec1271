/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <string.h>

#include "base/base64.h"
#include "base/num.h"
#include "exec/seccomp_bpf.h"
#include "exec/seccomp_cache.h"
#include "exec/seccomp_default.h"

static const char bpf_annotation[] = "run.oci.seccomp_bpf_data";

/* Each makes crun do something else than the config says. */
static const char *const foreign[] = {
	"run.oci.seccomp_bpf_data",
	"run.oci.seccomp.receiver",
	"run.oci.seccomp.plugins",
	"run.oci.seccomp_fail_unknown_syscall",
};

static int add_arg(struct oci_linux_seccomp_syscall *call, const struct seccomp_cond *cond)
{
	struct oci_linux_seccomp_arg *arg = oci_linux_seccomp_syscall_add_args(call);
	if (!arg)
		return -ENOMEM;
	oci_linux_seccomp_arg_set_index(arg, cond->index);
	oci_linux_seccomp_arg_set_value(arg, cond->value);
	if (cond->op == SECCOMP_OP_MASKED_EQ)
		oci_linux_seccomp_arg_set_value_two(arg, cond->value_two);
	return oci_linux_seccomp_arg_set_op(arg, seccomp_op_name(cond->op));
}

static int add_call(struct oci_linux_seccomp *seccomp, const struct seccomp_call *from)
{
	struct oci_linux_seccomp_syscall *call = oci_linux_seccomp_add_syscalls(seccomp);
	int r = call ? 0 : -ENOMEM;
	for (size_t i = 0; i < from->rule->n_names && r == 0; i++)
		r = oci_linux_seccomp_syscall_add_names(call, from->rule->names[i]);
	if (r == 0)
		r = oci_linux_seccomp_syscall_set_action(call, seccomp_action_name(from->action));
	if (r == 0 && seccomp_action_has_errno(from->action))
		oci_linux_seccomp_syscall_set_errno_ret(call, from->action & SECCOMP_RET_DATA);
	for (size_t i = 0; i < from->n_conds && r == 0; i++)
		r = add_arg(call, &from->conds[i]);
	return r;
}

static int fill(struct oci_linux_seccomp *seccomp, const struct seccomp_filter *filter)
{
	const struct seccomp_profile *profile = filter->profile;
	int r = oci_linux_seccomp_set_default_action(seccomp,
						     seccomp_action_name(filter->default_action));
	if (r == 0 && seccomp_action_has_errno(filter->default_action))
		oci_linux_seccomp_set_default_errno_ret(seccomp,
							filter->default_action & SECCOMP_RET_DATA);
	for (size_t i = 0; i < filter->n_arches && r == 0; i++)
		r = oci_linux_seccomp_add_architectures(seccomp,
							seccomp_arch_name(filter->arches[i]));
	for (size_t i = 0; profile->flags && profile->flags[i] && r == 0; i++)
		r = oci_linux_seccomp_add_flags(seccomp, profile->flags[i]);
	if (r == 0 && profile->listener_path)
		r = oci_linux_seccomp_set_listener_path(seccomp, profile->listener_path);
	if (r == 0 && profile->listener_metadata)
		r = oci_linux_seccomp_set_listener_metadata(seccomp, profile->listener_metadata);
	for (size_t i = 0; i < filter->n_calls && r == 0; i++)
		r = add_call(seccomp, &filter->calls[i]);
	return r;
}

int seccomp_to_oci(const struct seccomp_filter *filter, struct oci_linux_seccomp **ret,
		   struct err *err)
{
	AUTO(oci_linux_seccomp) struct oci_linux_seccomp *seccomp = oci_linux_seccomp_create();
	int r = seccomp ? fill(seccomp, filter) : -ENOMEM;
	if (r < 0)
		return err_set(err, r, "describe a seccomp filter");
	*ret = steal_ptr(&seccomp);
	return 0;
}

int seccomp_to_crun(struct oci_config *config, const void *code, size_t n, struct err *err)
{
	AUTO_FINISH(buf) struct buf text = buf_make(2 * (size_t)SECCOMP_BPF_BYTES_MAX);
	int r = base64_encode(code, n, &text);
	if (r == 0)
		r = oci_config_put_annotations(config, bpf_annotation, buf_str(&text));
	return r < 0 ? err_set(err, r, "hand a compiled seccomp filter to the runtime") : 0;
}

static int load(const struct seccomp_choice *choice, struct seccomp_profile **ret, struct err *err)
{
	return choice->profile ? seccomp_profile_load(AT_FDCWD, choice->profile, ret, err)
			       : seccomp_default_profile(ret, err);
}

static int find_target(const struct oci_config *config, const struct seccomp_choice *choice,
		       struct seccomp_target *ret, struct err *err)
{
	const struct oci_process_capabilities *caps =
		config->process ? config->process->capabilities : NULL;
	int r = seccomp_target_of_host(ret, err);
	if (r == 0 && caps)
		r = cap_set_parse((const char *const *)caps->bounding, caps->n_bounding, &ret->caps,
				  err);
	ret->native_only = choice->native_only;
	return r;
}

int seccomp_apply(struct oci_config *config, const struct seccomp_choice *choice, struct err *err)
{
	AUTO(seccomp_profile) struct seccomp_profile *profile = NULL;
	AUTO(seccomp_filter) struct seccomp_filter *filter = NULL;
	AUTO_FINISH(buf) struct buf code = buf_make(SECCOMP_BPF_BYTES_MAX);
	struct seccomp_target target;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		(void)oci_config_drop_annotations(config, foreign[i]);
	if (config->linux)
		oci_linux_clear_seccomp(config->linux);
	if (choice->profile && strcmp(choice->profile, SECCOMP_UNCONFINED) == 0)
		return 0;
	int r = load(choice, &profile, err);
	if (r < 0 || profile->disabled)
		return r;
	r = find_target(config, choice, &target, err);
	if (r == 0)
		r = seccomp_resolve(profile, &target, &filter, err);
	struct oci_linux *linux_part = r == 0 ? oci_config_need_linux(config) : NULL;
	if (r == 0 && !linux_part)
		r = err_set(err, -ENOMEM, "describe a seccomp filter");
	if (r == 0)
		r = seccomp_to_oci(filter, &linux_part->seccomp, err);
	if (r == 0 && choice->crun)
		r = seccomp_cache_get(choice->cache_dirfd, profile, &target, &code, NULL, err);
	if (r == 0 && choice->crun)
		r = seccomp_to_crun(config, code.data, code.len, err);
	return r;
}
