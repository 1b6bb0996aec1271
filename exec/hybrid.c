/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/hybrid.h"

#include <errno.h>
#include <linux/magic.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#define CGROUP_DIR	  "/sys/fs/cgroup"
#define CGROUP_UNIFIED	  CGROUP_DIR "/unified"

enum cgroup_mode cgroup_mode_get(void)
{
	struct statfs fs;
	if (statfs(CGROUP_DIR, &fs) < 0)
		return CGROUP_NONE;
	if (fs.f_type == CGROUP2_SUPER_MAGIC)
		return CGROUP_V2;
	if (fs.f_type != TMPFS_MAGIC)
		return CGROUP_NONE;
	if (statfs(CGROUP_UNIFIED, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
		return CGROUP_HYBRID;
	return CGROUP_V1;
}

const char *cgroup_mode_name(enum cgroup_mode mode)
{
	switch (mode) {
	case CGROUP_NONE:
		return "none";
	case CGROUP_V1:
		return "v1";
	case CGROUP_V2:
		return "v2";
	case CGROUP_HYBRID:
		return "hybrid";
	}
	return "none";
}

/* Slave, not private: an unmount on the host must reach us, or a file system stays busy. */
static int enter(void)
{
	return unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ?
		       -errno : 0;
}

int hybrid_view(void *data)
{
	const struct hybrid_view *view = data;
	int r = view->hybrid ? hybrid_enter(NULL) : enter();
	if (r < 0)
		return r;
	return mount(view->from, view->at, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

int hybrid_enter(void *data)
{
	(void)data;
	int r = enter();
	if (r < 0)
		return r;
	if (umount2(CGROUP_UNIFIED, MNT_DETACH) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* A user namespace may not take apart what it inherited, but it may cover it. */
	return mount("tmpfs", CGROUP_UNIFIED, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		     "size=4k,mode=555") < 0 ? -errno : 0;
}
