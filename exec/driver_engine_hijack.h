/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The stdio of a program that an engine runs. Any thread; one for each stream. */

#include "exec/driver_engine_priv.h"

struct engine_hijacked {
	int fd;		  /* owned; non-blocking */
	struct buf early; /* what came right behind the answer's head */
};
void engine_hijacked_finish(struct engine_hijacked *hijacked);
DEFINE_FINISH(engine_hijacked, engine_hijacked_finish);

/* POSTs the body (JSON) and keeps the connection. Errors are those of engine_http(). */
int engine_hijack(const struct engine *engine, const struct driver_call *call, const char *what,
		  const char *path, const char *body, struct engine_hijacked *ret,
		  struct driver_error *error);

struct engine_pump {
	const char *what;
	int stdio[3]; /* borrowed; -1: nothing goes in, what comes out is dropped */
	bool tty;     /* all output comes unframed, and goes to stdio[1] */
	int size_fd;  /* a terminal whose size is followed; -1: none */
	void (*resize)(void *data, unsigned int rows, unsigned int columns);
	void *data;
};

/* Until the output ends: 0. */
int engine_pump(const struct engine_hijacked *hijacked, const struct driver_call *call,
		const struct engine_pump *with, struct driver_error *error);
