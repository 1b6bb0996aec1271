/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What one process has learned of a registry, for another of the same program
 * and user that goes on where it stops: tokens, what servers demand, where they
 * send for blobs, and which of them do not answer. It holds secrets, so it
 * lives in sealed anonymous memory that is passed as a descriptor, and nowhere
 * else: no file, no environment, no command line, no log.
 *
 * A sequence of records, each a letter and a few texts, all NUL-terminated.
 */

#include "base/buf.h"
#include "base/err.h"
#include "fetcher/origin.h"
#include "fetcher/token.h"

enum {
	HANDOVER_BYTES_MAX = 4 << 20, /* of all records; what does not fit is learned again */
};

/* A memfd with what tokens and a registry's origin know by now. The caller closes *ret_fd. */
int handover_write(struct tokens *tokens, struct origin *origin, int *ret_fd, struct err *err);

/*
 * Takes over what is in it, but for what is known here already. -EBADMSG when it is not a
 * handover, or not sealed; what came before the bad record is kept.
 */
int handover_read(int fd, struct tokens *tokens, struct origin *origin, struct err *err);

/* For those who write and read their part of it: token.c, registry_known.c. */
struct handover {
	struct buf text;   /* to write into */
	const char *at;	   /* to read from: the next record */
	const char *end;
};

/* Appends one record of n texts (NULL: an empty one), which reallocates nothing. -E2BIG. */
int handover_add(struct handover *h, char kind, const char *const *texts, size_t n);

/* Reads the texts of a record, borrowed; an empty one stays "". -EBADMSG when they are not there. */
int handover_take(struct handover *h, const char **ret, size_t n);
