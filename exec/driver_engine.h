/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drivers for engines: Docker and Podman, by HTTP over their UNIX sockets
 * (Docker Engine API 1.24 and on; Podman's API 4.0.0 and on, which has Docker's
 * requests beside its own). driver_options.address is the socket's absolute
 * path, with or without "unix://"; NULL stands for the place where an engine of
 * root's listens. Nothing of the environment is read: whoever honours
 * DOCKER_HOST and CONTAINER_HOST does so before.
 *
 * Each call makes a connection of its own, so that calls never wait for each
 * other, and cutting one short ends what the engine does for it. An engine that
 * does not answer is waited for until the call's deadline.
 *
 * What differs from runtimes:
 * - Ids may be names. driver_created.id is the engine's.
 * - Process numbers are 0 where the engine lives in another pid namespace.
 * - A create that was cut short is undone when the engine has made the container by then.
 * - driver_wait() on a container that was not started waits for its start too.
 * - A log has no times when the container has a terminal.
 * - driver_delete() removes anonymous volumes too.
 * - Programs run by driver_exec(): stdio goes through this process, so a
 *   detached one has none. One that cannot be run ends with 126 or 127, as the
 *   engine sees it, and the engine's words are in its output.
 *   A terminal takes its size from stdio[0] or [1] when that is one, and follows
 *   it. preserve_fds are UNSUPPORTED. What a cut-short call leaves running is
 *   killed where this process may; else the sentence says that it still runs.
 */

#include "exec/driver.h"

#define DRIVER_DOCKER_SOCKET "/run/docker.sock"
#define DRIVER_PODMAN_SOCKET "/run/podman/podman.sock"

enum {
	DRIVER_ENGINE_BODY_MAX = 64 << 20, /* bytes of an answer that is kept whole */
	DRIVER_ENGINE_LINE_MAX = 1 << 20,  /* of one line of progress, or one event */
	DRIVER_ENGINE_HEADER_MAX = 64 << 10, /* of an answer's header fields together */
	DRIVER_ENGINE_PROBE_MS = 10000,	   /* for connect, when the call has no deadline */
	DRIVER_ENGINE_CLEAN_MS = 10000,	   /* to undo what a call that failed had done */
	DRIVER_ENGINE_LOOK_MS = 100,	   /* between two looks, where the engine does not tell */
};

/* The drivers; they live as long as the program. Any thread. */
const struct driver *driver_docker(void);
const struct driver *driver_podman(void);
