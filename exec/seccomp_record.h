/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Learns which system calls a container makes. Its filter notifies (seccomp_unotify(2));
 * the runtime connects to the profile's listenerPath and hands the listener over
 * (config-linux.md, "The Seccomp Notify Request"); each call is noted, and goes on. That
 * decides nothing about safety: what is recorded runs unconfined.
 *
 * A few calls cannot notify and are always allowed: those that a runtime needs to hand
 * the listener over, and those without which nothing ends.
 */

#include "base/buf.h"
#include "base/err.h"

enum {
	SECCOMP_LISTENERS_MAX = 64,	    /* of one recording */
	SECCOMP_RECORD_BYTES_MAX = 1 << 20, /* of a profile that comes out */
};

struct seccomp_recorder;

/*
 * Listens at a new UNIX socket of this path, which must be short enough for one, in a
 * directory that only this user can enter. The caller destroys the recorder, which
 * removes the socket. -ENAMETOOLONG and the errors of bind(2).
 */
int seccomp_recorder_create(const char *socket, struct seccomp_recorder **ret, struct err *err);
void seccomp_recorder_destroy(struct seccomp_recorder *recorder);
DEFINE_CLEANUP(seccomp_recorder, seccomp_recorder_destroy);

/* Appends the profile to record with: its filter notifies at the socket. -ENOMEM. */
int seccomp_recorder_profile(const struct seccomp_recorder *recorder, struct buf *out,
			     struct err *err);

/*
 * Takes listeners and lets calls go on until stop_fd can be read. One thread at a time.
 * -ECOMM when what connects sends no listener; -E2BIG for too many; the errors of poll(2).
 * After a failure all listeners are closed: what waits in a call gets ENOSYS.
 */
int seccomp_recorder_serve(struct seccomp_recorder *recorder, int stop_fd, struct err *err);

/*
 * Appends the smallest profile that lets everything recorded happen again, on this
 * architecture and on those that calls were seen of; the rest gets ENOSYS. -ENODATA
 * when no listener ever came; -ENOMEM.
 */
int seccomp_recorder_result(const struct seccomp_recorder *recorder, struct buf *out,
			    struct err *err);
