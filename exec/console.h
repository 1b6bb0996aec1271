/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The socket on which a runtime hands over the master of a container's
 * terminal (--console-socket): one connection, one message with the descriptor.
 */

#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "exec/driver.h"

struct console;

/* Listens under a name of its own in dir (an absolute path; any length). */
int console_create(const char *dir, struct console **ret, struct err *err);

/* Stops listening and removes the socket. Accepts NULL. */
void console_destroy(struct console *console);
DEFINE_CLEANUP(console, console_destroy);

/* For --console-socket; valid for as long as this process and the console live. Borrowed. */
const char *console_path(const struct console *console);

/*
 * The terminal's master, which the runtime has sent by the time it is back, or sends before the
 * deadline. Non-blocking, O_CLOEXEC, the caller's. -ETIMEDOUT, -ECANCELED, -EPROTO.
 */
int console_accept(struct console *console, const struct driver_call *call, int *ret_fd,
		   struct err *err);

/* Sets a terminal's size. 0 or -errno. */
int console_resize(int fd, uint16_t rows, uint16_t columns);
