/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/userns.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "exec/userns_map.h"

enum { SETTING_MAX = 32, PATH_TEXT_MAX = 64, MAP_MAX = 64 << 10 };

/* ---- why not ---- */

/* Whether a setting of the kernel's has this value; one that does not exist has none. */
static bool setting_is(const char *path, const char *value)
{
	AUTO_FINISH(buf) struct buf text = buf_make(SETTING_MAX);
	if (file_slurp(AT_FDCWD, path, &text, NULL) < 0)
		return false;
	const char *s = buf_str(&text);
	size_t n = strlen(value);
	return strncmp(s, value, n) == 0 && (s[n] == '\n' || s[n] == '\0');
}

#define NEEDS "running containers without root needs user namespaces, and "

/* The setting that is in the way, or else what the kernel said. */
static int refused(int r, struct err *err)
{
	if (setting_is("/proc/sys/user/max_user_namespaces", "0"))
		return err_say(err, r, NEEDS "user.max_user_namespaces is 0 on this machine: root can "
			       "raise it ('sysctl user.max_user_namespaces=10000')");
	if (setting_is("/proc/sys/kernel/unprivileged_userns_clone", "0"))
		return err_say(err, r, NEEDS "kernel.unprivileged_userns_clone is 0 on this machine: root "
			       "can change it ('sysctl kernel.unprivileged_userns_clone=1')");
	if (setting_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
		return err_say(err, r, NEEDS "AppArmor keeps them from programs without a profile "
			       "(kernel.apparmor_restrict_unprivileged_userns is 1): root can write one "
			       "for sluice, or change that");
	if (access("/proc/self/ns/user", F_OK) < 0)
		return err_say(err, r, NEEDS "this kernel has none (CONFIG_USER_NS)");
	if (r == -ENOSPC)
		return err_say(err, r, NEEDS "there are as many as user.max_user_namespaces allows, or "
			       "they are nested too deep");
	if (r == -EPERM)
		return err_say(err, r, NEEDS "this process may not make one: it is in a chroot, or a "
			       "seccomp filter or security module is in the way");
	return err_set(err, r, "make a user namespace");
}

/* ---- entering ---- */

/* The root of the namespace owns what is made there; nothing of its mounts gets out by itself. */
int userns_enter(const char *path_env, char lack[static USERNS_LACK_MAX], struct err *err)
{
	AUTO(userns_mapper) struct userns_mapper *mapper = NULL;
	lack[0] = '\0';
	int r = userns_mapper_start(path_env, &mapper, err);
	if (r < 0)
		return r;
	if (unshare(CLONE_NEWUSER) < 0)
		return refused(-errno, err);
	bool denied = false;
	r = userns_mapper_map(mapper, lack, &denied, err);
	if (r < 0)
		return denied ? refused(r, err) : r;
	return unshare(CLONE_NEWNS) < 0 ? refused(-errno, err) : 0;
}

static int open_namespace(pid_t pid, const char *which, int *ret, struct err *err)
{
	char path[PATH_TEXT_MAX];
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, which);
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	if (*ret >= 0)
		return 0;
	int r = errno == ENOENT ? -ESRCH : -errno;
	return err_set(err, r, "find the namespaces of process %d", (int)pid);
}

int userns_join(pid_t pid, bool mounts, struct err *err)
{
	AUTO_CLOSE int user_fd = -1;
	AUTO_CLOSE int mount_fd = -1;
	AUTO_FREE char *cwd = getcwd(NULL, 0);
	int r = open_namespace(pid, "user", &user_fd, err);
	if (r == 0 && mounts)
		r = open_namespace(pid, "mnt", &mount_fd, err);
	if (r < 0)
		return r;
	if (setns(user_fd, CLONE_NEWUSER) < 0)
		return err_set(err, -errno, "join the user namespace of process %d", (int)pid);
	if ((mounts ? setns(mount_fd, CLONE_NEWNS) : unshare(CLONE_NEWNS)) < 0)
		return err_set(err, -errno, "join the mounts of process %d", (int)pid);
	/* Joining mounts leads to their root. */
	if (mounts && cwd && chdir(cwd) < 0 && chdir("/") < 0)
		return err_set(err, -errno, "stay in %s", cwd);
	return 0;
}

/* ---- asking ---- */

/* Whether one of the lines "inside outside count" of a map has the id. */
static bool map_has(const char *path, uint32_t id, bool *ret_all)
{
	AUTO_FINISH(buf) struct buf text = buf_make(MAP_MAX);
	bool found = false;
	*ret_all = true;
	if (file_slurp(AT_FDCWD, path, &text, NULL) < 0)
		return true;
	for (const char *line = buf_str(&text); *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char *end;
		unsigned long inside = strtoul(line, &end, 10);
		unsigned long outside = strtoul(end, &end, 10);
		unsigned long count = strtoul(end, &end, 10);
		found |= id >= inside && id - inside < count;
		*ret_all &= inside == 0 && outside == 0 && count == UINT32_MAX;
	}
	return found;
}

bool userns_is_inside(void)
{
	bool all;
	(void)map_has("/proc/self/uid_map", 0, &all);
	return !all;
}

bool userns_has_uid(uint32_t uid)
{
	bool all;
	return map_has("/proc/self/uid_map", uid, &all);
}

bool userns_has_gid(uint32_t gid)
{
	bool all;
	return map_has("/proc/self/gid_map", gid, &all);
}

bool userns_has_setgroups(void)
{
	return !setting_is("/proc/self/setgroups", "deny");
}
