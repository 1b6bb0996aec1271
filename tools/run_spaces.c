/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_spaces.h"

#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "tools/containers.h"
#include "tools/run_network.h"

static int space_resolve(struct ctx *ctx, const char *flag, const char *file, struct run_ns *ns,
			 pid_t *ret_init, struct err *err)
{
	AUTO_FINISH(opened_container) struct opened_container o = {0};
	char *path = NULL;
	if (ns->kind != RUN_NS_CONTAINER)
		return 0;
	int r = containers_open(ctx, ns->value, &o, err);
	if (r < 0)
		return err_prefix(err, r, "--%s", flag);
	if (!containers_is_live(&o) || !container_init_alive(&o.state))
		return err_say(err, -ESRCH, "--%s: the container %s does not run", flag, ns->value);
	if (asprintf(&path, "/proc/%d/ns/%s", (int)o.state.pid, file) < 0)
		return err_set(err, -ENOMEM, "--%s", flag);
	*ret_init = o.state.pid;
	free(ns->value);
	*ns = (struct run_ns){.kind = RUN_NS_PATH, .value = path};
	return 0;
}

int run_spaces_resolve(struct ctx *ctx, struct run_options *o, pid_t *ret_init, struct err *err)
{
	const struct {
		const char *flag, *file;
		struct run_ns *ns;
	} spaces[] = {
		{"network", "net", &o->network}, {"pid", "pid", &o->pid},
		{"ipc", "ipc", &o->ipc},	 {"uts", "uts", &o->uts},
		{"cgroupns", "cgroup", &o->cgroup}, {"userns", "user", &o->user},
	};
	int r = run_network_check(o, err);
	for (size_t i = 0; i < ARRAY_LEN(spaces) && r == 0; i++)
		r = space_resolve(ctx, spaces[i].flag, spaces[i].file, spaces[i].ns, ret_init, err);
	return r;
}
