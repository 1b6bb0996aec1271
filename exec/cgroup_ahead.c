/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/cgroup_ahead.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "exec/cgroup.h"

static void __attribute__((noreturn)) child_move(int fd)
{
	/* What others wait for the end of, pipes and locks, must not wait for this. */
	if (fd > 0)
		(void)close_range(0, (unsigned int)fd - 1, 0);
	(void)close_range((unsigned int)fd + 1, UINT_MAX, 0);
	_exit(write(fd, "0", 1) == 1 ? 0 : 1);
}

int cgroup_begin_move(pid_t *ret)
{
	AUTO(cgroup) struct cgroup *cgroup = NULL;
	int r = cgroup_open(getpid(), &cgroup, NULL);
	AUTO_CLOSE int fd = r < 0 ? r : cgroup_procs(cgroup);
	if (fd < 0)
		return fd;
	pid_t pid = fork();
	if (pid == 0)
		child_move(fd);
	if (pid < 0)
		return -errno;
	*ret = pid;
	return 0;
}
