/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/file.h"

enum { PLACE_MAX = 64 }; /* bytes of a path below /proc */

/* ---- the process that makes it ---- */

/* Only what is async-signal-safe from here on. 0 or -errno. */
static int loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int r = ioctl(fd, SIOCGIFFLAGS, &request) < 0 ? -errno : 0;
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
	if (r == 0 && ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		r = -errno;
	(void)close(fd);
	return r;
}

/* Says how it went, and stays until its namespace is bound, which `go` ends with. */
static _Noreturn void hold(int say, int go)
{
	char end;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	int r = unshare(CLONE_NEWNET) < 0 ? -errno : loopback_up();
	(void)file_write(say, &r, sizeof(r));
	if (r == 0)
		(void)file_read(go, &end, 1);
	_exit(0);
}

/* ---- the one that binds it ---- */

static int bind_child(pid_t child, int dirfd, const char *name)
{
	char from[PLACE_MAX], to[PLACE_MAX];
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	(void)snprintf(from, sizeof(from), "/proc/%d/ns/net", (int)child);
	(void)snprintf(to, sizeof(to), "/proc/self/fd/%d", fd);
	int r = mount(from, to, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
	if (r < 0)
		(void)unlinkat(dirfd, name, 0);
	return r;
}

static void reap(pid_t child)
{
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

static int create(int dirfd, const char *name)
{
	int said[2], going[2], r = 0;
	if (pipe2(said, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int said_end = said[0];
	if (pipe2(going, O_CLOEXEC) < 0) {
		r = -errno;
		(void)close(said[1]);
		return r;
	}
	pid_t child = fork();
	if (child == 0) {
		(void)close(going[1]);
		hold(said[1], going[0]);
	}
	r = child < 0 ? -errno : 0;
	(void)close(said[1]);
	(void)close(going[0]);
	int how = 0;
	if (r == 0 && file_read(said_end, &how, sizeof(how)) != (ssize_t)sizeof(how))
		r = -ECHILD;
	if (r == 0)
		r = how;
	if (r == 0)
		r = bind_child(child, dirfd, name);
	(void)close(going[1]);
	if (child > 0)
		reap(child);
	return r;
}

int netns_create(int dirfd, const char *name, struct err *err)
{
	int r = create(dirfd, name);
	return r < 0 ? err_set(err, r, "make a network namespace") : 0;
}

int netns_remove(int dirfd, const char *name, struct err *err)
{
	char place[PLACE_MAX];
	AUTO_CLOSE int dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(err, -errno, "remove a network namespace");
	AUTO_CLOSE int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "remove a network namespace");
	(void)snprintf(place, sizeof(place), "/proc/self/fd/%d", fd);
	/* Lazily: a descriptor of ours is open on it. EINVAL: nothing is mounted there any more. */
	if (umount2(place, MNT_DETACH) < 0 && errno != EINVAL)
		return err_set(err, -errno, "unmount a network namespace");
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return err_set(err, -errno, "remove a network namespace");
	return 0;
}

bool netns_is_bound(const char *path)
{
	struct statfs fs;
	return statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}
