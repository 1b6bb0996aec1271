/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's directory, PARENT/ID, mode 0700:
 *
 *	config.json	the runtime's configuration: the directory is the bundle
 *	rootfs, lower, upper, work	mounts and their parts, the caller's affair
 *	state.json	struct container_state, under the commit rule
 *	log, log.1, …	what the container wrote (exec/logs.h)
 *	attach		the monitor's socket (exec/attach.h)
 *	lock		held (flock) by the monitor for as long as it lives
 *
 * A container runs exactly while the lock is held: what a killed monitor or a
 * reboot left behind has a free lock, whatever its state says.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "exec/proc.h"

#define CONTAINER_CONFIG "config.json"
#define CONTAINER_STATE	 "state.json"
#define CONTAINER_LOG	 "log"
#define CONTAINER_ATTACH "attach"
#define CONTAINER_LOCK	 "lock"
#define CONTAINER_ROOTFS "rootfs"

enum { CONTAINER_STATE_MAX = 4 << 20 }; /* bytes of state.json */

enum container_phase {
	CONTAINER_CONFIGURED, /* the directory is there, the runtime knows nothing of it */
	CONTAINER_CREATED,    /* its init waits */
	CONTAINER_RUNNING,
	CONTAINER_EXITED,     /* the exit code is final */
	CONTAINER_FAILED,     /* it could not be started: see error */
};

/* "configured", "created", … */
const char *container_phase_name(enum container_phase phase);

struct container_state {
	enum container_phase phase;
	pid_t pid;	    /* of its init, in the host's pid namespace; 0: none */
	uint64_t pid_start; /* proc_start_time() of it */
	pid_t monitor;	    /* as above */
	uint64_t monitor_start;
	char boot_id[BOOT_ID_MAX]; /* of the boot in which the numbers above mean something */
	int64_t created_ns, started_ns, finished_ns; /* of CLOCK_REALTIME; 0: not yet */
	int exit_code;	    /* 0 … 255, 128 + n for signal n; -1: not over, or never learnt */
	bool oom_killed;    /* something in it was killed for want of memory */
	char *error;	    /* owned: why it could not be started, or NULL */
	json_t *extra;	    /* owned: an object of the caller's own members, or NULL */
};
void container_state_finish(struct container_state *state);
DEFINE_FINISH(container_state, container_state_finish);

/* An open directory of a container. Belongs to one thread at a time. */
struct container;

/*
 * Makes PARENT/ID (and PARENT, both 0700), with a state CONTAINER_CONFIGURED
 * that has `extra` (borrowed; may be NULL). -EEXIST.
 */
int container_create(const char *parent, const char *id, json_t *extra, struct container **ret,
		     struct err *err);

/* -ENOENT when there is none; -EINVAL for a name that no container has. */
int container_open(const char *parent, const char *id, struct container **ret, struct err *err);

/* Gives the lock back, if it is held here. Accepts NULL. */
void container_close(struct container *container);
DEFINE_CLEANUP(container, container_close);

/* Borrowed. */
const char *container_id(const struct container *container);
const char *container_path(const struct container *container);
int container_dirfd(const struct container *container);

/*
 * Takes the lock, which goes with container_close() or the process, and is
 * inherited by nobody. -EBUSY when a monitor lives.
 */
int container_lock(struct container *container, struct err *err);

/* Whether somebody (another open directory, also of this process) holds the lock. */
bool container_is_locked(const struct container *container);

/* What state.json says. -ENOENT, -EINVAL. The caller finishes *ret. */
int container_state_read(const struct container *container, struct container_state *ret,
			 struct err *err);
int container_state_write(const struct container *container, const struct container_state *state,
			  struct err *err);

/* Whether the state's init, or its monitor, is alive: the same process of the same boot. */
bool container_init_alive(const struct container_state *state);
bool container_monitor_alive(const struct container_state *state);

/*
 * Removes the directory and what is in it. Nothing may be mounted below it, or that
 * is removed too: -EBUSY for mount points that are seen. The lock has to be held here.
 */
int container_remove(struct container *container, struct err *err);

/*
 * Calls each() with every id in PARENT, in no particular order, until it returns other than 0,
 * which is then the result. 0 when there is no such directory.
 */
int container_each(const char *parent, int (*each)(void *data, const char *id), void *data,
		   struct err *err);
