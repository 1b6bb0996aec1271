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

struct server {
	struct server_config config;
	struct mount_counters *counters; /* the caller's, or own */
	struct mount_counters own;
	struct readahead *readahead;	 /* owned */
	struct fuse_session *session;	 /* owned */
	uint64_t device_bytes;		 /* of all devices, for STATFS */

	int end_fd; /* owned; an eventfd */
	pthread_t threads[SERVER_THREADS_MAX];
	unsigned int n_threads; /* running, not yet joined */
	atomic_uint n_ended;
	atomic_bool stopping;
	atomic_bool said_broken;  /* a broken image was logged */
	atomic_bool said_failing; /* failing sources were logged, and no read succeeded since */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t idle;  /* no request is parked */
	struct list parked;   /* struct read_request */
	uint64_t parked_bytes;
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

/* Waits drain_ms for parked reads, then leaves the rest to a successor. No thread serves any more. */
void server_read_drain(struct server *server, uint64_t drain_ms);
