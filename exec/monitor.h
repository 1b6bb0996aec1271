/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The process that stays with a container: it has the runtime make it, keeps
 * its input and output, writes its log, serves those who attach, records how
 * it ended, deletes it, and calls back for what has to be taken away.
 *
 * The one who runs a container makes its directory (container_create()) and
 * bundle, then starts the program anew as a monitor, in a session of its own:
 *
 *	r = monitor_launch(&launch, &call, &fd, &launched, &why);	// in `run`
 *	  ...
 *	r = monitor_run(&config, &why);			// in the new process, config.launch_fd = 3
 *
 * monitor_launch() is back when the container runs or could not be started. What
 * is left in fd is a connection as of attach_connect() on which no output is
 * missed; whoever detaches closes it. The exit code comes as ATTACH_EXIT, and the
 * end of the connection says that also the clean-up is over. The launcher
 * may die at any time: the container goes on.
 *
 * Signals to the monitor: SIGTERM, SIGINT and SIGHUP stop the container (stop_signal, after
 * stop_timeout_ms SIGKILL). kill -9 of the monitor leaves the container without one: its lock is
 * free, and the state tells which init to kill.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/again.h"
#include "base/err.h"
#include "exec/attach.h"
#include "exec/container.h"
#include "exec/driver.h"

enum {
	MONITOR_FD_LAUNCH = 3,	      /* the monitor's end of the launcher's connection */
	MONITOR_START_MS = 120000,    /* for the runtime to create and start a container */
	MONITOR_CANCEL_MS = 20000,    /* for a monitor to take back what it was told not to start */
	MONITOR_DELETE_MS = 60000,    /* and to delete it */
	MONITOR_BEGIN_MS = 30000,     /* for init to execute its program, before a signal is sent */
	MONITOR_CALL_MS = 30000,      /* for everything else that the runtime does */
	MONITOR_DRAIN_MS = 2000,      /* for output that others hold open when init is over */
	MONITOR_FAREWELL_MS = 5000,   /* for clients to read the rest */
	MONITOR_STOP_MS = 10000,      /* stop_timeout_ms where 0 is given */
	MONITOR_LOG_BYTES = 64 << 20, /* log_bytes where 0 is given */
	MONITOR_LOG_FILES = 2,	      /* the current one included */
};

struct monitor_config {
	struct driver_conn *conn;
	struct container *container; /* its directory is the bundle; locked by monitor_run() */
	int launch_fd;		     /* MONITOR_FD_LAUNCH, or -1; the monitor's from now on */
	bool launcher_output;	     /* the launcher gets the output: not detached */
	bool tty;		     /* as process.terminal in config.json */
	bool open_stdin;	     /* -i; otherwise the container reads /dev/null */
	bool stdin_once;	     /* input ends with the connection that gave it */
	uint16_t rows, columns;	     /* of the terminal; 0: not known */
	const int *preserve_fds;     /* become 3, 4, … in the container; borrowed */
	size_t n_preserve_fds;
	const char *rootfs_at;	     /* as driver_create's, for CONTAINER_ROOTFS; NULL: it is not moved */
	int stop_signal;	     /* 0: SIGTERM */
	uint64_t stop_timeout_ms;    /* from stop_signal to SIGKILL; 0: MONITOR_STOP_MS */
	uint64_t run_timeout_ms;     /* then it is stopped: --timeout; 0: never */
	const char *pidfile;	     /* gets the pid of the container's init; NULL: none */
	uint64_t log_bytes;	     /* of one log file; 0: MONITOR_LOG_BYTES */
	bool no_log;
	/*
	 * When the container is created and not yet started (networks and the like); may be NULL,
	 * which is faster. A failure ends it, and is monitor_run()'s.
	 */
	int (*created)(void *data, pid_t init, struct driver_error *error);
	/*
	 * When a container that ran is over, on a thread of its own while the runtime deletes it:
	 * takes away what no runtime looks at any more, and what fails is left to cleanup(). May be
	 * NULL: hooks that run after the end (poststop) may still want all that there is.
	 */
	void (*ended)(void *data);
	/*
	 * When the container is over and deleted, also when it never started: unmounts, and
	 * removes the container's directory when that is wanted (the lock is still held). A failure
	 * is logged.
	 */
	int (*cleanup)(void *data, int exit_code, struct err *err);
	void *data;
};

/*
 * Stays with a container until it is gone. In a process of its own with a single
 * thread: it becomes a subreaper, and sets signal masks. 0 when the container ran, whatever its
 * exit code; an error when it could not be started, which the launcher has been told.
 */
int monitor_run(const struct monitor_config *config, struct driver_error *error);

/* Tells the launcher why monitor_run() was not reached. */
void monitor_launch_failed(int launch_fd, const struct driver_error *error);

struct monitor_launch {
	const char *program; /* path of the program */
	char *const *argv;   /* leads to monitor_run() */
	again_main again;    /* the same without exec, where that is possible; NULL: never */
	char *const *envp;
	int log_fd;	     /* the monitor's stdout and stderr; -1: /dev/null */
	const int *fds;	     /* what it finds as 4, 5, …: preserve_fds, to be closed after it ran */
	size_t n_fds;
};

/* What a monitor says of the container that it started. Times are those of clock_now_ns(). */
struct monitor_launched {
	pid_t init;	     /* the container's; 0: not known */
	uint64_t ready_ns;   /* when the monitor was about to call the runtime */
	uint64_t started_ns; /* when the runtime had started the container */
};

/*
 * Starts a monitor and waits until the container runs. *ret_fd is the
 * connection, the caller's.
 * What the monitor says of a failure is the error.
 */
int monitor_launch(const struct monitor_launch *launch, const struct driver_call *call,
		   int *ret_fd, struct monitor_launched *ret, struct driver_error *error);
