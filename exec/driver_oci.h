/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The driver for command-line runtimes of the OCI: crun, runc, and others that
 * take runc's commands. Nothing stays running: each call runs the runtime
 * once, in a process group of its own.
 *
 * Under driver_options.state_root lie "NAME", the runtime's own --root (so
 * that two runtimes never read each other's state), and "pids", where the
 * runtime writes the numbers of new processes. Exit codes are known of
 * children of the calling process only: whoever wants them is a subreaper
 * (exec/monitor.h).
 *
 * Statistics and events come from the kernel, since crun has no such
 * commands; logs are what the monitor wrote.
 */

#include "exec/driver.h"

/* Older ones are refused: seccomp's notifications, features, and fixed escapes need these. */
#define DRIVER_CRUN_MIN "1.4.0"
#define DRIVER_RUNC_MIN "1.1.0"

enum {
	DRIVER_OCI_OUTPUT_MAX = 16 << 20, /* bytes that a runtime may write on standard output */
	DRIVER_OCI_CLEAN_MS = 10000, /* to delete what an interrupted create left behind */
	DRIVER_OCI_PROBE_MS = 10000, /* for --version, when the call has no deadline */
	DRIVER_OCI_EVENTS_MS = 100,  /* between two looks at a container's cgroup */
};

/* The driver; it lives as long as the program. */
const struct driver *driver_oci(void);
