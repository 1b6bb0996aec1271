/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Serves an EROFS image over an open /dev/fuse (libfuse 3, low level). The
 * server keeps no state that a successor would need: a node id is the inode's
 * place in the image, the generation is 0, nothing is opened (OPEN, OPENDIR
 * and FLUSH are ENOSYS, so that the kernel stops asking), directory offsets
 * are positions in the image, FORGET means nothing. Names and attributes are
 * the kernel's to keep for ever, since an image never changes.
 *
 * No thread of the server waits for a byte: a READ whose bytes are not local
 * is parked until its sources answer on threads of their own. When its reader
 * is interrupted, server_wait() looks at the reader, at once and then every
 * SERVER_LOOK_MS: one that is dying is answered EINTR, without which it could
 * not die; any other gets its bytes (fs/interrupt.h).
 *
 * Taking over (kernel: Documentation/filesystems/fuse, fs/fuse/dev.c): the
 * INIT message is kept in a memfd that the holder passes on; a successor feeds
 * it to its own libfuse, then has the kernel send again what its predecessor
 * left unanswered (FUSE_NOTIFY_RESEND, Linux 6.9).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idmap.h"
#include "fetcher/source.h"
#include "fs/counters.h"
#include "fs/erofs.h"
#include "fs/recorder.h"

enum {
	SERVER_THREADS = 2,	      /* default; they never wait */
	SERVER_THREADS_MAX = 16,
	SERVER_READ_MAX = 1 << 20,    /* bytes of one READ */
	SERVER_PARKED_MAX = 512 << 20, /* bytes of all reads under way; ENOMEM past it */
	SERVER_BACKGROUND_MAX = 64,   /* read-ahead requests the kernel keeps under way */
	SERVER_LOOK_MS = 50,	      /* between two looks at an interrupted reader */
	SERVER_DRAIN_MS = 100,	      /* default time to finish what is under way at the end */
};

struct server_config {
	const struct erofs *image; /* borrowed */
	struct source **devices;   /* device i + 1 of the image; borrowed, with what they point at */
	uint32_t n_devices;
	bool files_are_devices; /* as devices_image() makes them: no file that is read ends there */
	uint64_t read_timeout_ms;  /* until a parked read is EIO; 0: never */
	unsigned int threads;	   /* 0: SERVER_THREADS */
	const struct id_maps *maps; /* whom files belong to is told by these; borrowed; NULL: as it is */
	struct mount_counters *counters; /* borrowed; NULL: nobody looks */
	struct recorder *recorder; /* borrowed; is told what is read; NULL: nobody wants to know */
};

struct server;

/* Makes a server that serves nothing yet. -EINVAL: the image wants more devices; -ENOMEM. */
int server_create(const struct server_config *config, struct server **ret, struct err *err);

/*
 * Starts to serve. fuse_fd is a mounted /dev/fuse and becomes the server's.
 * init_fd (borrowed, needed until the return) is the memfd for the INIT
 * message: empty for the first server, which waits here for the message and
 * keeps it there; otherwise this is a takeover. -EOPNOTSUPP: the kernel cannot
 * send again what a dead predecessor left (before Linux 6.9).
 */
int server_start(struct server *server, int fuse_fd, int init_fd, struct err *err);

/*
 * Waits until the file system was unmounted or aborted, or stop_fd is
 * readable: 0; or until the peer of the socket lost_fd has hung up, or the
 * process of the pidfd lost_fd ended (-1: neither): 1, and the server goes on. Both are borrowed. Meanwhile it looks after interrupted
 * readers, so a server that serves is to have a thread here. The -errno of
 * poll(2).
 */
int server_wait(struct server *server, int stop_fd, int lost_fd, struct err *err);

/*
 * Stops to take requests and gives parked reads drain_ms to finish; what is
 * left then is not answered, but stays with the kernel for a successor.
 */
void server_stop(struct server *server, uint64_t drain_ms);

/*
 * Stops without waiting and releases. The sources must outlive this call, or
 * have been destroyed before: the buffers of reads they still hold die with
 * their done(). Accepts NULL.
 */
void server_destroy(struct server *server);
DEFINE_CLEANUP(server, server_destroy);
