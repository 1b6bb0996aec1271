/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the server's own files: server.c (life), server_ops.c, server_read.c. */

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "fs/readahead.h"
#include "fs/server.h"

enum {
	SERVER_LATE_MAX = 32, /* reads that failed late are remembered … */
	SERVER_LATE_MS = 250, /* … for so long */
	SERVER_WAITED_MS = 1000, /* a read that fails after so long has failed late */
	SERVER_LATE_AGAIN = 3, /* times that the kernel asks again: FUSE's page, EROFS's, and that one's */
};

/* A read that timed out a moment ago. */
struct late_read {
	pid_t tid;
	uint64_t ino, off, len;
	deadline_t until; /* 0: none */
	unsigned int left; /* times that it may be asked for again */
};

struct server {
	struct server_config config;
	struct mount_counters *counters; /* the caller's, or own */
	struct mount_counters own;
	struct readahead *readahead;	 /* owned */
	struct fuse_session *session;	 /* owned */
	uint64_t device_bytes;		 /* of all devices, for STATFS */

	int end_fd;  /* owned; an eventfd: nothing is left to serve */
	int look_fd; /* owned; an eventfd: a reader was interrupted */
	pthread_t threads[SERVER_THREADS_MAX];
	unsigned int n_threads; /* running, not yet joined */
	atomic_uint n_ended;
	atomic_uint n_interrupts; /* INTERRUPTs given to libfuse; see interrupts_finish() */
	atomic_bool stopping;
	atomic_bool said_broken;  /* a broken image was logged */
	atomic_bool said_failing; /* failing sources were logged, and no read succeeded since */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t idle;  /* no request is parked */
	struct list parked;   /* struct read_request */
	struct list interrupted; /* those of them whose readers are looked at, the next one first */
	uint64_t parked_bytes; /* also of ended reads whose sources are not done */
	struct late_read late[SERVER_LATE_MAX];
	unsigned int n_late; /* ever noted: the oldest is overwritten */
	uint64_t refs; /* the owner's, and one for each parked request */
};

extern const struct fuse_lowlevel_ops server_ops;

/* Drops a reference; the last one frees. */
void server_unref(struct server *server);

/* The inode of a FUSE node id. 0, or the positive errno to reply with. */
int server_inode(struct server *server, fuse_ino_t ino, struct erofs_inode *ret);

/* The positive errno to reply with for a reader's -errno; says once that the image is broken. */
int server_errno(struct server *server, int r);

void server_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi);

/*
 * Looks at the readers that were interrupted, and gives up the reads of those that are dying.
 * Returns when to do it again; 0: when look_fd says so. One thread only.
 */
deadline_t server_read_look(struct server *server);

/* Waits drain_ms for parked reads, then leaves the rest to a successor. No thread serves any more. */
void server_read_drain(struct server *server, uint64_t drain_ms);
