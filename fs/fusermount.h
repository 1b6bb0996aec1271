/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fusermount3(1) of libfuse: setuid, mounts and unmounts for everybody but root. */

#include "base/err.h"

enum {
	FUSERMOUNT_WAIT_MS = 10000, /* what it may take before it is killed */
	FUSERMOUNT_SAID_MAX = 512,  /* bytes of what it says that are kept */
};

/*
 * Runs it with these arguments (argv[0] included). With ret_fd it mounts, and
 * *ret_fd is the connection's /dev/fuse, the caller's. err has the sentence
 * that it said. -ENOENT: it is not installed; -EBUSY: in use; -EINVAL: not a
 * mount of ours; -ETIMEDOUT; -EPERM: whatever else it refuses.
 */
int fusermount_run(char *const *argv, int *ret_fd, struct err *err);
