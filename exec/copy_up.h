/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A copy of a directory of an image, for a volume that is mounted over it: what the image has there
 * is what an empty volume begins with.
 */

#include <stdbool.h>

#include "base/err.h"

enum {
	COPY_UP_DEPTH_MAX = 256,      /* directories in each other */
	COPY_UP_XATTRS_MAX = 1 << 16, /* bytes of one file's names, and of one value */
};

/*
 * Copies what is in one directory, and its own owner, mode and times, into another, which is empty.
 * Both are open for reading, and borrowed. No symlink is followed: whoever changes the target meanwhile
 * gets a wrong copy or a failure, and nothing outside of it is touched. Files, directories, symlinks and pipes are copied with owner, mode, times and extended
 * attributes; hard links become files of their own; devices and sockets are left out. An
 * owner that this process cannot give (in a user namespace without that id) is not given, and the
 * set-id bits with it. `stop`, which may be NULL, is asked again and again whether to give up: -EINTR.
 * -ELOOP past COPY_UP_DEPTH_MAX; what reading an image and writing to a disk give. After a failure a
 * part is there.
 */
int copy_up(int from, int to, bool (*stop)(void), struct err *err);
