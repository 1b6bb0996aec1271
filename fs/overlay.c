/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/overlay.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>

#include "base/file.h"

int overlay_mount(const char *lower, const char *upper, const char *dir, unsigned long flags,
		  const char *source, struct err *err)
{
	AUTO_CLOSE int base = -1;
	AUTO_CLOSE int upper_fd = -1;
	AUTO_CLOSE int work_fd = -1;
	int r = dir_make(upper, 0700, err);
	if (r < 0)
		return r;
	base = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return err_set(err, -errno, "open %s", upper);
	r = dir_make_at(base, "upper", 0755, &upper_fd, err);
	if (r == 0)
		r = dir_make_at(base, "work", 0700, &work_fd, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lower_fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lower_fd < 0)
		return err_set(err, -errno, "open %s", lower);

	/* Names in an option string would need their colons and commas escaped; numbers do not. */
	char options[128];
	(void)snprintf(options, sizeof(options),
		       "lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d",
		       lower_fd, upper_fd, work_fd);
	if (mount(source, dir, "overlay", flags, options) < 0)
		return err_set(err, -errno, "mount a writable overlay (upper %s) on %s", upper, dir);
	return 0;
}
