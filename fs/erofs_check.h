/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fs/erofs.h"

/*
 * Reads all of an image that somebody else wrote, before the kernel does
 * (--fs=erofs) or anything is stored: every directory is entered once and from
 * its parent, has "." and ".." that lead where they should and names in order;
 * every inode, symlink, xattr and run of a file can be read; a run ends within
 * its device. Work and memory are bounded by the image's size. Afterwards the
 * functions of fs/erofs.h give -EBADMSG for nothing that can be reached.
 *
 * -EBADMSG with what is wrong and where; -ENOMEM. Any thread.
 */
int erofs_check(const struct erofs *image, struct err *err);
