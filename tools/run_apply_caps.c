/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>

#include "base/num.h"
#include "exec/cap.h"
#include "tools/run_apply.h"

/* What this process may hand on at all. */
static cap_set_t caps_own(void)
{
	cap_set_t own = 0;
	for (unsigned int cap = 0; cap < CAP_COUNT; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			own |= cap_bit(cap);
	return own;
}

/* The capabilities that a flag names, and whether it names ALL of them. */
static int caps_named(const char *flag, const struct opt_many *many, cap_set_t *ret, bool *ret_all,
		      struct err *err)
{
	cap_set_t set = 0;
	*ret_all = false;
	for (size_t i = 0; i < many->count; i++) {
		unsigned int cap = 0;
		if (strcasecmp(many->items[i], "all") == 0) {
			*ret_all = true;
			continue;
		}
		int r = cap_parse_loose(many->items[i], &cap, err);
		if (r < 0)
			return err_prefix(err, r, "--%s", flag);
		set |= cap_bit(cap);
	}
	*ret = set;
	return 0;
}

static int caps_choose(const struct run_options *o, cap_set_t base, cap_set_t *ret,
		       struct err *err)
{
	cap_set_t add = 0, drop = 0, own = caps_own();
	bool add_all = false, drop_all = false;
	int r = caps_named("cap-add", &o->flags->cap_add, &add, &add_all, err);
	if (r == 0)
		r = caps_named("cap-drop", &o->flags->cap_drop, &drop, &drop_all, err);
	if (r < 0)
		return r;
	for (unsigned int cap = 0; cap < CAP_COUNT; cap++)
		if (add & ~own & cap_bit(cap))
			return err_say(err, -EINVAL,
				       "--cap-add %s: this process does not have that capability itself",
				       cap_name(cap));
	if (o->flags->privileged || add_all)
		*ret = own & ~drop;
	else if (drop_all)
		*ret = add;
	else
		*ret = ((base & own) & ~drop) | add;
	return 0;
}

typedef int (*add_fn)(struct oci_process_capabilities *caps, const char *name);

static int caps_write(struct oci_process_capabilities *caps, cap_set_t set, add_fn add)
{
	int r = 0;
	for (unsigned int cap = 0; cap < CAP_COUNT && r == 0; cap++)
		if (set & cap_bit(cap))
			r = add(caps, cap_name(cap));
	return r;
}

static int caps_set(struct oci_process_capabilities *caps, cap_set_t set)
{
	oci_process_capabilities_clear_bounding(caps);
	oci_process_capabilities_clear_effective(caps);
	oci_process_capabilities_clear_permitted(caps);
	int r = oci_process_capabilities_need_bounding(caps);
	if (r == 0)
		r = oci_process_capabilities_need_effective(caps);
	if (r == 0)
		r = oci_process_capabilities_need_permitted(caps);
	if (r == 0)
		r = caps_write(caps, set, oci_process_capabilities_add_bounding);
	if (r == 0)
		r = caps_write(caps, set, oci_process_capabilities_add_effective);
	if (r == 0)
		r = caps_write(caps, set, oci_process_capabilities_add_permitted);
	return r;
}

int run_apply_all_caps(struct oci_process_capabilities *caps)
{
	return caps_set(caps, caps_own());
}

/* As for root: what another user loses is convert_user()'s, later. */
static int apply_caps(const struct run_options *o, struct oci_process *process, struct err *err)
{
	struct oci_process_capabilities *caps = oci_process_need_capabilities(process);
	cap_set_t set = 0;
	int r = caps ? 0 : err_set(err, -ENOMEM, "choose the capabilities");
	if (r == 0)
		r = cap_set_parse((const char *const *)caps->bounding, caps->n_bounding, &set, err);
	if (r == 0)
		r = caps_choose(o, set, &set, err);
	if (r < 0)
		return r;
	r = caps_set(caps, set);
	return r < 0 ? err_set(err, r, "choose the capabilities") : 0;
}

/* What --privileged opens besides: the kernel's own file systems. */
static int apply_writable(struct oci_config *config)
{
	static const char *const places[] = {"/sys", "/sys/fs/cgroup"};
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct oci_mount *mount = run_find_mount(config, places[i]);
		for (size_t k = mount ? mount->n_options : 0; k > 0; k--)
			if (strcmp(mount->options[k - 1], "ro") == 0)
				oci_mount_remove_options(mount, k - 1);
	}
	struct oci_linux_resources *resources = oci_linux_need_resources(config->linux);
	if (!resources)
		return -ENOMEM;
	oci_linux_resources_clear_devices(resources);
	struct oci_linux_device_cgroup *rule = oci_linux_resources_add_devices(resources);
	int r = rule ? oci_linux_device_cgroup_set_access(rule, "rwm") : -ENOMEM;
	if (r == 0)
		oci_linux_device_cgroup_set_allow(rule, true);
	return r;
}

int run_apply_privileges(const struct run_options *o, struct oci_config *config, struct err *err)
{
	struct oci_process *process = oci_config_need_process(config);
	int r = process ? apply_caps(o, process, err) : err_set(err, -ENOMEM, "choose the capabilities");
	if (r < 0)
		return r;
	oci_process_set_no_new_privileges(process, !o->new_privileges && !o->flags->privileged);
	if (!o->flags->privileged)
		return 0;
	r = apply_writable(config);
	return r < 0 ? err_set(err, r, "take the confinement away") : 0;
}
