/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/seccomp_resolve.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

int seccomp_target_of_host(struct seccomp_target *ret, struct err *err)
{
	struct seccomp_target target = {0};
	struct utsname name;
	if (uname(&name) < 0)
		return err_set(err, -errno, "ask for the kernel's version");
	if (seccomp_kernel_parse(name.release, &target.kernel) < 0)
		return err_say(err, -EINVAL, "the kernel's version '%s' is none", name.release);
	int r = seccomp_arch_of_host(&target.native);
	if (r < 0)
		return err_set(err, r, "filter system calls on %s", name.machine);
	*ret = target;
	return 0;
}

void seccomp_filter_destroy(struct seccomp_filter *filter)
{
	if (!filter)
		return;
	free(filter->calls);
	free(filter);
}

bool seccomp_rule_names(const struct seccomp_rule *rule, const char *name)
{
	for (size_t i = 0; i < rule->n_names; i++)
		if (strcmp(rule->names[i], name) == 0)
			return true;
	return false;
}

static bool has_arch(uint32_t arches, enum seccomp_arch arch)
{
	return arches & (UINT32_C(1) << arch);
}

static bool kernel_at_least(const struct seccomp_kernel *kernel, const struct seccomp_kernel *least)
{
	return kernel->major > least->major ||
	       (kernel->major == least->major && kernel->minor >= least->minor);
}

/* One match in excludes drops a rule; includes must match in all that they ask for. */
static bool is_selected(const struct seccomp_rule *rule, const struct seccomp_target *target)
{
	const struct seccomp_when *in = &rule->includes, *ex = &rule->excludes;
	if ((ex->caps & target->caps) || has_arch(ex->arches, target->native) ||
	    (ex->has_kernel && kernel_at_least(&target->kernel, &ex->kernel)))
		return false;
	if (in->arches && !has_arch(in->arches, target->native))
		return false;
	if (in->has_kernel && !kernel_at_least(&target->kernel, &in->kernel))
		return false;
	return (in->caps & ~target->caps) == 0;
}

static void add_arch(struct seccomp_filter *filter, enum seccomp_arch arch)
{
	for (size_t i = 0; i < filter->n_arches; i++)
		if (filter->arches[i] == arch)
			return;
	filter->arches[filter->n_arches++] = arch;
}

/* "architectures" is meant as it stands, archMap for the entry of the native one. */
static void resolve_arches(const struct seccomp_profile *profile,
			   const struct seccomp_target *target, struct seccomp_filter *filter)
{
	add_arch(filter, target->native);
	if (target->native_only)
		return;
	for (size_t i = 0; i < profile->n_arches; i++)
		add_arch(filter, profile->arches[i]);
	for (size_t i = 0; i < profile->n_maps; i++) {
		const struct seccomp_arch_map *map = &profile->maps[i];
		for (size_t j = 0; map->arch == target->native && j < map->n_subs; j++)
			add_arch(filter, map->subs[j]);
	}
}

static void add_calls(const struct seccomp_rule *rule, struct seccomp_filter *filter)
{
	size_t n = rule->any ? rule->n_conds : 1;
	for (size_t i = 0; i < n; i++) {
		struct seccomp_call *call = &filter->calls[filter->n_calls++];
		*call = (struct seccomp_call){.rule = rule, .action = rule->action};
		call->n_conds = rule->any ? 1 : rule->n_conds;
		if (call->n_conds > 0)
			memcpy(call->conds, rule->conds + (rule->any ? i : 0),
			       call->n_conds * sizeof(*call->conds));
	}
}

int seccomp_resolve(const struct seccomp_profile *profile, const struct seccomp_target *target,
		    struct seccomp_filter **ret, struct err *err)
{
	AUTO(seccomp_filter) struct seccomp_filter *filter = calloc(1, sizeof(*filter));
	if (!filter)
		return err_set(err, -ENOMEM, "resolve a seccomp profile");
	filter->profile = profile;
	filter->disabled = profile->disabled;
	filter->default_action = profile->default_action;
	filter->native = target->native;
	resolve_arches(profile, target, filter);
	size_t n = 0;
	for (size_t i = 0; i < profile->n_rules; i++)
		n += profile->rules[i].any ? profile->rules[i].n_conds : 1;
	filter->calls = calloc(n ? n : 1, sizeof(*filter->calls));
	if (!filter->calls)
		return err_set(err, -ENOMEM, "resolve a seccomp profile");
	for (size_t i = 0; i < profile->n_rules; i++)
		if (profile->rules[i].action != profile->default_action &&
		    is_selected(&profile->rules[i], target))
			add_calls(&profile->rules[i], filter);
	*ret = steal_ptr(&filter);
	return 0;
}
