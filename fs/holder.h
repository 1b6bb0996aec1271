/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A mount is two processes. The *holder* owns the connection (/dev/fuse), does
 * no parsing and no network, and starts *servers*: the same program, executed
 * anew with clean memory (the first may be a child of a holder that has done
 * nothing yet, see base/again.h). When a server dies, another takes over the same
 * connection and no reader notices (see fs/server.h for how); when the program
 * is upgraded, the new server prepares first and the old one then makes way.
 *
 *   holder -> server   PREPARED, of a start that was begun ahead (see below)
 *   server -> holder   READY, or FAILED with the reason, on HOLDER_FD_CONTROL
 *   holder -> server   GO, with the connection's descriptor
 *   server -> holder   SERVING
 *
 * The mount appears only when its first server is ready, so a failure leaves
 * nothing. If the holder dies, the server goes on, and holder_adopt() makes
 * another; if both die, the kernel ends the connection (ENOTCONN). A server
 * that dies too often ends it the same way: the holder closes the last
 * descriptor, which is an abort, because readers that fail are better off than
 * readers that hang. Likewise where the kernel cannot send requests again
 * (before Linux 6.9) and a server died.
 *
 * A start can be begun ahead, while what is to be mounted is still being prepared: holder and
 * server start, the server opens its connections, and both wait for whoever started them
 * (holder_begin()). That one says that all is there, hands the server what it has learned as a
 * descriptor of memory (PREPARED), and waits as with any start. If it ends before, so do they.
 *
 * Signals to the holder: SIGHUP upgrades; SIGTERM or SIGINT unmounts (lazily
 * while in use: it then goes on serving whoever is inside); a second one ends
 * the connection at once. It is to run in a process of its own, with a single thread.
 * Servers are in sessions of their own: what a terminal sends is the holder's.
 */

#include <signal.h>
#include <sys/types.h>

#include "base/again.h"
#include "base/err.h"
#include "fs/mount.h"
#include "fs/server.h"

enum {
	HOLDER_FD_CONTROL = 3, /* a server's end of the socket to the holder */
	HOLDER_FD_INIT = 4,    /* the memfd with the kernel's INIT */
	HOLDER_FD_FUSE = 5,    /* where a server keeps the connection */

	HOLDER_CRASHES_MAX = 5,	      /* servers that die … */
	HOLDER_CRASHES_WITHIN_MS = 10000, /* … within this time: give up */
	HOLDER_STOP_MS = 3000, /* for an old server to make way before it is killed */
	HOLDER_PREPARE_MS = 120000, /* for a new server to get ready before it is killed */
};

/* To a server: what was started on its mount is ready, and recording can end (fs/recorder.h). */
#define HOLDER_READY_SIGNAL SIGUSR2

struct holder_config {
	const char *dir;		     /* where to mount; absolute */
	const char *top;		     /* once it is served: what to unmount instead, or NULL */
	const char *source;		     /* what mount(8) shows: the image */
	const struct mount_options *options;
	const char *program;		     /* path of the program: opened now and at each upgrade */
	char *const *argv;		     /* of a server */
	char *const *envp;		     /* its environment */
	again_main again;		     /* of the first server, as in holder_begin() */
	/*
	 * The arguments of a first server that is begun ahead, in place of argv; NULL: it is not.
	 * Then dir and all that says how to mount is set by prepared(), called when the image is
	 * there. It runs before the server is told.
	 */
	char *const *ahead;
	int (*prepared)(void *data, struct err *err);
	unsigned int crashes_max;	     /* 0: HOLDER_CRASHES_MAX */
	int status_fd;			     /* of holder_begin(), or -1; closed once it is told */
	/*
	 * Called when the mount is there, and again for each server that takes over. A failure
	 * ends the mount the first time; later it is logged.
	 */
	int (*serving)(void *data, pid_t server, struct err *err);
	void *data;
};

/*
 * Mounts, serves, and returns 0 when the file system is no longer mounted (or
 * nobody uses it any more). Errors before the first server serves leave no
 * mount, and status_fd open and untold: the caller tries something else, or tells why with
 * holder_launch_failed(). -ECONNABORTED: gave up, as the log says; dir still needs an unmount.
 */
int holder_run(const struct holder_config *config, struct err *err);

/* A holder that was begun and not yet waited for. */
struct holder_begun {
	pid_t pid;
	int sock; /* owned; -1: none */
};

/*
 * Starts the program anew as a holder in a session of its own, with log_fd as
 * its stdout and stderr, / as its working directory and nothing to read, and
 * does not wait. Should the caller die before the file system is served, there
 * is no mount. argv leads to holder_run(), with status_fd HOLDER_FD_CONTROL; so
 * does again, by which the program is not loaded anew where that can be (NULL:
 * never). The caller awaits or cancels it.
 */
int holder_begin(const char *program, char *const *argv, char *const *envp, again_main again,
		 int log_fd, struct holder_begun *ret, struct err *err);

/*
 * To one whose config has `ahead`: says that the image is prepared, and gives its server a memfd
 * with what is known by now. fd is borrowed, -1: none. A holder that is gone says so when it is
 * waited for.
 */
void holder_prepared(const struct holder_begun *begun, int fd);

/*
 * Waits until the file system is mounted and served, and closes sock; the holder may then be left
 * alone. What it says of a failure is err's.
 */
int holder_await(struct holder_begun *begun, struct err *err);

/* Takes back a start that was begun ahead: waits until holder and server are gone. */
void holder_cancel(struct holder_begun *begun);

/* Tells holder_await() why there is no mount. */
void holder_launch_failed(int status_fd, const struct err *err);

/*
 * Takes over from a holder that died: holds the connection of a server that is
 * still alive, and goes on as holder_run(). Needs the right to pidfd_getfd()
 * from the server (root, or the same user where ptrace is not restricted).
 */
int holder_adopt(const struct holder_config *config, pid_t server, struct err *err);

/*
 * The first thing a server's process does, before it starts a thread: keeps SIGTERM for later, and
 * HOLDER_READY_SIGNAL, by which anybody may say that what was started on the mount is ready.
 */
int holder_serve_prepare(struct err *err);

/*
 * For a server that was begun ahead: waits for PREPARED, with *ret_fd, which the caller closes (-1:
 * none came). -ECANCELED when the start was taken back.
 */
int holder_serve_await(int *ret_fd, struct err *err);

/*
 * What a server does when it finds that its holder died: start another
 * (holder_adopt()). Returns a pidfd of that, borrowed, whose end is the next
 * such loss; −1 to look for none any more.
 */
struct holder_orphan {
	int (*lost)(void *data); /* on the serving thread; must not block */
	void *data;
};

/*
 * A server's part, in the program's process started by the holder. Tells the
 * holder that it is ready, and serves until the mount is gone or SIGTERM
 * comes. Returns 0 then. orphan may be NULL. The caller exits with 0, or with
 * 1 after an error.
 */
int holder_serve(const struct server_config *config, const struct holder_orphan *orphan,
		 struct err *err);

/* Tells the holder why this server could not get ready. */
void holder_serve_failed(const struct err *err);
