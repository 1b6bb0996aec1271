/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Bytes and a descriptor over a UNIX socket (unix(7), SCM_RIGHTS). Any thread. */

#include <stddef.h>
#include <sys/types.h>

/* Sends n bytes in one message, and with them fd unless it is -1. 0 or -errno; never SIGPIPE. */
int fdpass_send(int sock, const void *data, size_t n, int fd);

/*
 * Receives up to n bytes of one message; flags are those of recvmsg(2). The number of bytes, 0 when
 * the other side is gone, or -errno. *ret_fd is the caller's, close-on-exec, -1 when none came, and
 * set with a result of 0 or more only. More than one descriptor is none: they are closed.
 */
ssize_t fdpass_receive(int sock, void *data, size_t n, int flags, int *ret_fd);
