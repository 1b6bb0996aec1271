/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A command in a container, on a terminal of its own that is connected with ours. */

#include <stdbool.h>

#include "exec/driver.h"

/*
 * driver_exec() with a terminal: request->console_socket is made in `dir`. Input is
 * copied when interactive. Results and errors are driver_exec()'s. The calling
 * process becomes a subreaper.
 */
int exec_tty(struct driver_conn *conn, struct driver_exec *request, const char *dir,
	     bool interactive, struct driver_executed *ret, struct driver_error *error);
